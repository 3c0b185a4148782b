"""Hard negative mining: for each query the nearest photos of other things, one per thing.

Radenovic et al. 2018, section 4.2.
"""

from __future__ import annotations

import numpy as np


def hard_negatives(
    queries: np.ndarray,
    query_clusters: np.ndarray,
    pool: np.ndarray,
    pool_clusters: np.ndarray,
    count: int,
    batch: int = 256,
) -> np.ndarray:
    """Find hard negatives for each query.

    Photos of the query's cluster, and of clusters that already have a negative, are skipped.

    Args:
        queries: descriptors (Q, D).
        query_clusters: cluster of each query, int (Q,).
        pool: descriptors (N, D).
        pool_clusters: cluster of each pool photo, int (N,).
        count: negatives per query.
        batch: queries compared at a time.

    Returns:
        Indices into the pool, int (Q, count), nearest first; -1 if it has too few clusters.
    """
    chosen = np.full((len(queries), count), -1, np.int64)
    for start in range(0, len(queries), batch):
        order = np.argsort(-(queries[start : start + batch] @ pool.T), axis=1, kind="stable")
        for i, row in enumerate(order, start):
            used = {int(query_clusters[i])}
            found = 0
            for position in row:
                cluster = int(pool_clusters[position])
                if cluster in used:
                    continue
                used.add(cluster)
                chosen[i, found] = position
                found += 1
                if found == count:
                    break
    return chosen
