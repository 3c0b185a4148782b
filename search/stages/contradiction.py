"""Contradiction: evidence that a photo shows another thing than the query.

A gallery photo that matches other gallery photos, none of which resembles the query, probably shows
the thing of those others. The matching graph knows these matches before any query:

    contradiction = max over the photo's edges of p_edge x (1 - p_other)

where p_other is the probability that the other photo shows the query's thing, by its own evidence.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .chains import Judge

NOTABLE = 0.5  # strength from which a contradiction is shown with the hit


@dataclass(frozen=True)
class Contradictions:
    """The strongest contradiction of each of n photos.

    Attributes:
        strength: p_edge x (1 - p_other), float64 (n,), 0 to 1; 0 for photos that match no other.
        others: gallery ids of the photos that contradict them, int (n,); -1 where the strength
            is 0.
    """

    strength: np.ndarray
    others: np.ndarray

    def notable(self, ids: np.ndarray, likely: np.ndarray) -> dict[int, tuple[int, float]]:
        """Gallery id -> the photo that contradicts it and the strength, from NOTABLE.

        Args:
            ids: gallery ids of the n photos, int (n,).
            likely: ids of the photos that probably show the query's thing after the graph, int
                (a,). To name one of them as another thing would be wrong.
        """
        shown = (self.strength >= NOTABLE) & ~np.isin(self.others, likely)
        return {
            int(ids[place]): (int(self.others[place]), float(self.strength[place]))
            for place in np.flatnonzero(shown)
        }


def contradictions(
    ids: np.ndarray, probability: np.ndarray, edges: np.ndarray, judge: Judge, excluded: np.ndarray
) -> Contradictions:
    """The strongest contradiction of each photo.

    Args:
        ids: gallery ids, int (n,), distinct.
        probability: that each shows the query's thing, (n,), by its own evidence. All other photos
            of the gallery have probability 0.
        edges: edges of the whole gallery, EDGE (N, k).
        judge: as in `chains.follow_chains`.
        excluded: ids of photos that contradict nothing, such as the query itself, int (a,).
    """
    around = edges[ids]
    strength = np.zeros(around.shape)
    used = (around["id"] >= 0) & (around["id"] < len(edges)) & ~np.isin(around["id"], excluded)
    one, slot = np.nonzero(used)
    if not len(one):
        return Contradictions(np.zeros(len(ids)), np.full(len(ids), -1))
    links = around[one, slot]
    by_id = np.argsort(ids)
    place = np.searchsorted(ids, links["id"], sorter=by_id).clip(0, len(ids) - 1)
    other = by_id[place]
    known = np.where(ids[other] == links["id"], probability[other], 0.0)
    strength[one, slot] = judge(ids[one], links) * (1 - known)
    best = np.arange(len(ids)), strength.argmax(axis=1)
    strongest = strength[best]
    return Contradictions(strongest, np.where(strongest > 0, around["id"][best], -1))
