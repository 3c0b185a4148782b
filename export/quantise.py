"""Quantise an exported float model to int8 for CPUs: static, QDQ nodes, weights per channel.

Ranges of activations come from real photos. Not every layer tolerates 8 bits equally: each residual
block is first quantised alone to measure its sensitivity; then blocks are kept in float, the most
sensitive first, until the quantised rest is accurate enough. GeM, whitening and norms
always stay float.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from extractor import Extractor, read_photo, resize, seal
from extractor.descriptor.extractor import METADATA_PREFIX
from extractor.descriptor.untracked import ort, quiet_session

PRODUCTS = ("Conv", "Gemm", "MatMul")
OPERATORS = [*PRODUCTS, "Add", "Relu", "Clip", "MaxPool"]
PARTS = 16  # number of blocks for networks without block names
HEAD = ("head.", "learned.", "scales.", "pool", "whiten")  # prefixes of names that export adds
TARGET = 0.995  # median cosine with the float model on photos outside the calibration
CALIBRATION_PHOTOS = 32
TEST_PHOTOS = 8

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Quantised:
    """An int8 model, and its accuracy.

    Attributes:
        model: content of the file.
        sensitivity: block -> 1 - median cosine when only it is quantised, most sensitive first.
        kept_float: blocks kept in float.
        cosine: median cosine of the final model with the float one, over the test photos.
    """

    model: bytes
    sensitivity: dict[str, float]
    kept_float: list[str]
    cosine: float


class Inputs(CalibrationDataReader):
    """Normalised photos, one at a time."""

    def __init__(self, batches: list[np.ndarray]):
        self._batches = iter(batches)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"image": batch}


def blocks_of(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Groups of the network's products that are quantised or kept in float together.

    For our ResNets a block is a residual block or the stem, by the names of its weights
    ("features.5.2"). Another network's products are split into PARTS, in order. The head (pooling,
    whitening, normalisation) is in no block.

    Returns:
        Block -> names of its nodes, in order.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    products = [
        node
        for node in model.graph.node
        if node.op_type in PRODUCTS and constants & set(node.input) and not is_head(node)
    ]
    found: dict[str, list[str]] = {}
    for i, node in enumerate(products):
        named = re.search(r"features\.(\d+(?:\.\d+)?)\.", " ".join(node.input))
        block = f"features.{named[1]}" if named else f"part {i * PARTS // len(products) + 1}"
        found.setdefault(block, []).append(node.name)
    return found


def is_head(node: onnx.NodeProto) -> bool:
    """Whether a node belongs to the head: pooling, whitening, normalisation."""
    return any(name.startswith(HEAD) for name in (node.name, *node.input))


def fold(path: Path, folder: Path) -> Path:
    """Fold casts and BatchNorms into the convolutions, for quantisation."""
    options = ort.SessionOptions()
    # No optimisations specific to this machine.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folder / "folded.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return folder / "folded.onnx"


def measure_ranges(folded: Path, batches: list[np.ndarray], folder: Path) -> TensorsData:
    """Minimum and maximum of every activation over the photos."""
    augmented = str(folder / "augmented.onnx")
    calibrator = create_calibrator(folded, OPERATORS, augmented, CalibrationMethod.MinMax)
    calibrator.collect_data(Inputs(batches))
    return calibrator.compute_data()


def quantise(folded: Path, ranges: TensorsData, blocks: set[str]) -> onnx.ModelProto:
    """The model with the products of `blocks`, and the operators between them, in int8."""
    model = onnx.load(str(folded))
    constants = {tensor.name for tensor in model.graph.initializer}
    chosen = {
        name for block, names in blocks_of(model).items() if block in blocks for name in names
    }
    if not chosen:
        return model
    keep = [n.name for n in model.graph.node if n.op_type in PRODUCTS and n.name not in chosen]
    # The additions of the norms, "+ epsilon": with 8 bits every descriptor would have a wrong
    # length.
    keep += [n.name for n in model.graph.node if n.op_type == "Add" and constants & set(n.input)]
    # A clip after a product is its activation; any other is GeM's clamp.
    producers = {name: node.op_type for node in model.graph.node for name in node.output}
    clips = [n for n in model.graph.node if n.op_type == "Clip"]
    keep += [n.name for n in clips if producers.get(n.input[0]) not in PRODUCTS]
    keep += [n.name for n in model.graph.node if is_head(n)]
    is_single = len(blocks) == 1  # one block's sensitivity is that of its products
    operators = list(PRODUCTS) if is_single else OPERATORS
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=[],
        nodes_to_exclude=keep,
        op_types_to_quantize=operators,
        extra_options={},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def run_all(model: bytes, batches: list[np.ndarray]) -> np.ndarray:
    """Descriptors (N, D) of single photos."""
    session = quiet_session(model)
    return np.concatenate([session.run(["descriptor"], {"image": batch})[0] for batch in batches])


def quantise_int8(path: Path, photos: list[Path], progress: Progress = iter) -> Quantised:
    """Create an int8 model from an exported one.

    Args:
        path: path of the exported model.
        photos: at least CALIBRATION_PHOTOS + TEST_PHOTOS. The first ones are for testing, the
            others for calibration.
        progress: wraps the list of blocks.

    Raises:
        BadModel: the file is not an exported model.
        ValueError: there are too few photos.
    """
    if len(photos) < CALIBRATION_PHOTOS + TEST_PHOTOS:
        raise ValueError(
            f"int8 needs at least {CALIBRATION_PHOTOS + TEST_PHOTOS} photos, not {len(photos)}"
        )
    extractor = Extractor(path)
    side = extractor.card.longest_side
    batches = [extractor.normalise(resize(read_photo(photo), side))[None] for photo in photos]
    tests, calibration = batches[:TEST_PHOTOS], batches[TEST_PHOTOS:]
    expected = np.concatenate([extractor.describe_batch(batch) for batch in tests])

    def cosine(model: onnx.ModelProto) -> float:
        return float(np.median((run_all(model.SerializeToString(), tests) * expected).sum(1)))

    with tempfile.TemporaryDirectory() as name:
        folded = fold(path, Path(name))
        ranges = measure_ranges(folded, calibration, Path(name))
        blocks = list(blocks_of(onnx.load(str(folded))))
        sensitivity = {
            block: 1 - cosine(quantise(folded, ranges, {block})) for block in progress(blocks)
        }
        sensitivity = dict(sorted(sensitivity.items(), key=lambda item: -item[1]))
        float_blocks: list[str] = []
        while True:
            model = quantise(folded, ranges, set(blocks) - set(float_blocks))
            found = cosine(model)
            if found >= TARGET or len(float_blocks) == len(blocks):
                break
            float_blocks = list(sensitivity)[: max(1, 2 * len(float_blocks))]
    original = {
        p.key: p.value for p in onnx.load(str(path)).metadata_props if not p.key.startswith("seal.")
    }
    facts = {"precision": "int8", "source": extractor.model_sha256}
    helper.set_model_props(
        model, original | {METADATA_PREFIX + key: json.dumps(value) for key, value in facts.items()}
    )
    return Quantised(seal(model.SerializeToString()), sensitivity, float_blocks, found)
