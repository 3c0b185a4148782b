"""The photos of a generation, row by row, wherever in which segment they lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from extractor import LocalFeatures

from ..errors import StoreCorrupt
from .segment import Segment


class Rows:
    """Photos by their ids, each of them at a slot of the segments set one behind the other.

    Attributes:
        slots: int64 (N,), for each id its slot. Two photos of equal content share one.
        segments: In their order.
        starts: int64 (segments + 1,), the first slot of each, and the number of all.
    """

    def __init__(self, segments: Sequence[Segment], slots: np.ndarray):
        """Take the photos at these slots. Raises ValueError for a slot that is in no segment."""
        self.segments, self.slots = segments, slots
        self.starts = np.cumsum([0, *(len(segment.table) for segment in segments)])
        if len(slots) and not 0 <= slots.min() <= slots.max() < self.starts[-1]:
            raise ValueError("slots.npy names a photo that is in no segment")

    def __len__(self) -> int:
        return len(self.slots)

    def needed(self) -> Rows:
        """The same photos, without the segments that hold none of them."""
        numbers = self.numbers(self.slots)
        used = np.unique(numbers)
        sizes = np.diff(self.starts)
        before = np.zeros(len(self.segments), np.int64)
        before[used] = np.cumsum(sizes[used]) - sizes[used]
        slots = self.slots - self.starts[numbers] + before[numbers]
        return Rows([self.segments[number] for number in used.tolist()], slots)

    def column(self, name: str) -> np.ndarray:
        """What the segments' tables say of all photos, (N,)."""
        return np.concatenate([segment.table[name] for segment in self.segments])[self.slots]

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of all photos in pixels, int64 (N, 2)."""
        sides = self.column("height"), self.column("width")
        return np.stack(sides, axis=1).astype(np.int64)

    @property
    def unused(self) -> int:
        """Photos that lie in the segments but are no longer among these."""
        return int(self.starts[-1]) - len(np.unique(self.slots))

    def place(self, id: int) -> tuple[Segment, int]:
        """Segment and row of one photo. Raises IndexError."""
        if not 0 <= id < len(self.slots):
            raise IndexError(id)
        return self.at_slot(int(self.slots[id]))

    def at_slot(self, slot: int) -> tuple[Segment, int]:
        """Segment and row of a slot."""
        number = int(self.numbers(slot))
        return self.segments[number], slot - int(self.starts[number])

    def keypoints(self, ids: Iterable[int]) -> Iterator[tuple[int, LocalFeatures | None]]:
        """Ids and kept keypoints of photos; None where they are damaged, or beyond the budget."""
        for id in ids:
            segment, row = self.place(id)
            found = None
            with suppress(StoreCorrupt, ValueError):
                if data := segment.features(row):
                    found = LocalFeatures.from_bytes(data)
            yield id, found

    def numbers(self, slots: np.ndarray | int) -> np.ndarray:
        """In which of the segments slots are, of the same shape."""
        return np.searchsorted(self.starts, slots, "right") - 1

    def descriptors(self, slots: np.ndarray) -> np.ndarray:
        """What lies at some slots, int (n,), read segment by segment: float16 (n, D)."""
        order = np.argsort(slots, kind="stable")
        ends = np.searchsorted(slots, self.starts, sorter=order)
        out = np.empty((len(slots), self.segments[0].descriptors.shape[1]), np.float16)
        for number in np.flatnonzero(np.diff(ends)).tolist():
            some = order[ends[number] : ends[number + 1]]
            out[some] = self.segments[number].descriptors[slots[some] - self.starts[number]]
        return out


class Descriptors:
    """The descriptors of all photos, float16 (N, D), read through the memory map.

    Reads as an array does: by an id, a slice, an array of ids, or as a whole with `np.asarray`.
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
