"""Distillation: a student GeM-ResNet learns to see as an ONNX teacher does, without labels.

At each stage a 1x1 convolution, thrown away afterwards, turns the student's map into the teacher's channels; the loss is
one minus the cosine at every position (FitNets, Romero et al. 2015, with cosines as in later work), plus the same for the
pooled descriptors. The teacher may see the photo larger than the student does. Resumes at the very step.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from tqdm import tqdm

from datasets.training import BadTrainingData, photos_under
from extractor import read_photo, resize

from ..checkpoint import IMAGENET_MEAN, IMAGENET_STD, Provenance, load_checkpoint
from ..grow import grow
from ..network import BLOCKS, EXPANSION, PLANES, TRUNK_DIM, GeMResNet
from .config import BadConfig
from .teacher import Teacher
from .train import write_weights
from .views import random_view

STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class TeacherChoice:
    """model: ONNX file. layer1 to layer4: the tensor that stage learns from, "" for none (strides 4, 8, 16, 32 of the
    student). pooled: tensor of its descriptor, "" for the mean of the last map. zoom: how much larger it sees the photo."""

    model: Path
    layer1: str = ""
    layer2: str = ""
    layer3: str = ""
    layer4: str = ""
    pooled: str = ""
    zoom: float = 2.0


@dataclass(frozen=True)
class DistillConfig:
    """One distillation. architecture: of the student. start: checkpoint it begins from, of the same or, to be grown, of a
    shallower architecture; without it random. photos: any, searched with sub-folders. size: pixels, side of the student's
    views. pooled_weight: of the descriptor against the mean over stages. warmup: steps of rising learning rate."""

    architecture: str
    out: Path
    photos: Path
    teacher: TeacherChoice
    start: Path | None = None
    size: int = 128
    batch: int = 32
    steps: int = 10000
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    pooled_weight: float = 1.0
    minutes: float = float("inf")
    seed: int = 0
    save_every: int = 100


def stage_maps(network: GeMResNet, x: torch.Tensor) -> list[torch.Tensor]:
    """The maps after layer1 to layer4, strides 4, 8, 16, 32."""
    x = network.features[:4](x)
    maps = []
    for stage in network.features[4:]:
        x = stage(x)
        maps.append(x)
    return maps


def map_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - cosine over channels, mean over positions; the teacher's map is averaged onto the student's grid. (B, C, h, w)."""
    teacher = F.adaptive_avg_pool2d(teacher, student.shape[2:])
    return 1 - F.cosine_similarity(student.float(), teacher, dim=1).mean()


class Distillation:
    """A run in its folder: `last.pt`, `student.safetensors`, `log.jsonl`. Raises BadConfig, BadTeacher, BadTrainingData."""

    def __init__(self, config: DistillConfig):
        self.config = config
        if config.architecture not in BLOCKS:
            raise BadConfig(
                f"architecture is {config.architecture!r}; known are {', '.join(BLOCKS)}"
            )
        choice = config.teacher
        self.stages = [i for i, stage in enumerate(STAGES) if getattr(choice, stage)]
        if not self.stages:
            raise BadConfig("teacher names no map for any of layer1 to layer4")
        names = [getattr(choice, STAGES[i]) for i in self.stages]
        self.teacher = Teacher(choice.model, names, choice.pooled, IMAGENET_MEAN, IMAGENET_STD)
        self.paths = photos_under(config.photos)
        if not self.paths:
            raise BadTrainingData(f"there are no photos in {config.photos}")
        torch.manual_seed(config.seed)
        self.network, self.provenance = self.begin()
        maps, pooled = self.teacher(self.views(0)[0][:1])
        self.adapters = nn.ModuleList(
            nn.Conv2d(PLANES[i] * EXPANSION, teacher.shape[1], 1)
            for i, teacher in zip(self.stages, maps)
        )
        self.pooled_adapter = nn.Linear(TRUNK_DIM, pooled.shape[1])
        self.parts = nn.ModuleDict(
            {"network": self.network, "maps": self.adapters, "pooled": self.pooled_adapter}
        )
        self.optimiser = torch.optim.AdamW(
            self.parts.parameters(), config.rate, weight_decay=config.weight_decay, fused=True
        )
        self.step, self.seconds = 0, 0.0
        config.out.mkdir(parents=True, exist_ok=True)
        if (config.out / "last.pt").is_file():
            self.load()

    def begin(self) -> tuple[GeMResNet, Provenance]:
        """The student: read, grown if it is shallower, or new. Without whitening, which is learned afterwards."""
        config = self.config
        if config.start is None:
            return GeMResNet(config.architecture, None), Provenance(2 * config.size)
        network, provenance = load_checkpoint(config.start)
        network.whiten = None
        if network.architecture != config.architecture:
            try:
                network = grow(network, config.architecture)
            except ValueError as error:
                raise BadConfig(str(error)) from None
        return network, provenance

    def views(self, step: int) -> tuple[np.ndarray, torch.Tensor]:
        """Random views of random photos: for the teacher uint8 (B, S, S, 3), for the student normalised (B, 3, s, s)."""
        config = self.config
        rng = np.random.default_rng([config.seed, step])
        large = round(config.size * config.teacher.zoom)
        chosen = rng.integers(len(self.paths), size=config.batch)
        photos = np.stack(
            [random_view(resize(read_photo(self.paths[i]), 4 * large), large, rng) for i in chosen]
        )
        small = np.stack(
            [
                cv2.resize(p, (config.size, config.size), interpolation=cv2.INTER_AREA)
                for p in photos
            ]
        )
        normal = (small.astype(np.float32) / 255 - np.float32(IMAGENET_MEAN)) / np.float32(
            IMAGENET_STD
        )
        return photos, torch.from_numpy(normal.transpose(0, 3, 1, 2).copy())

    def losses(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean loss over the stages' maps, and loss of the pooled descriptor."""
        photos, x = self.views(step)
        taught, taught_pooled = self.teacher(photos)
        with torch.autocast("cpu", torch.bfloat16):
            maps = stage_maps(self.network, x.to(memory_format=torch.channels_last))
            adapted = [adapter(maps[i]) for adapter, i in zip(self.adapters, self.stages)]
        by_stage = [
            map_loss(mine, torch.from_numpy(theirs)) for mine, theirs in zip(adapted, taught)
        ]
        pooled = self.pooled_adapter(self.network.pool(maps[-1].float()))
        return torch.stack(by_stage).mean(), 1 - F.cosine_similarity(
            pooled, torch.from_numpy(taught_pooled), dim=1
        ).mean()

    def rate(self) -> float:
        """Learning rate of the present step: linear warm-up, then half a cosine down to zero."""
        config = self.config
        warm = min(1.0, (self.step + 1) / max(1, config.warmup))
        return (
            config.rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / config.steps)))
        )

    def train(self) -> None:
        """Train to the end of the budget. Saves before it raises KeyboardInterrupt."""
        config, clock = self.config, time.monotonic() - self.seconds
        self.parts.train()
        try:
            for _ in tqdm(
                range(self.step, config.steps),
                initial=self.step,
                total=config.steps,
                desc="distilling",
                disable=None,
            ):
                for group in self.optimiser.param_groups:
                    group["lr"] = self.rate()
                maps, pooled = self.losses(self.step)
                self.optimiser.zero_grad(set_to_none=True)
                (maps + config.pooled_weight * pooled).backward()
                self.optimiser.step()
                self.step += 1
                self.seconds = time.monotonic() - clock
                if self.step % config.save_every == 0:
                    self.note(maps=maps.item(), pooled=pooled.item())
                    self.save()
                if self.seconds >= 60 * config.minutes:
                    break
        finally:
            self.save()

    def note(self, **facts: float) -> None:
        entry = {
            "step": self.step,
            "minutes": round(self.seconds / 60, 2),
            "rate": self.rate(),
            **facts,
        }
        with open(self.config.out / "log.jsonl", "a") as file:
            file.write(json.dumps(entry) + "\n")

    def save(self) -> None:
        """The student by itself, and everything needed to go on at this very step."""
        teacher = self.config.teacher.model.name
        write_weights(
            self.network,
            self.provenance,
            self.config.out / "student.safetensors",
            f"distilled from {teacher}",
        )
        content = {
            "parts": self.parts.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        partial = self.config.out / ".last.pt"
        torch.save(content, partial)
        partial.replace(self.config.out / "last.pt")

    def load(self) -> None:
        content = torch.load(self.config.out / "last.pt", map_location="cpu", weights_only=True)
        self.parts.load_state_dict(content["parts"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.seconds = content["step"], content["seconds"]
