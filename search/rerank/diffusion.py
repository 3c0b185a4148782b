"""Query-time diffusion: a weighted sum of offline rows, and a mix with the plain score that knows when to keep quiet.

The paper's rule for an unseen query (Yang et al. 2019, section 3.3): its nearest gallery photos are seeds, and the
diffusion scores are the sum over seeds of weight x offline row. The published weights (similarity cubed, always 10
seeds) assume dozens of views of everything; a landmark with two photos has one true seed and nine wrong ones, and the
walk leaves it. Here a seed must be reciprocal: the query is nearer to it than its own REACH-th gallery neighbour, and its
weight is by how much. No reciprocal seed, no diffusion; weak ones, little of it. All similarities are measured in units of
the query's own spread, so that descriptors with other typical similarities need no other constants.
"""

from __future__ import annotations

import numpy as np

from index_store import Store

from ..fusion.calibration import Calibration
from ..query import Query
from ..ranking import Ranking, Verified, cosine, order

SEEDS = 5
REACH = 5
BACKGROUND = 50  # rank of the candidate taken for "nothing in common"
SMALL_BACKGROUND = 5  # it is at most one in so many candidates
ADDED = 500  # most photos a walk brings in beside the candidates
MIN_SPREAD = 1e-6


def seed_weights(
    sims: np.ndarray,
    neighbour_ids: np.ndarray,
    neighbour_sims: np.ndarray,
    exclude: int | None = None,
) -> np.ndarray:
    """How far the query lies inside each seed's own neighbourhood: max(0, s - reach), float32 (n,).

    sims (n,): query to seed. neighbour_ids, neighbour_sims (n, K): the seeds' rows of the store's lists, themselves in
    slot 0. exclude: gallery id of the query itself, to be overlooked as a neighbour.
    """
    others = neighbour_ids[:, 1:] >= 0
    if exclude is not None:
        others &= neighbour_ids[:, 1:] != exclude
    # Slot of the REACH-th other neighbour, or of the last if there are fewer.
    wanted = np.minimum(others.sum(1), REACH)
    slot = (others.cumsum(1) < wanted[:, None]).sum(1)
    reach = np.where(
        wanted > 0,
        neighbour_sims[np.arange(len(sims)), 1 + np.minimum(slot, others.shape[1] - 1)],
        0,
    )
    return np.maximum(sims - reach, 0).astype(np.float32)


def diffuse(
    row_ids: np.ndarray,
    row_values: np.ndarray,
    weights: np.ndarray,
    removed: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the seeds' offline rows times their weights: ids int (m,), rising, and scores float64 (m,), all > 0.

    row_ids, row_values (n, M): the seeds' rows. removed: offline row (ids, values) of a gallery photo, itself in slot 0,
    to take out of the graph. That is one rank-one update of the inverse (block inversion):
    f'_j = f_j - f_r Z_rj / Z_rr for the removed photo r.
    """
    ids = row_ids[weights > 0].ravel()
    values = (row_values[weights > 0].astype(np.float64) * weights[weights > 0, None]).ravel()
    ids, slots = np.unique(ids, return_inverse=True)
    scores = np.bincount(slots, values, len(ids))
    if removed is not None and len(ids):
        own_ids, own_values = removed[0], removed[1].astype(np.float64)
        at_removed = scores[ids == own_ids[0]].sum()
        _, here, there = np.intersect1d(ids, own_ids, return_indices=True)
        scores[here] -= at_removed * own_values[there] / own_values[0]
    kept = (ids >= 0) & (scores > 1e-9)
    return ids[kept], scores[kept]


def scores_of(wanted: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores float32 of the wanted ids (m,) from those of ids (n,), which rise; 0 for an id that is not among them."""
    slots = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[slots] == wanted, scores[slots], 0).astype(np.float32)


def scale(similarity: np.ndarray) -> tuple[float, float]:
    """A query's own yardstick, from the similarities of its candidates.

    In a small gallery the BACKGROUND-th candidate would be its last one, or near it, and next to
    that every photo looks like a match. There the background is the best but a fifth.

    Args:
        similarity: (n,), best first.

    Returns:
        background: similarity at which photos have nothing in common with the query.
        spread: how far the best is above it, at least MIN_SPREAD. (0, 1) without candidates.
    """
    if len(similarity) == 0:
        return 0.0, 1.0
    rank = min(BACKGROUND, -(-len(similarity) // SMALL_BACKGROUND))
    background = float(similarity[rank - 1])
    return background, max(float(similarity[0]) - background, MIN_SPREAD)


def confidence(weights: np.ndarray, spread: float) -> float:
    """How far a query's seeds can be trusted, 0 to 1: their weights (`seed_weights`) summed, in units of the spread."""
    return float(min(1.0, weights.sum() / spread))


def mix(
    similarity: np.ndarray,
    diffused: np.ndarray,
    confidence: float,
    background: float,
    spread: float,
    share: float,
) -> np.ndarray:
    """(Similarity in units of the query's `scale` + share x confidence x walk relative to its largest) / (1 + share).

    Arrays (m,). The nearest photo, if diffusion is sure of it as well, has 1; one at the background that is not reached 0.
    """
    return ((similarity - background) / spread + share * confidence * diffused / diffused.max()) / (
        1 + share
    )


class Diffusion:
    """Walks from the nearest photos, or from the verified ones once there are any; may add photos.

    share: weight of the walk against the similarity, see `mix`; fitted together with `fusion`.
    """

    def __init__(self, store: Store):
        self.store = store
        self.share = Calibration.of(store.manifest.fingerprint).diffusion_share

    def rerank(self, query: Query, current: Ranking, verified: Verified | None = None) -> Ranking:
        if verified is not None:
            trusted = verified.without(query.in_gallery)
            return self._walk(query, current, trusted.ids, trusted.weights, 1.0)
        _, others = current.parted(query.in_gallery)
        seeds = others.ids[:SEEDS]
        neighbour_ids, neighbour_sims = (
            self.store.neighbour_ids[seeds],
            self.store.neighbour_sims[seeds],
        )
        weights = seed_weights(
            others.similarity[:SEEDS], neighbour_ids, neighbour_sims, query.in_gallery
        )
        return self._walk(query, current, seeds, weights, confidence(weights, query.spread))

    def _walk(
        self,
        query: Query,
        current: Ranking,
        seeds: np.ndarray,
        weights: np.ndarray,
        confidence: float,
    ) -> Ranking:
        """Mix the walk from the seeds into the similarity; the ranking as it is if the walk leads nowhere."""
        store, own = self.store, query.in_gallery
        removed = None if own is None else (store.diffusion_ids[own], store.diffusion_values[own])
        ids, diffused = diffuse(
            store.diffusion_ids[seeds], store.diffusion_values[seeds], weights, removed
        )
        if len(ids) == 0:
            return current
        # The walk may reach photos that were not among the candidates; the descriptors of each must be fetched.
        new = ids[(ids != own) & ~np.isin(ids, current.ids, assume_unique=True)]
        new = new[order(scores_of(new, ids, diffused))[:ADDED]]
        everyone = np.concatenate([current.ids, new])
        similarity = np.concatenate(
            [current.similarity, cosine(query.descriptor, store.descriptors[new])]
        )
        reached = scores_of(everyone, ids, diffused)
        if query.copy_id is not None:
            reached[everyone == query.copy_id] = diffused.max()
        scores = mix(similarity, reached, confidence, query.background, query.spread, self.share)
        return Ranking(everyone, similarity, scores).sorted()
