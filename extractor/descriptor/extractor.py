"""RGB photo -> unit descriptor. The model file's metadata defines the preprocessing."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from joblib import cpu_count
from pydantic import TypeAdapter

from plurals import quantity
from validation import Positive

from ..photo.crop import Region, crop_region
from ..photo.limits import WORKING_SIDE
from ..photo.strips import parts_of
from .batched import MAX_BATCH, Batched
from .runtime import Runtime, start_runtime
from .sealing import is_sealed

DEFAULT_MODEL = Path(__file__).resolve().parents[2] / "model" / "weights" / "gem-resnet101.onnx"
METADATA_PREFIX = "gem."
METADATA_SCHEMA = 2
PREPROCESSING = f"exif, draft and lanczos to {WORKING_SIDE}, lanczos to longest side, mean/std"


class BadModel(Exception):
    """The file is not a descriptor model of this project, or is damaged. The message is one
    sentence."""


@dataclass(frozen=True)
class ModelCard:
    """Metadata of a model file (its `gem.*` entries).

    Attributes:
        architecture: name of the network.
        output_dim: number of descriptor components, D.
        longest_side: size in pixels to which photos are shrunk.
        mean, std: RGB mean and standard deviation, in 0 to 1, for normalising the input.
        p: exponent of the GeM pooling; None for a network with another pooling.
        training: origin of the parameters.
        licence: licence of the parameters.
        scales, msp: multi-scale parameters, see `export.recipe.Recipe`.
        max_batch: maximum photos per run of the network; None for no limit.
        precision: "float32" or "int8".
        source: SHA-256 of the float model's file, for an int8 model.
    """

    architecture: str
    output_dim: Positive
    longest_side: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    p: float | None
    training: str
    licence: str
    scales: tuple[float, ...] = (1.0,)
    msp: float = 1.0
    max_batch: Positive | None = None
    precision: str = "float32"
    source: str = ""


def read_card(metadata: dict[str, str], name: str) -> ModelCard:
    """ModelCard from an ONNX file's metadata. Raises BadModel if the file is not one of ours."""
    try:
        facts = {
            k.removeprefix(METADATA_PREFIX): json.loads(v)
            for k, v in metadata.items()
            if k.startswith(METADATA_PREFIX)
        }
        if facts["schema"] != METADATA_SCHEMA:
            raise BadModel(
                f"{name} has metadata of schema {facts['schema']}; "
                f"this version reads {METADATA_SCHEMA}. Export it again."
            )
        return TypeAdapter(ModelCard).validate_python(facts)
    except (KeyError, ValueError) as error:
        raise BadModel(
            f"{name} is an ONNX model, but not a descriptor model made by `python -m export`."
        ) from error


class Extractor:
    """Runs one descriptor model. Thread-safe; holds the weights once.

    Args:
        model: path of an ONNX file written by `python -m export`.
        threads: number of cores to use; None for all that are available to this process.
        engine: one of `runtime.ENGINES`.
        calls: number of calls that the caller's threads run concurrently; they share the cores.
            Use 1 for one photo at a time. Many photos finish sooner with one core each than one
            after another on all cores.

    Raises:
        FileNotFoundError: the file does not exist.
        BadModel: the file is damaged, not one of ours, or the engine cannot run it.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        threads: int | None = None,
        engine: str = "onnxruntime",
        calls: int = 1,
    ):
        path = Path(model)
        if not path.is_file():
            raise FileNotFoundError(f"There is no descriptor model at {path}.")
        data = path.read_bytes()
        if not is_sealed(data):
            raise BadModel(
                f"{path.name} is damaged, or not a descriptor model made by `python -m export`."
            )
        try:
            self._runtime: Runtime = start_runtime(engine, data, threads or cpu_count(), calls)
        except Exception as error:  # engines' exceptions share no base class
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise BadModel(f"{path.name} cannot be run by {engine}: {reason}") from error
        self.path = path
        self.engine = engine
        self.card = read_card(self._runtime.metadata, path.name)
        if engine == "onnxruntime-cuda":
            self._runtime = Batched(self._runtime, self.card.max_batch or MAX_BATCH)
        self.model_sha256 = hashlib.sha256(data).hexdigest()
        self._mean = np.array(self.card.mean, np.float32)
        self._std = np.array(self.card.std, np.float32)
        self._check()

    def __reduce__(self) -> tuple:
        """Another process reloads the same file, for one core: there is one process per core."""
        return type(self), (self.path.resolve(), 1, self.engine)

    def _check(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        descriptor = self.describe([noise])[0]
        if descriptor.shape != (self.card.output_dim,):
            raise BadModel(
                f"The model's descriptors must have {quantity(self.card.output_dim, 'value')}, "
                f"as its card says, not {len(descriptor)}."
            )
        if not abs(np.linalg.norm(descriptor) - 1) < 1e-3:  # also true for NaN
            raise BadModel("The model does not give descriptors of length 1.")

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the model file and the preprocessing of photos.

        Descriptors with equal fingerprints are comparable. An int8 model has the fingerprint of the
        float model it was quantised from.
        """
        facts = [
            self.card.source or self.model_sha256,
            self.card.longest_side,
            self.card.mean,
            self.card.std,
            PREPROCESSING,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def normalise(self, photo: np.ndarray) -> np.ndarray:
        """uint8 RGB (H, W, 3) -> float32 (3, H, W), normalised by the mean and standard deviation
        of the model's training.
        """
        return ((photo.astype(np.float32) / 255 - self._mean) / self._std).transpose(2, 0, 1)

    def describe(
        self, photos: Sequence[np.ndarray], regions: Sequence[Region | None] | None = None
    ) -> np.ndarray:
        """Unit descriptors of decoded photos. Photos of equal shape run as one batch.

        The descriptor of a strip is the mean over its parts, see `strips`.

        Args:
            photos: N arrays, uint8 RGB (H, W, 3).
            regions: part of each photo to describe, or None for the whole photo.

        Returns:
            float32 (N, D).

        Raises:
            ValueError: a region is empty or outside its photo.
        """
        inputs, owners = [], []
        for owner, (photo, region) in enumerate(
            zip(photos, regions or [None] * len(photos), strict=True)
        ):
            for part in parts_of(photo) if region is None else [photo]:
                inputs.append(self.normalise(crop_region(part, region, self.card.longest_side)))
                owners.append(owner)
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, tensor in enumerate(inputs):
            by_shape[tensor.shape].append(i)
        out = np.empty((len(inputs), self.card.output_dim), np.float32)
        for rows in by_shape.values():
            out[rows] = self.describe_batch(np.stack([inputs[i] for i in rows]))
        return out if len(inputs) == len(photos) else means(out, np.array(owners))

    def describe_batch(self, batch: np.ndarray) -> np.ndarray:
        """Normalised float32 (N, 3, h, w) -> unit descriptors float32 (N, D)."""
        together = self.card.max_batch or len(batch)
        parts = [
            self._runtime.run(batch[start : start + together])
            for start in range(0, len(batch), together)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def means(descriptors: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Unit means of the descriptors of each owner.

    Args:
        descriptors: unit vectors float32 (n, D).
        owners: int (n,), index of each descriptor's owner, ascending from 0.

    Returns:
        float32 (N, D).
    """
    sums = np.add.reduceat(descriptors, np.flatnonzero(np.diff(owners, prepend=-1)))
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
