"""Building blocks of ONNX graphs, for what comes before and after a network of any kind.

Everything that shapes a descriptor is inside the file: scales, GeM pooling, a learned whitening,
normalisation. Any engine can run the file with nothing but the photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model.whitening import EPS, Whitening

GEM_EPS = 1e-6  # activations are clamped here, as in `model.network.GeM`
OLDEST_OPSET = 13  # required by Unsqueeze, Resize and Clip as used here
AXES_ARE_INPUTS = 18  # from this operator set, reductions take their axes as an input
INPUT, OUTPUT = "image", "descriptor"


class Parts:
    """Nodes and constants to add to a model's graph, under descriptive names.

    Args:
        model: model, changed in place.
        prefix: prefix of all new names, so that they cannot collide with existing ones.
    """

    def __init__(self, model: onnx.ModelProto, prefix: str):
        self.graph = model.graph
        self.opset = opset_of(model)
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initialiser; returns its name."""
        name = f"{self.prefix}.{name}"
        self.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output; returns the output's name."""
        name = f"{self.prefix}.{name}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def reduce(self, operator: str, x: str, axis: int, name: str, keepdims: bool) -> str:
        """A reduction over one axis, in the form of the operator set."""
        if self.opset >= AXES_ARE_INPUTS:
            axes = self.constant(f"{name}.axes", np.array([axis], np.int64))
            return self.node(operator, [x, axes], name, keepdims=int(keepdims))
        return self.node(operator, [x], name, axes=[axis], keepdims=int(keepdims))

    def unit(self, x: str, name: str) -> str:
        """Rows (B, D) divided by their length plus EPS."""
        length = self.reduce("ReduceL2", x, 1, f"{name}.length", keepdims=True)
        epsilon = self.constant(f"{name}.epsilon", np.float32([EPS]))
        return self.node("Div", [x, self.node("Add", [length, epsilon], f"{name}.divisor")], name)

    def power(self, x: str, exponent: float, name: str) -> str:
        """x ** exponent; adds nothing for an exponent of 1."""
        if exponent == 1:
            return x
        return self.node(
            "Pow", [x, self.constant(f"{name}.exponent", np.float32([exponent]))], name
        )

    def gem(self, x: str, p: float) -> str:
        """GeM over the last axis: (B, C, N) -> (B, C).

        With p = 1 it is the plain mean, negative values included.
        """
        if p != 1:
            x = self.node(
                "Clip", [x, self.constant("gem.epsilon", np.float32(GEM_EPS))], "gem.clamp"
            )
        mean = self.reduce(
            "ReduceMean", self.power(x, p, "gem.power"), 2, "gem.mean", keepdims=False
        )
        return self.power(mean, 1 / p, "gem")

    def whiten(self, x: str, whitening: Whitening) -> str:
        """P (x - m) for rows (B, D), normalised: (B, d)."""
        if whitening.mean.any():
            mean = self.constant("whitening.mean", whitening.mean.astype(np.float32))
            x = self.node("Sub", [x, mean], "whitening.centred")
        projection = np.ascontiguousarray(whitening.projection.T, np.float32)
        rotated = self.node(
            "MatMul", [x, self.constant("whitening.weight", projection)], "whitening.turned"
        )
        return self.unit(rotated, "whitening")

    def resize(self, x: str, scale: float, name: str) -> str:
        """Bilinear resampling of (B, C, H, W) to (floor(H scale), floor(W scale)), no smoothing.

        Same as torch's interpolate(scale_factor=scale, align_corners=False), with which the
        published networks were used.
        """
        scales = self.constant(f"{name}.scales", np.float32([1, 1, scale, scale]))
        return self.node("Resize", [x, "", scales], name, mode="linear")

    def finish(self, output: str) -> None:
        """Append the nodes to the graph, with `output` as its only output.

        The output is then called OUTPUT, (batch, D).
        """
        self.graph.node.extend(self.nodes)
        self.graph.node.append(helper.make_node("Identity", [output], [OUTPUT], name=OUTPUT))
        del self.graph.output[:]
        self.graph.output.append(
            helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", None])
        )


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard ONNX operators that the model uses; 0 if undeclared."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)


def with_scales(model: onnx.ModelProto, scales: Sequence[float], msp: float) -> onnx.ModelProto:
    """A model that describes the photo at several scales and combines the descriptors into one.

    The result is the mean of v ** msp over the scales, to the power of 1 / msp, normalised. The
    graph contains the network once per scale, and its parameters once.

    Args:
        model: `image` (batch, 3, height, width) to `descriptor` (batch, D).
        scales: factors of the photo's size.
        msp: the network's GeM exponent if its descriptors cannot be negative, else 1.
    """
    if tuple(scales) == (1.0,):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    parameters = {tensor.name for tensor in result.graph.initializer}
    described = []
    parts = Parts(result, "scales")
    for number, scale in enumerate(scales):
        image = INPUT if scale == 1 else parts.resize(INPUT, scale, f"resize{number}")

        def renamed(name: str, number: int = number, image: str = image) -> str:
            if name == INPUT:
                return image
            return name if not name or name in parameters else f"{name}@{number}"

        for node in model.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = f"{node.name}@{number}"
            copy.input[:] = [renamed(name) for name in node.input]
            copy.output[:] = [renamed(name) for name in node.output]
            parts.nodes.append(copy)
        row = parts.power(renamed(OUTPUT), msp, f"power{number}")
        axes = parts.constant(f"rows{number}.axes", np.array([1], np.int64))
        described.append(parts.node("Unsqueeze", [row, axes], f"rows{number}"))
    stacked = parts.node("Concat", described, "stacked", axis=1)  # (B, S, D)
    mean = parts.reduce("ReduceMean", stacked, 1, "mean", keepdims=False)
    parts.finish(parts.unit(parts.power(mean, 1 / msp, "aggregate"), "unit"))
    return result


def with_whitening(model: onnx.ModelProto, whitening: Whitening | None) -> onnx.ModelProto:
    """The model followed by a learned whitening; the model itself for None."""
    if whitening is None:
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        if OUTPUT in node.output:
            node.name = "unwhitened"
            node.output[:] = ["unwhitened" if name == OUTPUT else name for name in node.output]
    parts = Parts(result, "learned")
    parts.finish(parts.whiten("unwhitened", whitening))
    return result


def store_as_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store matrices and filters in half precision, cast back before use; changes the model.

    They keep their names. Vectors (biases, statistics, exponents) are small and stay float32,
    except those that the project's networks have always stored in half precision (`.weight`,
    `.bias`). Engines fold the casts away when they load the file.

    Raises:
        ValueError: a parameter exceeds the range of float16.
    """
    graph, casts, renamed = model.graph, [], {}
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        half_named = tensor.name.endswith((".weight", ".bias"))
        if value.dtype != np.float32 or not (value.ndim >= 2 or half_named):
            continue
        name = tensor.name
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(
                f"{name} does not fit into float16 (largest value {np.abs(value).max():.3g})"
            )
        tensor.CopyFrom(numpy_helper.from_array(half, name))
        renamed[name] = f"{name}.float32"
        casts.append(
            helper.make_node(
                "Cast", [name], [renamed[name]], name=f"{name}.cast", to=TensorProto.FLOAT
            )
        )
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    nodes = casts + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model
