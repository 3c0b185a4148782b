"""Atomic file writes, which survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def commit_file(partial: Path, path: Path) -> None:
    """Move a finished file to its final path, so that a power cut leaves the old or the new one."""
    with open(partial, "rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    partial = path.with_name(f".{path.name}")
    partial.write_bytes(data)
    commit_file(partial, path)
