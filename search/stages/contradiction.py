"""Contradiction: evidence that a photo shows another thing than the query.

A gallery photo that matches other gallery photos, none of which resembles the query, probably shows
the thing of those others. The matching graph knows these matches before any query:

    contradiction = max over the photo's edges of p_edge x (1 - p_other)

where p_other is the probability that the other photo shows the query's thing, by its own evidence.
"""

from __future__ import annotations

import numpy as np

from .chains import Judge


def contradictions(
    ids: np.ndarray, probability: np.ndarray, edges: np.ndarray, judge: Judge, excluded: np.ndarray
) -> np.ndarray:
    """The strongest contradiction of each photo.

    Args:
        ids: gallery ids, int (n,), distinct.
        probability: that each shows the query's thing, (n,), by its own evidence. All other photos
            of the gallery have probability 0.
        edges: edges of the whole gallery, EDGE (N, k).
        judge: as in `chains.follow_chains`.
        excluded: ids of photos that contradict nothing, such as the query itself, int (a,).

    Returns:
        float64 (n,), 0 to 1; 0 for photos that match no other.
    """
    strongest = np.zeros(len(ids))
    around = edges[ids]
    used = (around["id"] >= 0) & (around["id"] < len(edges)) & ~np.isin(around["id"], excluded)
    one, slot = np.nonzero(used)
    if not len(one):
        return strongest
    links = around[one, slot]
    by_id = np.argsort(ids)
    place = np.searchsorted(ids, links["id"], sorter=by_id).clip(0, len(ids) - 1)
    other = by_id[place]
    known = np.where(ids[other] == links["id"], probability[other], 0.0)
    np.maximum.at(strongest, one, judge(ids[one], links) * (1 - known))
    return strongest
