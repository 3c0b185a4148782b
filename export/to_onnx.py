"""Network -> one self-contained ONNX file: free batch, height and width, parameters under their own names as float16.

Half-precision storage halves the file; a Cast after each initialiser restores float32 before anything is computed, and
onnxruntime folds the Casts (and the BatchNorms) away when it loads the model.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import ir, optimizer

from extractor import seal
from extractor.extractor import METADATA_PREFIX, METADATA_SCHEMA, WHITENING_KEY
from model import GeMResNet, Provenance

from .recipe import Recipe

OPSET = 20


def trace(network: GeMResNet) -> onnx.ModelProto:
    """Float32 graph of the network, input `image` (batch, 3, height, width), output `descriptor` (batch, D)."""
    free = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, 96, 128),),
            input_names=["image"],
            output_names=["descriptor"],
            dynamic_shapes={"x": {0: free, 2: free, 3: free}},
            opset_version=OPSET,
            dynamo=True,
            optimize=False,  # the default would melt BatchNorm into the convolutions and lose the parameters
            verbose=False,
        )
    graph = program.model
    optimizer.fold_constants(graph, onnx_shape_inference=False)
    optimizer.remove_unused_nodes(graph)
    return drop_zero_biases(strip_traces(ir.to_proto(graph)))


def strip_traces(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Drop what the exporter notes about the Python source (file paths of this machine), name the free axes."""
    parts = [proto, proto.graph, *proto.graph.node, *proto.graph.initializer]
    parts += [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]
    for part in parts:
        del part.metadata_props[:]
        part.doc_string = ""
    del proto.graph.value_info[:]
    proto.graph.name = "gem-resnet"
    for value, axes in (
        (proto.graph.input[0], ("batch", None, "height", "width")),
        (proto.graph.output[0], ("batch",)),
    ):
        for dim, name in zip(value.type.tensor_type.shape.dim, axes):
            if name:
                dim.dim_param = name
    return proto


def drop_zero_biases(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The exporter gives each bias-free convolution a bias of zeros; without them the initialisers are the network's."""
    zeros = {t.name for t in proto.graph.initializer if not numpy_helper.to_array(t).any()}
    dropped = set()
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in zeros:
            dropped.add(node.input.pop())
    kept = [tensor for tensor in proto.graph.initializer if tensor.name not in dropped]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    return proto


def store_as_float16(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Store the parameters in half precision under their own names, cast back before use.

    BatchNorm statistics and p stay float32: they are small, and variances can leave float16's range.
    Raises ValueError if a parameter does not fit into float16.
    """
    graph, casts, renamed = proto.graph, [], {}
    for tensor in graph.initializer:
        name = tensor.name
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or not name.endswith((".weight", ".bias")):
            continue
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
    return proto


def describe_model(
    proto: onnx.ModelProto, network: GeMResNet, provenance: Provenance, recipe: Recipe
) -> onnx.ModelProto:
    """Write into the file all that a reader needs to use it rightly (strings, numbers and lists as JSON)."""
    p = float(network.pool.p.detach())
    powered = (
        len(recipe.scales) > 1 and network.whiten is None
    )  # whitened values can be negative: no power of them
    facts = {
        "schema": METADATA_SCHEMA,
        "architecture": network.architecture,
        "pooling": "gem",
        "p": p,
        "whitening": network.whiten is not None,
        "output_dim": network.output_dim
        if recipe.whitening is None
        else len(recipe.whitening.projection),
        "longest_side": recipe.longest_side,
        "mean": provenance.mean,
        "std": provenance.std,
        "training": provenance.training,
        "licence": provenance.licence,
    }
    if network.soa4 is not None:
        facts["attention"] = True
    if len(recipe.scales) > 1:
        facts |= {"scales": recipe.scales, "msp": p if powered else 1.0}
    props = {METADATA_PREFIX + key: json.dumps(value) for key, value in facts.items()}
    if recipe.whitening is not None:
        buffer = io.BytesIO()
        half = recipe.whitening.projection.astype(np.float16)
        np.savez(buffer, mean=recipe.whitening.mean, projection=half)
        props[WHITENING_KEY] = base64.b64encode(buffer.getvalue()).decode()
    helper.set_model_props(proto, props)
    return proto


def to_onnx(network: GeMResNet, provenance: Provenance, recipe: Recipe) -> onnx.ModelProto:
    """The whole export: a structurally checked, self-describing model (onnx.checker, shapes inferred throughout)."""
    proto = describe_model(store_as_float16(trace(network)), network, provenance, recipe)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def export_onnx(
    network: GeMResNet,
    provenance: Provenance,
    recipe: Recipe,
    out: str | Path,
    accept: Callable[[Path], None],
) -> None:
    """Write the network to `out`, but only once `accept(path)` has looked at the finished file without raising."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    try:
        partial.write_bytes(seal(to_onnx(network, provenance, recipe).SerializeToString()))
        accept(partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
