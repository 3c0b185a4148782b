"""Exported float model -> int8 model for CPUs: static quantisation with QDQ nodes, weights per
channel.

Ranges of activations come from real photos. Not every layer bears 8 bits equally: each residual
block is first quantised alone and its harm to the descriptors measured; then blocks are kept in
float, most harmful first, until the fully quantised rest is near enough. GeM, whitening and norms
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
from extractor.descriptor.untracked import ort

PRODUCTS = ("Conv", "Gemm", "MatMul")
OPERATORS = [*PRODUCTS, "Add", "Relu", "Clip", "MaxPool"]
PARTS = 16  # of a network whose blocks are not known by name
HEAD = ("head.", "learned.", "scales.", "pool", "whiten")  # begin the names of what the export adds
TARGET = 0.995  # median cosine with the float model on photos that were not calibrated on
CALIBRATION_PHOTOS = 32
TEST_PHOTOS = 8

Progress = Callable[[Iterable], Iterable]


@dataclass(frozen=True)
class Quantised:
    """An int8 model, and what it cost.

    Attributes:
        model: the file's bytes.
        harm: 1 - median cosine when only this block is quantised, by block, worst first.
        kept_float: blocks that were left alone.
        cosine: median over the test photos, of the finished model with the float one.
    """

    model: bytes
    harm: dict[str, float]
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
    """Which products of the network are quantised or left alone together.

    Of a ResNet of ours a block is a residual block or the stem, by the names of its weights
    ("features.5.2"). Another network's products are parted into PARTS, one after the other. The
    head (pooling, whitening, lengths) is in no block.

    Returns:
        Block -> names of its nodes, in their order.
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
    """Whether a node belongs to what stands behind the network: pooling, whitening, lengths."""
    return any(name.startswith(HEAD) for name in (node.name, *node.input))


def fold(path: Path, folder: Path) -> Path:
    """The model with casts and BatchNorms folded into the convolutions, for quantisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    )  # nothing that is tied to this machine
    options.optimized_model_filepath = str(folder / "folded.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return folder / "folded.onnx"


def measure_ranges(folded: Path, batches: list[np.ndarray], folder: Path) -> TensorsData:
    """Smallest and largest value of every activation over the photos."""
    augmented = str(folder / "augmented.onnx")
    calibrator = create_calibrator(folded, OPERATORS, augmented, CalibrationMethod.MinMax)
    calibrator.collect_data(Inputs(batches))
    return calibrator.compute_data()


def quantise(folded: Path, ranges: TensorsData, blocks: set[str]) -> onnx.ModelProto:
    """The model with the products of `blocks`, and what lies between them, in int8."""
    model = onnx.load(str(folded))
    constants = {tensor.name for tensor in model.graph.initializer}
    chosen = {
        name for block, names in blocks_of(model).items() if block in blocks for name in names
    }
    if not chosen:
        return model
    keep = [n.name for n in model.graph.node if n.op_type in PRODUCTS and n.name not in chosen]
    # The additions of the norms, "+ epsilon": 8 bits would make the length of every descriptor
    # wrong.
    keep += [n.name for n in model.graph.node if n.op_type == "Add" and constants & set(n.input)]
    # A clip behind a product is its activation; any other one is GeM's clamp.
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    clips = [n for n in model.graph.node if n.op_type == "Clip"]
    keep += [n.name for n in clips if made.get(n.input[0]) not in PRODUCTS]
    keep += [n.name for n in model.graph.node if is_head(n)]
    alone = len(blocks) == 1  # one block's harm is that of its products
    operators = list(PRODUCTS) if alone else OPERATORS
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
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["descriptor"], {"image": batch})[0] for batch in batches])


def quantise_int8(path: Path, photos: list[Path], progress: Progress = iter) -> Quantised:
    """An int8 model of an exported one.

    Args:
        path: of the exported model.
        photos: at least CALIBRATION_PHOTOS + TEST_PHOTOS. The first ones test, the others
            calibrate.
        progress: wraps the list of blocks.

    Raises:
        BadModel: the file is of another kind.
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
        harm = {block: 1 - cosine(quantise(folded, ranges, {block})) for block in progress(blocks)}
        harm = dict(sorted(harm.items(), key=lambda item: -item[1]))
        kept: list[str] = []
        while True:
            model = quantise(folded, ranges, set(blocks) - set(kept))
            found = cosine(model)
            if found >= TARGET or len(kept) == len(blocks):
                break
            kept = list(harm)[: max(1, 2 * len(kept))]
    original = {
        p.key: p.value for p in onnx.load(str(path)).metadata_props if not p.key.startswith("seal.")
    }
    facts = {"precision": "int8", "source": extractor.model_sha256}
    helper.set_model_props(
        model, original | {METADATA_PREFIX + key: json.dumps(value) for key, value in facts.items()}
    )
    return Quantised(seal(model.SerializeToString()), harm, kept, found)
