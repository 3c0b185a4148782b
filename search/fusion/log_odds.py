"""Log-odds: combine the evidence of all stages for a photo into one number.

    z = w . features
    log-odds = high x ln(1 + exp(z)) - low x ln(1 + exp(-z)) + shift + size x smallness
    probability = 1 / (1 + exp(-log-odds))

The first line is a logistic regression over a few features. It determines the order. The second is
the beta calibration of Kull et al. 2017, written in z. It bends the scale but keeps the order, so
that the probability is right on photos that the regression has not seen. Its last term is for small
galleries: the fewer photos there are, the fewer can look alike by chance. All numbers are fitted on
labelled photos (`fit`) and saved per model (`calibration`).

No weight of a photo's own evidence is negative, so more evidence never lowers a photo. Without
verification the order is exactly that of the reranker, or of the similarity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

QUERY_FEATURES = ("bias", "background")
RANK_FEATURES = ("standing", "excess")
POINT_FEATURES = ("similarity", "verified", "points", "agreement", "coverage")
VOTE_FEATURES = ("details",)
PAIR = "pair"  # instead of a reranker's name, for two photos judged alone, without votes
FULL_SIZE = 250  # photos from which the background is that of a large gallery
ALONE, VERIFIED, NONE_VERIFIED = "alone", "verified", "none verified"
# Minimum probabilities for these words. Between 0.35 and 0.7 a probability is only roughly right
# (docs/RESULTS.md), so all of that is "unsure".
SURE, LIKELY = 0.9, 0.7
TRUSTED = 0.5  # more probable than not: photos from which a reranker's second round may start
CUT = 0.05  # photos less probable than this are collapsed on the page


@dataclass(frozen=True)
class Evidence:
    """Evidence for n candidates of one query.

    Attributes:
        background: similarity at which photos have nothing in common with the query, see
            `ranking.scale`.
        spread: how far the query's best similarity is above the background.
        photos: number of photos in the gallery.
        similarity: cosine of the descriptors, (n,).
        standing: global score, (n,). 1 is the best candidate, 0 is the background.
        verified: whether enough points match, bool (n,). This and the following are 0 for photos
            that were not verified.
        inliers, matches: as in `Verification`, int (n,).
        coverage: as in `Verification`, float (n,).
        details: `votes.Votes.scores`, float (n,); None if no votes were counted.
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
    """Names of the features. Votes are only counted if points are compared."""
    names = QUERY_FEATURES + RANK_FEATURES
    if with_points:
        names += POINT_FEATURES
    return names + VOTE_FEATURES if with_votes else names


def names_of(weights: np.ndarray) -> tuple[str, ...]:
    """Names of the features for weights (F,). Raises ValueError for an unknown number F."""
    for with_points, with_votes in ((False, False), (True, False), (True, True)):
        if len(names := feature_names(with_points, with_votes)) == len(weights):
            return names
    raise ValueError(f"there are no {len(weights)} features")


def features(evidence: Evidence, names: tuple[str, ...]) -> np.ndarray:
    """Features of each photo for the regression.

    - standing: unchanged, but at least the background for a verified photo: its points show the
      same thing from a view that the descriptor does not recognise.
    - excess: how far above the background the best similarity is, times the standing.
    - similarity: how far the photo's own similarity is above the background, at least 0. Only where
      photos were verified, so that without verification the order stays the global one.
    - points: ln(1 + inliers).
    - agreement: inliers over matches.
    - coverage: square root of the covered share.
    - details: unchanged, 0 if no votes were counted.

    Args:
        evidence: evidence for n photos.
        names: output of `feature_names`.

    Returns:
        float64 (n, F), one column per name.
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
    """The modes of a pair of reranker and matcher, see `mode`."""
    return tuple(
        dict.fromkeys(mode(rerank, verify, any_verified) for any_verified in (True, False))
    )


def mode(rerank: str | None, verify: str | None, any_verified: bool) -> str:
    """Name of the weights for a query: ALONE, or with reranker and matcher one of two others.

    A reranker that starts from verified photos is much better than one that starts from the nearest
    photos, as it must if none was verified.

    Args:
        rerank, verify: names of the reranker and the matcher; None for none. PAIR as a reranker:
            two photos judged alone.
        any_verified: whether the reranker had verified photos to start from.
    """
    if rerank in (None, PAIR) or verify is None:
        return ALONE
    return VERIFIED if any_verified else NONE_VERIFIED


def smallness(photos: np.ndarray | int) -> np.ndarray:
    """ln of how many times smaller than FULL_SIZE a gallery is; 0 for larger ones.

    Larger galleries need no such term, because its background rises with its size.
    """
    return np.log(FULL_SIZE / np.clip(photos, 1, FULL_SIZE))


def calibrated(z: np.ndarray, low: float, high: float, shift: float | np.ndarray) -> np.ndarray:
    """Log-odds after beta calibration, increasing with z if low and high are positive.

    Args:
        z: (n,), log-odds of the regression.
        low: slope where the probability is near 0.
        high: slope where it is near 1.
        shift: offset; (n,) or the same for all. 1, 1 and 0 are the identity.

    Returns:
        float64 (n,).
    """
    return shift + high * np.logaddexp(0, z) - low * np.logaddexp(0, -z)


def probability(log_odds: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-log-odds)), without overflow."""
    return 0.5 * (1 + np.tanh(log_odds / 2))


def word(probability: float) -> str:
    """A probability in words: "sure", "likely" or "unsure"."""
    return "sure" if probability >= SURE else "likely" if probability >= LIKELY else "unsure"
