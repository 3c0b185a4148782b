"""RGB photo -> unit descriptor, with onnxruntime. The model file says itself how photos must be prepared."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .decode import WORKING_SIDE
from .engines import start
from .multiscale import Region, aggregate, crop_region, rescale
from .sealing import is_sealed

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "model" / "weights" / "gem-resnet101.onnx"
METADATA_PREFIX = "gem."
METADATA_SCHEMA = 1
WHITENING_KEY = "whitening.npz"
WHITENING_EPS = 1e-6
PREPROCESSING = f"exif, draft and lanczos to {WORKING_SIDE}, lanczos to longest side, mean/std"


class BadModel(Exception):
    """The file is no descriptor model of this project, or a damaged one; the message is one sentence."""


@dataclass(frozen=True)
class ModelCard:
    """What the model file says of itself (its `gem.*` metadata).

    output_dim: D of its descriptors, after whitening. scales, msp: see `multiscale.aggregate`.
    precision: "float32" or "int8"; source: of an int8 model the SHA-256 of the float model's file.
    """

    architecture: str
    output_dim: int
    longest_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    p: float
    training: str
    licence: str
    scales: tuple[float, ...] = (1.0,)
    msp: float = 1.0
    precision: str = "float32"
    source: str = ""


def available_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_whitening(metadata: dict[str, str], name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Whitening learned after training, from the file's metadata: mean float32 (D,) and projection float32 (d, D), or None.

    Raises BadModel.
    """
    if WHITENING_KEY not in metadata:
        return None
    try:
        with np.load(
            io.BytesIO(base64.b64decode(metadata[WHITENING_KEY], validate=True)), allow_pickle=False
        ) as arrays:
            mean, projection = (
                arrays["mean"].astype(np.float32),
                arrays["projection"].astype(np.float32),
            )
        if projection.ndim != 2 or projection.shape[1:] != mean.shape:
            raise ValueError(f"shapes {mean.shape}, {projection.shape}")
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise BadModel(f"The whitening inside {name} is damaged ({error}).") from error
    return mean, projection


def read_card(metadata: dict[str, str], name: str) -> ModelCard:
    """ModelCard from an ONNX file's metadata. Raises BadModel when the file is not one of ours."""
    try:
        facts = {
            k.removeprefix(METADATA_PREFIX): json.loads(v)
            for k, v in metadata.items()
            if k.startswith(METADATA_PREFIX)
        }
        if facts["schema"] != METADATA_SCHEMA:
            raise BadModel(
                f"{name} has metadata of schema {facts['schema']}; this version reads {METADATA_SCHEMA}."
            )
        return ModelCard(
            architecture=facts["architecture"],
            output_dim=int(facts["output_dim"]),
            longest_side=int(facts["longest_side"]),
            mean=tuple(facts["mean"]),
            std=tuple(facts["std"]),
            p=float(facts["p"]),
            training=facts["training"],
            licence=facts["licence"],
            scales=tuple(facts.get("scales", (1.0,))),
            msp=float(facts.get("msp", 1.0)),
            precision=facts.get("precision", "float32"),
            source=facts.get("source", ""),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise BadModel(
            f"{name} is an ONNX model, but not a descriptor model made by `python -m export`."
        ) from error


class Extractor:
    """Runs one descriptor model. Thread-safe; holds the weights once.

    model: path of an ONNX file written by `python -m export`.
    threads: cores to use (default: all this process may run on). engine: one of `engines.ENGINES`.
    calls: how many calls will run side by side, from threads of the caller, and share the cores. One photo at a time wants 1;
    many photos are done sooner with one core each than with all cores on one after the other.
    Raises FileNotFoundError, BadModel.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        threads: int | None = None,
        engine: str = "onnxruntime",
        calls: int = 1,
    ):
        self.engine = engine
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"There is no descriptor model at {path}.")
        data = path.read_bytes()
        if not is_sealed(data):
            raise BadModel(
                f"{path.name} is damaged, or not a descriptor model made by `python -m export`."
            )
        try:
            self._engine = start(engine, data, threads or available_cores(), calls)
        except (
            Exception
        ) as error:  # engines raise families of their own, without a public base class
            raise BadModel(f"{path.name} cannot be run by {engine}.") from error
        metadata = self._engine.metadata
        self.card = read_card(metadata, path.name)
        self._whitening = read_whitening(metadata, path.name)
        self.model_sha256 = hashlib.sha256(data).hexdigest()
        self._mean = np.float32(self.card.mean)
        self._std = np.float32(self.card.std)
        self._check()

    def _check(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        descriptor = self.describe([noise])[0]
        if not abs(np.linalg.norm(descriptor) - 1) < 1e-3:  # also when it is not a number
            raise BadModel("The model does not give descriptors of length 1.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the model file and the preparation of photos: descriptors of equal fingerprints can be compared.

        An int8 model counts as the float model it was made from.
        """
        facts = [
            self.card.source or self.model_sha256,
            self.card.longest_side,
            self.card.mean,
            self.card.std,
            PREPROCESSING,
        ]
        facts += [self.card.scales, self.card.msp] if self.card.scales != (1.0,) else []
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def normalise(self, photo: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> float32 (3, H, W) with the mean and deviation the model was trained with."""
        return ((photo.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)

    def describe(
        self, photos: Sequence[np.ndarray], regions: Sequence[Region | None] | None = None
    ) -> np.ndarray:
        """Unit descriptors float32 (N, D) of decoded photos, uint8 RGB (H, W, 3). Photos of equal shape run as one batch.

        regions: for each photo the part of it that counts (see `crop_region`), or None for all of it.
        """
        inputs = [
            self.normalise(crop_region(photo, region, self.card.longest_side))
            for photo, region in zip(photos, regions or [None] * len(photos), strict=True)
        ]
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, tensor in enumerate(inputs):
            by_shape[tensor.shape].append(i)
        out = np.empty((len(photos), self.card.output_dim), np.float32)
        for rows in by_shape.values():
            out[rows] = self.describe_batch(np.stack([inputs[i] for i in rows]))
        return out

    def describe_batch(self, batch: np.ndarray) -> np.ndarray:
        """Normalised float32 (N, 3, h, w) at scale 1 -> unit descriptors (N, D): all scales, aggregated, whitened."""
        descriptors = [self.forward(rescale(batch, scale)) for scale in self.card.scales]
        together = (
            descriptors[0]
            if len(descriptors) == 1
            else aggregate(np.stack(descriptors), self.card.msp)
        )
        if self._whitening is None:
            return together
        mean, projection = self._whitening
        whitened = (together - mean) @ projection.T
        return whitened / (np.linalg.norm(whitened, axis=1, keepdims=True) + WHITENING_EPS)

    def forward(self, batch: np.ndarray) -> np.ndarray:
        """The bare model: normalised float32 (N, 3, h, w) -> unit vectors float32 (N, D'), before whitening learned after."""
        return self._engine.run(batch)
