"""Uploads that the page has taken out of Streamlit's storage, counted until they are freed.

They wait for a turn, or in the queue of own galleries. `uploads` counts them among what is held.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
# Bytes of each list, by its id. A finalizer may run in any thread, in the middle of anything, so
# there is no lock: single operations of a dict are atomic.
_sizes: dict[int, int] = {}


class TakenUploads(list[T]):
    """Files that are counted until the list is cleared, or nobody holds it any more.

    Args:
        files: the files, with their names.
        size: bytes of all of them.
    """

    def __init__(self, files: Iterable[T], size: int):
        super().__init__(files)
        _sizes[id(self)] = size
        weakref.finalize(self, _sizes.pop, id(self), None)

    def clear(self) -> None:
        """Drop the files, which are not counted any more."""
        super().clear()
        _sizes.pop(id(self), None)


def taken_bytes() -> int:
    """Bytes of all files that were taken and are not freed."""
    return sum(_sizes.copy().values())
