"""Calibration: fitted weights of the evidence, saved per model by its fingerprint.

A file under `fitted/` belongs to one model. Its name is for readers; the fingerprint inside
identifies the model. It holds for each pair of a reranker and a matcher the weights of the evidence
(`log_odds.features`) and the map from their sum to a probability (`log_odds.calibrated`).
`python -m evaluation fit` writes such a file.

A model without a file, or a pair that was not fitted, is not calibrated. Its photos are still
ordered, by the nearest available weights, but the result is then not a probability and must not be
shown as one. The nearest are, in this order: those of the same model for diffusion with the same
matcher, those of the REFERENCE model for the same pair, and those of the REFERENCE model for
diffusion. Where two photos are judged alone, the weights without a reranker take the place of
diffusion's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, Field, ValidationError

from . import log_odds
from .log_odds import PAIR, Evidence

FITTED = Path(__file__).with_name("fitted")
REFERENCE = "gem-resnet101.json"  # the file whose weights order the photos of an unknown model
MAX_BYTES = 2**20  # a file is a few kilobytes
LARGEST = 1e4  # no fitted number is larger
NONE = "none"  # "no reranker" or "no matcher" in a file
LEARNED_WITH = "diffusion"  # reranker whose weights replace those of one that was not fitted

Pair = tuple[str, str]


class BadCalibration(Exception):
    """A calibration file is damaged or invalid. The message is one sentence that names it."""


@dataclass(frozen=True)
class CalibrationModel:
    """Map from the evidence to log-odds, for one mode.

    Attributes:
        weights: float64 (F,), in the order of `log_odds.feature_names`; those of a photo's own
            evidence are never negative.
        low, high, shift: parameters of `log_odds.calibrated`; low and high are positive.
        size: added to the shift per unit of `log_odds.smallness`.
    """

    weights: np.ndarray
    low: float = 1.0
    high: float = 1.0
    shift: float = 0.0
    size: float = 0.0

    def log_odds(self, evidence: Evidence) -> np.ndarray:
        """float64 (n,), the log-odds of each photo."""
        features = log_odds.features(evidence, log_odds.names_of(self.weights))
        return self.of_features(features, evidence.photos)

    def of_features(self, features: np.ndarray, photos: np.ndarray | int) -> np.ndarray:
        """As `log_odds`, from features.

        Args:
            features: output of `log_odds.features`, float64 (n, F).
            photos: number of photos in the gallery, int (n,) or the same for all.

        Returns:
            float64 (n,).
        """
        shift = self.shift + self.size * log_odds.smallness(photos)
        return log_odds.calibrated(features @ self.weights, self.low, self.high, shift)


@dataclass(frozen=True)
class Fitted:
    """Content of a calibration file.

    Attributes:
        model: name of the model, for readers.
        fingerprint: fingerprint of the model (`Extractor.fingerprint`).
        pairs: (reranker, matcher), each a name or "none", -> mode -> curve.
        fitted_on: facts for readers, such as the number of photos.
    """

    model: str
    fingerprint: str
    pairs: Mapping[Pair, Mapping[str, CalibrationModel]]
    fitted_on: Mapping[str, Any]


class Calibration:
    """Calibration of one model, completed by that of the reference model."""

    def __init__(self, own: Fitted | None, reference: Fitted):
        """Prefer `Calibration.of`, which reads the files.

        Args:
            own: calibration fitted for the model, or None.
            reference: calibration that orders photos where `own` has no weights.
        """
        self._own, self._reference = own, reference

    @classmethod
    def of(cls, fingerprint: str, folder: Path = FITTED) -> Calibration:
        """The calibration of the model with this fingerprint, fitted or not.

        Args:
            fingerprint: `Extractor.fingerprint`, as in a store's manifest.
            folder: folder of the files, which must include that of the REFERENCE model.

        Raises:
            BadCalibration: a file is damaged, or two are for this model.
            OSError: a file cannot be read.
        """
        known = {path.name: read_fitted(path) for path in sorted(folder.glob("*.json"))}
        if REFERENCE not in known:
            raise BadCalibration(f"The reference calibration {folder / REFERENCE} is missing.")
        own = [name for name, fitted in known.items() if fitted.fingerprint == fingerprint]
        if len(own) > 1:
            raise BadCalibration(f"{own[0]} and {own[1]} in {folder} are for the same model.")
        return cls(known[own[0]] if own else None, known[REFERENCE])

    def is_fitted(self, rerank: str | None, verify: str | None) -> bool:
        """Whether the log-odds for this reranker and matcher (None for none) are calibrated."""
        own = () if self._own is None else self._own.pairs
        return pair_of(rerank, verify) in own or (rerank == PAIR and pair_of(None, verify) in own)

    def log_odds(
        self,
        evidence: Evidence,
        rerank: str | None = None,
        verify: str | None = None,
        any_verified: bool = False,
    ) -> np.ndarray | None:
        """Log-odds that each photo shows the same thing.

        Args:
            evidence: evidence of the stages for n photos.
            rerank, verify: names of the reranker and the matcher in use; None for none.
            any_verified: whether the reranker had verified photos to start from. Only matters with
                both in use.

        Returns:
            float64 (n,), or None if it was not fitted, so that no claim is possible.
        """
        if not self.is_fitted(rerank, verify):
            return None
        return self.order_by(evidence, rerank, verify, any_verified)

    def order_by(
        self,
        evidence: Evidence,
        rerank: str | None = None,
        verify: str | None = None,
        any_verified: bool = False,
    ) -> np.ndarray:
        """Scores for ordering photos, whether fitted for these stages or not.

        Args:
            evidence: evidence of the stages for n photos.
            rerank, verify: names of the reranker and the matcher in use; None for none.
            any_verified: whether the reranker had verified photos to start from.

        Returns:
            float64 (n,), higher is better. Equal to `log_odds` where that is not None.

        Raises:
            BadCalibration: the matcher is unknown to the reference model, too.
        """
        mode = log_odds.mode(rerank, verify, any_verified)
        return self._nearest(rerank, verify)[mode].log_odds(evidence)

    def _nearest(self, rerank: str | None, verify: str | None) -> Mapping[str, CalibrationModel]:
        wanted = pair_of(rerank, verify)
        instead = pair_of(None if rerank == PAIR else rerank and LEARNED_WITH, verify)
        for fitted in (self._own, self._reference):
            for pair in (wanted, instead):
                if fitted is not None and pair in fitted.pairs:
                    return fitted.pairs[pair]
        raise BadCalibration(f"Nothing was ever fitted for the matcher {verify!r}.")


def pair_of(rerank: str | None, verify: str | None) -> Pair:
    """The key of `Fitted.pairs`."""
    return rerank or NONE, verify or NONE


# -- files -----------------------------------------------------------------------------------------

Number = Annotated[float, Field(strict=True, ge=-LARGEST, le=LARGEST)]
Positive = Annotated[float, Field(strict=True, gt=0, le=LARGEST)]


class CurveFacts(BaseModel):
    """A `CalibrationModel` as stored in a file."""

    weights: dict[str, Number]
    low: Positive
    high: Positive
    shift: Number
    size: Number

    def curve(self, with_points: bool) -> CalibrationModel:
        """Raises ValueError if the weights do not fit this kind of matcher, or are negative."""
        names = log_odds.feature_names(with_points, "details" in self.weights)
        if set(self.weights) != set(names):
            raise ValueError(f"weights of {sorted(self.weights)}")
        weights = np.array([self.weights[name] for name in names])
        if (weights[len(log_odds.QUERY_FEATURES) :] < 0).any():
            raise ValueError("evidence would lower a photo")
        return CalibrationModel(weights, self.low, self.high, self.shift, self.size)


class CalibrationFile(BaseModel):
    """A `Fitted` as stored in a file. pairs: by reranker, matcher and mode."""

    version: Literal[2] = Field(alias="schema")
    model: str
    fingerprint: str
    fitted_on: dict[str, Any]
    pairs: dict[str, dict[str, dict[str, CurveFacts]]]


def read_fitted(path: Path) -> Fitted:
    """Read a calibration file.

    Raises:
        BadCalibration: the file is damaged or invalid.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadCalibration(f"{path} is too large for a calibration.")
    try:
        found = CalibrationFile.model_validate_json(data)
        pairs = {
            (rerank, verify): curves(rerank, verify, modes)
            for rerank, matchers in found.pairs.items()
            for verify, modes in matchers.items()
        }
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadCalibration(
            f"{path} is not a calibration, or damaged ({where}: {first['msg']})."
        ) from None
    except ValueError as error:
        raise BadCalibration(f"{path} is not a calibration, or damaged ({error}).") from error
    return Fitted(found.model, found.fingerprint, pairs, found.fitted_on)


def curves(rerank: str, verify: str, modes: dict[str, CurveFacts]) -> dict[str, CalibrationModel]:
    """The curves of a pair. Raises ValueError if their modes do not fit these stages."""
    wanted = log_odds.modes(*(None if name == NONE else name for name in (rerank, verify)))
    if set(modes) != set(wanted):
        raise ValueError(f"{rerank} and {verify} have modes {sorted(modes)}")
    return {mode: modes[mode].curve(verify != NONE) for mode in wanted}


def write_fitted(fitted: Fitted, path: Path) -> None:
    """Write a file for `read_fitted`, rounded to four decimal places."""
    pairs: dict[str, dict[str, dict[str, CurveFacts]]] = {}
    for (rerank, verify), modes in sorted(fitted.pairs.items()):
        pairs.setdefault(rerank, {})[verify] = {
            mode: curve_facts(curve) for mode, curve in modes.items()
        }
    content = CalibrationFile(
        schema=2,
        model=fitted.model,
        fingerprint=fitted.fingerprint,
        fitted_on=dict(fitted.fitted_on),
        pairs=pairs,
    )
    path.write_text(content.model_dump_json(indent=1, by_alias=True) + "\n")


def curve_facts(curve: CalibrationModel) -> CurveFacts:
    names = log_odds.names_of(curve.weights)
    return CurveFacts(
        weights={name: round(float(w), 4) for name, w in zip(names, curve.weights)},
        low=round(curve.low, 4),
        high=round(curve.high, 4),
        shift=round(curve.shift, 4),
        size=round(curve.size, 4),
    )
