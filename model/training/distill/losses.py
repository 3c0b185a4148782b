"""Distillation losses: the teacher's maps, its descriptors, and their pairwise similarities.

At each stage a 1x1 convolution, discarded afterwards, predicts the teacher's map, standardised per
channel (FitNets, Romero et al. 2015). The student's own whitening predicts the teacher's descriptor
after a half whitening. The pairwise cosines of a batch should equal the teacher's (Park et al.
2019).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from model.network import EXPANSION, PLANES, GeMResNet, l2n
from model.provenance import IMAGENET_MEAN, IMAGENET_STD

from ..common.precision import autocast
from ..finetune.losses import Loss
from .dataset import DistillationBatch
from .ridge import half_whitening, ridge

POSITIONS = 8  # positions of each view's map for fitting an adapter
SMALLEST = 1e-4  # standard deviation assumed for a constant channel
NEGATIVES = 4  # hardest views of other photos in the batch, for the instance loss


class DistillationModel(nn.Module):
    """A student with everything it needs for learning.

    Args:
        network: the student, with its whitening.
        stages: learning stages, 0 to 3 for layer1 to layer4.
        channels: channels of the teacher's maps at these stages.
        teacher_dim: D of the teacher's descriptor.
        keeps_statistics: whether batch norms use their stored statistics instead of a batch's.
    """

    def __init__(
        self,
        network: GeMResNet,
        stages: list[int],
        channels: list[int],
        teacher_dim: int,
        keeps_statistics: bool,
    ):
        super().__init__()
        self.network, self.stages, self.keeps_statistics = network, stages, keeps_statistics
        self.adapters = nn.ModuleList(
            nn.Conv2d(PLANES[i] * EXPANSION, c, 1) for i, c in zip(stages, channels)
        )
        for i, c in zip(stages, channels):
            self.register_buffer(f"mean{i}", torch.zeros(c, 1, 1))
            self.register_buffer(f"std{i}", torch.ones(c, 1, 1))
        self.register_buffer("projection", torch.zeros(network.output_dim, teacher_dim))
        self.register_buffer("input_mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("input_std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1))

    def student_outputs(self, views: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Views uint8 (B, 3, s, s) -> maps at the learning stages, pooled vectors (B, 2048)."""
        x = ((views - self.input_mean) / self.input_std).contiguous(
            memory_format=torch.channels_last
        )
        self.network.features.train(self.training and not self.keeps_statistics)
        with autocast(x.device.type):
            maps = stage_maps(self.network, x)
        return [maps[i] for i in self.stages], l2n(self.network.pool(maps[-1].float()))

    def target(self, descriptors: torch.Tensor) -> torch.Tensor:
        """Targets for the student from the teacher's descriptors (B, D), unit norm (B, dim)."""
        return l2n(descriptors @ self.projection.T)

    def standardised(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """The teacher's maps with mean 0 and standard deviation 1 in each channel."""
        return [
            (m.float() - getattr(self, f"mean{i}")) / getattr(self, f"std{i}")
            for i, m in zip(self.stages, maps)
        ]

    def losses(self, batch: DistillationBatch) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Losses by name, and the student's descriptors (B, dim)."""
        maps, pooled = self.student_outputs(batch.views)
        with autocast(pooled.device.type):
            predicted = [adapter(m) for adapter, m in zip(self.adapters, maps)]
        teacher_maps = self.standardised(batch.maps)
        descriptors = l2n(self.network.whiten(pooled))
        targets = self.target(batch.descriptors)
        return {
            "maps": torch.stack(
                [F.mse_loss(g.float(), t) for g, t in zip(predicted, teacher_maps)]
            ).mean(),
            "descriptor": (1 - (descriptors * targets).sum(1)).mean(),
            "cosines": cosine_loss(descriptors, targets),
        }, descriptors

    @torch.no_grad()
    def fit(self, batches: Iterable[DistillationBatch]) -> None:
        """Fit standardisation, half whitening, adapters and whitening in closed form."""
        self.train()
        rng = np.random.default_rng(0)
        student_rows: list[list[torch.Tensor]] = [[] for _ in self.stages]
        teacher_rows: list[list[torch.Tensor]] = [[] for _ in self.stages]
        pooled, descriptors = [], []
        for batch in batches:
            maps, vectors = self.student_outputs(batch.views)
            pooled.append(vectors)
            descriptors.append(batch.descriptors)
            for position, (student_map, teacher_map) in enumerate(zip(maps, batch.maps)):
                some = torch.from_numpy(rng.integers(teacher_map[0, 0].numel(), size=POSITIONS)).to(
                    student_map.device
                )
                student_rows[position].append(rows_at(student_map, some))
                teacher_rows[position].append(rows_at(teacher_map, some))
        for position, (stage, adapter) in enumerate(zip(self.stages, self.adapters)):
            y = torch.cat(teacher_rows[position])
            mean, std = y.mean(0), y.std(0).clamp(min=SMALLEST)
            getattr(self, f"mean{stage}").copy_(mean[:, None, None])
            getattr(self, f"std{stage}").copy_(std[:, None, None])
            weights, bias = ridge(on_cpu(student_rows[position]), on_cpu([(y - mean) / std]))
            adapter.weight.copy_(torch.from_numpy(weights)[:, :, None, None])
            adapter.bias.copy_(torch.from_numpy(bias))
        found = half_whitening(on_cpu(descriptors), len(self.projection))
        self.projection[: len(found), :] = torch.from_numpy(found)
        targets = self.target(torch.cat(descriptors))
        weights, bias = ridge(on_cpu(pooled), on_cpu([targets]))
        self.network.whiten.weight.copy_(torch.from_numpy(weights))
        self.network.whiten.bias.copy_(torch.from_numpy(bias))


def on_cpu(rows: list[torch.Tensor]) -> np.ndarray:
    """Concatenate tensors (n, D) as a numpy array."""
    return torch.cat(rows).cpu().numpy()


def rows_at(maps: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Positions of maps as rows.

    Args:
        maps: (B, C, h, w).
        positions: indices into the grid in row-major order, int (n,).

    Returns:
        float32 (B n, C).
    """
    return maps.flatten(2)[:, :, positions].float().permute(0, 2, 1).flatten(0, 1)


def stage_maps(network: GeMResNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The maps after layer1 to layer4, strides 4, 8, 16, 32."""
    x = network.features[:4](x)
    maps = []
    for stage in network.features[4:].children():
        x = stage(x)
        maps.append(x)
    return maps


def cosine_loss(descriptors: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the pairwise cosines within a batch.

    Args:
        descriptors: descriptors of the student, unit rows (B, D).
        targets: descriptors of the teacher, unit rows (B, T).

    Returns:
        A scalar.
    """
    count = len(descriptors)
    difference = descriptors @ descriptors.T - targets @ targets.T
    return difference.square().sum() / (count * (count - 1))  # the diagonal is 0


def instance_loss(descriptors: torch.Tensor, photos: torch.Tensor, loss: Loss) -> torch.Tensor:
    """A loss over tuples: two views of a photo, and the views of others nearest to the first.

    Args:
        descriptors: (B, D), unit norm.
        photos: (B,), index of each view's photo.
        loss: function of queries, positives and negatives, summed over tuples.

    Returns:
        The mean over tuples; 0 if no photo has two views and enough others.
    """
    same = photos[:, None] == photos[None, :]
    pairs = (same & ~torch.eye(len(photos), dtype=torch.bool, device=photos.device)).nonzero()
    count = min(NEGATIVES, int((~same).sum(1).min()))
    if len(pairs) == 0 or count == 0:
        return descriptors.sum() * 0
    cosines = (descriptors @ descriptors.T).detach().masked_fill(same, -2)
    hardest = cosines.topk(count, dim=1).indices  # (B, count)
    queries, positives = pairs.T
    negatives = descriptors[hardest[queries]]
    return loss(descriptors[queries], descriptors[positives], negatives) / len(pairs)
