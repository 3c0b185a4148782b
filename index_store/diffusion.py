"""Offline diffusion: for every gallery photo, how strongly the walk that starts there ends at each other photo.

Yang et al. 2019, "Efficient image retrieval via decoupling diffusion into online and offline processing": row i of
(I - alpha S)^-1, solved on i's own neighbourhood only ("late truncation": S is normalised on the whole graph first).
A query then needs no solver, only a weighted sum of the rows of its seeds (search/diffusion.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import cg

ALPHA = 0.95
TRUNCATION = 1000  # photos in a row's system of equations
KEPT = 300  # largest values stored of a row; they hold over 99 % of its mass
TOLERANCE = 1e-6


def diffusion_row(walk: sparse.csr_array, neighbourhood: np.ndarray, alpha: float = ALPHA) -> np.ndarray:
    """Solve (I - alpha S)[T, T] f = e_0 by conjugate gradients; f float64 (|T|,), f[0] belongs to the photo itself.

    walk: S of `neighbour_graph`. neighbourhood: T, distinct ids (|T|,) with the photo itself in slot 0.
    """
    start = np.zeros(len(neighbourhood))
    start[0] = 1.0
    local = walk[neighbourhood][:, neighbourhood]
    if local.nnz == 0 or local[[0]].nnz == 0:
        return start  # no edges: the walk stays where it began
    system = sparse.eye_array(len(neighbourhood), format="csr") - alpha * local
    solution, failed = cg(system, start, rtol=TOLERANCE, maxiter=1000)
    if failed:
        raise ArithmeticError(f"diffusion of photo {neighbourhood[0]} does not converge")
    return solution


def diffusion_rows(
    walk: sparse.csr_array,
    ids: np.ndarray,
    alpha: float = ALPHA,
    kept: int = KEPT,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> tuple[np.ndarray, np.ndarray]:
    """All rows, cut to their `kept` largest values: ids int32 (N, kept), values float16 (N, kept).

    ids: neighbour lists of `self_first` (N, k); list i is the neighbourhood T of row i. Slot 0 of each result is the
    photo itself, the rest is sorted by value; unused slots hold id -1 and value 0.
    """
    count = len(ids)
    kept = min(kept, count)
    row_ids = np.full((count, kept), -1, np.int32)
    row_values = np.zeros((count, kept), np.float16)
    for i in progress(range(count)):
        neighbourhood = ids[i][ids[i] >= 0]
        values = diffusion_row(walk, neighbourhood, alpha)
        order = np.argsort(-values[1:], kind="stable")[: kept - 1] + 1
        order = np.concatenate([[0], order[values[order] > 0]])
        row_ids[i, : len(order)] = neighbourhood[order]
        row_values[i, : len(order)] = values[order]
    return row_ids, row_values
