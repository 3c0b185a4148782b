"""Cutting the neighbourhood graph into small blocks, and finding where a block's walks stay.

Photos of one block share most of where their walks lead, so that one system of equations serves all
of them.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

# Hops walked after a region has reached its size: they replace photos by ones visited more.
HOPS_WHEN_FULL = 2


def blocks(walk: sparse.csr_array, size: int) -> list[np.ndarray]:
    """Every photo in exactly one block, photos with strong edges in the same one.

    Heavy-edge matching (Karypis and Kumar 1998, section 3.1), repeated: two clusters merge if each
    is the other's best by edge weight over the product of their sizes. Clusters that are left share
    blocks while they fit.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        size: The most photos of a block.

    Returns:
        The ids of each block, int32.
    """
    walk = walk.tocoo()
    # Equal weights would let one pair merge a round; a little noise breaks the ties.
    noise = 1 + 1e-3 * np.random.default_rng(0).random(walk.shape[0])
    rows, columns, weights = walk.row, walk.col, walk.data * noise[walk.row] * noise[walk.col]
    cluster, sizes = np.arange(walk.shape[0]), np.ones(walk.shape[0], int)
    while True:
        fits = (rows != columns) & (sizes[rows] + sizes[columns] <= size)
        rows, columns, weights = rows[fits], columns[fits], weights[fits]
        best = best_neighbours(rows, columns, weights / (sizes[rows] * sizes[columns]), len(sizes))
        own = np.arange(len(sizes))
        mutual = best[best] == own
        if (best[mutual] == own[mutual]).all():
            break
        _, merged = np.unique(np.where(mutual, np.minimum(own, best), own), return_inverse=True)
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
        rows: One end of each edge, int (E,), ascending.
        columns: The other end, int (E,).
        scores: How good each edge is, (E,).
        count: How many nodes there are.

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

    Grown hop by hop along the edges; the whole of every component if they all fit.

    Args:
        walk: S of `neighbour_graph`, (N, N).
        block: Ids of the block, (B,).
        size: The most photos of the region.
        alpha: Probability that a walk goes on, below 1.

    Returns:
        Distinct ids, the block's last.
    """
    inside, hops = block, 0
    visits: np.ndarray = np.ones(len(block))
    while hops < HOPS_WHEN_FULL:
        edges = walk[inside]
        flow = alpha * edges.data * np.repeat(visits, np.diff(edges.indptr))
        reached, slot = np.unique(np.concatenate([block, edges.indices]), return_inverse=True)
        if hops == 0 and len(reached) == len(inside):
            break
        visits = np.bincount(slot, np.concatenate([np.ones(len(block)), flow]))
        if len(reached) > size:
            hops += 1
            priority = visits.copy()
            priority[slot[: len(block)]] = np.inf
            kept = np.argpartition(-priority, size - 1)[:size]
            reached, visits = reached[kept], visits[kept]
        inside = reached
    return np.concatenate([np.setdiff1d(inside, block, assume_unique=True), block])
