"""Training photos: read once, cached as small JPEGs, turned into views in the background."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from extractor import read_photo, resize
from model.provenance import Provenance

from .views import plain_view, random_view

QUALITY = 92  # of the JPEGs in memory
PREFETCH = 4  # batches that each background process prepares ahead

PLAIN, QUERY, POSITIVE = 0, 1, 2  # kinds of views
View = tuple[int, int, int]  # (index of the photo, kind of view, epoch)


class PhotoMemory:
    """Photos, read once and cached as small JPEGs.

    A photo has the same pixels each time, whether it was cached or not.

    Args:
        paths: N photos.
        longest_side: size in pixels to which they are shrunk.
        budget: bytes for cached JPEGs. Photos beyond it are read and compressed each time, so that
            the budget does not affect the pixels. With None there are no JPEGs, and the pixels are
            the file's own.
    """

    def __init__(self, paths: Sequence[Path], longest_side: int, budget: float | None = None):
        self._paths, self._side = paths, longest_side
        self._compresses, self._budget_left = budget is not None, budget or 0.0
        self._kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> np.ndarray:
        """Photo as uint8 RGB (H, W, 3). Raises BadPhoto, FileNotFoundError."""
        jpeg = self._kept.get(number)
        if jpeg is None:
            pixels = resize(read_photo(self._paths[number]), self._side)
            if not self._compresses:
                return pixels
            quality = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
            jpeg = cv2.imencode(".jpg", np.ascontiguousarray(pixels[:, :, ::-1]), quality)[1]
            if jpeg.nbytes <= self._budget_left:
                self._budget_left -= jpeg.nbytes
                self._kept[number] = jpeg
        return cv2.imdecode(jpeg, cv2.IMREAD_COLOR)[:, :, ::-1]


class Photos(Dataset):
    """Views of photos as normalised tensors: `photos[number, view, epoch]`.

    Args:
        paths: N photos.
        provenance: mean and standard deviation of the network's input.
        size: side of square views, longest side of whole photos, in pixels.
        with_views: whether views are square and, except for PLAIN, random. A random view depends
            only on the seed and its key.
        seed: seed of the random views.
        budget: bytes of memory for photos as JPEGs; None for the pixels of the files.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        provenance: Provenance,
        size: int,
        with_views: bool = False,
        seed: int = 0,
        budget: float | None = None,
    ):
        self._size, self._with_views, self._seed = size, with_views, seed
        self._mean, self._std = np.float32(provenance.mean), np.float32(provenance.std)
        # Twice the size, so that crops are not enlarged too much.
        self._photos = PhotoMemory(paths, 2 * size, budget)

    def __getitem__(self, key: View) -> torch.Tensor:
        """Float32 (3, h, w). Raises BadPhoto, FileNotFoundError."""
        number, view, epoch = key
        pixels = self._photos[number]
        if not self._with_views:
            pixels = resize(pixels, self._size)
        elif view == PLAIN:
            pixels = plain_view(pixels, self._size)
        else:
            rng = np.random.default_rng([self._seed, epoch, number, view])
            pixels = random_view(pixels, self._size, rng)
        normal = (pixels.astype(np.float32) / 255 - self._mean) / self._std
        return torch.from_numpy(normal.transpose(2, 0, 1).copy())


class Feed:
    """Batches of views, prepared ahead by background processes that live as long as this object.

    Args:
        photos: photos whose views are requested.
        workers: number of background processes; 0 prepares each batch on request.
    """

    def __init__(self, photos: Photos, workers: int = 0):
        self._wanted: list[list[View]] = []
        self._loader = DataLoader(
            photos,
            batch_sampler=_Current(self._wanted),
            collate_fn=list,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            persistent_workers=workers > 0,
            # A forked process would inherit locks of the parent's thread pools.
            multiprocessing_context="spawn" if workers else None,
        )

    def __call__(self, batches: Sequence[Sequence[View]]) -> Iterator[list[torch.Tensor]]:
        """The views of each batch in order, float32 (3, h, w) each; ends any earlier iteration."""
        self._wanted[:] = [list(batch) for batch in batches]
        return iter(self._loader)


class _Current:
    """Batch sampler over the current content of a list, read when an iteration starts."""

    def __init__(self, wanted: list[list[View]]):
        self._wanted = wanted

    def __iter__(self) -> Iterator[list[View]]:
        return iter(list(self._wanted))

    def __len__(self) -> int:
        return len(self._wanted)
