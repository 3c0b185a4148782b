"""Uploads taken out of Streamlit's storage, counted until they are freed.

They wait for a turn or in the queue of own galleries. `uploads` includes them in the bytes held.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")
# Bytes of each list by its id. A finalizer may run in any thread and at any time, so there is no
# lock: single dict operations are atomic.
_sizes: dict[int, int] = {}


class TakenUploads(list[T]):
    """Files that are counted until the list is cleared or garbage-collected.

    Args:
        files: the files with their names.
        size: total size in bytes.
    """

    def __init__(self, files: Iterable[T], size: int):
        super().__init__(files)
        _sizes[id(self)] = size
        weakref.finalize(self, _sizes.pop, id(self), None)

    def clear(self) -> None:
        """Drop the files and stop counting them."""
        super().clear()
        _sizes.pop(id(self), None)


def taken_bytes() -> int:
    """Bytes of all taken files that have not been freed."""
    return sum(_sizes.copy().values())
