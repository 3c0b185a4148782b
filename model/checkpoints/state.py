"""Build a network from an untrusted state dict, checking every tensor before it is loaded.

The project's own layout is `features.N...`, `pool.p`, `whiten.*`, `soa4.*`, `soa5.*`. Errors name
tensors that are missing, unknown or of the wrong shape.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from ..network import BLOCKS, TRUNK_DIM, GeMResNet

COUNTER = "num_batches_tracked"  # only for training; missing in old files
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

State = dict[str, torch.Tensor]


class BadCheckpoint(Exception):
    """The file is not a supported checkpoint. The message says why in one sentence."""


def build_network(state: State) -> GeMResNet:
    """Build a network in eval mode, float32.

    Args:
        state: floating-point tensors by name, in the project's layout.

    Raises:
        BadCheckpoint: a tensor is missing, unknown, or invalid; the message names it.
    """
    state = {key: value for key, value in state.items() if not key.endswith(COUNTER)}
    for key, value in state.items():
        check_plain(key, value)
    whitening = state.get("whiten.weight")
    if whitening is not None and (whitening.ndim != 2 or whitening.shape[1] != TRUNK_DIM):
        raise BadCheckpoint(
            f"whiten.weight has shape {tuple(whitening.shape)} instead of (D, {TRUNK_DIM})"
        )
    network = GeMResNet(
        architecture_of(set(state)),
        None if whitening is None else len(whitening),
        attention=any(key.startswith("soa") for key in state),
    )
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith(COUNTER)}
    if missing := sorted(expected.keys() - state.keys()):
        raise BadCheckpoint(f"tensors missing, {len(missing)}: {', '.join(missing[:5])}")
    if foreign := sorted(state.keys() - expected.keys()):
        names = ", ".join(map(quoted, foreign[:5]))
        raise BadCheckpoint(f"unknown tensors, {len(foreign)}: {names}")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise BadCheckpoint(
                f"{key} has shape {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
            )
        if not torch.isfinite(value.float()).all():
            raise BadCheckpoint(f"{key} holds values that are not finite in float32")
        if key.endswith("running_var") and not (value > 0).all():
            raise BadCheckpoint(f"{key} holds variances that are not positive")
    if not 1 < float(state["pool.p"]) < 10:
        raise BadCheckpoint(f"the GeM exponent is {float(state['pool.p']):.3g}, outside 1 to 10")
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return network.eval()


def architecture_of(keys: set[str]) -> str:
    """The ResNet with the block counts of the keys `features.{4..7}.N.`.

    Raises:
        BadCheckpoint: there is no such ResNet.
    """
    depth = {stage: -1 for stage in "4567"}
    for key in keys:
        if found := re.match(r"features\.([4-7])\.([0-9]{1,3})\.", key):
            depth[found[1]] = max(depth[found[1]], int(found[2]))
    counts = tuple(last + 1 for last in depth.values())
    for name, blocks in BLOCKS.items():
        if blocks == counts:
            return name
    raise BadCheckpoint(f"no ResNet-50/101/152 trunk inside: blocks per stage are {counts}")


def as_state(stored: Any) -> State:
    """The tensors of a file's state dict, without counters, which old files lack.

    Raises:
        BadCheckpoint: the content is something else; the message names the key.
    """
    if not isinstance(stored, dict):
        raise BadCheckpoint(f"its state_dict is {kind_of(stored)}, not a dictionary of tensors")
    state: State = {}
    for key, value in stored.items():
        if not isinstance(key, str):
            raise BadCheckpoint(f"its state_dict has a key that is {quoted(key)}, not text")
        if key.endswith(COUNTER):
            continue
        check_plain(key, value)
        state[key] = value.detach()
    return state


def check_plain(key: str, value: torch.Tensor) -> None:
    """Raise BadCheckpoint naming the tensor unless it is dense, floating and has all its values."""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        raise BadCheckpoint(f"{quoted(key)} is {kind_of(value)}, not a tensor of floats")
    if value.is_meta or value.layout != torch.strided or value.dtype not in FLOATS:
        kind = "without values" if value.is_meta else f"of {value.dtype}, {value.layout}"
        raise BadCheckpoint(f"{quoted(key)} is a tensor {kind}, not a dense one of floats")
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        raise BadCheckpoint(f"{quoted(key)} has more values than its storage")


def rename(state: State, names: dict[str, str]) -> State:
    """Replace the first matching prefix of each key; keys without one are unchanged."""
    out = {}
    for key, value in state.items():
        prefix = next((foreign for foreign in names if key.startswith(foreign)), "")
        out[names.get(prefix, "") + key[len(prefix) :]] = value
    return out


def quoted(key: Any) -> str:
    """A key of the file, as quoted in messages."""
    return key[:100] if isinstance(key, str) else kind_of(key)


def kind_of(value: Any) -> str:
    """Type of a value in words."""
    return "nothing" if value is None else f"a {type(value).__name__}"
