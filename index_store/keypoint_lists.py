"""Keypoints in inverted lists, and the bytes in which a file of the keypoint index holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ENTRY_BYTES = 8


@dataclass(frozen=True)
class CodedKeypoints:
    """Keypoints of some photos as they go into lists, m in all, in the order of their lists.

    Attributes:
        ends: int64 (lists + 1,), where each list begins, and m.
        codes: uint8 (m, code_bytes).
        entries: int64 (m,).
    """

    ends: np.ndarray
    codes: np.ndarray
    entries: np.ndarray

    @property
    def numbers(self) -> np.ndarray:
        """The list of each, counted from the first one: int (m,)."""
        return np.repeat(np.arange(len(self.ends) - 1), np.diff(self.ends))

    def cut(self, first: int, last: int) -> CodedKeypoints:
        """Those of the lists from `first` up to, but without, `last`."""
        ends = self.ends[first : last + 1]
        some = slice(ends[0], ends[-1])
        return CodedKeypoints(ends - ends[0], self.codes[some], self.entries[some])

    def those(self, kept: np.ndarray) -> CodedKeypoints:
        """Those that are marked, bool (m,)."""
        ends = np.r_[0, np.cumsum(kept)][self.ends]
        return CodedKeypoints(ends, self.codes[kept], self.entries[kept])

    def to_bytes(self) -> bytes:
        """As the lists lie in the file."""
        width = self.codes.shape[1] // ENTRY_BYTES
        words = np.empty(len(self.entries) * (width + 1), np.int64)
        of_codes, of_entries = places_of(np.diff(self.ends), width)
        words[of_codes] = np.ascontiguousarray(self.codes).view(np.int64)
        words[of_entries] = self.entries
        return words.tobytes()

    @staticmethod
    def from_bytes(data: np.ndarray, sizes: np.ndarray, code_bytes: int) -> CodedKeypoints:
        """Read lists of these sizes, int (n,), from bytes of the file, uint8."""
        words = np.array(data).view(np.int64)
        of_codes, of_entries = places_of(sizes, code_bytes // ENTRY_BYTES)
        codes = words[of_codes].view(np.uint8)
        return CodedKeypoints(np.r_[0, np.cumsum(sizes)], codes, words[of_entries])


def places_of(sizes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Where keypoints lie in lists that lie one behind the other, in words of ENTRY_BYTES.

    Args:
        sizes: Of the lists, int (n,), m keypoints together.
        width: Words of a code.

    Returns:
        Places of the codes' words (m, width) and of the entries (m,).
    """
    ends = np.cumsum(sizes)
    before = np.repeat(ends - sizes, sizes)  # keypoints in the lists before
    place = np.arange(ends[-1]) - before
    starts = before * (width + 1)
    codes = (starts + place * width)[:, None] + np.arange(width)
    return codes, starts + np.repeat(sizes, sizes) * width + place


def in_lists(
    blocks: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], count: int
) -> CodedKeypoints:
    """Keypoints in the order of their lists.

    Args:
        blocks: One or more of list numbers int (n,), codes and entries.
        count: How many lists there are.
    """
    numbers, codes, entries = (np.concatenate(columns) for columns in zip(*blocks))
    order = np.argsort(numbers, kind="stable")
    ends = np.r_[0, np.cumsum(np.bincount(numbers, minlength=count))]
    return CodedKeypoints(ends, codes[order], entries[order])
