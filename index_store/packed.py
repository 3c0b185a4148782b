"""Many small blobs (thumbnails, local features) in one file: NAME.bin, and NAME.npy with the N + 1 offsets.

One file instead of thousands: one checksum, one fsync, no directory of a million entries.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write_packed(folder: Path, name: str, blobs: Iterable[bytes]) -> None:
    """Write the blobs in order."""
    offsets = [0]
    with open(folder / f"{name}.bin", "wb") as file:
        for blob in blobs:
            file.write(blob)
            offsets.append(offsets[-1] + len(blob))
    np.save(folder / f"{name}.npy", np.asarray(offsets, np.int64), allow_pickle=False)


class Packed:
    """Read access to a packed file; memory-mapped, so only what is read is loaded."""

    def __init__(self, folder: Path, name: str):
        self._offsets = np.load(folder / f"{name}.npy", allow_pickle=False)
        path = folder / f"{name}.bin"
        # An empty file cannot be mapped.
        self._bytes = (
            np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
        )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: int) -> bytes:
        """Blob number `index` (0 to N - 1). Raises IndexError."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._bytes[self._offsets[index] : self._offsets[index + 1]].tobytes()
