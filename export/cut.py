"""Cut an ONNX graph at a tensor, and make it accept photos of any size."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from .onnx_graph import INPUT, OUTPUT, Parts

PHOTO_DIMS = 4


class BadBackbone(Exception):
    """The ONNX file cannot become a descriptor model. The message is one sentence."""


def cut_at(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The part of a graph that computes a tensor, as its only output. Raises BadBackbone."""
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    if tensor not in producers:
        outputs = ", ".join(output.name for output in graph.output)
        raise BadBackbone(f"it has no tensor {tensor!r}; its outputs are {outputs}")
    needed, waiting, used = set(), [tensor], set()
    while waiting:
        name = waiting.pop()
        used.add(name)
        node = producers.get(name)
        if node is None or id(node) in needed:
            continue
        needed.add(id(node))
        waiting += [x for x in (*node.input, *captured(node)) if x and x not in used]
    constants = {t.name for t in graph.initializer} | {
        t.values.name for t in graph.sparse_initializer
    }
    inputs = [x for x in graph.input if x.name not in constants and x.name in used]
    if len(inputs) != 1:
        raise BadBackbone(f"{tensor!r} must need one input, a photo, not {len(inputs)}")
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for field in ("node", "initializer", "input", "output", "value_info"):
        del getattr(result.graph, field)[:]
    result.graph.node.extend(node for node in graph.node if id(node) in needed)
    result.graph.initializer.extend(t for t in graph.initializer if t.name in used)
    result.graph.input.append(inputs[0])
    result.graph.output.append(onnx.ValueInfoProto(name=tensor))
    del result.metadata_props[:]
    return result


def captured(node: onnx.NodeProto) -> list[str]:
    """Names that a node's subgraphs read from the surrounding graph."""
    names = []
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names += [*inner.input, *captured(inner)]
    return names


def photo_input(model: onnx.ModelProto) -> tuple[str, tuple[int, int] | None, bool]:
    """Inspect the single input of a cut graph.

    Returns:
        Its name, its fixed (height, width) or None, and whether the channels come last.

    Raises:
        BadBackbone: the input is not a batch of photos.
    """
    value = model.graph.input[0]
    dims = value.type.tensor_type.shape.dim
    if len(dims) != PHOTO_DIMS or value.type.tensor_type.elem_type != TensorProto.FLOAT:
        raise BadBackbone(f"its input {value.name!r} is not a batch of photos in float32")
    last = dims[3].dim_value == 3 and dims[1].dim_value != 3
    if not last and dims[1].HasField("dim_value") and dims[1].dim_value != 3:
        raise BadBackbone(f"its input {value.name!r} has {dims[1].dim_value} channels, not 3")
    height, width = (dims[1], dims[2]) if last else (dims[2], dims[3])
    fixed = height.dim_value > 0 and width.dim_value > 0
    return value.name, (height.dim_value, width.dim_value) if fixed else None, last


def free_sizes(
    model: onnx.ModelProto, name: str, size: tuple[int, int] | None, channels_last: bool
) -> None:
    """Make the input `image`, (batch, 3, height, width) of any size; changes the model in place.

    For a network with a fixed size, photos are stretched to it. Channels are moved last if the
    network needs that. The arguments are the results of `photo_input`.
    """
    parts = Parts(model, "photo")
    resized = INPUT if size is None else stretched(parts, INPUT, *size)
    if channels_last:
        resized = parts.node("Transpose", [resized], "channels_last", perm=[0, 2, 3, 1])
    rename(model, name, resized)
    nodes = [*parts.nodes, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", 3, "height", "width"])
    model.graph.input[0].CopyFrom(image)


def rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Make all nodes read one tensor in place of another; changes the model in place.

    Args:
        model: the model.
        old: name of the tensor that was read.
        new: name of the tensor to read. Existing tensors with this name are renamed.
    """
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new
                elif name in (INPUT, OUTPUT, new):
                    names[i] = f"backbone.{name}"
    for output in model.graph.output:
        if output.name in (INPUT, OUTPUT):
            output.name = f"backbone.{output.name}"


def stretched(parts: Parts, image: str, height: int, width: int) -> str:
    """The photo (B, 3, H, W) stretched to one size in pixels."""
    shape = parts.node("Shape", [image], "shape")
    ends = [
        parts.constant(f"leading.{x}", np.array([v], np.int64)) for x, v in (("from", 0), ("to", 2))
    ]
    leading_shape = parts.node("Slice", [shape, *ends], "leading")
    size = parts.constant("size", np.array([height, width], np.int64))
    sizes = parts.node("Concat", [leading_shape, size], "sizes", axis=0)
    return parts.node("Resize", [image, "", "", sizes], "stretched", mode="linear")


def to_multiples(model: onnx.ModelProto, multiple: int) -> onnx.ModelProto:
    """A model that shrinks photos to sides that are multiples of a number.

    Args:
        model: model that only accepts photos with such sides.
        multiple: the number, in pixels; each side is at least this long.
    """
    if multiple == 1:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    parts = Parts(result, "multiples")
    shape = parts.node("Shape", [INPUT], "shape")
    unit = parts.constant("of", np.array([1, 1, multiple, multiple], np.int64))
    counts = parts.node("Div", [shape, unit], "counts")
    floor = parts.node(
        "Max", [counts, parts.constant("least", np.array([1, 1, 1, 1], np.int64))], "floor"
    )
    sizes = parts.node("Mul", [floor, unit], "sizes")
    fitted = parts.node("Resize", [INPUT, "", "", sizes], "fitted", mode="linear")
    for node in result.graph.node:
        node.input[:] = [fitted if name == INPUT else name for name in node.input]
    nodes = [*parts.nodes, *result.graph.node]
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return result
