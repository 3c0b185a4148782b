"""Whitening learned after training: from matching pairs (Lw), or from the descriptors alone (PCA).

Lw: Radenovic et al. 2018, section 3.4 (after Mikolajczyk and Matas 2007). Rows of P are sorted by
eigenvalue, so the first d rows reduce to d dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from plurals import quantity

EPS = 1e-6  # added to norms, as in the published networks
WHITENING_POWER = -0.2
SMALLEST = 1e-8  # minimum eigenvalue, as a share of the largest


@dataclass(frozen=True)
class Whitening:
    """A linear map of descriptors, learned after training.

    Attributes:
        mean: m, float32 (D,).
        projection: P, float32 (d, D).
    """

    mean: np.ndarray
    projection: np.ndarray

    def __call__(self, descriptors: np.ndarray) -> np.ndarray:
        """Descriptors (N, D) -> whitened, unit norm (N, d): P (x - m), divided by its norm."""
        y = (descriptors - self.mean) @ self.projection.T
        return y / (np.linalg.norm(y, axis=1, keepdims=True) + EPS)

    def truncated(self, dim: int) -> Whitening:
        """The first `dim` output dimensions.

        Raises:
            ValueError: there are fewer.
        """
        if not 1 <= dim <= len(self.projection):
            raise ValueError(
                f"whitening has {quantity(len(self.projection), 'dimension')}, but {dim} "
                "are requested"
            )
        return Whitening(self.mean, self.projection[:dim])


def learn_whitening(descriptors: np.ndarray, pairs: np.ndarray) -> Whitening:
    """Lw, from matching pairs.

    The differences within pairs are whitened. Then the space is rotated to the principal axes of
    all descriptors after that map.

    Args:
        descriptors: (N, D).
        pairs: rows that show the same thing, int (n, 2).
    """
    x = descriptors.astype(np.float64)
    mean = x[pairs[:, 0]].mean(0)
    difference = x[pairs[:, 0]] - x[pairs[:, 1]]
    within_covariance = difference.T @ difference / len(pairs)
    p0 = np.linalg.inv(cholesky(within_covariance))
    whitened = (x - mean) @ p0.T
    _, vectors = linalg.eigh(whitened.T @ whitened)  # symmetric solver, ascending
    projection = vectors[:, ::-1].T @ p0
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def cholesky(matrix: np.ndarray) -> np.ndarray:
    """Cholesky factor (lower) of a symmetric matrix.

    Few pairs give a singular matrix. Then its diagonal is increased, starting at 1e-10, until the
    factor exists.
    """
    jitter = 0.0
    while True:
        try:
            return np.linalg.cholesky(matrix + jitter * np.eye(len(matrix)))
        except np.linalg.LinAlgError:
            jitter = jitter * 10 or 1e-10


def pca_whitening(descriptors: np.ndarray) -> Whitening:
    """PCA whitening of descriptors (N, D): diag(eigenvalue^-1/2) V^T.

    Eigenvalues below SMALLEST times the largest are raised to that.
    """
    x = descriptors.astype(np.float64)
    mean = x.mean(0)
    values, vectors = linalg.eigh((x - mean).T @ (x - mean) / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    projection = vectors.T / np.sqrt(np.maximum(values, SMALLEST * values[0]))[:, None]
    return Whitening(mean.astype(np.float32), projection.astype(np.float32))


def power_whitening(descriptors: np.ndarray, power: float = WHITENING_POWER) -> Whitening:
    """Partial whitening: each principal direction is weighted by its eigenvalue to a power.

    The second moments are taken about zero, not about the mean. All D directions are kept,
    strongest first, so that the result can be truncated. A power of -1/2 is PCA whitening; -0.2
    only evens the directions out, and needs no more photos than dimensions.

    Args:
        descriptors: unit rows (N, D).
        power: from -1/2 to 0.
    """
    x = descriptors.astype(np.float64)
    values, vectors = np.linalg.eigh(x.T @ x / len(x))
    values, vectors = values[::-1], vectors[:, ::-1]
    weights = np.maximum(values, 1e-6 * values[0]) ** power
    projection = (weights / weights[0])[:, None] * vectors.T
    return Whitening(np.zeros(len(projection), np.float32), projection.astype(np.float32))
