"""Sources of training batches: photos together with the teacher, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch

from extractor import BadPhoto, available_cores

from ..common.pairs import BadTrainingData
from ..common.photos import PhotoMemory
from ..common.settings import DistillConfig
from ..common.views import plain_view, random_view
from .teacher import Teacher

CACHE_FACTOR = 3  # photos are cached with a longest side of this many times the teacher's view


class BatchSource(Protocol):
    """Renders views of photos and runs the teacher on them. len(source): number of photos.

    Attributes:
        config: configuration of the run.
        workers: number of background processes that prepare batches.
        device: device of a batch's tensors.
    """

    config: DistillConfig
    workers: int
    device: torch.device

    def __len__(self) -> int: ...

    def plain(self, numbers: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The teacher's maps and descriptors for whole photos."""

    def random(
        self, numbers: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """Random views for the student, uint8 (B, 3, s, s), and the teacher's outputs for them."""


def large_side(config: DistillConfig) -> int:
    """Side of the teacher's views in pixels."""
    return round(config.size * config.teacher.zoom)


class ViewWorkers:
    """A source on the CPU.

    Photos and teacher are opened on first use, since they cannot be moved between processes.

    Args:
        config: configuration of the run.
        paths: photos of the run.
    """

    device = torch.device("cpu")

    def __init__(self, config: DistillConfig, paths: list[Path]):
        self.config, self.paths = config, paths
        self.workers = config.workers
        self._large = large_side(config)
        self._teacher: Teacher | None = None
        self._photos: PhotoMemory | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_teacher": None, "_photos": None}

    def __len__(self) -> int:
        return len(self.paths)

    def plain(self, numbers: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        return self._run_teacher(
            np.stack([plain_view(self.photo(i), self._large) for i in numbers])
        )

    def random(
        self, numbers: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        size = (self.config.size, self.config.size)
        views = np.stack([random_view(self.photo(int(i)), self._large, rng) for i in numbers])
        small = [cv2.resize(view, size, interpolation=cv2.INTER_AREA) for view in views]
        return torch.from_numpy(np.stack(small).transpose(0, 3, 1, 2).copy()), *self._run_teacher(
            views
        )

    def _run_teacher(self, views: np.ndarray) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The teacher's maps and descriptors. Raises BadTeacher."""
        if self._teacher is None:
            cv2.setNumThreads(1)
            threads = 1 if self.workers else available_cores()
            self._teacher = Teacher(self.config.teacher, threads)
        maps, descriptors = self._teacher(views)
        return [torch.from_numpy(m) for m in maps], torch.from_numpy(descriptors)

    def photo(self, number: int) -> np.ndarray:
        """A photo, or the next readable one, uint8 RGB (H, W, 3)."""
        if self._photos is None:
            budget = self.config.gigabytes * 1e9 / max(1, self.workers)
            self._photos = PhotoMemory(self.paths, CACHE_FACTOR * self._large, budget)
        for following in range(len(self.paths)):
            try:
                return self._photos[(number + following) % len(self.paths)]
            except (BadPhoto, OSError):
                continue
        raise BadTrainingData("none of the photos can be read")
