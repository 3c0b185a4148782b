"""Query-time diffusion: a weighted sum of offline rows, mixed with the plain score.

The paper's rule for an unseen query (Yang et al. 2019, section 3.3): its nearest gallery photos are
seeds, and the diffusion scores are the sum over seeds of weight x offline row. The published
weights (similarity cubed, always 10 seeds) assume dozens of views of everything; a landmark with
two photos has one true seed and nine wrong ones, and the walk leaves it. Here a seed must be
reciprocal: the query is nearer to it than its own REACH-th gallery neighbour, and its weight is by
how much. No reciprocal seed, no diffusion; weak ones, little of it. All similarities are measured
in units of the query's own spread, so that descriptors with other typical similarities need no
other constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index_store import Store

from ..fuse import diffusion_share
from ..prepared import PreparedQuery
from ..ranking import Ranking, Trusted, cosine, order

SEEDS = 5
REACH = 5
ADDED = 500  # most photos a walk brings in beside the candidates


def seed_weights(
    sims: np.ndarray,
    neighbour_ids: np.ndarray,
    neighbour_sims: np.ndarray,
    exclude: Sequence[int] | np.ndarray = (),
) -> np.ndarray:
    """How far the query lies inside each seed's own neighbourhood: max(0, similarity - reach).

    Args:
        sims: of the query with each seed, (n,).
        neighbour_ids: the seeds' rows of the store's lists, themselves in slot 0, int (n, K).
        neighbour_sims: the similarities of those, (n, K).
        exclude: gallery ids of the query itself, to be overlooked as neighbours.

    Returns:
        float32 (n,).
    """
    others = (neighbour_ids[:, 1:] >= 0) & ~np.isin(neighbour_ids[:, 1:], exclude)
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
    """Sum of the seeds' offline rows times their weights.

    Args:
        row_ids: gallery ids of the seeds' rows, int (n, M), -1 unused.
        row_values: their values, (n, M).
        weights: of the seeds, (n,).
        removed: ids and values (r, M) of the offline rows of gallery photos, each itself in slot 0,
            that are taken out of the graph.

    Returns:
        Gallery ids int (m,), rising, and their scores float64 (m,), all above 0.
    """
    ids = row_ids[weights > 0].ravel()
    values = (row_values[weights > 0].astype(np.float64) * weights[weights > 0, None]).ravel()
    ids, slots = np.unique(ids, return_inverse=True)
    scores = np.bincount(slots, values, len(ids))
    if removed is not None and len(removed[0]) and len(ids):
        scores -= share_of_removed(ids, scores, *removed)
    kept = (ids >= 0) & (scores > 1e-9)
    return ids[kept], scores[kept]


def share_of_removed(
    ids: np.ndarray, scores: np.ndarray, removed_ids: np.ndarray, removed_values: np.ndarray
) -> np.ndarray:
    """What of a walk's scores would not be there without some photos of the graph.

    Taking the photos R out of a graph is one update of the inverse Z of its system (block
    inversion): the scores f become f - Z_R^T Z_RR^-1 f_R.

    Args:
        ids: photos the walk reached, int (m,), rising.
        scores: of those, float64 (m,).
        removed_ids: ids of the offline rows of R, each photo itself in slot 0, int (r, M).
        removed_values: their values, (r, M).

    Returns:
        float64 (m,).
    """
    photos = removed_ids[:, 0]
    rows, among = np.zeros((len(photos), len(ids))), np.zeros((len(photos), len(photos)))
    for number, (row_ids, values) in enumerate(zip(removed_ids, removed_values.astype(np.float64))):
        _, here, there = np.intersect1d(ids, row_ids, return_indices=True)
        rows[number, here] = values[there]
        at = (row_ids[None] == photos[:, None]) & (row_ids[None] >= 0)
        among[number] = (at * values).sum(1)
    at_removed = np.array([scores[ids == photo].sum() for photo in photos])
    return np.linalg.solve(among.T, at_removed) @ rows


def scores_of(wanted: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Look scores up by id.

    Args:
        wanted: gallery ids, int (m,).
        ids: of known scores, rising, int (n,).
        scores: of those, (n,).

    Returns:
        float32 (m,), 0 for an id that is not known.
    """
    slots = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where(ids[slots] == wanted, scores[slots], 0).astype(np.float32)


def confidence(weights: np.ndarray, spread: float) -> float:
    """How far a query's seeds can be trusted, 0 to 1.

    Args:
        weights: of the seeds, see `seed_weights`, (n,).
        spread: the query's own, see `ranking.scale`.
    """
    return float(min(1.0, weights.sum() / spread))


def mix(
    similarity: np.ndarray,
    diffused: np.ndarray,
    confidence: float,
    background: float,
    spread: float,
    share: float,
) -> np.ndarray:
    """Similarity and walk in one score.

    (similarity in units of the query's scale + share x confidence x walk relative to its largest)
    / (1 + share). The nearest photo, if diffusion is sure of it as well, has 1; one at the
    background that is not reached has 0.

    Args:
        similarity: of the photos with the query, (m,).
        diffused: what the walk gives them, (m,).
        confidence: of the walk, 0 to 1.
        background, spread: the query's scale, see `ranking.scale`.
        share: weight of the walk against the similarity.

    Returns:
        float (m,).
    """
    plain = (similarity - background) / spread
    return (plain + share * confidence * diffused / diffused.max()) / (1 + share)


def nearest_seeds(
    query: PreparedQuery, ranking: Ranking, store: Store
) -> tuple[np.ndarray, np.ndarray]:
    """The photos a walk starts from before anything is verified: the nearest to the query.

    Args:
        query: asked for; it is no seed itself, nor are damaged photos.
        ranking: of the candidates, by similarity.
        store: the gallery.

    Returns:
        Ids int (SEEDS,) or fewer, and their weights (see `seed_weights`), float32.
    """
    _, others = ranking.parted(np.concatenate([query.in_gallery, store.damaged]))
    seeds = others.ids[:SEEDS]
    weights = seed_weights(
        others.similarity[:SEEDS],
        store.neighbour_ids[seeds],
        store.neighbour_sims[seeds],
        query.in_gallery,
    )
    return seeds, weights


class Diffusion:
    """Walks from the nearest photos, or from the trusted ones once there are any; may add photos.

    Attributes:
        share: weight of the walk against the similarity, see `mix`; fitted together with fusion.
    """

    def __init__(self, store: Store):
        self.store = store
        self.share = diffusion_share(store.manifest.fingerprint)

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        if trusted is not None:
            seeds = trusted.without(query.in_gallery)
            return self._walk(query, ranking, seeds.ids, seeds.weights, 1.0)
        seeds, weights = nearest_seeds(query, ranking, self.store)
        return self._walk(query, ranking, seeds, weights, confidence(weights, query.spread))

    def _walk(
        self,
        query: PreparedQuery,
        ranking: Ranking,
        seeds: np.ndarray,
        weights: np.ndarray,
        confidence: float,
    ) -> Ranking:
        """Mix the walk from the seeds into the similarity.

        Returns the ranking as it is if the walk leads nowhere.
        """
        store, own = self.store, np.unique(query.in_gallery)
        ids, diffused = diffuse(
            store.diffusion_ids[seeds],
            store.diffusion_values[seeds],
            weights,
            removed=(store.diffusion_ids[own], store.diffusion_values[own]),
        )
        if len(ids) == 0:
            return ranking
        # The walk may reach photos that were no candidates; their descriptors must be fetched.
        new = ids[~np.isin(ids, np.concatenate([ranking.ids, own, store.damaged]))]
        new = new[order(scores_of(new, ids, diffused))[:ADDED]]
        wider = ranking.extended(new, cosine(query.descriptor, store.descriptors[new]))
        reached = scores_of(wider.ids, ids, diffused)
        reached[np.isin(wider.ids, query.copy_ids)] = diffused.max()
        return wider.rescored(
            mix(wider.similarity, reached, confidence, query.background, query.spread, self.share)
        )
