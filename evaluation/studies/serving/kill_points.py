"""Kill a process at any step that changes the disk.

A step is a write to a file, half of which is done before a kill; a Python call that syncs, renames
or deletes a file, or creates or deletes a folder; or a commit of an SQLite database. SQLite's
writes before a commit are not steps: it guarantees that a transaction is complete or absent.
"""

from __future__ import annotations

import builtins
import io
import os
import signal
import sqlite3
from collections.abc import Callable
from typing import Any

CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")  # of `os`
STATEMENTS = ("execute", "executemany", "executescript", "commit", "__exit__", "close")


def kill_at(number: int, kind: str, report: Callable[[str], object]) -> None:
    """Kill this process (SIGKILL) right after a step. Call it in a separate process.

    Args:
        number: number of the step, from 1.
        kind: prefix of the steps that count; "" for all.
        report: called with the step right before the kill.
    """
    remaining = number

    def step(event: str) -> None:
        nonlocal remaining
        remaining -= event.startswith(kind)
        if remaining == 0:
            report(event)
            os.kill(os.getpid(), signal.SIGKILL)

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name), name, step))
    builtins.open = io.open = opener(step)
    methods = {name: counted(getattr(sqlite3.Connection, name), name, step) for name in STATEMENTS}
    connection = type("CountedConnection", (sqlite3.Connection,), methods)
    connect: Any = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(*args, **options, factory=connection)


def counted(call: Callable, name: str, step: Callable[[str], None]) -> Callable:
    """The call, followed by a step. Statements that read or are not committed yet do not count."""

    def wrapped(*args: Any, **options: Any) -> Any:
        result = call(*args, **options)
        event = " ".join((name, *(str(arg) for arg in args if isinstance(arg, str | os.PathLike))))
        is_statement = name.startswith("execute")
        if not (is_statement and (args[0].in_transaction or args[1].startswith("SELECT"))):
            step(event)
        return result

    return wrapped


def opener(step: Callable[[str], None]) -> Callable:
    """`open`, with a step in the middle of every write that reaches the system."""
    original = io.open

    class Raw(io.FileIO):
        def write(self, data: Any) -> int:
            view = memoryview(data).cast("B")
            half = len(view) // 2
            super().write(view[:half])
            step(f"write {self.name}")
            super().write(view[half:])
            return len(view)

    def opened(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        **options: Any,
    ) -> Any:
        if mode.strip("bt") not in ("w", "x", "a"):
            return original(file, mode, buffering, encoding, errors, newline, **options)
        buffered = io.BufferedWriter(Raw(file, mode.strip("bt"), **options))
        return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

    return opened
