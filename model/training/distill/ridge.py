"""Closed-form initialisation of a student: ridge regression, and principal directions."""

from __future__ import annotations

import numpy as np
from scipy import linalg

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # shares of the mean variance of the features
HELD_OUT = 5  # every fifth row is held out to choose the penalty


def ridge(features: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear map from features to targets, with the penalty that best predicts held-out rows.

    Args:
        features: (N, C).
        targets: (N, D).

    Returns:
        Weights float32 (D, C) and bias float32 (D,): targets are about features @ weights.T + bias.
    """
    features, targets = features.astype(np.float64), targets.astype(np.float64)
    held = np.arange(len(features)) % HELD_OUT == 0
    errors = []
    moments = centred_moments(features[~held], targets[~held])
    for penalty in PENALTIES:
        weights, bias = solve(*moments, penalty)
        errors.append(np.square(features[held] @ weights.T + bias - targets[held]).mean())
    return solve(*centred_moments(features, targets), PENALTIES[int(np.argmin(errors))])


def centred_moments(
    features: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Moments of N rows for ridge regression.

    Args:
        features: (N, C).
        targets: (N, D).

    Returns:
        Their means (C,) and (D,), and the covariances (C, C) of the features and (C, D) of both.
    """
    mean, goal = features.mean(0), targets.mean(0)
    x, y = features - mean, targets - goal
    return mean, goal, x.T @ x / len(x), x.T @ y / len(x)


def solve(
    mean: np.ndarray, goal: np.ndarray, covariance: np.ndarray, cross: np.ndarray, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Solve a ridge regression.

    Args:
        mean, goal, covariance, cross: output of `centred_moments`.
        penalty: penalty as a share of the mean variance of the features.

    Returns:
        Weights float32 (D, C) and bias float32 (D,).
    """
    size = penalty * np.trace(covariance) / len(covariance) + 1e-12
    weights = linalg.solve(covariance + size * np.eye(len(covariance)), cross, assume_a="pos").T
    return np.float32(weights), np.float32(goal - weights @ mean)


def half_whitening(descriptors: np.ndarray, dim: int) -> np.ndarray:
    """Projection onto principal directions, each divided by the fourth root of its eigenvalue.

    Args:
        descriptors: (N, D), unit norm. They are not centred.
        dim: number of directions to keep, at most D.

    Returns:
        Float32 (dim, D).
    """
    x = descriptors.astype(np.float64)
    values, vectors = linalg.eigh(x.T @ x / len(x))
    values, vectors = values[::-1][:dim], vectors[:, ::-1][:, :dim]
    return np.float32(vectors.T / np.maximum(values, 1e-8 * values[0])[:, None] ** 0.25)
