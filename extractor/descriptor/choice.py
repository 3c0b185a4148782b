"""Engine and precision of the descriptor model: measured once, then reused from the saved choice.

A GPU, an int8 model or a bfloat16 engine is much faster on one machine and slower, or wrong, on
another. So when a store is built, or by `python -m extractor benchmark`, each candidate describes a
few photos next to the float32 model, and the fastest one whose descriptors agree is chosen. Later
processes open the store with the saved engine, whatever its speed, if it still agrees.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..photo.decode import read_photo
from .cuda import is_worth_trying
from .extractor import DEFAULT_MODEL, BadModel, Extractor
from .runtime import ENGINES, is_available

PROBES = tuple(
    DEFAULT_MODEL.parents[2] / "gallery" / "photos" / f"{name}.jpg"
    for name in ("petra", "wine", "taj-mahal", "animal-bee")
)
MIN_COSINE = 0.99  # median over the probe photos
WORTH_IT = 1.2  # minimum speed-up over float32 that justifies different digits
REPEATS = 2
PROBLEM = 200  # maximum length of a reported error, in characters


@dataclass(frozen=True)
class Choice:
    """Engine and precision: what determines a descriptor's digits besides the model.

    Attributes:
        engine: one of `runtime.ENGINES`.
        precision: precision of the model file, "float32" or "int8".
    """

    engine: str
    precision: str

    def __str__(self) -> str:
        return f"{self.precision} on {self.engine}"


REFERENCE = Choice("onnxruntime", "float32")
"""Runs everywhere. All other choices are compared with it."""


@dataclass(frozen=True)
class Trial:
    """One candidate, measured.

    Attributes:
        choice: the candidate's engine and precision.
        extractor: the running extractor; None if the candidate is unusable.
        cosine: median cosine with the reference's descriptors.
        problem: why the candidate is unusable, or "".
        milliseconds: time per photo; infinite if the candidate is unusable.
    """

    choice: Choice
    extractor: Extractor | None
    cosine: float = 0.0
    problem: str = ""
    milliseconds: float = float("inf")

    def __str__(self) -> str:
        if self.problem:
            return f"{self.choice}: {self.problem}"
        return f"{self.choice} {self.milliseconds:.0f} ms, cosine {self.cosine:.4f}"


def int8_beside(model: Path) -> Path:
    """Default path of the int8 model that `python -m export --int8` writes."""
    return model.with_name(f"{model.stem}.int8.onnx")


def candidates(model: Path) -> list[Choice]:
    """Every choice that could replace the reference on this machine."""
    engines = ["onnxruntime-cuda"] if is_worth_trying() else []
    if is_available("openvino"):
        engines.append("openvino-bf16")
    found = [Choice(engine, "float32") for engine in engines]
    if int8_beside(model).is_file():
        found += [Choice(engine, "int8") for engine in ("onnxruntime", "openvino")]
    return [choice for choice in found if choice.engine != "openvino" or is_available("openvino")]


def probes() -> list[np.ndarray]:
    """The photos on which engines are compared."""
    return [read_photo(path) for path in PROBES if path.is_file()]


def describe_each(extractor: Extractor, photos: list[np.ndarray]) -> np.ndarray:
    """Descriptors (N, D) of photos, described one call at a time."""
    return np.concatenate([extractor.describe([photo]) for photo in photos])


def milliseconds(extractor: Extractor, photos: list[np.ndarray]) -> float:
    """Milliseconds per photo, best of REPEATS, after one warm-up run."""
    describe_each(extractor, photos)
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        describe_each(extractor, photos)
        best = min(best, (time.perf_counter() - begin) * 1000 / len(photos))
    return best


def check_parity(
    model: Path, choice: Choice, reference: Extractor, photos: list[np.ndarray], calls: int
) -> Trial:
    """Start a candidate and compare its descriptors with the reference's, without timing it.

    Args:
        model: path of the reference's model; the int8 model is in the same folder.
        choice: the candidate.
        reference: extractor to compare with.
        photos: photos to describe.
        calls: number of concurrent calls, see `Extractor`.
    """
    path = model if choice.precision == reference.card.precision else int8_beside(model)
    try:
        if choice.engine not in ENGINES:
            raise BadModel("there is no such engine")
        if not photos:
            raise BadModel("the sample gallery, which it would be compared on, is missing")
        extractor = Extractor(path, engine=choice.engine, calls=calls)
        if extractor.fingerprint != reference.fingerprint:
            raise BadModel(f"{path.name} was made from another model")
        pairs = describe_each(extractor, photos) * describe_each(reference, photos)
    except Exception as error:  # engines share no base class; the reference still runs
        return Trial(choice, None, problem=(str(error).splitlines() or ["it fails"])[0][:PROBLEM])
    cosine = float(np.median(pairs.sum(1)))
    if not cosine >= MIN_COSINE:  # also true for NaN
        return Trial(choice, None, cosine, f"cosine {cosine:.4f} is below {MIN_COSINE}")
    return Trial(choice, extractor, cosine)


def measure(model: str | Path = DEFAULT_MODEL, calls: int = 1) -> list[Trial]:
    """Measure the reference and every candidate.

    Args:
        model: path of the float32 model.
        calls: number of concurrent calls, see `Extractor`.

    Returns:
        One trial per choice, the reference first.

    Raises:
        FileNotFoundError, BadModel: see `Extractor`; raised for the reference only.
    """
    reference, photos = Extractor(model, calls=calls), probes()
    first = Choice(reference.engine, reference.card.precision)
    trials = [Trial(first, reference, 1.0, milliseconds=milliseconds(reference, photos))]
    for choice in candidates(Path(model)):
        trial = check_parity(Path(model), choice, reference, photos, calls)
        if trial.extractor is not None:
            trial = replace(trial, milliseconds=milliseconds(trial.extractor, photos))
        trials.append(trial)
    return trials


def fastest(trials: list[Trial]) -> Trial:
    """The fastest trial that agrees; the reference (first in the list) if no gain is WORTH_IT."""
    reference = trials[0]
    best = min(trials, key=lambda trial: trial.milliseconds)
    return best if best.milliseconds * WORTH_IT <= reference.milliseconds else reference


def choose_extractor(model: str | Path = DEFAULT_MODEL, calls: int = 1) -> tuple[Extractor, str]:
    """Choose the extractor for this machine by measuring.

    Takes the arguments of `measure` and raises the same errors.

    Returns:
        The fastest extractor that agrees with the reference, and a sentence that lists the trials.
    """
    if not candidates(Path(model)) or not probes():
        return Extractor(model, calls=calls), f"{REFERENCE} (nothing else is installed)"
    trials = measure(model, calls)
    chosen = fastest(trials)
    assert chosen.extractor is not None
    return chosen.extractor, f"{chosen.choice} ({'; '.join(map(str, trials))})"


def open_extractor(
    model: str | Path = DEFAULT_MODEL, written: dict[str, str] | None = None, calls: int = 1
) -> tuple[Extractor, str]:
    """Open the extractor with a saved choice, without timing anything.

    Args:
        model: path of the float32 model.
        written: saved choice with "engine" and "precision"; None for the reference.
        calls: number of concurrent calls, see `Extractor`.

    Returns:
        The extractor and a sentence about it. If the saved choice is unusable here or does not
        agree with the reference, this is the reference, and the sentence says why.

    Raises:
        FileNotFoundError, BadModel: see `Extractor`; raised for the reference only.
    """
    reference = Extractor(model, calls=calls)
    reference_choice = Choice(reference.engine, reference.card.precision)
    requested = Choice(written["engine"], written["precision"]) if written else reference_choice
    if requested == reference_choice:
        return reference, str(reference_choice)
    trial = check_parity(Path(model), requested, reference, probes(), calls)
    if trial.extractor is None:
        return reference, f"{reference_choice}, instead of {trial}"
    return trial.extractor, f"{requested}, as chosen before"
