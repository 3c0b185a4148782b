"""Files in a run's folder: weights, saved states, log and plot."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from model.network import GeMResNet
from model.provenance import Provenance

from ..distill.muon import MuonAdamW
from ..packs.atomic import commit_file
from .config import BadConfig


def save_state(content: dict[str, Any], path: Path) -> None:
    """Save the state of a run atomically."""
    partial = path.with_name(f".{path.name}")
    torch.save(content, partial)
    commit_file(partial, path)


@contextmanager
def saved_state(path: Path) -> Iterator[dict[str, Any]]:
    """Load what `save_state` wrote, for a `with` block that restores a run from it.

    Args:
        path: path of the state file.

    Raises:
        BadConfig: the file is damaged, or the block fails because its content has other keys or
            shapes than the run.
        OSError: the file cannot be read.
    """
    try:
        yield torch.load(path, map_location="cpu", weights_only=True)
    except (BadConfig, OSError):
        raise
    except Exception as error:  # unpickling a damaged file can raise anything
        raise BadConfig(
            f"{path} is damaged or the state of another run; delete it to start over"
        ) from error


def load_optimiser(optimiser: torch.optim.Optimizer | MuonAdamW, state: dict[str, Any]) -> None:
    """Load moments and step counts, but keep the currently configured rates and weight decay.

    Args:
        optimiser: optimiser of the resumed run.
        state: its saved `state_dict`.
    """
    configured = [
        {key: value for key, value in group.items() if key != "params"}
        for group in optimiser.param_groups
    ]
    optimiser.load_state_dict(state)
    for group, configured_group in zip(optimiser.param_groups, configured, strict=True):
        group.update(configured_group)


def write_weights(network: GeMResNet, provenance: Provenance, path: Path, training: str) -> None:
    """Write a network in the project's own format.

    Weights are stored as float16, statistics and p as float32.

    Args:
        network: network to write.
        provenance: provenance of its weights.
        path: path of the safetensors file.
        training: description to append to the training history.
    """
    tensors = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            half = name.endswith((".weight", ".bias"))
            kind = torch.float16 if half else torch.float32
            tensors[name] = value.detach().cpu().to(kind).contiguous()
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
    commit_file(partial, path)


def append_line(log: Path, entry: dict[str, Any]) -> None:
    """Append one line of JSON to a log."""
    with open(log, "a") as file:
        file.write(json.dumps(entry) + "\n")


def read_log(log: Path) -> list[dict[str, Any]]:
    """The entries of a log, without a line that a power cut left incomplete."""
    entries = []
    for line in log.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries


def draw_curve(log: Path, out: Path, across: str, losses: Sequence[str]) -> None:
    """Plot losses and validation mAP.

    Args:
        log: lines of JSON.
        out: PNG file.
        across: key of the horizontal axis.
        losses: keys of the left axis; "validation" is the right one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    entries = read_log(log)
    figure = Figure(figsize=(7, 4), layout="constrained")
    left = figure.subplots()
    right = left.twinx()
    reds = ("tab:red", "tab:orange", "tab:brown", "tab:pink")
    lines = [(left, name, colour) for name, colour in zip(losses, reds)]
    for axis, name, colour in [*lines, (right, "validation", "tab:blue")]:
        points = [(entry[across], entry[name]) for entry in entries if entry.get(name) is not None]
        if points:
            axis.plot(*zip(*points), marker="o", markersize=3, color=colour, label=name)
    left.set_xlabel(across)
    left.set_ylabel("loss", color=reds[0])
    right.set_ylabel("validation mAP", color="tab:blue")
    if len(left.lines) > 1:
        left.legend(loc="lower left", fontsize="small")
    FigureCanvasAgg(figure).print_png(str(out))
