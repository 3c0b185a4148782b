"""Export a GeM-ResNet to one self-contained ONNX file with free batch, height and width.

Parameters keep their names and are stored as float16. A Cast after each restores float32 before any
computation; onnxruntime folds the Casts (and the BatchNorms) away when it loads the model.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from onnx import helper, numpy_helper
from onnxscript import ir, optimizer

from extractor import seal
from extractor.descriptor.extractor import METADATA_PREFIX, METADATA_SCHEMA
from model import GeMResNet, Provenance
from model.depth import without_idle_blocks

from .onnx_graph import INPUT, OUTPUT, store_as_float16, with_scales, with_whitening
from .parity import ParityError
from .recipe import Recipe

OPSET = 20


def trace(network: GeMResNet) -> onnx.ModelProto:
    """The network as a graph in float32, without blocks that are the identity.

    Its input is `image` (batch, 3, height, width), its output `descriptor` (batch, D).
    """
    free = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            without_idle_blocks(network),
            (torch.zeros(2, 3, 96, 128),),
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"x": {0: free, 2: free, 3: free}},
            opset_version=OPSET,
            dynamo=True,
            # The default would fold BatchNorm into the convolutions and lose the parameters.
            optimize=False,
            verbose=False,
        )
    graph = program.model
    optimizer.fold_constants(graph, onnx_shape_inference=False)
    optimizer.remove_unused_nodes(graph)
    return drop_zero_biases(strip_traces(ir.to_proto(graph)))


def strip_traces(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's notes about the Python source, and name the free axes.

    The notes contain file paths of the exporting machine.
    """
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
    """Remove the zero biases that the exporter adds to bias-free convolutions.

    Then the initialisers are exactly the network's.
    """
    zeros = {t.name for t in proto.graph.initializer if not numpy_helper.to_array(t).any()}
    dropped = set()
    for node in proto.graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[2] in zeros:
            dropped.add(node.input.pop())
    remaining = [tensor for tensor in proto.graph.initializer if tensor.name not in dropped]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(remaining)
    return proto


def describe_model(
    model: onnx.ModelProto, network: GeMResNet, provenance: Provenance, recipe: Recipe
) -> onnx.ModelProto:
    """Add the metadata that readers need to use the file correctly."""
    facts = {
        "architecture": network.architecture,
        "pooling": "gem",
        "p": float(network.pool.p.detach()),
        "whitening": network.whiten is not None,
        "output_dim": recipe.output_dim(network),
        "longest_side": recipe.longest_side,
        "mean": provenance.mean,
        "std": provenance.std,
        "training": provenance.training,
        "licence": provenance.licence,
    }
    if network.soa4 is not None:
        facts["attention"] = True
    if len(recipe.scales) > 1:
        facts |= {"scales": recipe.scales, "msp": recipe.msp(network)}
    if recipe.whitening is not None:
        facts["learned_whitening"] = True
    return with_facts(model, facts)


def with_facts(model: onnx.ModelProto, facts: dict[str, object]) -> onnx.ModelProto:
    """Add strings, numbers and lists to the metadata, as JSON under METADATA_PREFIX."""
    facts = {"schema": METADATA_SCHEMA, **facts}
    helper.set_model_props(
        model, {METADATA_PREFIX + key: json.dumps(value) for key, value in facts.items()}
    )
    return model


def to_onnx(
    network: GeMResNet, provenance: Provenance, recipe: Recipe, half: bool = True
) -> onnx.ModelProto:
    """Complete export: a checked, self-describing model of everything after decoding and shrinking.

    Args:
        network: network in eval mode.
        provenance: provenance of its parameters.
        recipe: recipe, whose scales and whitening become part of the graph.
        half: whether to store the parameters as float16; computation is in float32 either way.

    Raises:
        ValueError: a parameter exceeds the range of float16.
    """
    model = with_scales(trace(network), recipe.scales, recipe.msp(network))
    model = with_whitening(model, recipe.whitening)
    model = describe_model(store_as_float16(model) if half else model, network, provenance, recipe)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(
    build: Callable[[bool], onnx.ModelProto], out: str | Path, accept: Callable[[Path], None]
) -> bool:
    """Write a model to `out` after it has passed a comparison with its original.

    Half precision halves the file. If that costs more accuracy than the comparison allows, the
    parameters are stored as float32.

    Args:
        build: function that builds the model; its argument is whether to store the parameters as
            float16.
        out: target path, replaced atomically once the finished file is accepted.
        accept: function that checks the finished file, and raises ParityError if it fails.

    Returns:
        Whether the parameters are stored as float16.

    Raises:
        ParityError: the file does not reproduce the original's descriptors in float32 either.

    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    try:
        for half in (True, False):
            try:
                partial.write_bytes(seal(build(half).SerializeToString()))
                accept(partial)
            except (ParityError, ValueError):
                if half:
                    continue
                raise
            partial.replace(out)
            return half
    finally:
        partial.unlink(missing_ok=True)
    return False
