"""Load a descriptor network from a checkpoint of any supported kind, recognised by its content.

    ours         safetensors, metadata in the header
    ours, parts  the same in parts, see `weight_parts`; the folder or its weights.json
    ours, ONNX   a file written by `python -m export`, its initialisers
    others       cirtorch, SOLAR and torchvision, see `foreign`

Each kind is renamed to the project's own layout, and then loaded key by key.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from evaluation.datasets.plain_pickle import NAMES

from ..depth import with_depth
from ..network import GeMResNet
from ..provenance import IMAGENET_MEAN, IMAGENET_STD, PUBLISHED_SIDE, Provenance, three_numbers
from ..training.packs.parts import BadParts
from .foreign import read_cirtorch, read_torchvision
from .published import PUBLISHED
from .state import BadCheckpoint, State, architecture_of, build_network, kind_of, quoted
from .weight_parts import join_weights, manifest_at

WHITEN = "whiten.weight"
LEARNED = "learned.whitening."  # prefix that `export` gives to a whitening learned afterwards
SMALLEST_SIDE = 32  # pixels; the trunk halves a photo five times
DIGESTS = {
    file: net.sha256
    for name, net in PUBLISHED.items()
    for file in (Path(net.url).name, f"{name}.pth")
    if net.sha256
}
"""Published file name, original or as stored here -> first digits of its SHA-256."""


def load_checkpoint(path: str | Path) -> tuple[GeMResNet, Provenance]:
    """Network (eval mode, float32) and provenance of a checkpoint of any of the kinds above.

    Raises FileNotFoundError, or BadCheckpoint if the file is damaged or not a checkpoint.
    """
    path = Path(path)
    try:
        if manifest := manifest_at(path):
            state, provenance = read_parts(manifest)
            return build_network(state), provenance
        if not path.is_file():
            raise FileNotFoundError(f"no checkpoint at {path}")
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
    check_published(path)
    content = read_torch(path)
    if not isinstance(content, dict):
        raise BadCheckpoint(f"it holds {kind_of(content)}, not a checkpoint")
    if "meta" in content and "state_dict" in content:
        return read_cirtorch(content["state_dict"], content["meta"])
    if "conv1.weight" in content and "layer1.0.conv1.weight" in content:
        return read_torchvision(content)
    raise BadCheckpoint(
        "it is of no known kind; its first keys are "
        + ", ".join(quoted(key) for key in list(content)[:3])
    )


def read_torch(path: Path) -> Any:
    """The value in a file of `torch.save`: tensors and plain values. Raises BadCheckpoint.

    numpy's classes are replaced by those of `plain_pickle`, because torch would pass them unchecked
    state from the file. torch does not verify the archive's checksums either.
    """
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        with torch.serialization.safe_globals([(value, name) for name, value in NAMES.items()]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except BadCheckpoint:
        raise
    except Exception as error:  # a damaged file can raise any exception in torch
        if name := re.search(r"GLOBAL ([\w.]{1,100})", str(error)):
            reason = f"it asks for {name[1]}, and only tensors and plain values are read"
        else:
            reason = "it is damaged, or holds more than tensors and plain values"
        raise BadCheckpoint(reason) from error


def check_archive(path: Path) -> None:
    """Raise BadCheckpoint unless a zip archive is as torch writes it, with valid checksums."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise BadCheckpoint("it is damaged (its entries are compressed, as torch's never are)")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise BadCheckpoint("it is damaged (its entries overlap)")
        if damaged := archive.testzip():
            raise BadCheckpoint(f"it is damaged (the checksum of {damaged[:60]} does not fit)")


def check_published(path: Path) -> None:
    """Raise BadCheckpoint if a file has a published file's name but not its content.

    Most published files have torch's legacy layout, which has no checksums.
    """
    if path.name not in DIGESTS:
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(DIGESTS[path.name]):
        raise BadCheckpoint(
            f"it is damaged or not the published file of that name: its SHA-256 is {found[:12]}…, "
            f"not {DIGESTS[path.name]}…"
        )


def read_own(path: Path) -> tuple[State, Provenance]:
    """Read the project's safetensors format. Raises BadCheckpoint."""
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


def read_parts(manifest: Path) -> tuple[State, Provenance]:
    """Read the project's safetensors in parts. Raises BadCheckpoint with a damaged part's name."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "weights.safetensors"
        try:
            join_weights(manifest, whole)
        except BadParts as error:
            raise BadCheckpoint(str(error)) from error
        return read_own(whole)


def read_onnx(path: Path) -> tuple[State, Provenance]:
    """Read a file written by `python -m export`, to continue training.

    Blocks that the export dropped because they were the identity are restored.
    """
    import onnx  # imported here, as loading other kinds does not need it
    from onnx import numpy_helper

    from extractor import BadModel, is_sealed, read_card

    if not is_sealed(path.read_bytes()):
        raise BadCheckpoint("it is damaged, or not a descriptor model made by `python -m export`")
    try:
        model = onnx.load(str(path), load_external_data=False)
        card = read_card({p.key: p.value for p in model.metadata_props}, path.name)
        with torch.device("meta"):  # only the names are needed
            expected = set(GeMResNet(card.architecture, card.output_dim, True).state_dict())
        tensors = {
            t.name: numpy_helper.to_array(t).copy()
            for t in model.graph.initializer
            if t.name in expected or t.name.startswith(LEARNED)
        }
        state = {name: torch.from_numpy(v) for name, v in tensors.items() if name in expected}
        if WHITEN not in state and LEARNED + "weight" in tensors and card.scales == (1.0,):
            state |= whiten_layer(tensors[LEARNED + "mean"], tensors[LEARNED + "weight"])
    except BadModel as error:
        raise BadCheckpoint(str(error)) from error
    except Exception as error:  # protobuf's errors, and any others from a hostile graph
        raise BadCheckpoint("it is damaged or no ONNX model") from error
    if architecture_of(set(state)) != card.architecture:
        state = with_depth(build_network(state), card.architecture).state_dict()
    return state, Provenance(card.longest_side, card.mean, card.std, card.training, card.licence)


def whiten_layer(mean: np.ndarray, projection: np.ndarray) -> State:
    """Convert a learned whitening, x -> (x - mean) turned, to the network's own linear layer.

    With a single scale both are at the same place, between two normalisations. So training
    continues with the network including its whitening.

    Args:
        mean: (D,).
        projection: (D, d), float16 or float32.
    """
    weight = projection.astype(np.float32).T
    return {
        WHITEN: torch.from_numpy(weight.copy()),
        "whiten.bias": torch.from_numpy(-(weight @ mean)),
    }
