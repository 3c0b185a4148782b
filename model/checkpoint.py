"""Read a descriptor network from a file, key by key, and refuse what does not fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from .network import BLOCKS, GeMResNet

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class BadCheckpoint(Exception):
    """The file is no checkpoint this project can read; the message says why in one sentence."""


@dataclass(frozen=True)
class Provenance:
    """What the numbers in a checkpoint mean: how photos must be prepared, where the weights come from."""

    longest_side: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    training: str = "unknown"
    licence: str = "unknown"


def architecture_of(keys: set[str]) -> str:
    """The ResNet whose block counts the keys `features.{4..7}.N.` show. Raises BadCheckpoint if none has them."""
    depth = {stage: -1 for stage in "4567"}
    for key in keys:
        if found := re.match(r"features\.([4-7])\.(\d+)\.", key):
            depth[found[1]] = max(depth[found[1]], int(found[2]))
    counts = tuple(last + 1 for last in depth.values())
    for name, blocks in BLOCKS.items():
        if blocks == counts:
            return name
    raise BadCheckpoint(f"no ResNet-50/101/152 trunk inside: blocks per stage are {counts}")


def build_network(state: dict[str, torch.Tensor]) -> GeMResNet:
    """Network in eval mode from a state dict in the project's layout. Raises BadCheckpoint naming what does not fit."""
    whitening = state.get("whiten.weight")
    network = GeMResNet(architecture_of(set(state)), None if whitening is None else len(whitening))
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    if missing := sorted(expected.keys() - state.keys()):
        raise BadCheckpoint(f"{len(missing)} tensors are missing, the first is {missing[0]}")
    if foreign := sorted(state.keys() - expected.keys()):
        raise BadCheckpoint(f"{len(foreign)} tensors are unknown, the first is {foreign[0]}")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise BadCheckpoint(f"{key} has shape {tuple(value.shape)} instead of {tuple(expected[key].shape)}")
        if not torch.isfinite(value).all():
            raise BadCheckpoint(f"{key} holds values that are not finite")
    if not 1 < float(state["pool.p"]) < 10:
        raise BadCheckpoint(f"the GeM exponent is {float(state['pool.p']):.3g}, outside 1 to 10")
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return network.eval()


def load_checkpoint(path: str | Path) -> tuple[GeMResNet, Provenance]:
    """Network (eval mode, float32) and provenance of a safetensors file.

    Raises FileNotFoundError, or BadCheckpoint when the file is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{path.name} is damaged or not a safetensors file ({error})") from error
    try:
        network = build_network(state)
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path.name}: {error}") from None

    def floats(name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(v) for v in meta[name].split(",")) if name in meta else default

    return network, Provenance(
        longest_side=int(meta.get("image_size", 1024)),
        mean=floats("mean", IMAGENET_MEAN),
        std=floats("std", IMAGENET_STD),
        training=meta.get("training", "unknown"),
        licence=meta.get("licence", "unknown"),
    )
