"""Probability that the two photos of an edge show the same thing, the same for all models.

Matched points alone prove little: covers of one series share their logos. The photos of an edge
show the same thing if one of two proofs holds: the matched points cover much of a photo and few
matches contradict them, or the descriptors are far more similar than those of unrelated photos.

    probability = 1 - (1 - logistic(POINTS . (1, root of coverage, inliers / matches)))
                      (1 - logistic(LIKENESS . (1, similarity above the background)))
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from .matching_graph import background_rank

# Fitted by `evaluation things` on landmarks, covers, paintings, cartons and other things.
POINTS = (-5.0, 8.9, 5.9)
LIKENESS = (-3.0, 13.5)


def background_of(list_sims: np.ndarray) -> np.ndarray:
    """For each photo, its similarity to photos that have nothing in common with it, float64 (N,).

    Args:
        list_sims: similarities of each photo's nearest photos, (N, k), as in `Store`.
    """
    return list_sims[:, background_rank(*list_sims.shape)].astype(np.float64)


def proofs(edges: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Features of the proofs: root of coverage, inliers / matches, and similarity above the lower
    background of the two photos.

    Args:
        edges: EDGE (m,).
        background: backgrounds of the two photos of each, see `background_of`, (m, 2).

    Returns:
        float64 (m, 3).
    """
    above = edges["similarity"].astype(np.float64) - background.min(1)
    coverage = np.sqrt(edges["coverage"].astype(np.float64))
    agreement = edges["inliers"] / np.maximum(edges["matches"], 1).astype(np.float64)
    return np.stack([coverage, agreement, above], axis=1)


def probability(
    proofs: np.ndarray, points: Sequence[float] = POINTS, likeness: Sequence[float] = LIKENESS
) -> np.ndarray:
    """Probability that each pair shows the same thing, float64 (m,), 0 to 1.

    Args:
        proofs: output of `proofs`, (m, 3).
        points: bias, and weights of coverage and agreement.
        likeness: bias, and weight of the similarity.
    """
    by_points = points[0] + proofs[:, :2] @ np.asarray(points[1:])
    by_likeness = likeness[0] + likeness[1] * proofs[:, 2]
    return 1 - (1 - expit(by_points)) * (1 - expit(by_likeness))
