"""Convert checkpoints of other projects to the project's own layout.

    cirtorch     {"meta", "state_dict"}. The layout is ours. `meta["Lw"]` may contain a whitening
                 learned afterwards.
    SOLAR        {"meta", "state_dict"}: features.conv1 ... conv5_x, features.soa4, features.soa5.
    torchvision  conv1, bn1, layer1 ... layer4, fc (dropped). Gets GeM with its usual p = 3, and no
                 whitening.

Formats: research notes of the projects filipradenovic/cnnimageretrieval-pytorch, tonyngjichun/SOLAR
and pytorch/vision.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from evaluation.datasets.plain_pickle import PlainArray

from ..network import BLOCKS, TRUNK_DIM
from ..provenance import PUBLISHED_SIDE, SCALES_LW, SCALES_WHITENED, Provenance, three_numbers
from ..whitening import Whitening
from .state import BadCheckpoint, State, architecture_of, as_state, kind_of, quoted, rename

GEM_INIT = 3.0

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


def read_cirtorch(stored: Any, meta: Any) -> tuple[State, Provenance]:
    """Read cirtorch and SOLAR files: the same dictionary, with SOLAR's own names for the trunk.

    Args:
        stored: state dict in the file.
        meta: metadata in the file.

    Raises:
        BadCheckpoint: they are of an unsupported kind, or contradict each other.
    """
    if not isinstance(meta, dict):
        raise BadCheckpoint(f"its meta is {kind_of(meta)}, not a dictionary")
    for name in ("architecture", "pooling", "mean", "std"):
        if name not in meta:
            raise BadCheckpoint(f"its meta lacks {name!r}")
    architecture = meta["architecture"]
    if not isinstance(architecture, str) or architecture not in BLOCKS:
        raise BadCheckpoint(
            f"its architecture is {quoted(architecture)}; supported are {', '.join(BLOCKS)}"
        )
    regional = any(meta.get(name) not in (None, False) for name in ("regional", "local_whitening"))
    if meta["pooling"] != "gem" or regional:
        raise BadCheckpoint(
            "only global GeM pooling with one exponent is supported (no gemmp, regional or local "
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
    """The whitenings in `meta["Lw"]`; of several data sets, those of the one with the longest name.

    Args:
        stored: {data set: {"ss" | "ms": {"m": (D, 1), "P": (D, D)}}}, or None.
        dim: D, components of the network's descriptors.

    Returns:
        Whitenings by "ss" and "ms".

    Raises:
        BadCheckpoint: the content is invalid; the message names it.
    """
    if stored is None:
        return {}
    found: dict[str, Whitening] = {}
    names = dictionary_of(stored, "its Lw")
    for dataset in sorted(names, key=len):  # retrieval-SfM-30k before retrieval-SfM-120k
        name = f"Lw of {dataset[:40]}"
        for mode, arrays in dictionary_of(names[dataset], name).items():
            arrays = dictionary_of(arrays, f"{name}, {mode[:10]}")
            mean = floats_of(arrays.get("m"), f"{name}, {mode[:10]}, m").reshape(-1)
            projection = floats_of(arrays.get("P"), f"{name}, {mode[:10]}, P")
            if mean.shape != (dim,) or projection.shape != (dim, dim):
                raise BadCheckpoint(
                    f"{name} has shapes {mean.shape} and {projection.shape}, and the network "
                    f"has {dim} dimensions"
                )
            found[mode] = Whitening(mean, projection)
    return found


def dictionary_of(value: Any, name: str) -> dict[str, Any]:
    """The value, if it is a dictionary with text keys. Raises BadCheckpoint with its name."""
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise BadCheckpoint(f"{name} is {kind_of(value)}, not a dictionary with names for keys")
    return value


def floats_of(value: Any, name: str) -> np.ndarray:
    """A stored array as float32. Raises BadCheckpoint if float16 cannot represent it."""
    if not isinstance(value, PlainArray) or value.values.dtype.kind != "f":
        raise BadCheckpoint(f"{name} is {kind_of(value)}, not an array of floats")
    if not (np.abs(value.values) <= np.finfo(np.float16).max).all():
        raise BadCheckpoint(f"{name} holds values that are not finite or too large for float16")
    return value.values.astype(np.float32)


def read_torchvision(stored: Any) -> tuple[State, Provenance]:
    """Read an ImageNet classifier: use its trunk with GeM."""
    state = as_state(stored)
    state = rename(
        {key: value for key, value in state.items() if not key.startswith("fc.")}, TORCHVISION_NAMES
    )
    state["pool.p"] = torch.tensor([GEM_INIT])
    return state, Provenance(
        longest_side=PUBLISHED_SIDE, training="ImageNet classification (torchvision)"
    )
