"""Vectors for benchmarking indexes: SIFT descriptors, descriptors of crops, and any number drawn
from a model of the latter.

Uniform random vectors are unsuitable for comparing indexes, as all their neighbours are equally
far: there nothing beats flat search, and recall says nothing about photos.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from extractor import BadPhoto, Extractor, local_features, read_photo
from index_store.ann.nearest import exact_search
from index_store.graph.neighbours import exact_neighbours
from index_store.sources.scan import scan
from index_store.storage.arrays import load_array, save_array

MIN_CROP = 0.2  # minimum share of a photo's area
WIDEST_CROP = 4 / 3  # maximum aspect ratio relative to the photo's
KERNEL_NEIGHBOURS = 20
WIDTH_STEPS = 7  # steps of bisection
JUDGED = 2000  # rows whose neighbour distances are compared
DRAWN_AT_ONCE = 2048
SEED = 0

Progress = Callable[[Iterable], Iterable]


def cached(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """A memory-mapped array of `save_array`, computed and cached if it is missing."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_array(partial, compute())
        partial.rename(path)
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    return load_array(path, found.dtype, found.shape)


def digest(*facts: object) -> str:
    """A short hash of what an array was computed from."""
    return hashlib.sha256("\0".join(map(str, facts)).encode()).hexdigest()[:12]


def sift_vectors(photos: Path, cache: Path, progress: Progress = iter) -> np.ndarray:
    """RootSIFT descriptors of all photos in a folder, in random order.

    Args:
        photos: folder of photos.
        cache: folder for cached arrays.
        progress: receives the files and must yield them.

    Returns:
        float32 (N, 128), unit rows.

    Raises:
        NothingToIndex: there is no photo.
    """
    listing = scan(photos)

    def compute() -> np.ndarray:
        found = []
        for file in progress(listing.files):
            try:
                found.append(local_features(read_photo(photos / file)).descriptors)
            except BadPhoto:
                continue
        rows = np.concatenate(found).astype(np.float32)
        rows = rows[np.random.default_rng(SEED).permutation(len(rows))]
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-7)

    return cached(cache / f"sift-{digest(listing.digest)}.npy", compute)


def crop_vectors(
    photos: Path, extractor: Extractor, count: int, cache: Path, progress: Progress = iter
) -> np.ndarray:
    """Descriptors of random crops of a folder's photos, equally many per photo.

    Crops of one photo stand for photos of one thing.

    Args:
        photos: folder of photos.
        extractor: extractor that describes the crops.
        count: number of crops.
        cache: folder for cached arrays.
        progress: receives the files and must yield them.

    Returns:
        float32 (count, D), unit rows, in random order.

    Raises:
        NothingToIndex: there is no photo.
    """
    listing = scan(photos)

    def compute() -> np.ndarray:
        rng = np.random.default_rng(SEED)
        files = rng.permutation(listing.files)
        rows: list[np.ndarray] = []
        for i, file in enumerate(progress(files)):
            crops = (count - len(rows)) // (len(files) - i)
            if not crops:
                continue
            try:
                photo = read_photo(photos / file)
            except BadPhoto:
                continue
            rows += [extractor.describe([random_crop(photo, rng)])[0] for _ in range(crops)]
        return np.float32(rows)[rng.permutation(len(rows))]

    name = digest(listing.digest, extractor.fingerprint, count)
    return cached(cache / f"crops-{name}.npy", compute)


def random_crop(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random part of a photo, uint8 RGB (h, w, 3), of MIN_CROP to all of its area."""
    height, width = photo.shape[:2]
    area, aspect = rng.uniform(MIN_CROP, 1), WIDEST_CROP ** rng.uniform(-1, 1)
    h = max(1, int(height * min(1, np.sqrt(area * aspect))))
    w = max(1, int(width * min(1, np.sqrt(area / aspect))))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    return np.ascontiguousarray(photo[top : top + h, left : left + w])


class CropModel:
    """Draws any number of vectors with the neighbour distances of crop descriptors.

    Manifold Parzen windows (Vincent and Bengio 2003): a vector is drawn around a real one, in the
    directions of that one's neighbours. The width is chosen so that among equally many drawn
    vectors the median distance to the tenth neighbour equals that of the real ones.

    Attributes:
        width: width of the kernels, in standard deviations of the neighbours.
    """

    def __init__(self, real: np.ndarray):
        """Fit the width to real descriptors float32 (N, D)."""
        self._real = real
        self._neighbours = neighbour_lists(real, KERNEL_NEIGHBOURS)[0][:, 1:]
        self.width = 1.0
        target_distance = np.median(neighbour_distances(real)[:, 10])
        low, high = 0.0, 4.0
        for _ in range(WIDTH_STEPS):
            self.width = (low + high) / 2
            found = np.median(neighbour_distances(self.draw(len(real), SEED))[:, 10])
            low, high = (self.width, high) if found < target_distance else (low, self.width)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Unit vectors float16 (count, D), equally many around each real vector."""
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(self._real))
        drawn_rows = np.empty((count, self._real.shape[1]), np.float16)
        for start in range(0, count, DRAWN_AT_ONCE):
            size = min(DRAWN_AT_ONCE, count - start)
            chosen = order[np.arange(start, start + size) % len(order)]
            centre, around = self._real[chosen], self._neighbours[chosen]
            weights = rng.normal(size=(size, 1, around.shape[1])).astype(np.float32)
            weights *= self.width / np.sqrt(around.shape[1])
            offsets = self._real[around] - centre[:, None]
            rows = centre + np.matmul(weights, offsets)[:, 0]
            drawn_rows[start : start + size] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return drawn_rows


def neighbour_lists(rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids and distances (N, k + 1) of the nearest rows, the row itself in slot 0."""
    ids, sims = exact_neighbours(rows, k + 1)
    return ids, np.sqrt(np.maximum(2 - 2 * sims, 0))


def neighbour_distances(rows: np.ndarray) -> np.ndarray:
    """Distances (n, 11) to the nearest neighbours among all rows, for at most JUDGED rows."""
    some = np.random.default_rng(SEED).permutation(len(rows))[:JUDGED]
    _, sims = exact_search(rows, np.float32(rows[some]), 11)
    return np.sqrt(np.maximum(2 - 2 * sims, 0))
