"""Base class of training runs, which can be interrupted and resumed."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from model.checkpoints.weight_parts import split_weights
from model.network import GeMResNet
from model.provenance import Provenance

from ..distill.muon import MuonAdamW
from .describe import read_validation
from .precision import training_device
from .run_folder import (
    append_line,
    draw_curve,
    load_optimiser,
    save_state,
    saved_state,
    write_weights,
)
from .settings import DistillConfig, TrainConfig


class Run(ABC):
    """A training run.

    Its folder holds `last.pt` to resume from, `log.jsonl` and `curve.png`.

    Args:
        config: configuration of the run.
        limit: seconds from now after which training ends; None for no such limit.

    Attributes:
        device: a GPU if there is one.
        optimiser: set by the subclass.
        seconds: training time so far.
        deadline: end on the clock of `time.monotonic`, infinite for none.

    Raises:
        BadConfig: the validation photos cannot be read.
    """

    across: str  # log key of the curve's horizontal axis
    losses: tuple[str, ...]  # log keys that are plotted
    optimiser: torch.optim.Optimizer | MuonAdamW

    def __init__(self, config: TrainConfig | DistillConfig, limit: float | None = None):
        self.config = config
        self.deadline = math.inf if limit is None else time.monotonic() + limit
        self.device = training_device()
        if config.validation:
            read_validation(config.validation)  # fail now rather than after half an hour
        self.seconds = 0.0
        config.out.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def content(self) -> dict[str, Any]:
        """State of the run, except its optimiser and its time."""

    @abstractmethod
    def restore(self, content: dict[str, Any]) -> None:
        """Load the saved output of `content`. Any error means that it is of another run."""

    @abstractmethod
    def position(self) -> dict[str, Any]:
        """Current position of the run, for its log."""

    def write_weights(
        self, network: GeMResNet, provenance: Provenance, name: str, how: str
    ) -> Path:
        """Write a network to the run's folder, also in parts if configured.

        Args:
            network: network to write.
            provenance: provenance of its weights.
            name: name of the safetensors file.
            how: description to append to the training history.

        Returns:
            The file.
        """
        path = self.config.out / name
        write_weights(network, provenance, path, how)
        if self.config.in_parts:
            split_weights(path, self.config.out / "weights")
        return path

    @property
    def state_path(self) -> Path:
        return self.config.out / "last.pt"

    @property
    def is_over(self) -> bool:
        """Whether the run's budget, or the time limit of this process, is used up."""
        spent = self.seconds >= 60 * self.config.minutes
        return spent or time.monotonic() >= self.deadline

    def save(self) -> None:
        """Save everything needed to resume at this step, atomically."""
        state = {"optimiser": self.optimiser.state_dict(), "seconds": self.seconds}
        save_state(self.content() | state, self.state_path)

    def resume(self) -> None:
        """Resume from `last.pt` if it exists, with the currently configured rates.

        Raises:
            BadConfig: it is damaged or of another run.
        """
        if self.state_path.is_file():
            with saved_state(self.state_path) as content:
                self.seconds = content["seconds"]
                self.restore(content)

    def note(self, **facts: Any) -> dict[str, Any]:
        """Append a line to the log and redraw the curve; returns the line."""
        log = self.config.out / "log.jsonl"
        entry = self.position() | {"minutes": round(self.seconds / 60, 2)} | facts
        append_line(log, entry)
        if "validation" in facts:
            draw_curve(log, self.config.out / "curve.png", self.across, self.losses)
        return entry

    def load_optimiser(self, content: dict[str, Any]) -> None:
        """Load moments and step counts, with the currently configured rates."""
        load_optimiser(self.optimiser, content["optimiser"])
