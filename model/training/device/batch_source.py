"""Training batches on a GPU: views and teacher run on the student's device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..common.settings import DistillConfig
from ..distill.batch_source import large_side
from .pool import Pool
from .teacher import DeviceTeacher
from .views import plain_views, random_views, shrink


class DeviceBatchSource:
    """A `BatchSource` on a device, over a whole pool, without background processes.

    Args:
        config: configuration of the run.
        device: device of the student.

    Raises:
        BadParts, BadTrainingData: see `Pool`.
        BadTeacher: the teacher cannot be read.
    """

    workers = 0

    def __init__(self, config: DistillConfig, device: torch.device):
        self.config, self.device = config, device
        self._large = large_side(config)
        self._teacher = DeviceTeacher(config.teacher, device)
        self._pool = Pool(config.photos, self._large, config.gigabytes)

    def __len__(self) -> int:
        return len(self._pool)

    def plain(self, numbers: Sequence[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        return self._teacher(plain_views(self._pool, np.array(numbers), self._large, self.device))

    def random(
        self, numbers: np.ndarray, rng: np.random.Generator
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        # Draw all random numbers before calling the teacher, which waits for the student's step.
        views = random_views(self._pool, numbers, self._large, [rng] * len(numbers), self.device)
        starts, sides = np.zeros((len(views), 2)), np.full(len(views), self._large)
        small = shrink(views.float(), starts, sides, self.config.size)
        return small, *self._teacher(views)
