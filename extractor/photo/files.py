"""Open untrusted paths: regular files only, non-blocking, and one spelling per name."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from io import BufferedReader
from pathlib import Path


def open_regular(path: str | Path) -> BufferedReader:
    """Open a regular file (or a link to one) for reading, as binary.

    Opening a pipe would block until there is a writer, and a device may have no end.

    Raises:
        OSError: the file cannot be opened, or is a pipe, a device, a socket or a folder.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return os.fdopen(handle, "rb")


def read_at_most(path: str | Path, max_bytes: int) -> bytes:
    """All bytes of a regular file, limited to `max_bytes` bytes.

    Raises:
        OSError: as for `open_regular`, or if the file has more than `max_bytes` bytes.
    """
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise OSError(errno.EFBIG, "File too large", str(path))
    return data


def same_name(file: str) -> str:
    """Canonical form of a photo's name: Unicode NFC, without "./" and double slashes."""
    parts = [part for part in file.split("/") if part not in ("", ".")]
    return unicodedata.normalize("NFC", "/".join(parts))
