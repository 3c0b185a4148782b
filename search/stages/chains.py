"""Chains of evidence: from the query to photos that match it, and onwards in the matching graph.

A photo that does not match the query itself may match one that does. Its chain is worth the product
of the probabilities along it (compare Philbin and Zisserman 2008, Chang et al. 2019), the first of
them squared, so that a doubtful start counts little:

    chain = max over paths of p_start^2 x p_edge x ... of up to STEPS edges
    probability = 1 - (1 - own probability)(1 - TRUST x chain)

Chains never lower a photo. A query that is in the gallery is not part of any chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from index_store import Store
from index_store.graph.matching_graph import background_rank

from ..fusion.apply import Fusion
from ..fusion.log_odds import probability
from ..ranking import MARGIN, MIN_SPREAD, Ranking, cosine

CHAINS = "chains"  # the stage
STEPS = 3
# A single wrong edge between two things of one series leads to all photos of the other, so a chain
# alone never makes a photo more probable than not.
TRUST = 0.5
STARTS = 200  # best photos from which chains start
LEAST = 1e-3  # chains worth less are not followed
SAMPLE = 500  # photos from which the gallery's usual background is estimated
SEED = 0
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
    starts: np.ndarray, worth: np.ndarray, edges: np.ndarray, judge: Judge, apart: np.ndarray
) -> Chains:
    """Follow the edges of the graph from photo to photo.

    Args:
        starts: gallery ids, int (n,), distinct.
        worth: worth of each as a start, (n,), 0 to 1.
        edges: edges of the whole gallery, EDGE (N, k).
        judge: function from ids int (m,) and edges EDGE (m,) to the probability that both photos of
            each edge show the same thing, (m,).
        apart: ids of photos that must not be part of a chain, int (a,).
    """
    best: dict[int, tuple[float, tuple[int, ...]]] = {}
    front = {
        int(id): (float(value), ())
        for id, value in zip(starts, worth)
        if value >= LEAST and id not in apart
    }
    for _ in range(STEPS):
        ids = np.array(list(front), np.int64)
        if not len(ids):
            break
        values = np.array([value for value, _ in front.values()])
        around = edges[ids]
        kept = (around["id"] >= 0) & (around["id"] < len(edges)) & ~np.isin(around["id"], apart)
        one, slot = np.nonzero(kept)
        links = around[one, slot]
        reached = values[one] * judge(ids[one], links)
        order = np.argsort(-reached, kind="stable")
        order = order[reached[order] >= LEAST]
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


class MatchingGraph:
    """The matching graph of one store, with its edges judged as pairs of photos. Thread-safe."""

    def __init__(self, store: Store, fusion: Fusion):
        self._store, self._fusion = store, fusion

    def __bool__(self) -> bool:
        """Whether the store's photos were compared with each other."""
        return self._store.edges.shape[1] > 0

    def chains(self, ranking: Ranking, odds: np.ndarray, apart: np.ndarray) -> Chains:
        """The chains from the best photos of a ranking.

        Args:
            ranking: ranking after fusion, best first.
            odds: log-odds of its photos, (n,), calibrated or not.
            apart: ids of photos that must not be part of a chain, int (a,).
        """
        worth = probability(odds[:STARTS]) ** 2
        return follow_chains(ranking.ids[:STARTS], worth, self._store.edges, self.judge, apart)

    def judge(self, ids: np.ndarray, edges: np.ndarray) -> np.ndarray:
        """Probability that the two photos of an edge show the same thing.

        Args:
            ids: ids of one end, int (m,).
            edges: EDGE (m,), each to the other end.

        Returns:
            float64 (m,), judged from the end that gives the higher probability.
        """
        from_ends = [self._fusion.edge_odds(edges, *self._scale(end)) for end in (ids, edges["id"])]
        return probability(np.maximum(*from_ends))

    def _scale(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Background and spread of photos as queries, float64 (m,) each, see `ranking.scale`."""
        sims = self._store.list_sims[ids].astype(np.float64)
        background = np.minimum(sims[:, self._rank], self._usual + MARGIN)
        best = sims[:, min(1, sims.shape[1] - 1)]
        return background, np.maximum(best - background, MIN_SPREAD)

    @cached_property
    def _rank(self) -> int:
        return background_rank(*self._store.list_sims.shape)

    @cached_property
    def _usual(self) -> float:
        """The median background over a sample of photos."""
        sample = np.random.default_rng(SEED).permutation(len(self._store))[:SAMPLE]
        return float(np.median(self._store.list_sims[np.sort(sample), self._rank]))


def chained(
    ranking: Ranking, odds: np.ndarray, chains: Chains, descriptor: np.ndarray, store: Store
) -> tuple[Ranking, np.ndarray]:
    """Raise photos that chains lead to, and add those that were not candidates.

    Args:
        ranking: ranking after fusion, best first.
        odds: log-odds of its photos, (n,).
        chains: chains that start at its photos.
        descriptor: descriptor of the query, float32 (D,).
        store: the gallery.

    Returns:
        The ranking, best first, with log-odds as scores; and the ids int (m,) of the photos whose
        chain is stronger evidence than their own.
    """
    new = np.setdiff1d(chains.ids, ranking.ids)
    wider = ranking.extended(new, cosine(descriptor, store.descriptors[new]))
    doubt = np.concatenate([-np.logaddexp(0, odds), np.zeros(len(new))])  # ln(1 - probability)
    by_chain = np.log1p(-TRUST * chains.of(wider.ids))
    both = np.minimum(doubt + by_chain, -TINY)
    calibrated = None if ranking.probability is None else -np.expm1(both)
    scores = np.log(-np.expm1(both)) - both
    raised = replace(wider, probability=calibrated).rescored(scores)
    return raised, wider.ids[by_chain < doubt]
