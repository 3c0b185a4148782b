"""Offline diffusion: for every photo, the end points of random walks that start there.

Yang et al. 2019, "Efficient image retrieval via decoupling diffusion into online and offline
processing": row i of (I - alpha S)^-1, solved in the neighbourhood of i only ("late truncation": S
is normalised on the whole graph first). A query then needs no solver, only a weighted sum of the
rows of its seeds (search/rerank/diffusion.py).

The paper solves one system for each photo, on its 1000 nearest. Here photos with a common
neighbourhood (partition.py) share one system and one factorisation.

Accuracy of a truncated row: I - alpha S is an M-matrix. The inverse of a principal submatrix is
non-negative, and grows element by element towards that of the whole matrix as the submatrix grows.
So of two truncated rows the one with the larger sum is closer. Its error can be measured without an
inverse: the row sums of the full inverse solve (I - alpha S) m = 1. For the same reason elimination
and substitution here add numbers of one sign only, except on the diagonal, and float32 keeps even
the smallest values to several digits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from extractor import available_cores

from .partition import blocks, region

ALPHA = 0.95
BLOCK = 192  # photos whose rows are solved together
REGION = 2000  # photos in a block's system of equations
# Sparse rounds before the rest is solved densely; they eliminate about half of a region.
ELIMINATIONS = 3
CHUNK = 64  # columns per dense step
# Largest values stored per row; from 50 on, mAP does not change
# (python -m evaluation diffusion --cuts).
KEPT = 150


def solve_block(
    walk: sparse.csr_array, ids: np.ndarray, count: int, alpha: float = ALPHA
) -> np.ndarray:
    """Rows of the inverse of (I - alpha S)[T, T], by symmetric block elimination.

    Uses numpy only: its products and inverses release the GIL, scipy's factorisations do not.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        ids: T, distinct ids (|T|,).
        count: number of rows to compute, for the last of these ids.
        alpha: probability that a walk continues, below 1.

    Returns:
        float32 (count, |T|).
    """
    system = sparse.eye_array(len(ids), dtype=np.float32, format="csr") - submatrix(
        walk, ids, alpha
    )
    # Photos without edges among them are eliminated together; those whose rows are needed, last.
    unsolved, steps = np.arange(len(ids)), []
    for _ in range(ELIMINATIONS):
        independent = unconnected(system, len(unsolved) - count)
        coupled = np.delete(np.arange(len(unsolved)), independent)
        coupling = system[independent][:, coupled]
        scaled = coupling.copy()
        scaled.data /= np.repeat(system.diagonal()[independent], np.diff(coupling.indptr))
        system = system[coupled][:, coupled] - coupling.T @ scaled
        steps.append((unsolved[independent], unsolved[coupled], scaled))
        unsolved = unsolved[coupled]
    # Eliminate the rest in chunks: `dense` holds the eliminated part below the diagonal, and the
    # same scaled by the pivot above it.
    dense, first = system.toarray(), len(unsolved) - count
    for start in range(0, first, CHUNK):
        stop = min(start + CHUNK, first)
        dense[start:, start:stop] -= dense[start:, :start] @ dense[:start, start:stop]
        dense[start:stop, stop:] = (
            np.linalg.inv(dense[start:stop, start:stop]) @ dense[stop:, start:stop].T
        )
        steps.append((unsolved[start:stop], unsolved[stop:], dense[start:stop, stop:]))
    dense[first:, first:] -= dense[first:, :first] @ dense[:first, first:]
    values = np.empty((len(ids), count), np.float32)
    values[unsolved[first:]] = np.linalg.inv(dense[first:, first:])
    for independent, coupled, scaled in reversed(steps):
        values[independent] = -(scaled @ values[coupled])
    return np.ascontiguousarray(values.T)


def submatrix(walk: sparse.csr_array, ids: np.ndarray, alpha: float) -> sparse.csr_array:
    """alpha S[T, T], float32."""
    edges, slots = walk[ids], np.full(walk.shape[0], -1, np.int32)
    slots[ids] = np.arange(len(ids))
    columns = slots[edges.indices]
    inside = columns >= 0
    rows = np.repeat(np.arange(len(ids), dtype=np.int32), np.diff(edges.indptr))
    weights = (alpha * edges.data[inside]).astype(np.float32)
    return sparse.csr_array((weights, (rows[inside], columns[inside])), shape=(len(ids), len(ids)))


def unconnected(system: sparse.csr_array, first: int) -> np.ndarray:
    """An independent set of photos: those with a lower degree than all their neighbours.

    Args:
        system: square matrix with a full diagonal.
        first: only photos before this one are taken.

    Returns:
        Their ids, ascending.
    """
    degree = np.diff(system.indptr)
    degree[first:] = len(degree) + 1
    rank = np.empty_like(degree)
    rank[np.argsort(degree, kind="stable")] = np.arange(len(degree))
    # No row is empty, as each contains its diagonal.
    lowest = np.minimum.reduceat(rank[system.indices], system.indptr[:-1])
    return np.flatnonzero(lowest[:first] == rank[:first])


def strongest(values: np.ndarray, ids: np.ndarray, kept: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest values of each row and their ids, in stored form.

    Args:
        values: output of `solve_block`, float32 (count, |T|).
        ids: T, (|T|,), the rows' own photos last.
        kept: number of values to keep per row.

    Returns:
        Ids int32 and values float16, both (count, kept). Slot 0 is the row's own photo, the rest
        is sorted by value. Slots without a value that float16 can represent have id -1 and value 0.
    """
    count = len(values)
    bounds = np.arange(count), np.arange(len(ids) - count, len(ids))
    order = -values
    order[bounds] = -np.inf
    best = np.argpartition(order, min(kept, len(ids)) - 1, axis=1)[:, :kept]
    best = np.take_along_axis(best, np.argsort(np.take_along_axis(order, best, 1), axis=1), 1)
    row_ids = np.full((count, kept), -1, np.int32)
    row_values = np.zeros((count, kept), np.float16)
    filled = slice(best.shape[1])
    row_values[:, filled] = np.take_along_axis(values, best, 1)
    row_ids[:, filled] = np.where(row_values[:, filled] > 0, ids[best], -1)
    return row_ids, row_values


def diffusion_rows(
    walk: sparse.csr_array,
    row_ids: np.ndarray,
    row_values: np.ndarray,
    alpha: float = ALPHA,
    block: int = BLOCK,
    size: int = REGION,
    progress: Callable[[Iterable, int], Iterable] = lambda items, total: items,
    photos: np.ndarray | None = None,
) -> None:
    """Solve rows and keep the largest values of each, in the form of `strongest`.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        row_ids: int32 (N, kept), filled in place.
        row_values: float16 (N, kept), filled in place.
        alpha: probability that a walk continues, below 1.
        block: photos whose rows are solved together.
        size: photos in a block's system of equations.
        progress: called once as progress(items, total); must yield the items.
        photos: photos whose rows to solve, int32, ascending; None for all. Other rows are left
            unchanged.
    """

    def solve(some: np.ndarray) -> None:
        ids = region(walk, some, size, alpha)
        values = solve_block(walk, ids, len(some), alpha)
        row_ids[some], row_values[some] = strongest(values, ids, row_ids.shape[1])

    if photos is None:
        todo = blocks(walk, block)
    else:
        todo = [photos[some] for some in blocks(walk[photos][:, photos], block) if len(some)]
    pool = ThreadPoolExecutor(available_cores())
    # One thread per block: threads inside the small products would mostly wait for each other, on a
    # busy machine for seconds. This also makes the rows independent of the number of cores.
    with threadpool_limits(1, user_api="blas"):
        try:
            for _ in progress(pool.map(solve, todo), len(todo)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
