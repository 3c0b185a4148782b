"""Arrays as .npy files, written plainly and read through the memory map; and read in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array to a file.

    numpy's own functions would hide why a write failed, and writing through a memory map ends the
    process without a word when the disk is full.

    Raises:
        OSError: The file cannot be written, with the system's reason.
    """
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


def load_array(path: Path, dtype: DTypeLike, shape: tuple[int | None, ...]) -> np.ndarray:
    """Map a file of `save_array` into memory.

    Args:
        path: The file.
        dtype: What the array must hold.
        shape: What shape it must have; None where any length will do.

    Raises:
        ValueError: It is no array, or another one.
        OSError: It cannot be read.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header is read in many ways
        raise ValueError(f"{path.name} is damaged: {str(error)[:100]}") from None
    lengths = (want in (None, have) for have, want in zip(array.shape, shape))
    if array.dtype != dtype or array.ndim != len(shape) or not all(lengths):
        raise ValueError(f"{path.name} has shape {array.shape} and holds {array.dtype}")
    return array


def float32_blocks(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows (N, D) of any kind, `size` at a time: where each block begins, and float32 (n, D)."""
    for start in range(0, len(rows), size):
        yield start, np.ascontiguousarray(rows[start : start + size], np.float32)
