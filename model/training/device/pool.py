"""Pool of all decoded photos of a run, in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from extractor import BadPhoto, decode, in_order, read_photo, resize

from ..common.pairs import BadTrainingData, photos_under
from ..common.views import ALIASES
from ..packs.packed import LIMITS, is_pack, packed_photos, read_pack

GB = 10**9  # bytes
NARROW = 8  # pixels; narrower photos (strips shrunk to a few lines) are useless


class Pool:
    """N photos of at most `side` pixels, each in the upper left corner of a square.

    Args:
        folders: folders of photos, or packs of them (`model.training.packs.packed`).
        size: side of the largest view in pixels. Photos are shrunk far enough that a point-sampling
            warp does not alias.
        gigabytes: maximum memory for them.

    Attributes:
        paths: path of each photo, for messages.
        pixels: uint8 RGB (N, side, side, 3).
        sizes: heights and widths, int (N, 2).

    Raises:
        BadParts: a pack is damaged.
        BadTrainingData: there are no photos, or they need more memory.
    """

    def __init__(self, folders: Sequence[Path], size: int, gigabytes: float):
        side = int(ALIASES * size)
        packs = [read_pack(folder) for folder in folders if is_pack(folder)]
        files = [path for folder in folders if not is_pack(folder) for path in photos_under(folder)]
        if not files:
            side = min(side, max((pack.side for pack in packs), default=side))
        count = len(files) + sum(pack.photos for pack in packs)
        if count == 0:
            raise BadTrainingData(f"there are no photos in {', '.join(map(str, folders))}")
        needed = count * side * side * 3 / GB
        if needed > gigabytes:
            raise BadTrainingData(
                f"{count} photos of {side} pixels take {needed:.1f} GB of memory; gigabytes = "
                f"{gigabytes:g} allows fewer. Raise it, or pack fewer or smaller photos"
            )
        self.pixels = torch.zeros((count, side, side, 3), dtype=torch.uint8)
        self.paths: list[Path] = []
        sizes = []
        into = self.pixels.numpy()
        items = tqdm(sources(folders), "reading photos", count, unit="", disable=None)
        for path, photo in in_order(lambda item: read(item[0], item[1], side), items):
            if photo is None:
                continue
            height, width = photo.shape[:2]
            into[len(sizes), :height, :width] = photo
            self.paths.append(path)
            sizes.append((height, width))
        if not sizes:
            raise BadTrainingData("none of the photos can be read")
        self.sizes = np.array(sizes)
        self.pixels = self.pixels[: len(sizes)]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def side(self) -> int:
        return self.pixels.shape[1]

    def batch(self, numbers: Sequence[int] | np.ndarray, device: torch.device) -> torch.Tensor:
        """Photos on a device, uint8 (B, side, side, 3)."""
        return self.pixels[torch.as_tensor(np.asarray(numbers))].to(device)


def sources(folders: Sequence[Path]) -> Iterator[tuple[Path, bytes | None]]:
    """Path of each photo, and its content if it is packed."""
    for folder in folders:
        if is_pack(folder):
            yield from packed_photos(folder)
        else:
            yield from ((path, None) for path in photos_under(folder))


def read(path: Path, packed: bytes | None, side: int) -> tuple[Path, np.ndarray | None]:
    """A photo of at most `side` pixels, uint8 RGB (h, w, 3); None for a useless file.

    Raises:
        BadTrainingData: the photo is packed, and must therefore be usable.
    """
    try:
        if packed is None:
            photo = read_photo(path)
        else:
            photo = decode(packed, places=nullcontext(), limits=LIMITS)
    except (BadPhoto, OSError) as error:
        if packed is None:
            return path, None
        raise BadTrainingData(f"{path}: {error}") from error
    photo = resize(photo, side)
    return path, photo if min(photo.shape[:2]) >= NARROW else None
