"""What all commands (`python -m search` and so on) do alike: how they end, and what they need."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from typing import NoReturn

CLOSED_PIPE, INTERRUPTED = 141, 130  # exit codes, as the shell counts them: 128 + the signal


def run_command(main: Callable[[], int]) -> NoReturn:
    """End the process with main's exit code.

    A closed pipe, Ctrl-C and too little memory end it without a traceback.

    Args:
        main: the command. It lets BrokenPipeError pass.
    """
    try:
        try:
            code = main()
        finally:  # also after --help, which ends by SystemExit
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader has read enough (`... | head -1`). What is left is written to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = CLOSED_PIPE
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        code = INTERRUPTED
    except MemoryError:
        print("error: there is too little memory for that", file=sys.stderr)
        code = 1
    sys.exit(code)


def complain(error: BaseException) -> None:
    """Print an error as the one line that a person reads, on standard error.

    The operating system's own errors are said without their numbers.
    """
    sentence = str(error)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str | bytes):
        sentence = f"{os.fsdecode(error.filename)}: {error.strerror}"
    print(f"error: {sentence}", file=sys.stderr)


def need(package: str, requirements: str) -> None:
    """Say what to install if a package that a whole room needs is not there.

    Args:
        package: name of the import.
        requirements: file that lists it.

    Raises:
        SystemExit: it is missing, and the room is being started as a command.
        ModuleNotFoundError: it is missing, and the room is being imported.
    """
    if importlib.util.find_spec(package) is not None:
        return
    sentence = f"{package} is not installed; run: pip install -r {requirements}"
    if sys.argv[:1] == ["-m"]:  # Python says so while it looks for the module of `python -m`
        raise SystemExit(f"error: {sentence}")
    raise ModuleNotFoundError(sentence, name=package)
