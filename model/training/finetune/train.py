"""Fine-tuning with tuples: mine hard negatives, step, validate, keep the best.

Radenovic et al. 2018, section 4 and 5.1. BatchNorm statistics are frozen, its weights are trained.
Gradients are accumulated tuple by tuple over a batch. All random numbers come from generators
seeded by (seed, epoch, position), so a resumed run is identical to an uninterrupted one.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from model.checkpoints.checkpoint import load_checkpoint
from model.network import GeMResNet

from ..common.config import BadConfig
from ..common.describe import describe, describe_all, validate
from ..common.pairs import (
    TrainingSet,
    read_folders,
    read_landmarks_csv,
    read_sfm,
    read_unlabelled,
    sample_epoch,
    unlabelled,
)
from ..common.photos import PLAIN, POSITIVE, QUERY, Feed, Photos, View
from ..common.run import Run
from ..common.settings import TrainConfig
from ..device.feed import DeviceFeed
from ..device.pool import Pool
from ..packs.packed import is_pack
from .losses import make_loss
from .mining import hard_negatives


def read_data(config: TrainConfig, pool: Pool | None) -> TrainingSet:
    """Read the collection of a configuration.

    Args:
        config: configuration of the run.
        pool: its photos, if they are in memory; they have no labels.

    Raises:
        BadConfig, BadTrainingData: the collection cannot be used.
    """
    if pool is not None:
        return unlabelled(pool.paths)
    data = config.data
    if data.kind in ("sfm", "landmarks-csv") and data.table is None:
        raise BadConfig(f"data.table is missing; {data.kind} needs it")
    readers = {
        "unlabelled": lambda: read_unlabelled(data.root),
        "folders": lambda: read_folders(data.root, config.seed),
        "sfm": lambda: read_sfm(data.table, data.root),
        "landmarks-csv": lambda: read_landmarks_csv(data.table, data.root, config.seed),
    }
    return readers[data.kind]()


def mine_tuples(
    network: GeMResNet,
    training: TrainingSet,
    feed: Feed | DeviceFeed,
    config: TrainConfig,
    epoch: int,
) -> np.ndarray:
    """Choose an epoch's tuples.

    Args:
        network: network in its current state.
        training: the collection.
        feed: source of views.
        config: numbers of queries, negatives, and photos to search.
        epoch: index of the epoch.

    Returns:
        Int (Q, 2 + negatives), shuffled: query, positive and hard negatives as photo indices.
    """
    rng = np.random.default_rng([config.seed, epoch])
    pairs, pool = sample_epoch(training, config.queries, config.pool, rng)
    query_views = [(int(number), QUERY, epoch) for number in pairs[:, 0]]
    queries = describe_all(network, feed, query_views, "mining queries")
    others = describe_all(network, feed, [(int(i), PLAIN, epoch) for i in pool], "mining pool")
    clusters = training.clusters
    found = hard_negatives(queries, clusters[pairs[:, 0]], others, clusters[pool], config.negatives)
    complete = (found >= 0).all(1)
    return np.hstack([pairs[complete], pool[found[complete]]])


@dataclasses.dataclass
class State:
    """Position and intermediate results of a run.

    Args:
        epoch: current epoch.
        step: optimiser steps completed in it.
        loss: sum of these steps' losses.
        tuples: tuples of the epoch, int (Q, 2 + K), None before mining.
        best: best validation mAP so far.
    """

    epoch: int
    step: int
    loss: float
    tuples: np.ndarray | None
    best: float


class FineTuning(Run):
    """A run with tuples. Its folder also holds `best.safetensors`.

    Args:
        config: configuration of the run.

    Raises:
        BadConfig: the validation data cannot be read, or `last.pt` is damaged or of another run.
        BadCheckpoint: the start cannot be read.
        BadParts, BadTrainingData: the photos cannot be used.
    """

    config: TrainConfig
    across = "epoch"
    losses = ("loss",)

    def __init__(self, config: TrainConfig, limit: float | None = None):
        super().__init__(config, limit)
        pool = None
        if config.data.kind == "unlabelled" and (
            self.device.type == "cuda" or is_pack(config.data.root)
        ):
            pool = Pool([config.data.root], config.size, config.gigabytes)
        self.training = read_data(config, pool)
        self.network, self.provenance = load_checkpoint(config.start)
        # Evaluation mode freezes the BatchNorm statistics.
        self.network.to(self.device, memory_format=torch.channels_last).eval()
        self.feed = self.open_feed(pool)
        self.loss = make_loss(config.loss.name, config.loss.margin, config.loss.second_order)
        p = self.network.pool.p
        others = [parameter for parameter in self.network.parameters() if parameter is not p]
        fast = config.rate * config.p_rate
        self.optimiser = torch.optim.AdamW(
            [
                {"params": others, "lr": config.rate, "base": config.rate},
                {"params": [p], "lr": fast, "base": fast, "weight_decay": 0.0},
            ],
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.state = State(epoch=0, step=0, loss=0.0, tuples=None, best=-math.inf)
        self.resume()

    def open_feed(self, pool: Pool | None) -> Feed | DeviceFeed:
        """Views from background processes, or from a pool on the network's device."""
        config = self.config
        if pool is not None:
            return DeviceFeed(pool, self.provenance, config.size, config.seed, self.device)
        photos = Photos(
            self.training.paths,
            self.provenance,
            config.size,
            with_views=config.data.kind == "unlabelled",
            seed=config.seed,
            budget=config.gigabytes * 1e9 / max(1, config.workers),
        )
        return Feed(photos, config.workers)

    def train(self) -> float:
        """Train until the budget is used up.

        Returns:
            The best validation mAP.

        Raises:
            KeyboardInterrupt: after saving.
        """
        state, config = self.state, self.config
        try:
            if state.epoch == 0 and state.tuples is None:
                self.note(validation=self.keep_if_best())
            while state.epoch < config.epochs and not self.is_over:
                self.epoch()
        finally:
            self.save()
        return state.best

    def epoch(self) -> None:
        """Train to the end of an epoch, or of the budget; then validate.

        An epoch that the budget interrupts is resumed if there is more time later.
        """
        state, config = self.state, self.config
        clock = time.monotonic() - self.seconds
        if state.tuples is None:
            state.tuples = mine_tuples(self.network, self.training, self.feed, config, state.epoch)
            self.seconds = time.monotonic() - clock
            self.save()
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * math.exp(-config.decay * state.epoch)
        count = math.ceil(len(state.tuples) / config.batch)
        batches = [self.batch(step) for step in range(state.step, count)]
        views = self.feed([part for parts in batches for part in map(self.views, parts)])
        for parts in tqdm(batches, desc=f"epoch {state.epoch}", leave=False, disable=None):
            state.loss += self.step([(part.shape, next(views)) for part in parts])
            state.step += 1
            self.seconds = time.monotonic() - clock
            if state.step % config.save_every == 0:
                self.save()
            if self.is_over:
                break
        facts = {"loss": state.loss / state.step if state.step else None}
        if state.step == count:
            state.epoch, state.step, state.loss, state.tuples = state.epoch + 1, 0, 0.0, None
        self.note(**facts, step=state.step, validation=self.keep_if_best())
        self.save()

    def batch(self, step: int) -> list[np.ndarray]:
        """The tuples of a step, int (b, 2 + K), in parts that form one forward pass each."""
        config = self.config
        tuples = self.state.tuples[step * config.batch : (step + 1) * config.batch]
        starts = range(0, len(tuples), config.together)
        return [tuples[start : start + config.together] for start in starts]

    def views(self, tuples: np.ndarray) -> list[View]:
        """Views of the photos in tuples (b, 2 + K), row by row."""
        kinds = [QUERY, POSITIVE] + [PLAIN] * self.config.negatives
        return [(int(i), kind, self.state.epoch) for row in tuples for i, kind in zip(row, kinds)]

    def step(self, parts: list[tuple[tuple[int, int], list[torch.Tensor]]]) -> float:
        """One optimiser step.

        Args:
            parts: one forward pass each: b and 2 + K, and the b x (2 + K) images of the tuples, row
                by row.

        Returns:
            The mean loss per tuple.
        """
        self.optimiser.zero_grad()
        total = 0.0
        for shape, images in parts:
            x = describe(self.network, images).unflatten(0, shape)  # (b, 2 + K, D)
            loss = self.loss(x[:, 0], x[:, 1], x[:, 2:])
            loss.backward()
            total += loss.item()
        self.optimiser.step()
        return total / sum(shape[0] for shape, _ in parts)

    def keep_if_best(self) -> float:
        """Validate; write the network if it is the best so far."""
        value = validate(self.network, self.provenance, self.config.validation)
        if value > self.state.best:
            self.state.best = value
            self.write_weights(self.network, self.provenance, "best.safetensors", self.recipe())
        return value

    def recipe(self) -> str:
        """Description of this training for the weights' metadata."""
        loss = self.config.loss
        second = f", second order x {loss.second_order}" if loss.second_order else ""
        return f"fine-tuned: {loss.name}, margin {loss.margin}{second}"

    def position(self) -> dict[str, Any]:
        return {"epoch": self.state.epoch, "p": self.network.pool.p.item()}

    def content(self) -> dict[str, Any]:
        state = dataclasses.asdict(self.state)
        if self.state.tuples is not None:
            state["tuples"] = torch.from_numpy(self.state.tuples)
        return {"network": self.network.state_dict(), "state": state}

    def restore(self, content: dict[str, Any]) -> None:
        self.network.load_state_dict(content["network"])
        self.load_optimiser(content)
        self.state = State(**content["state"])
        if self.state.tuples is not None:
            self.state.tuples = self.checked(np.asarray(self.state.tuples))

    def checked(self, tuples: np.ndarray) -> np.ndarray:
        """Check saved tuples, int (Q, 2 + K). Raises ValueError if photos or K do not fit."""
        photos = np.arange(len(self.training.paths))
        if tuples.shape[1] != 2 + self.config.negatives or not np.isin(tuples, photos).all():
            raise ValueError("tuples do not fit the collection")
        return tuples
