"""Distillation: train a student GeM-ResNet to imitate an ONNX teacher, without labels.

Batches come from background processes (`dataset.py`), losses are in `losses.py`. An exponential
moving average of the student's weights is measured and saved. A run can be paused from outside by a
file, stopped and killed at any time, and resumes at the same step.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from command import print_lines
from model.checkpoints.checkpoint import load_checkpoint
from model.depth import state_with_depth, with_depth
from model.network import TRUNK_DIM, GeMResNet
from model.provenance import Provenance
from plurals import quantity

from ..common.config import BadConfig
from ..common.describe import validate
from ..common.run import Run
from ..common.settings import DistillConfig
from ..finetune.losses import make_loss
from .dataset import (
    PREFETCH,
    DistillationBatch,
    DistillationDataset,
    feed,
    find_neighbours,
    open_batch_source,
)
from .losses import DistillationModel, instance_loss
from .muon import MuonAdamW

NOTE_EVERY = 25  # steps between lines of the log
FITTING = 1_000_000_000  # first index of the batches for fitting, outside those of steps
PAUSE = "PAUSE"  # while a file of this name is in the run's folder, the run waits


class Distillation(Run):
    """A run with a teacher. Its folder also holds `student.safetensors`.

    Args:
        config: configuration of the run.

    Raises:
        BadConfig: the start or the saved state does not fit.
        BadTeacher: the teacher cannot be read.
        BadTrainingData: there are no photos.
    """

    config: DistillConfig
    optimiser: MuonAdamW
    across = "crops"
    losses = ("maps", "descriptor", "cosines", "instances")

    def __init__(self, config: DistillConfig, limit: float | None = None):
        super().__init__(config, limit)
        choice = config.teacher
        names = (choice.layer1, choice.layer2, choice.layer3, choice.layer4)
        self.source = open_batch_source(config, self.device)
        torch.manual_seed(config.seed)
        network, self.provenance = begin(config)
        maps, descriptors = self.source.plain([0])
        self.apprentice = DistillationModel(
            network,
            [i for i, name in enumerate(names) if name],
            [m.shape[1] for m in maps],
            descriptors.shape[1],
            keeps_statistics=config.start is not None,
        )
        self.apprentice.to(self.device, memory_format=torch.channels_last)
        self.mean = AveragedModel(
            network, multi_avg_fn=get_ema_multi_avg_fn(config.average), use_buffers=True
        )
        stages = [m.weight for m in network.features[4:].modules() if isinstance(m, nn.Conv2d)]
        stepped = set(stages)
        others = [p for p in self.apprentice.parameters() if p not in stepped]
        self.optimiser = MuonAdamW(stages, others, config.rate, config.weight_decay)
        self.instances = None
        if config.instances:
            chosen = config.instances
            self.instances = make_loss(chosen.name, chosen.margin, chosen.second_order)
        self.step = 0
        self.started = time.monotonic()
        self.began = 0  # step from which the student has its current depth
        self.validated: float | None = None  # seconds of training at the last measurement
        self.is_fitted = False
        self.batches = DistillationDataset(self.source, find_neighbours(self.source))
        self.resume()

    def fit(self) -> None:
        """Initialise adapters and whitening in closed form."""
        count = -(-self.config.fit // self.config.batch)
        self.apprentice.fit(feed(self.batches, range(FITTING, FITTING + count)))
        self.mean.update_parameters(self.apprentice.network)
        self.is_fitted = True
        self.save()

    def rate(self) -> float:
        """Learning rate of the current step: linear warm-up, times a cosine with restarts."""
        config = self.config
        warm = min(1.0, (self.step - self.began + 1) / max(1, config.warmup))
        phase = self.step % config.cycle / config.cycle
        if math.isfinite(self.deadline):  # a single cosine until the deadline
            phase = min(1.0, (time.monotonic() - self.started) / (self.deadline - self.started))
        return config.rate * warm * 0.5 * (1 + math.cos(math.pi * phase))

    def learn(self, batch: DistillationBatch) -> dict[str, torch.Tensor]:
        """One step on one batch; returns the losses by name, scalars on the device."""
        config = self.config
        self.apprentice.train()
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        losses, descriptors = self.apprentice.losses(batch)
        total = (
            config.maps * losses["maps"]
            + config.descriptor * losses["descriptor"]
            + config.cosines * losses["cosines"]
        )
        if self.instances:
            losses["instances"] = instance_loss(descriptors, batch.photos, self.instances)
            total = total + config.instances.weight * losses["instances"]
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
        self.mean.update_parameters(self.apprentice.network)
        self.step += 1
        return {name: loss.detach() for name, loss in losses.items()}

    def train(self) -> None:
        """Train until the budget is used up. Saves before it raises KeyboardInterrupt."""
        config = self.config
        try:
            if not self.is_fitted:
                self.fit()
            if self.validated is None:
                self.validate()  # at the start of the run
            recent: list[dict[str, torch.Tensor]] = []  # read rarely: that waits for a GPU
            self.started = clock = time.monotonic()
            saved = self.seconds
            for batch in feed(self.batches, range(self.step, config.steps)):
                recent.append(self.learn(batch))
                self.seconds += time.monotonic() - clock
                clock = time.monotonic()
                if self.step % NOTE_EVERY == 0 or self.step == config.steps:
                    self.note(
                        **{k: torch.stack([r[k] for r in recent]).mean().item() for k in recent[0]}
                    )
                    recent = []
                if self.is_over:
                    break
                if self.seconds - saved >= 60 * config.save_minutes:
                    saved = self.seconds
                    self.save()
                if self.seconds - self.validated >= 60 * config.validate_minutes:
                    self.validate()
                if (config.out / PAUSE).exists():
                    self.wait()
                    clock = time.monotonic()
            self.validate()
        finally:
            if self.is_fitted:
                self.save()

    def wait(self) -> None:
        """Wait while the file PAUSE exists; this does not count as training time."""
        self.save()
        print_lines(f"paused at step {self.step}")
        while (self.config.out / PAUSE).exists():
            time.sleep(1)
        print_lines("going on")

    def validate(self) -> None:
        """Write the student and log its mAP, measured on the written file."""
        self.validated = self.seconds
        student = self.write()
        if self.config.validation is None:
            return
        network, provenance = load_checkpoint(student)
        network.to(self.device, memory_format=torch.channels_last).eval()
        self.note(validation=validate(network, provenance, self.config.validation))

    def position(self) -> dict[str, float]:
        crops = self.step * self.config.batch
        return {"step": self.step, "crops": crops, "rate": self.rate()}

    def note(self, **facts: float) -> dict[str, float]:
        """Append a line to the log, and print it."""
        entry = super().note(**facts)
        print_lines(" ".join(f"{k} {v:.5g}" for k, v in entry.items()))
        return entry

    def write(self) -> Path:
        """Write the averaged weights as a checkpoint of the project; returns its path."""
        history = f"distilled from {self.config.teacher.model.name}, {quantity(self.step, 'step')}"
        network = self.mean.module
        return self.write_weights(network, self.provenance, "student.safetensors", history)

    def save(self) -> None:
        """Save the student, and everything needed to resume at this step."""
        self.write()
        super().save()

    def content(self) -> dict[str, Any]:
        return {
            "apprentice": self.apprentice.state_dict(),
            "mean": self.mean.state_dict(),
            "architecture": self.config.architecture,
            "began": self.began,
            "step": self.step,
            "validated": self.validated,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Also restores a state of another depth, if the configuration has changed.

        Raises:
            BadConfig: the run started from random weights, and the depth has changed: batch
                statistics would blow up the initial output of the new blocks.
        """
        self.step = content["step"]
        before, after = content["architecture"], self.config.architecture
        apprentice, mean = content["apprentice"], content["mean"]
        if before != after and self.config.start is None:
            raise BadConfig(f"{self.state_path} began at random: make it the start of a deeper run")
        if before == after:
            self.load_optimiser(content)
            self.began = content["began"]
        else:  # the optimiser's moments belong to other parameters
            apprentice = state_with_depth(apprentice, "network.", before, after)
            mean = state_with_depth(mean, "module.", before, after)
            self.began = self.step
        self.apprentice.load_state_dict(apprentice)
        self.mean.load_state_dict(mean)
        self.validated, self.is_fitted = content["validated"], True


def begin(config: DistillConfig) -> tuple[GeMResNet, Provenance]:
    """The initial student: loaded and brought to the configured depth, or random.

    Raises:
        BadConfig: the start has attention blocks.
        BadCheckpoint: the start cannot be read.
    """
    if config.start is None:
        return GeMResNet(config.architecture, config.dim), Provenance(config.image_size)
    network, provenance = load_checkpoint(config.start)
    if network.soa4 is not None:
        raise BadConfig("start has attention blocks, which a student does not")
    if network.architecture != config.architecture:
        network = with_depth(network, config.architecture)
    network.whiten = nn.Linear(TRUNK_DIM, config.dim)  # fitted before the first step
    return network, dataclasses.replace(provenance, longest_side=config.image_size)


def benchmark(run: Distillation, steps: int = 12) -> tuple[float, float, float]:
    """Measure how long the student waits for data. Leaves the run's folder unchanged.

    Args:
        run: run to measure; its student learns meanwhile, so do not train it afterwards.
        steps: number of steps to time of each kind.

    Returns:
        Views per second of the bare step on a batch in memory, and of the whole run; and
        operations of the bare step per view (a product and its sum are two).
    """
    size, first = run.config.batch, PREFETCH * max(1, run.source.workers) + 1
    whole = iter(feed(run.batches, range(first + steps)))
    for _ in range(first):  # until the queue has reached its steady state
        batch = next(whole)
        done = run.learn(batch)
    done["maps"].item()  # waits for the GPU
    clock = time.perf_counter()
    for following in whole:
        done = run.learn(following)
    done["maps"].item()
    feed_seconds = time.perf_counter() - clock
    clock = time.perf_counter()
    for _ in range(steps):
        done = run.learn(batch)
    done["maps"].item()
    bare = time.perf_counter() - clock
    with FlopCounterMode(display=False) as counter:
        run.learn(batch)
    return size * steps / bare, size * steps / feed_seconds, counter.get_total_flops() / size
