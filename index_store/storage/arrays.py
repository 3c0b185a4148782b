"""Arrays as .npy files: plain writes, memory-mapped reads, iteration in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike


def save_array(path: Path, array: np.ndarray) -> None:
    """Write an array to a file.

    numpy's own functions would hide why a write failed, and writing through a memory map kills the
    process silently when the disk is full.

    Raises:
        OSError: the file cannot be written, with the system's reason.
    """
    array = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        header = np.lib.format.header_data_from_array_1_0(array)
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)


def load_array(path: Path, dtype: DTypeLike, shape: tuple[int | None, ...]) -> np.ndarray:
    """Memory-map a file of `save_array`.

    Args:
        path: path of the file.
        dtype: required dtype.
        shape: required shape; None for any length along an axis.

    Raises:
        ValueError: the file is not such an array.
        OSError: the file cannot be read.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header raises various errors
        raise ValueError(f"{path.name} is damaged: {str(error)[:100]}") from None
    lengths = (want in (None, have) for have, want in zip(array.shape, shape))
    if array.dtype != dtype or array.ndim != len(shape) or not all(lengths):
        raise ValueError(f"{path.name} has shape {array.shape} and holds {array.dtype}")
    return array


def float32_blocks(rows: np.ndarray, size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows (N, D) of any dtype, `size` at a time: index of the first row, and float32 (n, D)."""
    for start in range(0, len(rows), size):
        yield start, np.ascontiguousarray(rows[start : start + size], np.float32)
