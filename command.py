"""Output, exit codes and requirements of all commands, such as `python -m search`.

File names, labels and answers of servers are untrusted, and terminals obey control characters, so
all output goes through `print_lines`, `print_text`, `print_status` or `print_error`.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

from tqdm import tqdm

CLOSED_PIPE, INTERRUPTED = 141, 130  # exit codes as in a shell: 128 + number of the signal


def printable(text: object) -> str:
    """Text on one line, with control characters, line breaks, bidirectional marks and undecodable
    bytes replaced by escapes such as `\\x1b`.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def print_lines(*lines: object) -> None:
    """Print each argument as one `printable` line on standard output."""
    for line in lines:
        print(printable(line), flush=True)


def print_text(text: str) -> None:
    """Print text of several lines, such as a table, on standard output.

    Line breaks are kept, so names must be passed through `printable` before they are inserted.
    """
    print_lines(*text.split("\n"))


def print_status(*lines: object) -> None:
    """Print each argument as one `printable` line on standard error."""
    for line in lines:
        print(printable(line), file=sys.stderr, flush=True)


def bar(items: Iterable, total: int, label: str) -> Iterable:
    """A progress bar on standard error; in a log file it is updated every few seconds only."""
    interval = 0.1 if sys.stderr.isatty() else 5.0
    return tqdm(
        items, total=total, desc=f"{label:10s}", unit="", mininterval=interval, dynamic_ncols=True
    )


class CommandParser(argparse.ArgumentParser):
    """An argument parser that prints bad arguments in `printable` form."""

    def error(self, message: str) -> NoReturn:
        super().error(printable(message))


def run_command(main: Callable[[], int]) -> NoReturn:
    """End the process with main's exit code.

    A closed pipe, Ctrl-C and lack of memory end it without a traceback. Standard output escapes
    characters that its encoding lacks, as standard error always does.

    Args:
        main: the command. It must not catch BrokenPipeError.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            code = main()
        finally:  # also after --help, which ends by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed the pipe (`... | head -1`): discard the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    except KeyboardInterrupt:
        print_status("", "interrupted")
        code = INTERRUPTED
    except MemoryError:
        print_status("error: not enough memory")
        code = 1
    sys.exit(code)


def exit_code(
    work: Callable[[], object], *expected: type[Exception], resume: str = "interrupted"
) -> int:
    """Call a command's work; an expected error is printed as one line.

    Args:
        work: the work of the command.
        expected: errors that are the user's or the system's, not the program's.
        resume: what is printed after Ctrl-C.

    Returns:
        The process's exit code.
    """
    try:
        work()
    except BrokenPipeError:
        raise  # handled by run_command
    except expected as error:
        print_error(error)
        return 1
    except KeyboardInterrupt:
        print_status("", resume)
        return INTERRUPTED
    return 0


def print_error(error: BaseException) -> None:
    """Print an error as one line on standard error."""
    print_status(f"error: {message_of(error)}")


def message_of(error: BaseException) -> str:
    """An error's message; for an OSError the file and the reason, without the number."""
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def require_package(package: str, requirements: str) -> None:
    """Raise an error that says what to install if a required package is missing.

    Args:
        package: name of the import.
        requirements: requirements file that lists it.

    Raises:
        SystemExit: it is missing, and the caller is being started as a command.
        ModuleNotFoundError: it is missing, and the caller is being imported.
    """
    if importlib.util.find_spec(package) is not None:
        return
    sentence = f"{package} is not installed; run: pip install -r {requirements}"
    if sys.argv[:1] == ["-m"]:  # set by Python while it locates the module of `python -m`
        raise SystemExit(f"error: {sentence}")
    raise ModuleNotFoundError(sentence, name=package)
