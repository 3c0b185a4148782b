"""How similarity, diffusion and verification become one order. Arrays in, arrays out.

Measured on 30 development landmarks (README, "What the toggles do"): verified photos first, by matched points; below
the floor nothing is known, so the others keep the order they had, or, with diffusion on, are walked to from the
verified photos, which are better seeds than the nearest ones.
"""

from __future__ import annotations

import numpy as np

FLOOR = 10  # matched points from which on two photos are taken to show the same thing
SHORTLIST = 100  # best photos that are verified
TYPICAL_INLIERS = 15.0  # a verified seed with this many points has 63 % of the largest weight


def order(scores: np.ndarray) -> np.ndarray:
    """Positions by falling score (n,); ties keep their order."""
    return np.argsort(-scores, kind="stable")


def verified_seed_weights(inliers: np.ndarray) -> np.ndarray:
    """Weights 0 to 1 of verified photos (n,) as diffusion seeds: 1 - exp(-inliers / TYPICAL_INLIERS)."""
    return 1 - np.exp(-inliers / TYPICAL_INLIERS)


def lift_verified(scores: np.ndarray, inliers: np.ndarray) -> np.ndarray:
    """Scores (n,) with `inliers` added to, above the best score, where a photo is verified (inliers >= FLOOR).

    So the verified come first, most points first, and the others keep their order.
    """
    return np.where(inliers >= FLOOR, scores.max(initial=0) + inliers, scores)
