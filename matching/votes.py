"""Keypoint voting: which photos share many details with a query, before any geometry.

Each keypoint of the query votes for the photos of its NEAREST keypoints in the gallery, once per
photo; a vote weighs more the nearer its keypoint is relative to the last of them (Jégou et al. 2010
vote by rank alone). Weak geometric consistency (Jégou et al. 2008), burstiness and idf (Jégou et
al. 2009) do not improve it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAREST = 12  # gallery keypoints per query keypoint that cast votes
LUCK = 0.5  # votes that an unrelated photo may get by chance, above the average of such photos


@dataclass(frozen=True)
class Votes:
    """The m photos that received votes.

    Attributes:
        ids: int (m,), most votes first.
        scores: float64 (m,), votes relative to those of an unrelated photo, see `relative`.
    """

    ids: np.ndarray
    scores: np.ndarray

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The scores of photos by id, (n,); 0 for photos without votes."""
        if not len(self.ids):
            return np.zeros(len(ids))
        order = np.argsort(self.ids)
        positions = np.searchsorted(self.ids, ids, sorter=order).clip(0, len(order) - 1)
        rows = order[positions]
        return np.where(self.ids[rows] == ids, self.scores[rows], 0)


def count_votes(
    distances: np.ndarray, photos: np.ndarray, gallery: int, excluded: np.ndarray
) -> Votes:
    """Count the votes of a query's keypoints.

    Args:
        distances, photos: see `Neighbours`, (n, k).
        gallery: number of photos in the gallery.
        excluded: ids of the photos that are the query. They get votes, but do not affect the
            votes of others.
    """
    is_excluded = np.isin(photos, excluded)
    others = np.where(is_excluded, np.inf, distances)
    last = nth_finite(others, NEAREST)
    weights = np.where(distances < last, 1 - distances / np.maximum(last, 1e-6), 0)
    # Rows are ordered by distance: a photo's first keypoint in a row is its nearest.
    keypoint, neighbour = np.nonzero(weights)
    voted = photos[keypoint, neighbour].astype(np.int64)
    _, first = np.unique(keypoint * gallery + voted, return_index=True)
    ids, own_votes = np.unique(voted[first], return_inverse=True)
    counted = np.bincount(own_votes, weights[keypoint, neighbour][first], len(ids))
    scores = relative(counted, background_weight(np.where(is_excluded, 0, weights), gallery))
    order = np.argsort(-scores, kind="stable")
    return Votes(ids[order], scores[order])


def nth_finite(distances: np.ndarray, n: int) -> np.ndarray:
    """The n-th smallest of each row, or the last finite one, (rows, 1). 0 for a row without any."""
    ordered = np.sort(distances, axis=1)[:, :n]
    return np.where(np.isfinite(ordered), ordered, 0).max(1, initial=0)[:, None]


def background_weight(weights: np.ndarray, gallery: int) -> float:
    """Expected votes of a photo that has nothing in common with the query.

    Estimated from the second half of each keypoint's votes: the first half may be for the thing
    itself, however many photos show it.

    Args:
        weights: weights of the neighbours, nearest first, (n, k); 0 for those that do not count.
        gallery: number of photos in the gallery.
    """
    counted = weights > 0
    beyond_half = counted & (np.cumsum(counted, axis=1) > NEAREST // 2)
    return float(2 * weights[beyond_half].sum() / max(gallery, 1))


def relative(votes: np.ndarray, background: float) -> np.ndarray:
    """ln(1 + votes / (background + LUCK)), (m,)."""
    return np.log1p(votes / (background + LUCK))
