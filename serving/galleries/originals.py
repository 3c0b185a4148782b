"""Errors in reading the files of gallery photos: gone, or unreadable at the moment."""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from extractor import BadPhoto

from ..refusal import busy

# The file is missing, or is not a readable regular file. All other errors (too many open files, a
# failing disk, no memory) are faults of the server.
GONE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EPERM,
    errno.ESTALE,
    errno.EINVAL,  # `open_regular`: not a regular file
    errno.ENXIO,  # the same, for a socket
}
RETRY_SECONDS = 10

log = logging.getLogger(__name__)


class OriginalGone(Exception):
    """The file of a gallery photo is gone or has changed; str(error) is for the visitor."""

    def __init__(self) -> None:
        super().__init__("The file of this photo has changed or is gone.")


@contextmanager
def reading_originals() -> Iterator[None]:
    """Map errors in reading files of gallery photos to two exceptions.

    Raises:
        OriginalGone: the file is gone, has changed, or cannot be opened by this server.
        Refused: 503, the system failed to read the file; the log has the reason.
    """
    try:
        yield
    except BadPhoto:
        raise OriginalGone from None
    except OSError as error:
        if error.errno in GONE:
            log.warning("the file of a gallery photo is gone: %s", error.strerror)
            raise OriginalGone from None
        log.error("the file of a gallery photo cannot be read: %s", error.strerror or error)
        raise busy("file of photo", RETRY_SECONDS) from None
