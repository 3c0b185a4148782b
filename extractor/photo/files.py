"""Files that somebody else put there: regular files only, never a wait, and one name each."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from io import BufferedReader
from pathlib import Path


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file (or a link to one) for reading, as binary.

    A pipe would be waited for until somebody writes into it, and a device may have no end.

    Raises:
        OSError: The file cannot be opened, or is a pipe, a device, a socket or a folder.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_at_most(path: str | Path, most: int) -> bytes:
    """All bytes of a regular file that should be small.

    Raises:
        OSError: As `open_regular`, and if the file has more than `most` bytes.
    """
    with open_regular(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise OSError(errno.EFBIG, "File too large", str(path))
    return data


def same_name(file: str) -> str:
    """Equal for names of one photo: written in any Unicode form, and with or without "./"."""
    parts = [part for part in file.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", "/".join(parts))
