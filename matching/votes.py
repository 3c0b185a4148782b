"""Votes: which photos have many details like those of a query, before any geometry.

Each keypoint of the query votes for the photos of its NEAREST keypoints in the gallery, the more
the nearer they are next to the last of them, once for each photo (Jégou et al. 2010 vote by rank
alone). Weak geometric consistency (Jégou et al. 2008), burstiness and idf (Jégou et al. 2009) gain
nothing on it (docs/measurements.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAREST = 12  # keypoints of the gallery that one of the query votes by
LUCK = 0.5  # votes that a stranger may get by chance, on top of what strangers get on average


@dataclass(frozen=True)
class Votes:
    """Photos that details speak for, m of them.

    Attributes:
        ids: int (m,), most votes first.
        scores: float64 (m,), how many times more votes than a stranger gets, as `relative`.
    """

    ids: np.ndarray
    scores: np.ndarray

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The scores of photos, (n,); 0 for those without votes."""
        if not len(self.ids):
            return np.zeros(len(ids))
        order = np.argsort(self.ids)
        place = np.searchsorted(self.ids, ids, sorter=order).clip(0, len(order) - 1)
        own = order[place]
        return np.where(self.ids[own] == ids, self.scores[own], 0)


def count_votes(
    distances: np.ndarray, photos: np.ndarray, gallery: int, apart: np.ndarray
) -> Votes:
    """Let keypoints vote.

    Args:
        distances, photos: of `Neighbours`, (n, k).
        gallery: how many photos it has.
        apart: ids of the photos that are the query. They get votes, but leave those of others as
            they were without them.
    """
    own = np.isin(photos, apart)
    others = np.where(own, np.inf, distances)
    last = nth_finite(others, NEAREST)
    weights = np.where(distances < last, 1 - distances / np.maximum(last, 1e-6), 0)
    # Nearest first: the first of a photo's keypoints in a row is its nearest.
    keypoint, place = np.nonzero(weights)
    voted = photos[keypoint, place].astype(np.int64)
    _, first = np.unique(keypoint * gallery + voted, return_index=True)
    ids, own_votes = np.unique(voted[first], return_inverse=True)
    counted = np.bincount(own_votes, weights[keypoint, place][first], len(ids))
    scores = relative(counted, strangers(np.where(own, 0, weights), gallery))
    order = np.argsort(-scores, kind="stable")
    return Votes(ids[order], scores[order])


def nth_finite(distances: np.ndarray, n: int) -> np.ndarray:
    """The n-th least of each row, or the last finite one: (rows, 1). 0 for a row without any."""
    ordered = np.sort(distances, axis=1)[:, :n]
    return np.where(np.isfinite(ordered), ordered, 0).max(1, initial=0)[:, None]


def strangers(weights: np.ndarray, gallery: int) -> float:
    """Votes that a photo gets that has nothing in common with the query.

    They are estimated by the second half of each keypoint's votes: the first may be for the thing
    itself, however many photos show it.

    Args:
        weights: of the neighbours, nearest first, (n, k); 0 for those that are not counted.
        gallery: how many photos it has.
    """
    counted = weights > 0
    late = counted & (np.cumsum(counted, axis=1) > NEAREST // 2)
    return float(2 * weights[late].sum() / max(gallery, 1))


def relative(votes: np.ndarray, of_a_stranger: float) -> np.ndarray:
    """ln(1 + votes / (of_a_stranger + LUCK)), (m,)."""
    return np.log1p(votes / (of_a_stranger + LUCK))
