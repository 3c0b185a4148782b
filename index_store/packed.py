"""Many small blobs (thumbnails, local features) in one file: NAME.bin, and NAME.npy with offsets.

One file instead of thousands: one checksum, one fsync, no directory of a million entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from .arrays import load_array, save_array


def write_packed(folder: Path, name: str, blobs: Iterable[bytes]) -> None:
    """Write the blobs in order.

    Args:
        folder: Where the two files go.
        name: Of the files, without suffix.
        blobs: N of them; the offsets will be int64 (N + 1,).
    """
    offsets = [0]
    with open(folder / f"{name}.bin", "wb") as file:
        for blob in blobs:
            file.write(blob)
            offsets.append(offsets[-1] + len(blob))
    save_array(folder / f"{name}.npy", np.asarray(offsets, np.int64))


class Packed:
    """Read access to a packed file; memory-mapped, so only what is read is loaded.

    Raises:
        OSError: A file cannot be read.
        ValueError: The offsets are no offsets into the file.
    """

    def __init__(self, folder: Path, name: str):
        self._offsets = load_array(folder / f"{name}.npy", np.int64, (None,))
        path = folder / f"{name}.bin"
        size = path.stat().st_size
        # An empty file cannot be mapped.
        self._bytes = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
        ends = self._offsets[:1].tolist() + self._offsets[-1:].tolist()
        if ends != [0, size] or (np.diff(self._offsets) < 0).any():
            raise ValueError(f"{name}.npy does not fit {name}.bin")

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        """Blob number `index` (0 to N - 1). Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._offsets[index] : self._offsets[index + 1]].tobytes()
