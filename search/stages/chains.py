"""Chains of evidence: from the query to photos that match it, and onwards in the matching graph.

A photo that does not match the query itself may match one that does. Its chain is worth the product
of the probabilities along it (compare Philbin and Zisserman 2008, Chang et al. 2019), the first of
them squared, so that a doubtful start counts little:

    chain = max over paths of p_start^2 x p_edge x ... of up to STEPS edges
    probability = 1 - (1 - own probability)(1 - trust x chain)

Chains never lower a photo. A query that is in the gallery is not part of any chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from index_store import Store

from ..ranking import Ranking, cosine

STEPS = 3
MIN_WORTH = 1e-3  # chains worth less are not followed
TINY = 1e-300  # probability of a photo without any evidence

Judge = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Chains:
    """The best chain to each of the m photos that chains lead to.

    Attributes:
        ids: gallery ids, int (m,), ascending.
        worth: worth of each chain, float64 (m,), 0 to 1.
        links: gallery id -> photos before it on its chain, in order.
    """

    ids: np.ndarray
    worth: np.ndarray
    links: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """The worth of the chains to photos, (n,); 0 for photos without a chain."""
        if not len(self.ids):
            return np.zeros(len(ids))
        place = np.searchsorted(self.ids, ids).clip(0, len(self.ids) - 1)
        return np.where(self.ids[place] == ids, self.worth[place], 0.0)


def follow_chains(
    starts: np.ndarray, worth: np.ndarray, edges: np.ndarray, judge: Judge, excluded: np.ndarray
) -> Chains:
    """Follow the edges of the graph from photo to photo.

    Args:
        starts: gallery ids, int (n,), distinct.
        worth: worth of each as a start, (n,), 0 to 1.
        edges: edges of the whole gallery, EDGE (N, k).
        judge: function from ids int (m,) and edges EDGE (m,) to the probability that both photos of
            each edge show the same thing, (m,).
        excluded: ids of photos that must not be part of a chain, int (a,).
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {}
    front = {
        int(id): (float(value), ())
        for id, value in zip(starts, worth)
        if value >= MIN_WORTH and id not in excluded
    }
    for _ in range(STEPS):
        ids = np.array(list(front), np.int64)
        if not len(ids):
            break
        values = np.array([value for value, _ in front.values()])
        around = edges[ids]
        kept = (around["id"] >= 0) & (around["id"] < len(edges)) & ~np.isin(around["id"], excluded)
        one, slot = np.nonzero(kept)
        links = around[one, slot]
        reached = values[one] * judge(ids[one], links)
        order = np.argsort(-reached, kind="stable")
        order = order[reached[order] >= MIN_WORTH]
        front, before = {}, front
        for place in order.tolist():
            id, start, value = int(links["id"][place]), int(ids[one[place]]), float(reached[place])
            chain = (*before[start][1], start)
            if id not in chain and id not in front and value > best.get(id, (0.0,))[0]:
                front[id] = best[id] = value, chain
    found = np.array(sorted(best), np.int64)
    return Chains(
        found,
        np.array([best[id][0] for id in found.tolist()]),
        {id: chain for id, (_, chain) in best.items()},
    )


def chained(
    ranking: Ranking, chains: Chains, trust: float, descriptor: np.ndarray, store: Store
) -> tuple[Ranking, np.ndarray]:
    """Raise photos that chains lead to, and add those that were not candidates.

    Args:
        ranking: ranking with log-odds as scores.
        chains: chains that start at its photos.
        trust: probability of a photo with a perfect chain and no evidence of its own, 0 to 1.
        descriptor: descriptor of the query, float32 (D,).
        store: the gallery.

    Returns:
        The ranking, best first, with log-odds as scores; and the ids int (m,) of the photos whose
        chain is stronger evidence than their own.
    """
    new = np.setdiff1d(chains.ids, ranking.ids)
    wider = ranking.extended(new, cosine(descriptor, store.descriptors[new]))
    own = -np.logaddexp(0, ranking.scores)  # ln(1 - probability)
    doubt = np.concatenate([own, np.zeros(len(new))])
    by_chain = np.log1p(-trust * chains.of(wider.ids))
    both = np.minimum(doubt + by_chain, -TINY)
    calibrated = None if ranking.probability is None else -np.expm1(both)
    scores = np.log(-np.expm1(both)) - both
    raised = replace(wider, probability=calibrated).rescored(scores)
    return raised, wider.ids[by_chain < doubt]
