"""SuperGlobal: refine the best photos' descriptors by one another, then compare them again.

Shao et al. 2023, "Global features are all you need for image retrieval and reranking", the
reranking part. Uses vectors only: no graph, no precomputation.
"""

from __future__ import annotations

import numpy as np

from ..ranking import nearest, order
from .shortlisted import ShortlistReranker

REFINED_BY = 9  # K, besides the photo itself
BETA = 0.15  # weight of a neighbour of similarity 1; the photo itself has 1


def refine(rows: np.ndarray) -> np.ndarray:
    """Each descriptor averaged with its REFINED_BY nearest, weighted by BETA x similarity.

    A neighbour with negative similarity, which only occurs in tiny galleries, has no weight.

    Args:
        rows: unit vectors float32 (n, D).

    Returns:
        float32 (n, D), not of unit norm.
    """
    similarity = rows @ rows.T
    near = nearest(similarity, REFINED_BY)
    weights = np.zeros_like(similarity)
    np.put_along_axis(
        weights, near, BETA * np.maximum(np.take_along_axis(similarity, near, 1), 0), axis=1
    )
    np.fill_diagonal(weights, 1)
    return weights @ rows / weights.sum(1, keepdims=True)


def superglobal_scores(descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean of two similarities of the refined rows.

    One is to the query, the other to the component-wise maximum of the REFINED_BY + 1 refined rows
    that are most similar to it.

    Args:
        descriptor: descriptor of the query, float32 (D,).
        rows: descriptors of the photos, float32 (n, D).

    Returns:
        float32 (n,).
    """
    if len(rows) == 0:
        return np.empty(0, np.float32)
    refined = refine(rows)
    first = refined @ descriptor
    expanded = refined[order(first)[: REFINED_BY + 1]].max(0)
    return (first + refined @ expanded) / 2


class SuperGlobal(ShortlistReranker):
    """Score: `superglobal_scores`."""

    def scores(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return superglobal_scores(descriptor, rows)
