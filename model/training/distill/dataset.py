"""Batches for distillation: views of photos and the teacher's descriptors of them.

A lesson depends on the seed and its number only, so a run that goes on gets the lessons it would
have got. The photos are read once and kept in memory as small JPEGs.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import faiss
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from extractor import BadPhoto, available_cores

from ..common.config import BadConfig
from ..common.pairs import BadTrainingData, photos_under
from ..common.photos import PhotoMemory
from ..common.run_folder import settle
from ..common.settings import DistillConfig
from ..common.views import plain_view, random_view
from .teacher import Teacher

AHEAD = 3  # lessons each background process prepares
LARGER = 3  # photos are kept with a longest side of so many times the teacher's view


class Lesson(NamedTuple):
    """One batch.

    views: uint8 RGB (B, 3, s, s), what the student sees.
    maps: of the teacher, float16 (B, C, h, w) each, averaged onto the student's grids.
    descriptors: of the teacher, float32 (B, D), unit.
    photos: int64 (B,), which photo each view shows.
    """

    views: torch.Tensor
    maps: list[torch.Tensor]
    descriptors: torch.Tensor
    photos: torch.Tensor


class ViewWorkers(Dataset):
    """Photos with the teacher beside them.

    Both are opened where they are first used: a teacher does not move between processes.

    Args:
        config: the run.
        paths: its photos.
    """

    def __init__(self, config: DistillConfig, paths: list[Path]):
        self.config, self.paths = config, paths
        self.large = round(config.size * config.teacher.zoom)  # pixels, what the teacher sees
        self._teacher: Teacher | None = None
        self._photos: PhotoMemory | None = None

    @property
    def teacher(self) -> Teacher:
        """Ready to run. Raises BadTeacher."""
        if self._teacher is None:
            cv2.setNumThreads(1)
            threads = 1 if self.config.workers else available_cores()
            self._teacher = Teacher(self.config.teacher, threads)
        return self._teacher

    def photo(self, number: int) -> np.ndarray:
        """A photo, or the next one that can be read, uint8 RGB (H, W, 3)."""
        if self._photos is None:
            budget = self.config.gigabytes * 1e9 / max(1, self.config.workers)
            self._photos = PhotoMemory(self.paths, LARGER * self.large, budget)
        for following in range(len(self.paths)):
            try:
                return self._photos[(number + following) % len(self.paths)]
            except (BadPhoto, OSError):
                continue
        raise BadTrainingData("none of the photos can be read")


class DistillationDataset(ViewWorkers):
    """The lesson of each step: `lessons[step]`.

    Args:
        config: the run.
        paths: its photos.
        neighbours: int (N, K), photos that look like each photo; -1 for none. A lesson about
            instances then shows photos beside those they are easily taken for.
    """

    def __init__(
        self, config: DistillConfig, paths: list[Path], neighbours: np.ndarray | None = None
    ):
        super().__init__(config, paths)
        self.neighbours = neighbours

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Lesson:
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        chosen = self.choose(rng)
        views = np.stack([random_view(self.photo(int(i)), self.large, rng) for i in chosen])
        small = [
            cv2.resize(view, (config.size, config.size), interpolation=cv2.INTER_AREA)
            for view in views
        ]
        maps, descriptors = self.teacher(views)
        return Lesson(
            torch.from_numpy(np.stack(small).transpose(0, 3, 1, 2).copy()),
            [on_grid(m, side) for m, side in zip(maps, grids(config))],
            torch.from_numpy(descriptors),
            torch.from_numpy(chosen),
        )

    def choose(self, rng: np.random.Generator) -> np.ndarray:
        """The photos of a lesson, int (B,)."""
        count = self.config.batch
        if self.config.instances is None:
            return rng.integers(len(self.paths), size=count)
        photos = rng.integers(len(self.paths), size=(count + 1) // 2)
        if self.neighbours is not None:  # every other photo looks like the one before it
            for i in range(1, len(photos), 2):
                like = self.neighbours[photos[i - 1]]
                like = like[like >= 0]
                if len(like):
                    photos[i] = rng.choice(like)
        return np.repeat(photos, 2)[:count]  # two views of each


class PlainDescriptors(ViewWorkers):
    """The teacher's descriptors of whole photos, `batch` at a time, float32 (b, D)."""

    def __len__(self) -> int:
        return -(-len(self.paths) // self.config.batch)

    def __getitem__(self, place: int) -> np.ndarray:
        first = place * self.config.batch
        numbers = range(first, min(first + self.config.batch, len(self.paths)))
        return self.teacher(np.stack([plain_view(self.photo(i), self.large) for i in numbers]))[1]


def find_neighbours(config: DistillConfig, paths: list[Path]) -> np.ndarray | None:
    """Mine the whole pool for photos that are easily taken for one another.

    What the teacher finds nearest is mined once and kept in the run's folder. Photos that are all
    but equal to one another (`instances.alike`) may show one thing, and are passed over.

    Args:
        config: the run.
        paths: its N photos.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer; None if no neighbours are asked for.

    Raises:
        BadConfig: if the folder's file is damaged or of other photos.
    """
    if config.instances is None or config.instances.neighbours == 0:
        return None
    file = config.out / "neighbours.npy"
    if file.is_file():
        wanted = (len(paths), config.instances.neighbours)
        try:
            found = np.load(file, allow_pickle=False)
        except (ValueError, EOFError):  # cut short, or no array
            found = None
        if found is None or found.shape != wanted:
            raise BadConfig(f"{file} is damaged or of other photos; delete it to mine them again")
        return found
    batches = feed(PlainDescriptors(config, paths))
    descriptors = np.concatenate(list(tqdm(batches, "mining neighbours", unit="batch")))
    found = nearest(descriptors, config.instances.neighbours, config.instances.alike)
    partial = file.with_name(".neighbours.npy")
    np.save(partial, found)
    settle(partial, file)
    return found


def nearest(descriptors: np.ndarray, count: int, alike: float) -> np.ndarray:
    """The most similar other rows of each row, but none that is all but equal to it.

    Args:
        descriptors: float32 (N, D), unit.
        count: rows wanted, K.
        alike: cosine above which a row is passed over.

    Returns:
        Int (N, K), nearest first, -1 where there are fewer.
    """
    wanted = min(len(descriptors), 2 * count + 1)  # some are passed over, one is the row itself
    cosines, rows = faiss.knn(descriptors, descriptors, wanted, faiss.METRIC_INNER_PRODUCT)
    found = np.full((len(descriptors), count), -1, np.int64)
    for i, (own, similar) in enumerate(zip(rows, cosines)):
        others = own[(own != i) & (similar <= alike)][:count]
        found[i, : len(others)] = others
    return found


def grids(config: DistillConfig) -> list[int]:
    """Sides of the student's maps at the stages that learn, in positions."""
    choice = config.teacher
    stages = (choice.layer1, choice.layer2, choice.layer3, choice.layer4)
    return [-(-config.size // stride) for stride, name in zip((4, 8, 16, 32), stages) if name]


def on_grid(map: np.ndarray, side: int) -> torch.Tensor:
    """A map (B, C, h, w) averaged onto (B, C, side, side), float16."""
    return F.adaptive_avg_pool2d(torch.from_numpy(map), side).half()


def find_photos(config: DistillConfig) -> list[Path]:
    """The photos of a run. Raises BadTrainingData if there are none."""
    paths = [path for folder in config.photos for path in photos_under(folder)]
    if not paths:
        raise BadTrainingData(f"there are no photos in {', '.join(map(str, config.photos))}")
    return paths


def feed(room: ViewWorkers, places: range | None = None) -> DataLoader:
    """What a classroom gives, in order, prepared by background processes if there are some.

    Args:
        room: lessons, or descriptors.
        places: which of them; all if left out.
    """
    workers = room.config.workers
    return DataLoader(
        room,
        batch_size=None,
        sampler=range(len(room)) if places is None else places,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        # A forked process would inherit locks of the parent's thread pools.
        multiprocessing_context="spawn" if workers else None,
    )
