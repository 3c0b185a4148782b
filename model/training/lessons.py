"""Lessons: views of photos, and what the teacher sees in them. Made while the student learns.

A lesson depends on the seed and its number only, so a run that goes on gets the lessons it would
have got. The photos are read once and kept in memory as small JPEGs.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from datasets.training import BadTrainingData, photos_under
from extractor import BadPhoto, available_cores

from .photos import PhotoMemory
from .settings import DistillConfig
from .teacher import Teacher
from .views import random_view

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


class Lessons(Dataset):
    """The lesson of each step: `lessons[step]`.

    Args:
        config: the run.
        paths: its photos.
    """

    def __init__(self, config: DistillConfig, paths: list[Path]):
        self.config, self.paths = config, paths
        self.large = round(config.size * config.teacher.zoom)
        self._teacher: Teacher | None = None
        self._photos: PhotoMemory | None = None

    def __len__(self) -> int:
        return self.config.steps

    def __getitem__(self, step: int) -> Lesson:
        config = self.config
        if self._teacher is None:  # made where it is used: sessions do not move between processes
            cv2.setNumThreads(1)
            self._teacher = Teacher(config.teacher, 1 if config.workers else available_cores())
            budget = config.gigabytes * 1e9 / max(1, config.workers)
            self._photos = PhotoMemory(self.paths, LARGER * self.large, budget)
        rng = np.random.default_rng([config.seed, step])
        chosen = rng.integers(len(self.paths), size=config.batch)
        if config.instances is not None:  # two views of each photo, one after the other
            chosen = np.repeat(chosen[: (config.batch + 1) // 2], 2)[: config.batch]
        views = np.stack([self.view(int(number), rng) for number in chosen])
        small = [
            cv2.resize(view, (config.size, config.size), interpolation=cv2.INTER_AREA)
            for view in views
        ]
        maps, descriptors = self._teacher(views)
        return Lesson(
            torch.from_numpy(np.stack(small).transpose(0, 3, 1, 2).copy()),
            [on_grid(m, side) for m, side in zip(maps, grids(config))],
            torch.from_numpy(descriptors),
            torch.from_numpy(chosen),
        )

    def view(self, number: int, rng: np.random.Generator) -> np.ndarray:
        """A random view of a photo, or of the next one that can be read; (large, large, 3)."""
        for following in range(len(self.paths)):
            try:
                photo = self._photos[(number + following) % len(self.paths)]
            except (BadPhoto, OSError):
                continue
            return random_view(photo, self.large, rng)
        raise BadTrainingData("none of the photos can be read")


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


def feed(lessons: Lessons, steps: range) -> DataLoader:
    """Lessons in order, prepared by background processes if the configuration has some.

    Args:
        lessons: of the run.
        steps: numbers of the lessons wanted.
    """
    workers = lessons.config.workers
    return DataLoader(
        lessons,
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=AHEAD if workers else None,
        # A forked process would inherit locks of the parent's thread pools.
        multiprocessing_context="spawn" if workers else None,
    )
