"""Hard negatives: for each query the nearest photos of other things, each of another thing.

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
    """Hard negatives of each query.

    A photo of the query's cluster, or of a cluster that has given a negative already, is passed
    over.

    Args:
        queries: descriptors (Q, D).
        query_clusters: what each shows, int (Q,).
        pool: descriptors (N, D).
        pool_clusters: what each shows, int (N,).
        count: negatives of a query.
        batch: queries compared at a time.

    Returns:
        Positions in the pool, int (Q, count), nearest first; -1 where it has too few clusters.
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
