"""Fusion: what the stages found out about a photo becomes one number, its log-odds.

    z = w . features
    log-odds = high x ln(1 + exp(z)) - low x ln(1 + exp(-z)) + shift + size x smallness
    probability = 1 / (1 + exp(-log-odds))

The first line is a logistic regression over a few features. It settles the order. The second is the
beta calibration of Kull et al. 2017, written in z. It bends the scale, never the order, so that the
probability is right on photos that the regression has not seen. Its last term is for small
galleries: the fewer photos there are, the fewer can look alike by chance. All numbers are fitted on
labelled photos (`fit`) and kept for each model (`calibration`).

No weight of a photo's own evidence is negative, so more evidence never lowers a photo. Without
verification the order is exactly the one of the reranker, or of the similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OF_THE_QUERY = ("bias", "background")
OF_THE_RANK = ("standing", "excess")
OF_THE_POINTS = ("similarity", "verified", "points", "agreement", "coverage")
OF_THE_VOTES = ("details",)
PAIR = "pair"  # stands for the reranker where photos are judged by themselves, without votes
FULL_SIZE = 250  # photos from which on the background is that of a large gallery
ALONE, VERIFIED, NONE_VERIFIED = "alone", "verified", "none verified"
# Least probabilities that bear these words. Between 0.35 and 0.7 a probability holds roughly only
# (docs/measurements.md), so all of that is "unsure".
SURE, LIKELY = 0.9, 0.7
TRUSTED = 0.5  # more probable than not: where a reranker's second round may start from
CUT = 0.05  # photos less probable than this are folded away


@dataclass(frozen=True)
class Evidence:
    """What is known of n candidates of one query.

    Attributes:
        background: similarity at which photos have nothing in common with the query, see
            `ranking.scale`.
        spread: how far the query's best similarity is above the background.
        photos: how many the gallery has.
        similarity: cosine of the descriptors, (n,).
        standing: global score, (n,). 1 is the best candidate, 0 is the background.
        verified: whether enough points match, bool (n,). This and what follows is 0 for photos that
            were not looked at.
        inliers, matches: as in `Verification`, int (n,).
        coverage: as in `Verification`, float (n,).
        details: `votes.Votes.scores`, float (n,); None where no votes were counted.
    """

    background: float
    spread: float
    photos: int
    similarity: np.ndarray
    standing: np.ndarray
    verified: np.ndarray
    inliers: np.ndarray
    matches: np.ndarray
    coverage: np.ndarray
    details: np.ndarray | None = None


def feature_names(with_points: bool, with_votes: bool) -> tuple[str, ...]:
    """What a fit sees of each photo. Votes are counted only where points are compared."""
    names = OF_THE_QUERY + OF_THE_RANK
    if with_points:
        names += OF_THE_POINTS
    return names + OF_THE_VOTES if with_votes else names


def names_of(weights: np.ndarray) -> tuple[str, ...]:
    """The features that weights (F,) are for. Raises ValueError if there are no so many."""
    for with_points, with_votes in ((False, False), (True, False), (True, True)):
        if len(names := feature_names(with_points, with_votes)) == len(weights):
            return names
    raise ValueError(f"there are no {len(weights)} features")


def features(evidence: Evidence, names: tuple[str, ...]) -> np.ndarray:
    """What the regression sees of each photo.

    - standing: as it is. A verified photo counts as no worse than the background: its points show
      the same thing from a view that the descriptor does not know.
    - excess: how far above the background the best similarity is, times the standing.
    - similarity: how far the photo's own similarity is above the background, at least 0. Only where
      photos were verified, so that without it the order stays the global one.
    - points: ln(1 + inliers).
    - agreement: inliers over matches.
    - coverage: root of the covered share.
    - details: as it is, 0 if no votes were counted.

    Args:
        evidence: of n photos.
        names: of `feature_names`.

    Returns:
        float64 (n, F), a column for each name.
    """
    n = len(evidence.standing)
    standing = evidence.standing
    if "verified" in names:
        standing = np.where(evidence.verified, np.maximum(standing, 0), standing)
    columns = {
        "bias": np.ones(n),
        "background": np.full(n, evidence.background),
        "standing": standing,
        "excess": standing * evidence.spread,
        "similarity": np.maximum(evidence.similarity - evidence.background, 0),
        "verified": evidence.verified,
        "points": np.log1p(evidence.inliers),
        "agreement": evidence.inliers / np.maximum(evidence.matches, 1),
        "coverage": np.sqrt(evidence.coverage),
        "details": np.zeros(n) if evidence.details is None else evidence.details,
    }
    return np.stack([columns[name] for name in names], axis=1).astype(np.float64)


def modes(rerank: str | None, verify: str | None) -> tuple[str, ...]:
    """The modes that one pair of reranker and matcher has, see `mode`."""
    return tuple(
        dict.fromkeys(mode(rerank, verify, any_verified) for any_verified in (True, False))
    )


def mode(rerank: str | None, verify: str | None, any_verified: bool) -> str:
    """Which set of weights judges a query: "alone", or with both stages on one of two others.

    A reranker that starts from verified photos is worth much more than one that starts from the
    nearest, which is what is left if none was verified.

    Args:
        rerank, verify: names of the reranker and the matcher; None: none. PAIR as a reranker: two
            photos by themselves.
        any_verified: whether the reranker had verified photos to start from.
    """
    if rerank in (None, PAIR) or verify is None:
        return ALONE
    return VERIFIED if any_verified else NONE_VERIFIED


def smallness(photos: np.ndarray | int) -> np.ndarray:
    """How many times fewer than FULL_SIZE photos a gallery has: ln of it, 0 for a larger one.

    A larger gallery needs no term of its own, because its background rises with its size.
    """
    return np.log(FULL_SIZE / np.clip(photos, 1, FULL_SIZE))


def calibrated(z: np.ndarray, low: float, high: float, shift: float | np.ndarray) -> np.ndarray:
    """Log-odds after beta calibration, rising with z wherever low and high are positive.

    Args:
        z: (n,), log-odds of the regression.
        low: slope where the probability is near 0.
        high: slope where it is near 1.
        shift: added; (n,) or the same for all. With 1, 1 and 0 nothing changes.

    Returns:
        float64 (n,).
    """
    return shift + high * np.logaddexp(0, z) - low * np.logaddexp(0, -z)


def probability(log_odds: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-log-odds)), without overflow."""
    return 0.5 * (1 + np.tanh(log_odds / 2))


def word(probability: float) -> str:
    """ "sure", "likely" or "unsure"."""
    return "sure" if probability >= SURE else "likely" if probability >= LIKELY else "unsure"
