"""Training photos and matching pairs, from four kinds of collections."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.datasets.names import inside
from evaluation.datasets.plain_pickle import BadPickle, read_plain_pickle
from extractor import SUFFIXES


class BadTrainingData(Exception):
    """The collection cannot be used. The message is one sentence."""


@dataclass(frozen=True)
class TrainingSet:
    """Photos, and which of them show the same thing.

    Attributes:
        paths: N photos.
        clusters: thing that each photo shows, int (N,).
        pairs: query and positive of one cluster, int (n, 2). A pair (i, i) means two views of one
            photo, by `views.random_view`.
    """

    paths: list[Path]
    clusters: np.ndarray
    pairs: np.ndarray

    def __post_init__(self) -> None:
        if len(self.pairs) == 0 or len(np.unique(self.clusters)) < 2:
            raise BadTrainingData(
                "training needs a pair of photos of one thing, and photos of another thing"
            )
        if not (self.clusters[self.pairs[:, 0]] == self.clusters[self.pairs[:, 1]]).all():
            raise BadTrainingData("a pair joins photos of two clusters")


def photos_under(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def photos_in(folders: Sequence[Path]) -> list[Path]:
    """The photos of folders and their sub-folders. Raises BadTrainingData if there are none."""
    paths = [path for folder in folders for path in photos_under(folder)]
    if not paths:
        raise BadTrainingData(f"there are no photos in {', '.join(map(str, folders))}")
    return paths


def read_unlabelled(root: Path) -> TrainingSet:
    """Any photos in a folder and its sub-folders."""
    return unlabelled(photos_under(root))


def unlabelled(paths: list[Path]) -> TrainingSet:
    """Any photos: each is its own thing, with two random views as its pair."""
    indices = np.arange(len(paths))
    return TrainingSet(paths, indices, np.stack([indices, indices], axis=1))


def read_folders(root: Path, seed: int = 0) -> TrainingSet:
    """A folder with one sub-folder per thing."""
    members = {
        folder.name: photos_under(folder) for folder in sorted(root.iterdir()) if folder.is_dir()
    }
    return pair_up(members, seed)


def read_landmarks_csv(table: Path, root: Path, seed: int = 0) -> TrainingSet:
    """Google Landmarks v2 clean: a table with the columns `landmark_id` and `images`.

    Args:
        table: CSV file; `images` holds ids separated by blanks.
        root: folder of the photos; photo abcd is root/a/b/c/abcd.jpg.
        seed: seed for the choice of positives.

    Raises:
        BadTrainingData: the file is not such a table, or an id leads outside `root`.
    """
    try:
        with open(table, newline="", encoding="utf-8") as file:
            members = {
                row["landmark_id"]: [
                    root / inside(f"{id[0]}/{id[1]}/{id[2]}/{id}.jpg")
                    for id in row["images"].split()
                ]
                for row in csv.DictReader(file)
            }
    except (csv.Error, KeyError, IndexError, AttributeError, ValueError) as error:
        raise BadTrainingData(f"{table.name} is not a table of landmarks ({error})") from error
    return pair_up(members, seed)


def pair_up(members: dict[str, list[Path]], seed: int) -> TrainingSet:
    """Pair each photo of a thing that has several, as a query, with a random other one."""
    rng = np.random.default_rng(seed)
    paths, clusters, pairs = [], [], []
    for cluster, files in enumerate(members.values()):
        first = len(paths)
        paths += files
        clusters += [cluster] * len(files)
        for i in range(len(files) if len(files) > 1 else 0):
            other = (i + rng.integers(1, len(files))) % len(files)
            pairs.append((first + i, first + int(other)))
    return TrainingSet(paths, np.array(clusters), np.array(pairs, np.int64).reshape(-1, 2))


def read_sfm(table: Path, root: Path) -> TrainingSet:
    """The training split of retrieval-SfM-30k or -120k as published.

    Args:
        table: pickle {"train": {...}, "val": {...}}, each with cids, cluster, qidxs and pidxs.
        root: folder of the photos; photo `cid` is root/cid[-2:]/cid[-4:-2]/cid[-6:-4]/cid.

    Raises:
        BadTrainingData: the file is not such a table, or a cid leads outside `root`.
    """
    try:
        part = read_plain_pickle(table)["train"]
        paths = [
            root / inside(f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{inside(cid)}")
            for cid in part["cids"]
        ]
        clusters = np.array([int(cluster) for cluster in part["cluster"]], np.int64)
        columns = [[int(row) for row in part[name]] for name in ("qidxs", "pidxs")]
        pairs = np.stack([np.array(column, np.int64) for column in columns], axis=1)
        if len(paths) != len(clusters) or not ((0 <= pairs) & (pairs < len(paths))).all():
            raise ValueError("its columns do not fit")
    except (BadPickle, KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadTrainingData(f"{table.name} is not a retrieval-SfM table ({error})") from error
    return TrainingSet(paths, clusters, pairs)


def sample_epoch(
    training: TrainingSet, queries: int, pool: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sample the training data of one epoch.

    Args:
        training: the photos.
        queries: maximum number of pairs.
        pool: maximum number of photos for mining.
        rng: random generator.

    Returns:
        Pairs int (<= queries, 2), and distinct photos int (<= pool,).
    """
    pairs = training.pairs[rng.permutation(len(training.pairs))[:queries]]
    return pairs, rng.permutation(len(training.paths))[:pool]
