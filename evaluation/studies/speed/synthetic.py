"""Synthetic galleries of any size: files that are never decoded, with synthetic descriptors.

Everything except decoding, describing and keypoint detection works as with real photos: synthetic
photos are injected into the cache of killed builds. They have the keypoints of a few real photos in
turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from extractor import SUFFIXES, Extractor, ModelCard, Region, local_features, read_photo
from extractor.keypoints.learn_codebook import GALLERY
from index_store.parameters import extraction_spec_of
from index_store.storage.build_journal import Extracted
from index_store.storage.extraction_cache import ExtractionCache
from index_store.storage.generation import writing

IN_A_FOLDER = 1000
THUMBNAIL_BYTES = 2_000
BLOCK = 65536  # rows drawn at a time
SEED = 0
KEYPOINTS_OF = 24  # number of sample gallery photos that provide keypoints
# Chosen so that 100,000 synthetic photos resemble the crops of photos in docs/ann.md: in the
# distances to the first and the tenth neighbour, and in the number of cells a search must visit.
DIRECTIONS = 22  # dimensions in which things differ
COMMON = 0.7  # common component of all things, relative to their differences
SPREAD = 0.3  # spread of a thing's photos, relative to the distance of things
NOISE = 0.5  # noise in each component, relative to a thing's in one direction


class SyntheticExtractor(Extractor):
    """Extractor of a synthetic gallery. Describes a photo by the colours of a 4 x 4 grid."""

    def __init__(self, dim: int):
        self.engine = "onnxruntime"
        self.model_sha256 = "2" * 64
        self.card = ModelCard(
            architecture="made",
            output_dim=dim,
            longest_side=320,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            p=3.0,
            training="none",
            licence="none",
        )

    @property
    def fingerprint(self) -> str:
        return self.model_sha256

    def describe(
        self, photos: Sequence[np.ndarray], regions: Sequence[Region | None] | None = None
    ) -> np.ndarray:
        """As `Extractor.describe`, with 48 dimensions."""
        grids = [cv2.resize(photo, (4, 4), interpolation=cv2.INTER_AREA) for photo in photos]
        rows = np.array([grid.ravel() for grid in grids], np.float32) + 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def synthetic_rows(count: int, dim: int) -> Iterator[np.ndarray]:
    """Unit rows around things of about eight photos each, block by block: float32 (n, dim)."""
    shape = (max(1, count // 8), DIRECTIONS)
    things = np.random.default_rng(SEED).normal(COMMON, size=shape).astype(np.float32)
    lift = np.random.default_rng(SEED + 1).normal(size=(DIRECTIONS, dim)).astype(np.float32)
    for start in range(0, count, BLOCK):
        rng = np.random.default_rng([SEED, start])
        some = things[rng.integers(len(things), size=min(BLOCK, count - start))]
        rows = (some + SPREAD * rng.normal(size=some.shape).astype(np.float32)) @ lift
        rows += NOISE * rng.normal(size=rows.shape).astype(np.float32)
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def synthetic_file(root: Path, number: int) -> Path:
    """Path of a synthetic photo."""
    return root / f"{number // IN_A_FOLDER:04d}" / f"{number:07d}.jpg"


def content(number: int) -> bytes:
    """Content of a synthetic photo's file."""
    return f"made photo {number}".encode()


def lay_out(root: Path, numbers: Iterable[int]) -> None:
    """Write the files of synthetic photos."""
    for number in numbers:
        path = synthetic_file(root, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content(number))


def real_features(points: int) -> list[bytes]:
    """The strongest keypoints of a few photos of the sample gallery, encoded."""
    photos = sorted(path for path in GALLERY.iterdir() if path.suffix.lower() in SUFFIXES)
    found = [local_features(read_photo(path)) for path in photos[:: len(photos) // KEYPOINTS_OF]]
    return [features.strongest(points).to_bytes() for features in found]


def inject(
    store: Path, blocks: Iterable[np.ndarray], extractor: Extractor, features: Sequence[bytes]
) -> None:
    """Put synthetic photos, numbered from 0, into the cache, so that a build extracts nothing.

    Args:
        store: folder of the store.
        blocks: their descriptors.
        extractor: extractor that the descriptors are attributed to.
        features: keypoints from `real_features`, assigned to the photos in turn.
    """
    spec = extraction_spec_of(extractor, False)
    rows = (row for block in blocks for row in block.astype(np.float16))
    with writing(store), closing(ExtractionCache(store, spec.facts, spec.dim)) as cache:
        for number, row in enumerate(rows):
            sha256 = hashlib.sha256(content(number)).hexdigest()
            noise = np.random.default_rng(number)
            cache.put(
                sha256,
                Extracted(
                    row, (480, 640), noise.bytes(THUMBNAIL_BYTES), features[number % len(features)]
                ),
            )
