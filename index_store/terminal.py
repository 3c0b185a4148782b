"""What a command prints: names of files come from outside, and a terminal obeys what it is sent."""

from __future__ import annotations

import io
import sys


def printable(text: object) -> str:
    """Text with control characters, and what turns the direction of writing, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def tolerate_any_text() -> None:
    """Let standard output escape what its encoding cannot hold."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
