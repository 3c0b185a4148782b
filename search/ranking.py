"""Rankings: photos in an order, with their evidence. Every stage takes one and returns one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matching.verification import Verification

BACKGROUND = 50  # rank of the candidate assumed to have nothing in common with the query
SMALL_BACKGROUND = 5  # the rank is at most this fraction (1 / n) of the candidates
# Ranks, as shares of the candidates, at which similarities give mean and deviation of strangers,
# however many photos before them show the thing: the median, and one deviation below.
STRANGERS = 0.5, 0.84
MARGIN = 0.15  # of similarity: look-alikes raise the background by at most this much
MIN_SPREAD = 1e-6


@dataclass(frozen=True)
class Verified:
    """Evidence of verification for the photos it compared.

    Attributes:
        found: gallery id -> evidence, None for a photo that could not be read.
        floor: matched points from which two photos are assumed to show the same thing.
        notes: sentences for the user about photos that could not be compared.
    """

    found: Mapping[int, Verification | None]
    floor: int
    notes: tuple[str, ...] = ()

    def passes(self, id: int) -> bool:
        """Whether this photo has enough matched points."""
        evidence = self.found.get(id)
        return evidence is not None and evidence.inliers >= self.floor


@dataclass(frozen=True)
class Ranking:
    """Photos in an order, best score first.

    Attributes:
        ids: gallery ids, int (n,).
        similarity: cosine with the query's descriptor, (n,).
        scores: scores that determine the order, (n,). Only comparable within one ranking.
        verified: results of verification, None before that stage.
        probability: that each photo shows the same thing, (n,). None before fusion, and if no
            probability was fitted.
    """

    ids: np.ndarray
    similarity: np.ndarray
    scores: np.ndarray
    verified: Verified | None = None
    probability: np.ndarray | None = None

    def __getitem__(self, which: slice | np.ndarray) -> Ranking:
        """The photos at these positions, or where a mask (n,) is true."""
        probability = None if self.probability is None else self.probability[which]
        return Ranking(
            self.ids[which], self.similarity[which], self.scores[which], self.verified, probability
        )

    def sorted(self) -> Ranking:
        """The same photos, best score first; ties keep their order."""
        return self[order(self.scores)]

    def rescored(self, scores: np.ndarray) -> Ranking:
        """The same photos with other scores (n,), best first."""
        return replace(self, scores=scores).sorted()

    def extended(self, ids: np.ndarray, similarity: np.ndarray) -> Ranking:
        """The ranking with more photos appended. Their score is their similarity until all are
        rescored.

        Args:
            ids: gallery ids that are not in the ranking yet, int (m,).
            similarity: their cosine with the query's descriptor, (m,).
        """
        return replace(
            self,
            ids=np.concatenate([self.ids, ids]),
            similarity=np.concatenate([self.similarity, similarity]),
            scores=np.concatenate([self.scores, similarity]),
            probability=None,
        )

    def parted(self, ids: np.ndarray) -> tuple[Ranking, Ranking]:
        """Split into the photos with these ids (m,), and all others. Both keep their order."""
        among = np.isin(self.ids, ids)
        return self[among], self[~among]

    def followed_by(self, rest: Ranking) -> Ranking:
        """This ranking, followed by another one.

        The other's scores are lowered by a constant if they reach too high.
        """
        floor = self.scores.min(initial=np.inf)
        excess = max(0.0, rest.scores.max(initial=-np.inf) - floor)
        lowered = np.minimum(rest.scores.astype(np.float64) - excess, floor)
        joined = self.extended(rest.ids, rest.similarity)
        return replace(joined, scores=np.concatenate([self.scores, lowered]))


@dataclass(frozen=True)
class Trusted:
    """Photos that probably show the same thing, for a reranker to start from.

    Attributes:
        ids: gallery ids, best ranked first, int (n,).
        weights: the probability of each, (n,).
    """

    ids: np.ndarray
    weights: np.ndarray

    def without(self, ids: np.ndarray) -> Trusted:
        """The trusted photos except those with these ids."""
        others = ~np.isin(self.ids, ids)
        return Trusted(self.ids[others], self.weights[others])


def order(scores: np.ndarray) -> np.ndarray:
    """Indices by descending score (n,), or for each row of (m, n); ties keep their order."""
    return np.argsort(-scores, kind="stable")


def cosine(descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Exact cosine of a query with stored descriptors.

    Args:
        descriptor: descriptor of the query, unit vector float32 (D,).
        rows: stored descriptors, (n, D).

    Returns:
        float32 (n,), -1 to 1.
    """
    # Rows stored as float16 have unit norm to three digits only, hence the clip.
    return np.clip(rows.astype(np.float32) @ descriptor, -1, 1)


@dataclass(frozen=True)
class Scale:
    """A query's own scale of similarity.

    Attributes:
        background: similarity at which photos have nothing in common with the query.
        spread: how far the best similarity is above it, at least MIN_SPREAD.
        rank: rank of the first candidate that is not above the background, from 1.
    """

    background: float
    spread: float
    rank: int

    def of(self, scores: np.ndarray) -> tuple[float, float]:
        """Background and spread of a reranker's scores (n,), best first, at the same rank."""
        if not len(scores):
            return 0.0, 1.0
        background = float(scores[min(self.rank, len(scores)) - 1])
        return background, max(float(scores[0]) - background, MIN_SPREAD)


def scale(similarity: np.ndarray, gallery: int) -> Scale:
    """The scale of a query whose candidates have these similarities.

    The background is the similarity at the BACKGROUND-th candidate, in a small gallery at the end
    of the best fifth. If more photos than that show the thing, this rank measures the thing itself.
    So the background is at most MARGIN above the value expected at this rank among unrelated
    photos, whose similarities are assumed to be normal and estimated at STRANGERS.

    Args:
        similarity: best first, without copies of the query, (n,).
        gallery: number of photos in the gallery.

    Returns:
        The scale; background 0 and spread 1 without candidates.
    """
    n = len(similarity)
    if n == 0:
        return Scale(0.0, 1.0, 1)
    rank = min(BACKGROUND, -(-n // SMALL_BACKGROUND))
    photos = max(gallery, n)
    near, far = (max(1, round(share * n)) for share in STRANGERS)
    deviations = normal_deviate(near, photos) - normal_deviate(far, photos)
    deviation = (similarity[near - 1] - similarity[far - 1]) / max(deviations, MIN_SPREAD)
    above = normal_deviate(rank, photos) - normal_deviate(near, photos)
    expected = float(similarity[near - 1] + deviation * above)
    background = min(float(similarity[rank - 1]), expected + MARGIN)
    spread = max(float(similarity[0]) - background, MIN_SPREAD)
    return Scale(background, spread, min(n, 1 + int((similarity > background).sum())))


def normal_deviate(rank: int, count: int) -> float:
    """Expected value of the `rank`-th largest of `count` normally distributed values, in standard
    deviations above their mean."""
    return NormalDist().inv_cdf(1 - (min(rank, count) - 0.5) / count)


def nearest(similarity: np.ndarray, k: int) -> np.ndarray:
    """Neighbour lists of photos: each photo itself, then its k nearest.

    A photo comes first in its own list even among exact duplicates; ties keep their order.

    Args:
        similarity: similarities of all pairs of photos, (n, n).
        k: number of neighbours.

    Returns:
        int (n, min(k + 1, n)).
    """
    own_first = similarity.copy()
    np.fill_diagonal(own_first, np.inf)
    return order(own_first)[:, : k + 1]
