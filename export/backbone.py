"""Convert any ONNX image network to a descriptor model.

The graph is cut at a tensor: a feature map (B, C, h, w), tokens (B, T, C), or a vector that is
already pooled, (B, C) or (B, C, 1, 1). GeM pooling, a whitening and normalisation are appended, and
whatever the network needs to accept photos of any size is prepended. `Backbone` holds what was
determined by running the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from extractor import available_cores
from extractor.descriptor.untracked import ort
from model import Whitening

from .cut import BadBackbone, cut_at, free_sizes, photo_input, to_multiples
from .onnx_graph import INPUT, OLDEST_OPSET, Parts, opset_of, store_as_float16
from .to_onnx import with_facts

MULTIPLES = (1, 14, 16, 28, 32)  # multiples that networks require for sides, tried in this order
MAX_FILE_BYTES = 2 * 2**30  # limit of a protobuf message
MAP, TOKENS, VECTOR = "map", "tokens", "vector"


@dataclass(frozen=True)
class Backbone:
    """An ONNX network, and the tensor whose values are pooled.

    Attributes:
        original: the model as read.
        model: cut at the tensor, with an input called `image` whose size is as free as the network
            allows.
        tensor: name of the tensor.
        kind: "map", "tokens" or "vector".
        channels: C of the tensor.
        mean, std: normalisation of the network's photos, for RGB in 0 to 1.
        input: name of the photo input in the original.
        size: (height, width) that the network requires; None for any size.
        multiple: number of pixels of which sides must be multiples.
        channels_last: whether the original takes (B, H, W, 3).
        max_batch: maximum photos per run; None for no limit.
        name: name of the file.
    """

    original: onnx.ModelProto
    model: onnx.ModelProto
    tensor: str
    kind: str
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input: str
    size: tuple[int, int] | None
    multiple: int
    channels_last: bool
    max_batch: int | None
    name: str


def read_backbone(
    path: Path, tensor: str, mean: Sequence[float], std: Sequence[float], longest_side: int
) -> Backbone:
    """Read an ONNX file, cut it at a tensor, and determine by running it which photos it takes.

    Args:
        path: a self-contained ONNX file with one image input, (B, 3, H, W) or (B, H, W, 3).
        tensor: name of the tensor to pool, an output or any other.
        mean, std: normalisation of the network's photos, one or three numbers each, for RGB in 0 to
            1, or in 0 to 255 if any of them is above 1.
        longest_side: size in pixels to which photos will be shrunk.

    Raises:
        BadBackbone: the file is damaged, has no such tensor, or does not run on photos.
        FileNotFoundError: the file does not exist.
    """
    original = read_model(path)
    mean, std = colours(mean, std)
    cut = cut_at(original, tensor)
    name, size, channels_last = photo_input(cut)
    free_sizes(cut, name, size, channels_last)
    multiple = next((m for m in MULTIPLES if runs(to_multiples(cut, m), longest_side)), None)
    if multiple is None:
        raise BadBackbone(f"{path.name} does not run on photos of {longest_side} pixels")
    model = to_multiples(cut, multiple)
    output = run(model, examples(longest_side)[:1])
    kind, channels = kind_of(output, tensor)
    return Backbone(
        original,
        model,
        tensor,
        kind,
        channels,
        mean,
        std,
        name,
        size,
        multiple,
        channels_last,
        None if takes_batches(model, output, longest_side) else 1,
        path.stem,
    )


def read_model(path: Path) -> onnx.ModelProto:
    """The ONNX model in a file. Raises BadBackbone, FileNotFoundError."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no ONNX file at {path}.")
    if path.stat().st_size >= MAX_FILE_BYTES:
        raise BadBackbone(f"{path.name} has 2 GB or more, which one ONNX file cannot hold")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf raises its own DecodeError
        raise BadBackbone(f"{path.name} is damaged or no ONNX model") from error
    if any(t.data_location == TensorProto.EXTERNAL for t in model.graph.initializer):
        raise BadBackbone(f"{path.name} keeps its weights in other files; save it as one file")
    if opset_of(model) < OLDEST_OPSET:
        raise BadBackbone(
            f"{path.name} was written for operator set {opset_of(model)}, "
            f"and {OLDEST_OPSET} is the oldest that is read"
        )
    return model


def colours(
    mean: Sequence[float], std: Sequence[float]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation as three numbers each, for RGB in 0 to 1. Raises BadBackbone."""
    scale = 255 if max(*mean, *std) > 1 else 1
    values = []
    for name, given in (("mean", mean), ("std", std)):
        if len(given) not in (1, 3) or not np.isfinite(given).all():
            raise BadBackbone(f"--{name} wants one number or three")
        values.append(tuple(float(v) / scale for v in (given if len(given) == 3 else [*given] * 3)))
    if min(values[1]) <= 0:
        raise BadBackbone("--std must be above 0")
    return values[0], values[1]


def examples(longest_side: int) -> np.ndarray:
    """Two synthetic photos, normalised float32 (2, 3, h, w); their sides are not round numbers."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(2, 3, longest_side * 3 // 4 + 1, longest_side - 1)).astype(np.float32)


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """A quiet onnxruntime session on all cores."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores()
    options.log_severity_level = 4
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run(model: onnx.ModelProto, batch: np.ndarray) -> np.ndarray:
    """The output of a cut model for normalised photos (B, 3, H, W)."""
    return session(model).run(None, {INPUT: batch})[0]


def runs(model: onnx.ModelProto, longest_side: int) -> bool:
    """Whether a cut model runs on single photos, landscape and portrait."""
    try:
        here = session(model)
        for photo in (examples(longest_side)[:1], examples(longest_side)[:1].swapaxes(2, 3)):
            here.run(None, {INPUT: np.ascontiguousarray(photo)})
    except Exception:  # onnxruntime's exceptions share no public base class
        return False
    return True


def takes_batches(model: onnx.ModelProto, output: np.ndarray, longest_side: int) -> bool:
    """Whether a batch of two gives the same outputs as single photos.

    Args:
        model: the network.
        output: output for the first of `examples`, as a batch of one.
        longest_side: see `examples`.
    """
    try:
        both = run(model, examples(longest_side))
    except Exception:  # onnxruntime's exceptions share no base class; single photos still work
        return False
    return len(both) == 2 and np.allclose(both[:1], output, rtol=1e-2, atol=1e-3)


def kind_of(value: np.ndarray, tensor: str) -> tuple[str, int]:
    """Kind and channels of a tensor, from its value for one photo. Raises BadBackbone."""
    if not np.issubdtype(value.dtype, np.floating):
        raise BadBackbone(f"{tensor!r} does not hold float numbers")
    if value.ndim == 4 and value.shape[2:] != (1, 1):
        return MAP, value.shape[1]
    if value.ndim == 4 or value.ndim == 2:
        return VECTOR, value.shape[1]
    if value.ndim == 3:
        return TOKENS, value.shape[2]
    raise BadBackbone(
        f"{tensor!r} is neither a map, nor tokens, nor a vector: its shape is {value.shape}"
    )


def to_descriptor(
    backbone: Backbone,
    longest_side: int,
    p: float | None,
    whitening: Whitening | None,
    facts: dict[str, object],
    half: bool = True,
) -> onnx.ModelProto:
    """Build the complete descriptor model.

    Args:
        backbone: output of `read_backbone`.
        longest_side: size in pixels to which photos are shrunk.
        p: GeM exponent; None for a vector, which is not pooled.
        whitening: whitening learned on unit pooled vectors, or None.
        facts: additional metadata.
        half: whether to store matrices and filters as float16.

    Raises:
        ValueError: a parameter exceeds the range of float16.
    """
    model = onnx.ModelProto()
    model.CopyFrom(backbone.model)
    parts = Parts(model, "head")
    x = model.graph.output[0].name
    if backbone.kind == VECTOR:
        pooled = parts.node("Flatten", [x], "vector")
    else:
        if backbone.kind == MAP:
            flat = parts.constant("positions", np.array([0, 0, -1], np.int64))
            x = parts.node("Reshape", [x, flat], "flat")
        else:
            x = parts.node("Transpose", [x], "flat", perm=[0, 2, 1])
        pooled = parts.gem(x, p)
    unit = parts.unit(pooled, "unit")
    parts.finish(unit if whitening is None else parts.whiten(unit, whitening))
    model.graph.name = "descriptor"
    if half:
        store_as_float16(model)
    dim = backbone.channels if whitening is None else len(whitening.projection)
    parameters = {
        "architecture": backbone.name,
        "pooling": "gem" if p is not None else "own",
        "p": p,
        "whitening": whitening is not None,
        "output_dim": dim,
        "longest_side": longest_side,
        "mean": backbone.mean,
        "std": backbone.std,
    }
    if backbone.max_batch is not None:
        parameters["max_batch"] = backbone.max_batch
    return with_facts(model, parameters | facts)
