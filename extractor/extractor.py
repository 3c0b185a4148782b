"""RGB photo -> unit descriptor, with onnxruntime. The model file says itself how photos must be prepared."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort

from .decode import WORKING_SIDE, resize

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "model" / "weights" / "gem-resnet101.onnx"
METADATA_PREFIX = "gem."
METADATA_SCHEMA = 1
PREPROCESSING = f"exif, draft and lanczos to {WORKING_SIDE}, lanczos to longest side, mean/std"


class BadModel(Exception):
    """The file is no descriptor model of this project, or a damaged one; the message is one sentence."""


@dataclass(frozen=True)
class ModelCard:
    """What the model file says of itself (its `gem.*` metadata)."""

    architecture: str
    output_dim: int
    longest_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    p: float
    training: str
    licence: str


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_card(metadata: dict[str, str], name: str) -> ModelCard:
    """ModelCard from an ONNX file's metadata. Raises BadModel when the file is not one of ours."""
    try:
        facts = {
            k.removeprefix(METADATA_PREFIX): json.loads(v) for k, v in metadata.items() if k.startswith(METADATA_PREFIX)
        }
        if facts["schema"] != METADATA_SCHEMA:
            raise BadModel(f"{name} has metadata of schema {facts['schema']}; this version reads {METADATA_SCHEMA}.")
        return ModelCard(
            architecture=facts["architecture"],
            output_dim=int(facts["output_dim"]),
            longest_side=int(facts["longest_side"]),
            mean=tuple(facts["mean"]),
            std=tuple(facts["std"]),
            p=float(facts["p"]),
            training=facts["training"],
            licence=facts["licence"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadModel(f"{name} is an ONNX model, but not a descriptor model made by `python -m export`.") from error


class Extractor:
    """Runs one descriptor model. Thread-safe; holds the weights once.

    model: path of an ONNX file written by `python -m export`.
    threads: cores one call may use (default: all this process may run on).
    Raises FileNotFoundError, BadModel.
    """

    def __init__(self, model: str | Path = DEFAULT_MODEL, threads: int | None = None):
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"There is no descriptor model at {path}.")
        data = path.read_bytes()
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or available_cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            # From bytes: a model that points to other files for its weights cannot be followed and is refused.
            self._session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises a family of its own, without a public base class
            raise BadModel(f"{path.name} is damaged or not an ONNX model.") from error
        self.card = read_card(self._session.get_modelmeta().custom_metadata_map, path.name)
        self.model_sha256 = hashlib.sha256(data).hexdigest()
        self._mean = np.float32(self.card.mean)
        self._std = np.float32(self.card.std)
        self._check()

    def _check(self) -> None:
        grey = np.full((64, 64, 3), 128, np.uint8)
        shape = self.describe([grey]).shape
        if shape != (1, self.card.output_dim):
            raise BadModel(f"The model gives {shape[-1]} numbers a photo, its metadata says {self.card.output_dim}.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the model file and the preparation of photos: equal fingerprints give equal descriptors."""
        facts = [self.model_sha256, self.card.longest_side, self.card.mean, self.card.std, PREPROCESSING]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def normalise(self, photo: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> float32 (3, H, W) with the mean and deviation the model was trained with."""
        return ((photo.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)

    def describe(self, photos: Sequence[np.ndarray]) -> np.ndarray:
        """Unit descriptors float32 (N, D) of decoded photos, uint8 RGB (H, W, 3). Photos of equal shape run as one batch."""
        out = np.empty((len(photos), self.card.output_dim), np.float32)
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        inputs = [self.normalise(resize(photo, self.card.longest_side)) for photo in photos]
        for i, tensor in enumerate(inputs):
            by_shape[tensor.shape].append(i)
        for rows in by_shape.values():
            out[rows] = self.forward(np.stack([inputs[i] for i in rows]))
        return out

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """The bare model: normalised float32 (N, 3, h, w) -> unit descriptors float32 (N, D)."""
        return self._session.run(["descriptor"], {"image": batch})[0]
