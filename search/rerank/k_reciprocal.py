"""K-reciprocal encoding: distance between photos by the overlap of their mutual neighbours.

Zhong et al. 2017, "Re-ranking person re-identification with k-reciprocal encoding", restricted to
the query and its best photos, on their stored descriptors. As in the authors' code, the distance d
is the squared Euclidean one relative to the largest of its row, a photo is one of its own
neighbours, and an encoding sums to one.
"""

from __future__ import annotations

import numpy as np

from ..ranking import nearest
from .shortlisted import ShortlistReranker

K1 = 20  # neighbours that must be mutual
K2 = 6  # photos, including itself, whose encodings are averaged
LAMBDA = 0.3  # weight of the plain distance
TINY = 1e-12


def mutual(neighbours: np.ndarray) -> np.ndarray:
    """R (eq. 2), bool (n, n): i and j are in each other's neighbour lists (n, k)."""
    listed = np.zeros((len(neighbours), len(neighbours)), bool)
    np.put_along_axis(listed, neighbours, True, axis=1)
    return listed & listed.T


def encode(similarity: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """V (eqs. 3, 7, 11): each photo's weights of the others.

    Args:
        similarity: similarities of all pairs, (n, n).
        distance: distances d of all pairs, (n, n).

    Returns:
        float32 (n, n), one row per photo.
    """
    neighbours = nearest(similarity, K1)
    wide, narrow = mutual(neighbours), mutual(neighbours[:, : K1 // 2 + 1])
    # R*: the narrow set of a mutual neighbour joins if at least two thirds of it are already in
    # the wide set.
    common = wide.astype(np.float32) @ narrow.astype(np.float32)
    joining = wide & (3 * common >= 2 * narrow.sum(1))
    expanded = wide | (joining.astype(np.float32) @ narrow.astype(np.float32) > 0)
    encoding = np.where(expanded, np.exp(-distance), 0)
    encoding /= encoding.sum(1, keepdims=True)
    return encoding[neighbours[:, :K2]].mean(1)


def reciprocal_distance(rows: np.ndarray) -> np.ndarray:
    """d* (eqs. 10, 12), 0 to 1, (n - 1,): from the first photo to each other one.

    Args:
        rows: unit vectors of the photos, float32 (n, D).
    """
    similarity = np.clip(rows @ rows.T, -1, 1)
    np.fill_diagonal(similarity, 1)
    distance = 2 - 2 * similarity
    distance /= np.maximum(distance.max(1, keepdims=True), TINY)
    encoding = encode(similarity, distance)
    # Rows sum to one, so the sum of the larger values is 2 - the sum of the smaller.
    shared = np.minimum(encoding[0], encoding[1:]).sum(1)
    jaccard = 1 - shared / (2 - shared)
    return (1 - LAMBDA) * jaccard + LAMBDA * distance[0, 1:]


class KReciprocal(ShortlistReranker):
    """Score: 1 - d*."""

    def scores(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return 1 - reciprocal_distance(np.concatenate([descriptor[None], rows]))
