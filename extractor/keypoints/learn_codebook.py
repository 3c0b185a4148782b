"""Learn the codebook for RootSIFT descriptors from photos, by k-means.

python -m extractor.keypoints.learn_codebook
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np

from command import CommandParser, print_lines
from plurals import quantity

from ..photo.decode import read_photo
from ..photo.formats import SUFFIXES
from .keypoint_codes import CODEBOOK, WORDS, Codebook
from .sift import local_features

GALLERY = Path(__file__).resolve().parents[2] / "gallery" / "photos"
PARTS = 32  # bytes per encoded descriptor
SAMPLE = 100_000  # maximum number of training descriptors, drawn at random
ROUNDS = 25
SEED = 0


def learn_codebook(descriptors: np.ndarray) -> Codebook:
    """Learn the words of each part of a descriptor. Deterministic for the same input.

    Args:
        descriptors: uint8 (n, 128) from many photos; at most SAMPLE of them are used.
    """
    drawn = np.random.default_rng(SEED).permutation(len(descriptors))[:SAMPLE]
    rows = descriptors[drawn].astype(np.float32)
    words = []
    for part in np.split(rows, PARTS, axis=1):
        kmeans = faiss.Kmeans(part.shape[1], WORDS, niter=ROUNDS, seed=SEED)
        kmeans.cp.max_points_per_centroid = SAMPLE // WORDS + 1
        kmeans.train(np.ascontiguousarray(part))
        words.append(np.asarray(kmeans.centroids))
    means = np.stack(words)
    codebook = Codebook(to_bytes(means))
    found = codebook.spelled_out(codebook.nearest(rows)).astype(np.float32)
    stretch = float(np.sqrt((rows**2).sum() / (found**2).sum()))
    return Codebook(to_bytes(means * stretch), stretch)


def to_bytes(words: np.ndarray) -> np.ndarray:
    """Words rounded to uint8."""
    return np.round(words).clip(0, 255).astype(np.uint8)


def descriptors_of(photos: Iterable[Path]) -> np.ndarray:
    """uint8 (n, 128), the RootSIFT descriptors of all photos, concatenated."""
    return np.concatenate([local_features(read_photo(path)).descriptors for path in photos])


def main() -> None:
    parser = CommandParser(
        prog="python -m extractor.keypoints.learn_codebook",
        description="Learn the codebook of stored keypoints.",
    )
    parser.add_argument("--photos", type=Path, default=GALLERY)
    parser.add_argument("--out", type=Path, default=CODEBOOK)
    args = parser.parse_args()
    photos = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in SUFFIXES)
    codebook = learn_codebook(descriptors_of(photos))
    np.savez_compressed(args.out, words=codebook.words, stretch=codebook.stretch)
    print_lines(
        f"wrote {args.out.name} ({args.out.stat().st_size} bytes) from "
        f"{quantity(len(photos), 'photo')}"
    )


if __name__ == "__main__":
    main()
