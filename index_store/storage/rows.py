"""Row-indexed view over a generation's segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from extractor import LocalFeatures

from ..errors import StoreCorrupt
from .segment import Segment


class Rows:
    """Photos by id, each at a slot; slots count through the concatenated segments.

    Attributes:
        slots: int64 (N,), slot of each id. Photos with equal content share a slot.
        segments: the segments, in order.
        starts: int64 (segments + 1,), the first slot of each segment, and the total.
    """

    def __init__(self, segments: Sequence[Segment], slots: np.ndarray):
        """Create a view. Raises ValueError for a slot that is in no segment."""
        self.segments, self.slots = segments, slots
        self.starts = np.cumsum([0, *(len(segment.table) for segment in segments)])
        if len(slots) and not 0 <= slots.min() <= slots.max() < self.starts[-1]:
            raise ValueError("slots.npy names a photo that is in no segment")

    def __len__(self) -> int:
        return len(self.slots)

    def needed(self) -> Rows:
        """The same photos, without segments that hold none of them."""
        numbers = self.numbers(self.slots)
        used = np.unique(numbers)
        sizes = np.diff(self.starts)
        before = np.zeros(len(self.segments), np.int64)
        before[used] = np.cumsum(sizes[used]) - sizes[used]
        slots = self.slots - self.starts[numbers] + before[numbers]
        return Rows([self.segments[number] for number in used.tolist()], slots)

    def column(self, name: str) -> np.ndarray:
        """A column of the segments' tables for all photos, (N,)."""
        return np.concatenate([segment.table[name] for segment in self.segments])[self.slots]

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of all photos in pixels, int64 (N, 2)."""
        sides = self.column("height"), self.column("width")
        return np.stack(sides, axis=1).astype(np.int64)

    @property
    def unused(self) -> int:
        """Number of photos in the segments that are not among these."""
        return int(self.starts[-1]) - len(np.unique(self.slots))

    def place(self, id: int) -> tuple[Segment, int]:
        """Segment and row of a photo. Raises IndexError."""
        if not 0 <= id < len(self.slots):
            raise IndexError(id)
        return self.at_slot(int(self.slots[id]))

    def at_slot(self, slot: int) -> tuple[Segment, int]:
        """Segment and row of a slot."""
        number = int(self.numbers(slot))
        return self.segments[number], slot - int(self.starts[number])

    def keypoints(self, ids: Iterable[int]) -> Iterator[tuple[int, LocalFeatures | None]]:
        """Ids and stored keypoints of photos; None if they are damaged, or beyond the budget."""
        for id in ids:
            segment, row = self.place(id)
            found = None
            with suppress(StoreCorrupt, ValueError):
                if data := segment.features(row):
                    found = LocalFeatures.from_bytes(data)
            yield id, found

    def numbers(self, slots: np.ndarray | int) -> np.ndarray:
        """Index of the segment of each slot, of the same shape."""
        return np.searchsorted(self.starts, slots, "right") - 1

    def descriptors(self, slots: np.ndarray) -> np.ndarray:
        """Descriptors at slots, int (n,), read segment by segment: float16 (n, D)."""
        order = np.argsort(slots, kind="stable")
        ends = np.searchsorted(slots, self.starts, sorter=order)
        out = np.empty((len(slots), self.segments[0].descriptors.shape[1]), np.float16)
        for number in np.flatnonzero(np.diff(ends)).tolist():
            some = order[ends[number] : ends[number + 1]]
            out[some] = self.segments[number].descriptors[slots[some] - self.starts[number]]
        return out


class Descriptors:
    """The descriptors of all photos, float16 (N, D), read through the memory map.

    Supports an array's reads: by an id, a slice, an array of ids, or as a whole with `np.asarray`.
    """

    dtype = np.dtype(np.float16)
    ndim = 2

    def __init__(self, rows: Rows):
        self._rows = rows
        self.shape = len(rows), rows.segments[0].descriptors.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        slots = np.asarray(self._rows.slots[key])
        return self._rows.descriptors(slots.ravel()).reshape(*slots.shape, self.shape[1])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        rows = self[:]
        return rows if dtype is None else rows.astype(dtype, copy=False)
