"""Checkpoint file -> descriptor network. Reads every published kind of GeM-ResNet by looking inside.

Each kind is brought into the project's own layout (`features.N...`, `pool.p`, `whiten.*`, `soa4.*`, `soa5.*`) by renaming,
and then loaded key by key: what is missing, left over or of the wrong shape is named.

    ours         safetensors, metadata in the header
    ours, ONNX   a file written by `python -m export`, its initialisers
    cirtorch     {"meta", "state_dict"}: the layout is ours; `meta["Lw"]` may hold a whitening learned afterwards
    SOLAR        {"meta", "state_dict"}: features.conv1 ... conv5_x, features.soa4, features.soa5
    torchvision  conv1, bn1, layer1 ... layer4, fc (left out); GeM with its usual p = 3, no whitening

Formats: research notes of the projects filipradenovic/cnnimageretrieval-pytorch, tonyngjichun/SOLAR and pytorch/vision.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from .network import BLOCKS, GeMResNet
from .whitening import Whitening

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PUBLISHED_SIDE = 1024  # longest side of all published tables
GEM_INIT = 3.0
# Scales of the published tables: nets whitened inside (and SOLAR), nets whitened afterwards.
SCALES_WHITENED = (1.0, 2**0.5, 2**-0.5)
SCALES_LW = (1.0, 2**-0.5, 0.5)

State = dict[str, torch.Tensor]


class BadCheckpoint(Exception):
    """The file is no checkpoint this project can read; the message says why in one sentence."""


@dataclass(frozen=True)
class Provenance:
    """What the numbers in a checkpoint mean: how photos must be prepared, where the weights come from.

    published_scales: what the net's table was made with. learned_whitening: {"ss": ..., "ms": ...}, whitenings learned
    afterwards on single-scale and multi-scale descriptors, empty for most nets.
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
    content = unpickle(path)
    if not isinstance(content, dict):
        raise BadCheckpoint(f"it holds a {type(content).__name__}, not a checkpoint")
    if "meta" in content and "state_dict" in content:
        return read_cirtorch(content["state_dict"], content["meta"])
    if "conv1.weight" in content and "layer1.0.conv1.weight" in content:
        return read_torchvision(content)
    raise BadCheckpoint(
        f"it is of no known kind; its first keys are {', '.join(map(str, list(content)[:3]))}"
    )


def unpickle(path: Path) -> Any:
    """torch.load that makes nothing but tensors, numpy arrays and plain values. Raises BadCheckpoint."""
    reconstruct, scalar = np._core.multiarray._reconstruct, np._core.multiarray.scalar
    allowed: list[Any] = [np.ndarray, np.dtype]
    allowed += [
        getattr(np.dtypes, name)
        for name in np.dtypes.__all__
        if name.startswith(("Float", "Int", "UInt"))
    ]
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):  # before and since numpy 2
        allowed += [(reconstruct, f"{package}._reconstruct"), (scalar, f"{package}.scalar")]
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise BadCheckpoint(
                f"it asks for {found[1]}, and only tensors and numpy arrays are read"
            ) from error
        raise BadCheckpoint("it is damaged or no checkpoint") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise BadCheckpoint("it is damaged or no checkpoint") from error


def read_own(path: Path) -> tuple[State, Provenance]:
    """The project's safetensors."""
    try:
        with safe_open(str(path), "pt") as file:
            meta = file.metadata() or {}
            state = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint("it is damaged or not a safetensors file") from error

    def floats(name: str, default: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(float(v) for v in meta[name].split(",")) if name in meta else default

    return state, Provenance(
        longest_side=int(meta.get("image_size", PUBLISHED_SIDE)),
        mean=floats("mean", IMAGENET_MEAN),
        std=floats("std", IMAGENET_STD),
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
        known = GeMResNet(card.architecture, card.output_dim, attention=True).state_dict().keys()
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


def read_cirtorch(state: State, meta: dict[str, Any]) -> tuple[State, Provenance]:
    """cirtorch and SOLAR files: the same dictionary, SOLAR with its own names for the trunk."""
    for name in ("architecture", "pooling", "mean", "std"):
        if name not in meta:
            raise BadCheckpoint(f"its meta lacks {name!r}")
    if meta["architecture"] not in BLOCKS:
        raise BadCheckpoint(
            f"it is a {meta['architecture']}; of the ResNets {', '.join(BLOCKS)} are read"
        )
    if meta["pooling"] != "gem" or meta.get("regional") or meta.get("local_whitening"):
        raise BadCheckpoint(
            "only global GeM pooling with one exponent is read (no gemmp, regional or local whitening)"
        )
    if any(key.startswith("features.conv1.") for key in state):
        state = rename(state, SOLAR_NAMES)
    whitened = bool(meta.get("whitening", False))
    if whitened != ("whiten.weight" in state):
        raise BadCheckpoint(f"its meta says whitening={whitened}, its tensors say otherwise")
    return state, Provenance(
        longest_side=PUBLISHED_SIDE,
        mean=tuple(map(float, meta["mean"])),
        std=tuple(map(float, meta["std"])),
        training=f"published {meta['architecture']} GeM"
        + (" with attention" if meta.get("soa") else ""),
        published_scales=SCALES_WHITENED if whitened else SCALES_LW,
        learned_whitening=read_learned_whitening(meta.get("Lw") or {}),
    )


def read_learned_whitening(stored: dict[str, Any]) -> dict[str, Whitening]:
    """`meta["Lw"]`: {data set: {"ss" | "ms": {"m": (D, 1), "P": (D, D)}}}; of several data sets the largest by name."""
    found: dict[str, Whitening] = {}
    for dataset in sorted(stored, key=len):  # retrieval-SfM-30k before retrieval-SfM-120k
        for mode, arrays in stored[dataset].items():
            mean = np.asarray(arrays["m"], np.float32).reshape(-1)
            projection = np.asarray(arrays["P"], np.float32)
            if projection.shape != (len(mean), len(mean)):
                raise BadCheckpoint(
                    f"Lw of {dataset} has shapes {mean.shape} and {projection.shape}"
                )
            found[mode] = Whitening(mean, projection)
    return found


def read_torchvision(state: State) -> tuple[State, Provenance]:
    """An ImageNet classifier: its trunk under GeM."""
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


def build_network(state: State) -> GeMResNet:
    """Network in eval mode from a state dict in the project's layout. Raises BadCheckpoint naming what does not fit."""
    state = {
        k: v for k, v in state.items() if not k.endswith("num_batches_tracked")
    }  # old files lack them
    whitening = state.get("whiten.weight")
    network = GeMResNet(
        architecture_of(set(state)),
        None if whitening is None else len(whitening),
        attention=any(key.startswith("soa") for key in state),
    )
    expected = {
        k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")
    }
    if missing := sorted(expected.keys() - state.keys()):
        raise BadCheckpoint(f"{len(missing)} tensors are missing: {', '.join(missing[:5])}")
    if foreign := sorted(state.keys() - expected.keys()):
        raise BadCheckpoint(f"{len(foreign)} tensors are unknown: {', '.join(foreign[:5])}")
    for key, value in state.items():
        if value.shape != expected[key].shape:
            raise BadCheckpoint(
                f"{key} has shape {tuple(value.shape)} instead of {tuple(expected[key].shape)}"
            )
        if not torch.isfinite(value).all():
            raise BadCheckpoint(f"{key} holds values that are not finite")
        if key.endswith("running_var") and not (value > 0).all():
            raise BadCheckpoint(f"{key} holds variances that are not positive")
    if not 1 < float(state["pool.p"]) < 10:
        raise BadCheckpoint(f"the GeM exponent is {float(state['pool.p']):.3g}, outside 1 to 10")
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return network.eval()
