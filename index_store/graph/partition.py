"""Partition of the neighbourhood graph into small blocks, and the region around each block.

Walks from the photos of one block mostly visit the same photos, so one system of equations serves
all of them.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Hops after a region has reached its size: they replace photos by more visited ones.
HOPS_WHEN_FULL = 2


def blocks(walk: sparse.csr_array, size: int) -> list[np.ndarray]:
    """Partition all photos into blocks that keep strong edges inside.

    Heavy-edge matching (Karypis and Kumar 1998, section 3.1), repeated: two clusters merge if each
    is the other's best by edge weight over the product of their sizes. The remaining clusters share
    blocks as long as they fit.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        size: maximum photos per block.

    Returns:
        The ids of each block, int32.
    """
    walk = walk.tocoo()
    # With equal weights only one pair would merge per round; a little noise breaks ties.
    noise = 1 + 1e-3 * np.random.default_rng(0).random(walk.shape[0])
    rows, columns, weights = walk.row, walk.col, walk.data * noise[walk.row] * noise[walk.col]
    cluster, sizes = np.arange(walk.shape[0]), np.ones(walk.shape[0], int)
    while True:
        mergeable = (rows != columns) & (sizes[rows] + sizes[columns] <= size)
        rows, columns, weights = rows[mergeable], columns[mergeable], weights[mergeable]
        best = best_neighbours(rows, columns, weights / (sizes[rows] * sizes[columns]), len(sizes))
        block_of = np.arange(len(sizes))
        mutual = best[best] == block_of
        if (best[mutual] == block_of[mutual]).all():
            break
        _, merged = np.unique(
            np.where(mutual, np.minimum(block_of, best), block_of), return_inverse=True
        )
        cluster, sizes = merged[cluster], np.bincount(merged, sizes).astype(int)
        edges = sparse.csr_array(
            (weights, (merged[rows], merged[columns])), shape=(len(sizes), len(sizes))
        ).tocoo()
        rows, columns, weights = edges.row, edges.col, edges.data
    starts, filled = [], size
    for start, count in zip(np.cumsum(sizes) - sizes, sizes):
        if filled + count > size:
            starts.append(start)
            filled = 0
        filled += count
    return np.split(np.argsort(cluster, kind="stable").astype(np.int32), starts[1:])


def best_neighbours(
    rows: np.ndarray, columns: np.ndarray, scores: np.ndarray, count: int
) -> np.ndarray:
    """The best neighbour of each node.

    Args:
        rows: one end of each edge, int (E,), ascending.
        columns: the other end, int (E,).
        scores: score of each edge, higher is better, (E,).
        count: number of nodes.

    Returns:
        For each node the column of its highest score, or itself if it has no edge: int (count,).
    """
    best = np.arange(count)
    if len(rows):
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        highest = np.repeat(np.maximum.reduceat(scores, starts), np.diff(starts, append=len(rows)))
        winners = np.flatnonzero(scores == highest)
        best[rows[winners]] = columns[winners]
    return best


def region(walk: sparse.csr_array, block: np.ndarray, size: int, alpha: float) -> np.ndarray:
    """The photos that a block's walks visit most.

    Grown hop by hop along the edges; contains all connected photos if they fit.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        block: ids of the block, (B,).
        size: maximum photos in the region.
        alpha: probability that a walk continues, below 1.

    Returns:
        Distinct ids, the block's last.
    """
    inside, hops = block, 0
    visits: np.ndarray = np.ones(len(block))
    while hops < HOPS_WHEN_FULL:
        edges = walk[inside]
        flow = alpha * edges.data * np.repeat(visits, np.diff(edges.indptr))
        candidates, slot = np.unique(np.concatenate([block, edges.indices]), return_inverse=True)
        if hops == 0 and len(candidates) == len(inside):
            break
        visits = np.bincount(slot, np.concatenate([np.ones(len(block)), flow]))
        if len(candidates) > size:
            hops += 1
            priority = visits.copy()
            priority[slot[: len(block)]] = np.inf
            chosen = np.argpartition(-priority, size - 1)[:size]
            candidates, visits = candidates[chosen], visits[chosen]
        inside = candidates
    return np.concatenate([np.setdiff1d(inside, block, assume_unique=True), block])
