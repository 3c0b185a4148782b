"""Which model and engine to use on this machine, decided by trying them.

An int8 model or a bfloat16 engine is much faster on one processor and slower, or wrong, on another.
So at start-up each candidate describes a few photos beside the float32 model, and the fastest whose
descriptors agree is taken.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..photo.decode import read_photo
from .extractor import DEFAULT_MODEL, BadModel, Extractor
from .runtime import is_available

PROBES = tuple(
    DEFAULT_MODEL.parents[2] / "gallery" / "photos" / f"{name}.jpg"
    for name in ("petra", "wine", "taj-mahal", "animal-bee")
)
MIN_COSINE = 0.99  # median over the probes
WORTH_IT = 1.2  # times faster than float32: less is not worth other digits
REPEATS = 2


@dataclass(frozen=True)
class Trial:
    """One candidate.

    Attributes:
        name: of engine and precision.
        milliseconds: a photo, best of REPEATS.
        cosine: median with float32.
        problem: why it could not run, "" if it did.
    """

    name: str
    milliseconds: float = float("inf")
    cosine: float = 0.0
    problem: str = ""


def int8_beside(model: Path) -> Path:
    """Where `python -m export --int8` leaves the int8 model by default."""
    return model.with_name(f"{model.stem}.int8.onnx")


def candidates(model: Path) -> list[tuple[str, Path, str]]:
    """Everything that could replace the float32 model on onnxruntime here.

    Returns:
        Name, model file and engine of each.
    """
    found = []
    int8 = int8_beside(model)
    if int8.is_file():
        found.append(("int8", int8, "onnxruntime"))
    if is_available("openvino"):
        found.append(("OpenVINO bf16", model, "openvino-bf16"))
        if int8.is_file():
            found.append(("OpenVINO int8", int8, "openvino"))
    return found


def time_and_describe(extractor: Extractor, photos: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """Milliseconds a photo (best of REPEATS, after a first run) and descriptors (N, D)."""
    descriptors = np.concatenate([extractor.describe([photo]) for photo in photos])
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        for photo in photos:
            extractor.describe([photo])
        best = min(best, (time.perf_counter() - begin) * 1000 / len(photos))
    return best, descriptors


def choose_extractor(
    model: str | Path = DEFAULT_MODEL, calls: int = 1, prefer: dict[str, str] | None = None
) -> tuple[Extractor, str]:
    """Choose what describes photos on this machine.

    Args:
        model: The float32 model's file.
        calls: How many calls will run side by side, see `Extractor`.
        prefer: "engine" and "precision" that descriptors at hand were made with. What gives the
            same digits is taken whatever its speed, if it agrees with the float32 model here.

    Returns:
        The fastest extractor that agrees with the float32 model, and a sentence that says what was
        chosen and why.

    Raises:
        FileNotFoundError, BadModel: As `Extractor` for the float32 model. A candidate that fails
            only drops out.
    """
    model = Path(model)
    reference = Extractor(model, calls=calls)
    options = candidates(model)
    photos = [read_photo(path) for path in PROBES if path.is_file()]
    if not options or not photos:
        return reference, "float32 on onnxruntime (nothing else is installed)"
    base, expected = time_and_describe(reference, photos)
    agreeing, trials = [(base / WORTH_IT, reference)], []
    for name, path, engine in options:
        try:
            extractor = Extractor(path, engine=engine, calls=calls)
            if extractor.fingerprint != reference.fingerprint:
                raise BadModel("it was made from another model")
            milliseconds, descriptors = time_and_describe(extractor, photos)
        except (
            Exception
        ) as error:  # engines raise families of their own; whatever it is, float32 still runs
            trials.append(Trial(name, problem=str(error).splitlines()[0][:120]))
            continue
        cosine = float(np.median((descriptors * expected).sum(1)))
        trials.append(Trial(name, milliseconds, cosine))
        if cosine >= MIN_COSINE:
            agreeing.append((milliseconds, extractor))
    preferred = [
        (milliseconds, extractor)
        for milliseconds, extractor in agreeing
        if prefer is not None
        and prefer == {"engine": extractor.engine, "precision": extractor.card.precision}
    ]
    best, chosen = min(preferred or agreeing, key=lambda pair: pair[0])
    return chosen, describe_choice(base, trials, chosen is not reference, best)


def describe_choice(base: float, trials: list[Trial], replaced: bool, best: float) -> str:
    """One line: the choice, then every trial."""
    name = (
        next((t.name for t in trials if t.milliseconds == best), "float32")
        if replaced
        else "float32"
    )
    tried = [
        f"{t.name} {t.problem}"
        if t.problem
        else f"{t.name} {t.milliseconds:.0f} ms, cosine {t.cosine:.4f}"
        for t in trials
    ]
    return f"{name} (float32 {base:.0f} ms a photo; {'; '.join(tried)})"
