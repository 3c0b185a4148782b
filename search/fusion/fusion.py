"""Fusion: global score and verification become one number, the probability that two photos show the same thing.

    log-odds = w . features,   probability = 1 / (1 + exp(-log-odds))

a logistic regression over the few FEATURES below. Its weights were fitted on labelled photos by `python -m evaluation fit`,
which writes fusion.json: one set for each combination of toggles, because what a rank is worth depends on who made it. No
weight of a photo's own evidence is negative, so more evidence never lowers a photo, and without verification the order is
exactly the global one. With it the order is by the log-odds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FITTED = Path(__file__).with_name("fusion.json")
OF_THE_QUERY = ("bias", "background")
OF_THE_RANK = ("standing", "excess")
OF_THE_POINTS = ("verified", "points", "agreement", "coverage")
VERIFIED, NONE_VERIFIED = "reranked, verified", "reranked, none verified"
WITH_POINTS = ("verification", VERIFIED, NONE_VERIFIED)  # modes with verification
SURE, LIKELY = 0.9, 0.5  # least probabilities that bear these words
CUT = 0.05  # photos less probable than this are folded away


@dataclass(frozen=True)
class Evidence:
    """What is known of n candidates of one query.

    background: similarity of the query to its BACKGROUND-th candidate, spread: of its best above that (`diffusion.scale`).
    standing (n,): global score, 1 for the best candidate, 0 for the BACKGROUND-th. The rest (n,) is from verification, 0 for
    photos that were not looked at: verified (bool), inliers, matches and spread as in `Verification`.
    """

    background: float
    spread: float
    standing: np.ndarray
    verified: np.ndarray
    inliers: np.ndarray
    matches: np.ndarray
    coverage: np.ndarray


def feature_names(sift: bool) -> tuple[str, ...]:
    """The columns of `features`."""
    return OF_THE_QUERY + OF_THE_RANK + (OF_THE_POINTS if sift else ())


def features(evidence: Evidence, sift: bool) -> np.ndarray:
    """float64 (n, F), the columns of `feature_names`.

    standing: as it is, but a verified photo counts as no worse than the background: the points show the same thing from a
    view that the descriptor does not know. excess: how far above the background the best similarity is, times the standing.
    points: ln(1 + inliers), agreement: inliers over matches, coverage: root of the covered share; all three 0 below a
    plausible model (0 inliers).
    """
    n = len(evidence.standing)
    standing = np.maximum(evidence.standing, np.where(evidence.verified & sift, 0, -np.inf))
    columns = [np.ones(n), np.full(n, evidence.background), standing, standing * evidence.spread]
    if sift:
        agreement = evidence.inliers / np.maximum(evidence.matches, 1)
        columns += [
            evidence.verified,
            np.log1p(evidence.inliers),
            agreement,
            np.sqrt(evidence.coverage),
        ]
    return np.stack(columns, axis=1).astype(np.float64)


def fitted_for(matcher: str) -> Path:
    """The file with the weights of one of `matcher.MATCHERS`: what points are worth depends on who matched them."""
    return FITTED if matcher == "sift" else FITTED.with_name(f"fusion-{matcher}.json")


def load_weights(path: Path = FITTED) -> dict[str, np.ndarray]:
    """Mode (see `mode`) -> weights (F,), in the order of `feature_names`."""
    modes = json.loads(path.read_text())["weights"]
    return {
        name: np.array([weights[feature] for feature in feature_names(name in WITH_POINTS)])
        for name, weights in modes.items()
    }


def load_share(path: Path = FITTED) -> float:
    """Weight of diffusion against similarity (`diffusion.mix`), fitted with the rest."""
    return json.loads(path.read_text())["diffusion_share"]


def load_fingerprint(path: Path = FITTED) -> str:
    """Of the model whose descriptors the weights were fitted on (`Extractor.fingerprint`)."""
    return json.loads(path.read_text())["fitted_on"]["fingerprint"]


def mode(reranked: bool, sift: bool, verified: bool = False) -> str:
    """Name of a set of weights: "off", "reranked", "verification", and with both on "reranked, verified" or "reranked, none
    verified".

    A walk from verified photos is worth much more than one from the nearest, which is what is left if none was verified.
    """
    if reranked and sift:
        return VERIFIED if verified else NONE_VERIFIED
    return "reranked" if reranked else "verification" if sift else "off"


def log_odds(evidence: Evidence, weights: np.ndarray) -> np.ndarray:
    """(n,) with weights (F,) of one mode."""
    return features(evidence, sift=len(weights) > len(feature_names(False))) @ weights


def probability(log_odds: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-log-odds)), without overflow."""
    return 0.5 * (1 + np.tanh(log_odds / 2))


def word(probability: float) -> str:
    """ "sure", "likely" or "unsure"."""
    return "sure" if probability >= SURE else "likely" if probability >= LIKELY else "unsure"
