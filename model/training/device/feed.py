"""Views of a pool for fine-tuning, rendered on the device. Replaces `..photos.Feed`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from model.provenance import Provenance

from ..common.photos import PLAIN, View
from .pool import Pool
from .views import plain_views, random_views


class DeviceFeed:
    """Batches of views.

    Args:
        pool: photos whose views are requested.
        provenance: mean and standard deviation of the network's input.
        size: side of the views in pixels.
        seed: seed of the random views. Each depends only on the seed and its key.
        device: device that renders them.
    """

    def __init__(
        self, pool: Pool, provenance: Provenance, size: int, seed: int, device: torch.device
    ):
        self._pool, self._size, self._seed, self._device = pool, size, seed, device
        self._mean = torch.tensor(provenance.mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(provenance.std, device=device).view(3, 1, 1)

    def __call__(self, batches: Sequence[Sequence[View]]) -> Iterator[list[torch.Tensor]]:
        """The views of each batch in order, float32 (3, size, size) each."""
        for batch in batches:
            yield list(self._normal(self._views(batch)))

    def _normal(self, views: torch.Tensor) -> torch.Tensor:
        return (views.float() / 255 - self._mean) / self._std

    def _views(self, batch: Sequence[View]) -> torch.Tensor:
        """uint8 (B, 3, size, size)."""
        out = torch.empty(
            (len(batch), 3, self._size, self._size), dtype=torch.uint8, device=self._device
        )
        plain = [i for i, (_, view, _) in enumerate(batch) if view == PLAIN]
        other = [i for i, (_, view, _) in enumerate(batch) if view != PLAIN]
        numbers = np.array([number for number, _, _ in batch])
        if plain:
            out[plain] = plain_views(self._pool, numbers[plain], self._size, self._device)
        if other:
            rngs = [
                np.random.default_rng([self._seed, epoch, number, view])
                for number, view, epoch in (batch[i] for i in other)
            ]
            found = random_views(self._pool, numbers[other], self._size, rngs, self._device)
            out[other] = found
        return out
