"""The matching graph at query time: what a store's own matches say about the photos of a ranking.

First a photo that matches others which the query does not show loses (`contradiction`):

    log-odds = own log-odds + shift - contradiction weight x contradiction

The shift keeps the probabilities right. Then photos that match the best ones gain (`chains`). The
weights are the same for every model and every stage; `evaluation graph-weights` compares them with
others (docs/RESULTS.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from index_store import Store
from index_store.graph.matching_graph import background_rank

from ..fusion.apply import Fusion
from ..fusion.log_odds import probability
from ..ranking import MARGIN, MIN_SPREAD, Ranking
from .chains import chained, follow_chains
from .contradiction import contradictions

GRAPH = "graph"  # the stage
STARTS = 200  # best photos from which chains start
SAMPLE = 500  # photos from which the gallery's usual background is estimated
SEED = 0


@dataclass(frozen=True)
class GraphWeights:
    """How much the matching graph counts.

    Attributes:
        shift: added to the log-odds of all photos.
        contradiction: log-odds that a photo loses by a contradiction of strength 1.
        trust: probability of a photo with a perfect chain and no evidence of its own: below a half,
            because a single wrong edge between two things of one series leads to all photos of the
            other.
    """

    shift: float = 0.35
    contradiction: float = 0.9
    trust: float = 0.35


@dataclass(frozen=True)
class GraphEvidence:
    """Why the matching graph moved photos of a ranking.

    Attributes:
        chains: gallery id -> photos before it on its chain, for each photo whose chain is stronger
            evidence than its own.
        contradictions: gallery id -> the photo that contradicts it most and the strength, for each
            notable contradiction, see `Contradictions.notable`.
    """

    chains: dict[int, tuple[int, ...]] = field(default_factory=dict)
    contradictions: dict[int, tuple[int, float]] = field(default_factory=dict)


class MatchingGraph:
    """The matching graph of one store, with its edges judged as pairs of photos. Thread-safe."""

    def __init__(self, store: Store, fusion: Fusion, weights: GraphWeights = GraphWeights()):
        self._store, self._fusion, self._weights = store, fusion, weights

    def __bool__(self) -> bool:
        """Whether the store's photos were compared with each other."""
        return self._store.edges.shape[1] > 0

    def rerank(
        self, ranking: Ranking, odds: np.ndarray, descriptor: np.ndarray, excluded: np.ndarray
    ) -> tuple[Ranking, GraphEvidence]:
        """Lower photos that show another thing, and raise or add those that chains lead to.

        Args:
            ranking: ranking after fusion, best first.
            odds: log-odds of its photos, (n,), calibrated or not.
            descriptor: descriptor of the query, float32 (D,).
            excluded: ids of photos to ignore, such as the query itself, int (a,).

        Returns:
            The ranking, best first, with log-odds as scores; and why photos moved.
        """
        edges, weights = self._store.edges, self._weights
        ids = ranking.ids
        against = contradictions(ids, probability(odds), edges, self.judge, excluded)
        odds = odds + weights.shift - weights.contradiction * against.strength
        calibrated = None if ranking.probability is None else probability(odds)
        ranking = replace(ranking, probability=calibrated).rescored(odds)
        starts = ranking[:STARTS]
        worth = probability(starts.scores) ** 2
        chains = follow_chains(starts.ids, worth, edges, self.judge, excluded)
        ranking, led = chained(ranking, chains, weights.trust, descriptor, self._store)
        notable = against.notable(ids, ranking.ids[ranking.scores >= 0])
        return ranking, GraphEvidence({id: chains.links[id] for id in led.tolist()}, notable)

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
