"""Checkpoint file -> descriptor network. Reads every published kind of GeM-ResNet by looking
inside.

Each kind is brought into the project's own layout (`features.N...`, `pool.p`, `whiten.*`, `soa4.*`,
`soa5.*`) by renaming, and then loaded key by key: what is missing, left over or of the wrong shape
is named.

    ours         safetensors, metadata in the header
    ours, ONNX   a file written by `python -m export`, its initialisers
    cirtorch     {"meta", "state_dict"}: the layout is ours; `meta["Lw"]` may hold a whitening
    learned afterwards SOLAR        {"meta", "state_dict"}: features.conv1 ... conv5_x,
    features.soa4, features.soa5 torchvision  conv1, bn1, layer1 ... layer4, fc (left out); GeM with
    its usual p = 3, no whitening

Formats: research notes of the projects filipradenovic/cnnimageretrieval-pytorch, tonyngjichun/SOLAR
and pytorch/vision.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from datasets.plain_pickle import BadPickle, StoredArray

from .network import BLOCKS, TRUNK_DIM, GeMResNet
from .torch_file import Foreign, StoredTensor, read_torch_file
from .whitening import Whitening

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PUBLISHED_SIDE = 1024  # longest side of all published tables
GEM_INIT = 3.0
SMALLEST_SIDE = 32  # pixels; the trunk halves a photo five times
COUNTER = "num_batches_tracked"  # of training, not needed; old files lack it
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# Scales of the published tables: nets whitened inside (and SOLAR), nets whitened afterwards.
SCALES_WHITENED = (1.0, 2**0.5, 2**-0.5)
SCALES_LW = (1.0, 2**-0.5, 0.5)

State = dict[str, torch.Tensor]


class BadCheckpoint(Exception):
    """The file is no checkpoint this project can read; the message says why in one sentence."""


@dataclass(frozen=True)
class Provenance:
    """What the numbers in a checkpoint mean: how photos must be prepared, where the weights come
    from.

    published_scales: what the net's table was made with. learned_whitening: {"ss": ..., "ms": ...},
    whitenings learned afterwards on single-scale and multi-scale descriptors, empty for most nets.
    """

    longest_side: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    training: str = "unknown"
    licence: str = "unknown"
    published_scales: tuple[float, ...] = (1.0,)
    learned_whitening: dict[str, Whitening] = field(default_factory=dict)


def load_checkpoint(path: str | Path) -> tuple[GeMResNet, Provenance]:
    """Network (eval mode, float32) and provenance of any of the kinds above.

    Raises FileNotFoundError, or BadCheckpoint when the file is damaged or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        state, provenance = read_file(path)
        return build_network(state), provenance
    except BadCheckpoint as error:
        raise BadCheckpoint(f"{path.name}: {error}") from error.__cause__


def read_file(path: Path) -> tuple[State, Provenance]:
    """State dict in the project's layout, and provenance. Raises BadCheckpoint."""
    if path.suffix == ".safetensors":
        return read_own(path)
    if path.suffix == ".onnx":
        return read_onnx(path)
    try:
        content = read_torch_file(path)
    except BadPickle as error:
        raise BadCheckpoint(str(error)) from error
    if not isinstance(content, dict):
        raise BadCheckpoint(f"it holds {kind_of(content)}, not a checkpoint")
    if "meta" in content and "state_dict" in content:
        return read_cirtorch(content["state_dict"], content["meta"])
    if "conv1.weight" in content and "layer1.0.conv1.weight" in content:
        return read_torchvision(content)
    raise BadCheckpoint(
        "it is of no known kind; its first keys are "
        + ", ".join(shown(key) for key in list(content)[:3])
    )


def as_state(stored: Any) -> State:
    """The tensors of a file's state dict, without counters, which old files lack.

    Raises:
        BadCheckpoint: something else is in its place; the message names the key.
    """
    if not isinstance(stored, dict):
        raise BadCheckpoint(f"its state_dict is {kind_of(stored)}, not a dictionary of tensors")
    state: State = {}
    for key, value in stored.items():
        if not isinstance(key, str):
            raise BadCheckpoint(f"its state_dict has a key that is {shown(key)}, not text")
        if key.endswith(COUNTER):
            continue
        if not isinstance(value, StoredTensor):
            raise BadCheckpoint(f"{shown(key)} is {kind_of(value)}, not a tensor of floats")
        try:
            state[key] = value.tensor()
        except BadPickle as error:
            raise BadCheckpoint(f"{shown(key)} {error}") from error
        check_plain(key, state[key])
    return state


def shown(key: Any) -> str:
    """A key of the file as a message repeats it."""
    return key[:100] if isinstance(key, str) else kind_of(key)


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, Foreign):
        return value.kind
    if isinstance(value, StoredTensor):
        return "a tensor"
    return "nothing" if value is None else f"a {type(value).__name__}"


def three_numbers(values: Any, name: str, positive: bool = False) -> tuple[float, ...]:
    """Mean or deviation of the colours. Raises BadCheckpoint naming it."""
    try:
        found = tuple(float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        found = ()
    if len(found) != 3 or not all(map(math.isfinite, found)) or positive and min(found) <= 0:
        raise BadCheckpoint(f"its {name} is not three {'positive ' * positive}numbers")
    return found


def read_own(path: Path) -> tuple[State, Provenance]:
    """The project's safetensors."""
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError) as error:
        raise BadCheckpoint("it is damaged or not a safetensors file") from error

    def numbers(name: str, default: tuple[float, ...], positive: bool) -> tuple[float, ...]:
        if name not in meta:
            return default
        return three_numbers(meta[name].split(","), name, positive)

    side = meta.get("image_size", str(PUBLISHED_SIDE))
    if not re.fullmatch("[0-9]{1,5}", side) or int(side) < SMALLEST_SIDE:
        raise BadCheckpoint(
            f"its image_size is {side[:20]!r}, not a number of pixels from {SMALLEST_SIDE} on"
        )
    return state, Provenance(
        longest_side=int(side),
        mean=numbers("mean", IMAGENET_MEAN, positive=False),
        std=numbers("std", IMAGENET_STD, positive=True),
        training=meta.get("training", "unknown"),
        licence=meta.get("licence", "unknown"),
    )


def read_onnx(path: Path) -> tuple[State, Provenance]:
    """A file of ours written by `python -m export`, for training on."""
    import onnx  # only here: loading the other kinds does not need it
    from onnx import numpy_helper

    from extractor import BadModel, is_sealed, read_card

    if not is_sealed(path.read_bytes()):
        raise BadCheckpoint("it is damaged, or not a descriptor model made by `python -m export`")
    try:
        model = onnx.load(str(path), load_external_data=False)
        card = read_card({p.key: p.value for p in model.metadata_props}, path.name)
        with torch.device("meta"):  # only the names are wanted
            known = set(GeMResNet(card.architecture, card.output_dim, True).state_dict())
        tensors = {
            t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name in known
        }
    except BadModel as error:
        raise BadCheckpoint(str(error)) from error
    except (
        Exception
    ) as error:  # protobuf raises its own DecodeError, a hostile graph may raise anything
        raise BadCheckpoint("it is damaged or no ONNX model") from error
    state = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()}
    return state, Provenance(card.longest_side, card.mean, card.std, card.training, card.licence)


def read_cirtorch(stored: Any, meta: Any) -> tuple[State, Provenance]:
    """cirtorch and SOLAR files: the same dictionary, SOLAR with its own names for the trunk.

    Args:
        stored: what the file holds as its state dict.
        meta: what it holds as its meta.

    Raises:
        BadCheckpoint: they are of another kind, or say different things.
    """
    if not isinstance(meta, dict):
        raise BadCheckpoint(f"its meta is {kind_of(meta)}, not a dictionary")
    for name in ("architecture", "pooling", "mean", "std"):
        if name not in meta:
            raise BadCheckpoint(f"its meta lacks {name!r}")
    architecture = meta["architecture"]
    if not isinstance(architecture, str) or architecture not in BLOCKS:
        raise BadCheckpoint(
            f"its architecture is {shown(architecture)}; of the ResNets {', '.join(BLOCKS)} are "
            f"read"
        )
    regional = any(meta.get(name) not in (None, False) for name in ("regional", "local_whitening"))
    if meta["pooling"] != "gem" or regional:
        raise BadCheckpoint(
            "only global GeM pooling with one exponent is read (no gemmp, regional or local "
            "whitening)"
        )
    mean = three_numbers(meta["mean"], "mean")
    std = three_numbers(meta["std"], "std", positive=True)
    state = as_state(stored)
    if any(key.startswith("features.conv1.") for key in state):
        state = rename(state, SOLAR_NAMES)
    whitened = meta.get("whitening") in (True,)
    if whitened != ("whiten.weight" in state):
        raise BadCheckpoint(f"its meta says whitening={whitened}, its tensors say otherwise")
    if (found := architecture_of(set(state))) != architecture:
        raise BadCheckpoint(f"its meta says {architecture}, its tensors are those of a {found}")
    dim = len(state["whiten.weight"]) if whitened and state["whiten.weight"].ndim else TRUNK_DIM
    attention = meta.get("soa") in (True,)
    return state, Provenance(
        longest_side=PUBLISHED_SIDE,
        mean=mean,
        std=std,
        training=f"published {architecture} GeM" + (" with attention" if attention else ""),
        published_scales=SCALES_WHITENED if whitened else SCALES_LW,
        learned_whitening=read_learned_whitening(meta.get("Lw"), dim),
    )


def read_learned_whitening(stored: Any, dim: int) -> dict[str, Whitening]:
    """The whitenings of `meta["Lw"]`; of several data sets those of the one with the longest name.

    Args:
        stored: {data set: {"ss" | "ms": {"m": (D, 1), "P": (D, D)}}}, or None.
        dim: D, components of the network's descriptors.

    Returns:
        Whitenings by "ss" and "ms".

    Raises:
        BadCheckpoint: it holds something else; the message names it.
    """
    if stored is None:
        return {}
    found: dict[str, Whitening] = {}
    names = dictionary_of(stored, "its Lw")
    for dataset in sorted(names, key=len):  # retrieval-SfM-30k before retrieval-SfM-120k
        where = f"Lw of {dataset[:40]}"
        for mode, arrays in dictionary_of(names[dataset], where).items():
            arrays = dictionary_of(arrays, f"{where}, {mode[:10]}")
            mean = floats_of(arrays.get("m"), f"{where}, {mode[:10]}, m").reshape(-1)
            projection = floats_of(arrays.get("P"), f"{where}, {mode[:10]}, P")
            if mean.shape != (dim,) or projection.shape != (dim, dim):
                raise BadCheckpoint(
                    f"{where} has shapes {mean.shape} and {projection.shape}, and the network "
                    f"has {dim} dimensions"
                )
            found[mode] = Whitening(mean, projection)
    return found


def dictionary_of(value: Any, name: str) -> dict[str, Any]:
    """The value, if it is a dictionary with text for keys. Raises BadCheckpoint naming it."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadCheckpoint(f"{name} is {kind_of(value)}, not a dictionary with names for keys")
    return value


def floats_of(value: Any, name: str) -> np.ndarray:
    """A stored array as float32. Raises BadCheckpoint naming it if it cannot be kept as float16."""
    if not isinstance(value, StoredArray) or value.values.dtype.kind != "f":
        raise BadCheckpoint(f"{name} is {kind_of(value)}, not an array of floats")
    if not (np.abs(value.values) <= np.finfo(np.float16).max).all():
        raise BadCheckpoint(f"{name} holds values that are not finite or too large for float16")
    return value.values.astype(np.float32)


def read_torchvision(stored: Any) -> tuple[State, Provenance]:
    """An ImageNet classifier: its trunk under GeM."""
    state = as_state(stored)
    state = rename(
        {key: value for key, value in state.items() if not key.startswith("fc.")}, TORCHVISION_NAMES
    )
    state["pool.p"] = torch.tensor([GEM_INIT])
    return state, Provenance(
        longest_side=PUBLISHED_SIDE, training="ImageNet classification (torchvision)"
    )


TORCHVISION_NAMES = {
    "conv1.": "features.0.",
    "bn1.": "features.1.",
    **{f"layer{n}.": f"features.{n + 3}." for n in (1, 2, 3, 4)},
}
SOLAR_NAMES = {
    "features.conv1.0.": "features.0.",
    "features.conv1.1.": "features.1.",
    "features.conv2_x.2.": "features.4.",
    **{f"features.conv{n}_x.": f"features.{n + 2}." for n in (3, 4, 5)},
    "features.soa4.": "soa4.",
    "features.soa5.": "soa5.",
}


def rename(state: State, names: dict[str, str]) -> State:
    """State with the first matching prefix of each key replaced; keys without one stay."""
    out = {}
    for key, value in state.items():
        prefix = next((old for old in names if key.startswith(old)), "")
        out[names.get(prefix, "") + key[len(prefix) :]] = value
    return out


def architecture_of(keys: set[str]) -> str:
    """The ResNet whose block counts the keys `features.{4..7}.N.` show. Raises BadCheckpoint if
    none has them.
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


def build_network(state: State) -> GeMResNet:
    """A network in eval mode, float32.

    Args:
        state: tensors of floats by name, in the project's layout.

    Raises:
        BadCheckpoint: a tensor is missing, unknown, or does not fit; the message names it.
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
        raise BadCheckpoint(f"{len(missing)} tensors are missing: {', '.join(missing[:5])}")
    if foreign := sorted(state.keys() - expected.keys()):
        names = ", ".join(map(shown, foreign[:5]))
        raise BadCheckpoint(f"{len(foreign)} tensors are unknown: {names}")
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


def check_plain(key: str, value: torch.Tensor) -> None:
    """Raise BadCheckpoint naming the tensor unless it is an ordinary one of ordinary floats."""
    if not isinstance(value, torch.Tensor):
        raise BadCheckpoint(f"{shown(key)} is {kind_of(value)}, not a tensor of floats")
    if value.is_meta or value.layout != torch.strided or value.dtype not in FLOATS:
        kind = "without values" if value.is_meta else f"of {value.dtype}, {value.layout}"
        raise BadCheckpoint(f"{shown(key)} is a tensor {kind}, not one of ordinary floats")
