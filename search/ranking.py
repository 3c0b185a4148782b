"""How similarity, diffusion and verification become one order. Arrays in, arrays out.

Measured on 30 development landmarks (README, "What the toggles do"): verified photos first, by matched points; below
the floor nothing is known, so the others keep the order they had, or, with diffusion on, are walked to from the
verified photos, which are better seeds than the nearest ones.
"""

from __future__ import annotations

import numpy as np

FLOOR = 10  # matched points from which on two photos are taken to show the same thing
SHORTLIST = 100  # best photos that are verified
HALF_INLIERS = 50.0  # lift a verified photo's score by one half
TYPICAL_INLIERS = 15.0  # a verified seed with this many points has 63 % of the largest weight


def order(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score (n,); ties keep their order."""
    return np.argsort(-scores, kind="stable")


def verified_seed_weights(inliers: np.ndarray) -> np.ndarray:
    """Weights 0 to 1 of verified photos (n,) as diffusion seeds: 1 - exp(-inliers / TYPICAL_INLIERS)."""
    return 1 - np.exp(-inliers / TYPICAL_INLIERS)


def lift_verified(scores: np.ndarray, inliers: np.ndarray) -> np.ndarray:
    """Scores (n,) with verified photos (inliers >= FLOOR) lifted above all others, most points first.

    They get max(1, best score) + inliers / (inliers + HALF_INLIERS); the others keep theirs.
    """
    return np.where(inliers >= FLOOR, max(1.0, scores.max(initial=0)) + inliers / (inliers + HALF_INLIERS), scores)
