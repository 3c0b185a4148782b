"""Byte layout of the inverted lists in the file of the keypoint index."""

from __future__ import annotations

import numpy as np

ENTRY_BYTES = 8


def lists_to_bytes(sizes: np.ndarray, codes: np.ndarray, entries: np.ndarray) -> bytes:
    """Serialise lists one after another, each as its codes, then its entries.

    Args:
        sizes: sizes of the lists, int (n,), m keypoints in all.
        codes: uint8 (m, code_bytes), in the order of the lists.
        entries: int64 (m,), in the same order.
    """
    width = codes.shape[1] // ENTRY_BYTES
    words = np.empty(len(entries) * (width + 1), np.int64)
    of_codes, of_entries = places_of(sizes, width)
    words[of_codes] = np.ascontiguousarray(codes).view(np.int64)
    words[of_entries] = entries
    return words.tobytes()


def lists_from_bytes(
    data: np.ndarray, sizes: np.ndarray, code_bytes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `lists_to_bytes`: codes and entries. data: uint8."""
    words = np.array(data).view(np.int64)
    of_codes, of_entries = places_of(sizes, code_bytes // ENTRY_BYTES)
    return words[of_codes].view(np.uint8), words[of_entries]


def places_of(sizes: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the keypoints of lists, in words of ENTRY_BYTES.

    Args:
        sizes: sizes of the lists, int (n,), m keypoints in all.
        width: words per code.

    Returns:
        Offsets of the codes' words (m, width) and of the entries (m,).
    """
    ends = np.cumsum(sizes)
    before = np.repeat(ends - sizes, sizes)  # keypoints in earlier lists
    place = np.arange(ends[-1]) - before
    starts = before * (width + 1)
    codes = (starts + place * width)[:, None] + np.arange(width)
    return codes, starts + np.repeat(sizes, sizes) * width + place
