"""Fine-tuning with tuples: mine hard negatives, step, validate, keep the best. Stops and resumes at any step.

Radenovic et al. 2018, section 4 and 5.1; BatchNorm statistics are frozen, its weights are trained. Photos of one kind of
shape go through the network together, and the gradient is accumulated tuple by tuple over a batch. Everything random is
drawn from generators seeded by (seed, epoch, position), so that a resumed run is the run that was interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm import tqdm

from datasets.training import (
    TrainingSet,
    read_folders,
    read_landmarks_csv,
    read_sfm,
    read_unlabelled,
    sample_epoch,
)
from extractor import read_photo, resize
from metrics import mean_average_precision

from ..checkpoint import Provenance, load_checkpoint
from ..network import GeMResNet
from .config import BadConfig, TrainConfig, Validation
from .losses import FIRST_ORDER, make_loss
from .mining import hard_negatives
from .views import plain_view, random_view

PLAIN, QUERY, POSITIVE = 0, 1, 2  # which view of a photo
MINING_BATCH = 32


def read_data(config: TrainConfig) -> TrainingSet:
    """The collection a configuration names. Raises BadConfig, BadTrainingData."""
    data = config.data
    if data.kind in ("sfm", "landmarks-csv") and data.table is None:
        raise BadConfig(f"data.table is missing; {data.kind} needs it")
    readers = {
        "unlabelled": lambda: read_unlabelled(data.root),
        "folders": lambda: read_folders(data.root, config.seed),
        "sfm": lambda: read_sfm(data.table, data.root),
        "landmarks-csv": lambda: read_landmarks_csv(data.table, data.root, config.seed),
    }
    if data.kind not in readers:
        raise BadConfig(f"data.kind is {data.kind!r}; known are {', '.join(readers)}")
    return readers[data.kind]()


class Photos:
    """Training photos as normalised tensors; decoded ones are kept small, so that a folder fits into memory."""

    def __init__(
        self,
        paths: list[Path],
        provenance: Provenance,
        size: int,
        with_views: bool = False,
        seed: int = 0,
    ):
        self._paths, self._size, self._with_views, self._seed = paths, size, with_views, seed
        self._mean, self._std = np.float32(provenance.mean), np.float32(provenance.std)
        self._small: dict[int, np.ndarray] = {}

    def tensor(self, photo: int, view: int, epoch: int) -> torch.Tensor:
        """Float32 (3, h, w): the photo with longest side `size`, or `with_views` a square view of it, random but the plain one.

        A random view depends on (seed, photo, view, epoch).
        """
        if photo not in self._small:
            # Twice the size leaves crops something to enlarge from.
            self._small[photo] = resize(read_photo(self._paths[photo]), 2 * self._size)
        pixels, size = self._small[photo], self._size
        if not self._with_views:
            pixels = resize(pixels, size)
        elif view == PLAIN:
            pixels = plain_view(pixels, size)
        else:
            pixels = random_view(
                pixels, size, np.random.default_rng([self._seed, epoch, photo, view])
            )
        return torch.from_numpy(
            ((pixels.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)
        )


def describe(network: GeMResNet, images: list[torch.Tensor]) -> torch.Tensor:
    """Descriptors (B, D) of normalised images (3, h, w); equal shapes go through together, the trunk in bfloat16."""
    device = next(network.parameters()).device
    by_shape: dict[torch.Size, list[int]] = defaultdict(list)
    for i, image in enumerate(images):
        by_shape[image.shape].append(i)
    parts, order = [], []
    for rows in by_shape.values():
        batch = torch.stack([images[i] for i in rows]).to(device, memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            maps = network.maps(batch)
        parts.append(network.head(maps.float()))  # powers and norms want more digits
        order += rows
    return torch.cat(parts)[torch.tensor(order, device=device).argsort()]


@torch.inference_mode()
def describe_all(
    network: GeMResNet, photos: Photos, wanted: list[tuple[int, int]], epoch: int, what: str
) -> np.ndarray:
    """Descriptors (len(wanted), D) of (photo, view)s."""
    parts = []
    for start in tqdm(range(0, len(wanted), MINING_BATCH), desc=what, leave=False, disable=None):
        images = [
            photos.tensor(photo, view, epoch)
            for photo, view in wanted[start : start + MINING_BATCH]
        ]
        parts.append(describe(network, images).float().cpu().numpy())
    return np.concatenate(parts)


def mine(
    network: GeMResNet, training: TrainingSet, photos: Photos, config: TrainConfig, epoch: int
) -> np.ndarray:
    """This epoch's tuples int (Q, 2 + negatives): query, positive, hard negatives, as photo numbers; shuffled."""
    rng = np.random.default_rng([config.seed, epoch])
    pairs, pool = sample_epoch(training, config.queries, config.pool, rng)
    queries = describe_all(
        network, photos, [(int(q), QUERY) for q in pairs[:, 0]], epoch, "mining queries"
    )
    others = describe_all(network, photos, [(int(i), PLAIN) for i in pool], epoch, "mining pool")
    clusters = training.clusters
    found = hard_negatives(queries, clusters[pairs[:, 0]], others, clusters[pool], config.negatives)
    complete = (found >= 0).all(1)
    return np.hstack([pairs[complete], pool[found[complete]]])


def validate(network: GeMResNet, provenance: Provenance, validation: Validation) -> float:
    """Mean over groups of the mean average precision of their photos as queries, at the checkpoint's own size."""
    groups: dict[str, list[str]] = json.loads(validation.groups.read_text())
    files = sorted(p for p in validation.photos.iterdir() if p.is_file())
    photos = Photos(files, provenance, provenance.longest_side)
    descriptors = describe_all(
        network, photos, [(i, PLAIN) for i in range(len(files))], 0, "validation"
    )
    number = {path.name: i for i, path in enumerate(files)}
    return mean_average_precision(
        descriptors, [[number[file] for file in members] for members in groups.values()]
    )


@dataclasses.dataclass
class State:
    """Where a run is. tuples: of the current epoch, None before mining. seconds: of training so far."""

    epoch: int = 0
    step: int = 0
    tuples: np.ndarray | None = None
    best: float = -math.inf
    seconds: float = 0.0


class Run:
    """A training run in its folder: `last.pt` to resume from, `best.safetensors`, `log.jsonl`, `curve.png`."""

    def __init__(self, config: TrainConfig):
        if config.loss.name not in FIRST_ORDER:
            raise BadConfig(
                f"loss.name is {config.loss.name!r}; known are {', '.join(FIRST_ORDER)}"
            )
        self.config = config
        self.training = read_data(config)
        self.network, self.provenance = load_checkpoint(config.start)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network.to(
            device, memory_format=torch.channels_last
        ).eval()  # eval: BatchNorm statistics stay as they are
        unlabelled = config.data.kind == "unlabelled"
        self.photos = Photos(
            self.training.paths, self.provenance, config.size, unlabelled, config.seed
        )
        self.loss = make_loss(config.loss.name, config.loss.margin, config.loss.second_order)
        p = self.network.pool.p
        others = [parameter for parameter in self.network.parameters() if parameter is not p]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": others, "lr": config.rate, "base": config.rate},
                {
                    "params": [p],
                    "lr": config.rate * config.p_rate,
                    "base": config.rate * config.p_rate,
                    "weight_decay": 0.0,
                },
            ],
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.state = State()
        config.out.mkdir(parents=True, exist_ok=True)
        if (config.out / "last.pt").is_file():
            self.load()

    def train(self) -> float:
        """Train to the end of the budget; returns the best validation mAP. Raises KeyboardInterrupt after saving."""
        state, config = self.state, self.config
        try:
            if state.epoch == 0 and state.tuples is None:
                self.note(validation=self.keep_if_best())
            while state.epoch < config.epochs and state.seconds < 60 * config.minutes:
                self.epoch()
        finally:
            self.save()
        return state.best

    def epoch(self) -> None:
        state, config = self.state, self.config
        clock = time.monotonic() - state.seconds
        if state.tuples is None:
            state.tuples = mine(self.network, self.training, self.photos, config, state.epoch)
            state.seconds = time.monotonic() - clock
            self.save()
        for group in self.optimiser.param_groups:
            group["lr"] = group["base"] * math.exp(-config.decay * state.epoch)
        losses = []
        starts = range(state.step * config.batch, len(state.tuples), config.batch)
        for start in tqdm(starts, desc=f"epoch {state.epoch}", leave=False, disable=None):
            losses.append(self.step(state.tuples[start : start + config.batch]))
            state.step += 1
            state.seconds = time.monotonic() - clock
            if state.step % config.save_every == 0:
                self.save()
            if state.seconds >= 60 * config.minutes:
                break
        state.epoch, state.step, state.tuples = state.epoch + 1, 0, None
        self.note(loss=float(np.mean(losses)) if losses else None, validation=self.keep_if_best())
        self.save()

    def step(self, tuples: np.ndarray) -> float:
        """One optimiser step on tuples (b, 2 + K); returns the mean loss of a tuple."""
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for start in range(0, len(tuples), self.config.together):
            part = tuples[start : start + self.config.together]
            views = [QUERY, POSITIVE] + [PLAIN] * self.config.negatives
            images = [
                self.photos.tensor(int(i), view, self.state.epoch)
                for row in part
                for i, view in zip(row, views)
            ]
            x = describe(self.network, images).unflatten(0, part.shape)  # (b, 2 + K, D)
            loss = self.loss(x[:, 0], x[:, 1], x[:, 2:])
            loss.backward()
            total += loss.item()
        self.optimiser.step()
        return total / len(tuples)

    def keep_if_best(self) -> float:
        """Validate; write the network if it is the best so far."""
        value = validate(self.network, self.provenance, self.config.validation)
        if value > self.state.best:
            self.state.best = value
            write_weights(
                self.network, self.provenance, self.config.out / "best.safetensors", self.recipe()
            )
        return value

    def recipe(self) -> str:
        """What this training was, in words, for the weights' metadata."""
        loss = self.config.loss
        second = f", second order x {loss.second_order}" if loss.second_order else ""
        return f"fine-tuned: {loss.name}, margin {loss.margin}{second}"

    def note(self, **facts: Any) -> None:
        """Append a line to the log and redraw the curve."""
        state = self.state
        entry = {
            "epoch": state.epoch,
            "minutes": round(state.seconds / 60, 2),
            "p": self.network.pool.p.item(),
            **facts,
        }
        path = self.config.out / "log.jsonl"
        with open(path, "a") as file:
            file.write(json.dumps(entry) + "\n")
        draw_curve(path, self.config.out / "curve.png")

    def save(self) -> None:
        """Everything needed to go on at this very step, atomically."""
        content = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "state": dataclasses.asdict(self.state)
            | {
                "tuples": None if self.state.tuples is None else torch.from_numpy(self.state.tuples)
            },
        }
        partial = self.config.out / ".last.pt"
        torch.save(content, partial)
        partial.replace(self.config.out / "last.pt")

    def load(self) -> None:
        content = torch.load(self.config.out / "last.pt", map_location="cpu", weights_only=True)
        self.network.load_state_dict(content["network"])
        self.optimiser.load_state_dict(content["optimiser"])
        tuples = content["state"].pop("tuples")
        self.state = State(**content["state"], tuples=None if tuples is None else tuples.numpy())


def write_weights(network: GeMResNet, provenance: Provenance, path: Path, training: str) -> None:
    """The network in the project's own format: float16, with statistics and p as float32. training: added to its history."""
    tensors = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            half = name.endswith((".weight", ".bias"))
            tensors[name] = (
                value.detach().cpu().to(torch.float16 if half else torch.float32).contiguous()
            )
    metadata = {
        "architecture": network.architecture,
        "image_size": str(provenance.longest_side),
        "mean": ",".join(map(str, provenance.mean)),
        "std": ",".join(map(str, provenance.std)),
        "training": f"{provenance.training}; {training}",
        "licence": provenance.licence,
    }
    partial = path.with_name(f".{path.name}")
    save_file(tensors, partial, metadata=metadata)
    partial.replace(path)


def draw_curve(log: Path, out: Path) -> None:
    """Loss and validation mAP over epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = [json.loads(line) for line in log.read_text().splitlines()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    for axis, name, colour in ((left, "loss", "tab:red"), (right, "validation", "tab:blue")):
        points = [(entry["epoch"], entry[name]) for entry in entries if entry.get(name) is not None]
        if points:
            axis.plot(*zip(*points), marker="o", markersize=3, color=colour)
        axis.set_ylabel("validation mAP" if name == "validation" else name, color=colour)
    left.set_xlabel("epoch")
    FigureCanvasAgg(figure).print_png(str(out))
