"""Query-time diffusion: a weighted sum of offline rows, mixed with the plain score.

A row counts relative to its seed's own value in it. That value is 1 for a photo without neighbours
and ten times as large in a crowd; unscaled, a wrong seed in a crowd would outweigh a right one next
to it.

The paper's rule for an unseen query (Yang et al. 2019, section 3.3): its nearest gallery photos are
seeds, and the diffusion scores are the sum over seeds of weight x offline row. The published
weights (similarity cubed, always 10 seeds) assume dozens of views of everything; a landmark with
two photos has one true seed and nine wrong ones, and the walk leaves it. Here a seed must be
reciprocal: the query is nearer to it than its own REACH-th gallery neighbour, and the weight is by
how much. Without reciprocal seeds there is no diffusion; with weak ones, little of it. All
similarities are measured in units of the query's own spread, so that descriptors with other typical
similarities need no other constants.

Every candidate among the nearest WITHIN may be a seed; the SEEDS with the largest weights are, with
each weight reduced by the next largest one. So a photo becomes a seed with weight 0, and no result
depends on the order of two photos with nearly the same weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from index_store import Store
from index_store.graph import affinity

from ..fusion.apply import diffusion_share
from ..query import PreparedQuery
from ..ranking import Ranking, Scale, Trusted, cosine, order

SEEDS = 3
WITHIN = 50  # only this many nearest candidates can be seeds
REACH = 5
ADDED = 500  # maximum photos that a walk adds to the candidates
# A photo that loses more of its degree is treated as if it lost this much, because the update
# divides by the remainder, and rows are stored to three digits. One that loses all of it is exact.
MOST_LOST = 0.99
ALL_LOST = 1 - 1e-6


def seed_weights(
    sims: np.ndarray,
    neighbour_ids: np.ndarray,
    neighbour_sims: np.ndarray,
    exclude: Sequence[int] | np.ndarray = (),
) -> np.ndarray:
    """How far the query is inside each seed's own neighbourhood: max(0, similarity - reach).

    Args:
        sims: similarities of the query with each seed, (n,).
        neighbour_ids: the seeds' rows of the store's lists, themselves in slot 0, int (n, K).
        neighbour_sims: the similarities of those, (n, K).
        exclude: gallery ids of the query itself, ignored as neighbours.

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


@dataclass(frozen=True)
class Removal:
    """Removal of photos from the graph, for one query.

    The photos R are removed, and their neighbours lose a part of their degrees. In the system
    I - alpha S that is one change of its diagonal: + infinity for the photos of R, minus `lost` for
    their neighbours. So the inverse Z changes by one update (Woodbury 1950) with the rows of both,
    B: Z - Z_B^T (C + Z_BB)^-1 Z_B, where C is diagonal, 0 on R and -1 / lost on the neighbours.
    Then everything is normalised by the new degrees. A neighbour that loses all of its degree is
    removed with R, and a walk that starts there stays there. The neighbours' lists are not
    refilled: a photo that would be among the nearest only without R gets no edge.

    Attributes:
        ids: offline rows of B, each photo itself in slot 0, int (b, M).
        values: their values, (b, M).
        lost: share of its degree that each photo of B loses, (b,); infinity for removed ones.
        alone: ids of the neighbours that are removed with R, int (a,), ascending.
    """

    ids: np.ndarray
    values: np.ndarray
    lost: np.ndarray
    alone: np.ndarray

    @classmethod
    def of(cls, photos: np.ndarray, store: Store) -> Removal:
        """The removal of these gallery photos, distinct ids int (r,)."""
        graph = store.lists, store.list_sims, store.edges
        near, weights = affinity.edges_of(photos, *graph)
        beside = np.setdiff1d(near[weights > 0], photos)
        around, of_neighbours = affinity.edges_of(beside, *graph)
        to_removed = (of_neighbours * np.isin(around, photos)).sum(1)
        share = to_removed / of_neighbours.sum(1)
        is_alone = share >= ALL_LOST
        both = np.concatenate([photos, beside])
        lost = np.concatenate(
            [
                np.full(len(photos), np.inf),
                np.where(is_alone, np.inf, np.minimum(share, MOST_LOST)),
            ]
        )
        return cls(store.diffusion_ids[both], store.diffusion_values[both], lost, beside[is_alone])

    def kept(self, ids: np.ndarray) -> np.ndarray:
        """Square root of the share of its degree that each photo keeps, (n,)."""
        order = np.argsort(self.ids[:, 0])
        share = np.where(np.isinf(self.lost), 1.0, 1 - self.lost)
        return np.sqrt(values_at(ids, self.ids[order, 0], share[order], missing=1.0))

    def change(self, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """The amount by which the update lowers a walk's scores.

        Args:
            ids: photos that the walk reached, int (m,), ascending.
            scores: their scores, float64 (m,).

        Returns:
            float64 (m,).
        """
        at_photos = values_at(self.ids[:, 0], ids, scores)
        return np.linalg.solve(self._system.T, at_photos) @ self._at(ids)

    def own_values(self, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The values Z_ii of photos after the removal, at least 1.

        Args:
            ids: the photos, int (n,).
            values: Z_ii before it, float64 (n,).

        Returns:
            float64 (n,).
        """
        rows = self._at(ids)
        taken = (rows * np.linalg.solve(self._system, rows)).sum(0)
        return np.maximum((values - taken) * self.kept(ids) ** 2, 1)

    @cached_property
    def _system(self) -> np.ndarray:
        """C + Z_BB, float64 (b, b)."""
        system = self._at(self.ids[:, 0])
        system[np.diag_indices_from(system)] -= np.where(np.isinf(self.lost), 0, 1 / self.lost)
        return system

    def _at(self, ids: np.ndarray) -> np.ndarray:
        """Z_B at these photos (n,), float64 (b, n)."""
        found = np.zeros((len(self.ids), len(ids)))
        for number, (row_ids, values) in enumerate(zip(self.ids, self.values.astype(np.float64))):
            order = np.argsort(row_ids, kind="stable")
            found[number] = values_at(ids, row_ids[order], values[order])
        return found


def diffuse(
    row_ids: np.ndarray,
    row_values: np.ndarray,
    weights: np.ndarray,
    removal: Removal | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the seeds' offline rows times their weights, each relative to the seed's own value.

    Args:
        row_ids: gallery ids of the seeds' rows, each seed itself in slot 0, int (n, M), -1 unused.
        row_values: their values, (n, M).
        weights: weights of the seeds, (n,).
        removal: photos to remove from the graph.

    Returns:
        Gallery ids int (m,), ascending, and their scores float64 (m,), all above 0.
    """
    row_ids, row_values, weights = (part[weights > 0] for part in (row_ids, row_values, weights))
    seeds, own = row_ids[:, 0], row_values[:, 0].astype(np.float64)
    if removal is not None:
        own = removal.own_values(seeds, own)
        own = np.where(np.isin(seeds, removal.alone), 1, own) / removal.kept(seeds)
    weights = weights / own
    values = (row_values.astype(np.float64) * weights[:, None]).ravel()
    ids, slots = np.unique(row_ids.ravel(), return_inverse=True)
    scores = np.bincount(slots, values, len(ids))
    if removal is not None and len(ids):
        scores = (scores - removal.change(ids, scores)) * removal.kept(ids)
        order = np.argsort(seeds)
        starts = values_at(removal.alone, seeds[order], weights[order])
        scores[np.searchsorted(ids, removal.alone[starts > 0])] = starts[starts > 0]
    kept = (ids >= 0) & (scores > 1e-9)
    return ids[kept], scores[kept]


def values_at(
    wanted: np.ndarray, ids: np.ndarray, values: np.ndarray, missing: float = 0.0
) -> np.ndarray:
    """Look up values by id.

    Args:
        wanted: gallery ids, int (m,).
        ids: ids of the known values, ascending, int (n,); -1 for none.
        values: the known values, (n,).
        missing: value for unknown ids.

    Returns:
        (m,), of the values' type.
    """
    if len(ids) == 0:
        return np.full(len(wanted), missing, values.dtype)
    slots = np.minimum(np.searchsorted(ids, wanted), len(ids) - 1)
    return np.where((ids[slots] == wanted) & (wanted >= 0), values[slots], missing)


def confidence(weights: np.ndarray, spread: float) -> float:
    """How far a query's seeds can be trusted, 0 to 1.

    Args:
        weights: weights of the seeds, see `seed_weights`, (n,).
        spread: spread of the query, see `ranking.scale`.
    """
    return float(min(1.0, weights.sum() / spread))


def mix(
    similarity: np.ndarray,
    diffused: np.ndarray,
    confidence: float,
    scale: Scale,
    share: float,
) -> np.ndarray:
    """Combine similarity and walk in one score.

    (similarity in units of the query's scale + share x confidence x walk relative to its largest)
    / (1 + share). The nearest photo scores 1 if diffusion is sure of it as well; an unreached one
    at the background scores 0.

    Args:
        similarity: similarities of the photos with the query, (m,).
        diffused: scores of the walk, (m,).
        confidence: confidence in the walk, 0 to 1.
        scale: scale of the query.
        share: weight of the walk relative to the similarity.

    Returns:
        float (m,).
    """
    plain = (similarity - scale.background) / scale.spread
    return (plain + share * confidence * diffused / diffused.max()) / (1 + share)


def nearest_seeds(
    query: PreparedQuery, ranking: Ranking, store: Store
) -> tuple[np.ndarray, np.ndarray]:
    """The photos that a walk starts from before anything is verified: the nearest to the query.

    Args:
        query: the query, which is not a seed; neither are damaged photos.
        ranking: candidates, by similarity.
        store: the gallery.

    Returns:
        Ids int (n,), at most SEEDS, nearest first, and their weights float32, all above 0.
    """
    _, others = ranking.parted(np.concatenate([query.in_gallery, store.damaged]))
    near = others.ids[:WITHIN]
    weights = seed_weights(
        others.similarity[:WITHIN],
        store.neighbour_ids[near],
        store.neighbour_sims[near],
        query.in_gallery,
    )
    weights = lowered(weights)
    return near[weights > 0], weights[weights > 0]


def lowered(weights: np.ndarray) -> np.ndarray:
    """Weights (n,) reduced by the (SEEDS + 1)-th largest: at most SEEDS stay above 0."""
    if len(weights) <= SEEDS:
        return weights
    return np.maximum(weights - np.partition(weights, -SEEDS - 1)[-SEEDS - 1], 0)


class Diffusion:
    """Walks from the nearest photos, or from trusted ones if there are any; may add photos.

    Attributes:
        share: weight of the walk relative to the similarity, see `mix`; fitted with the fusion.
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
        return self._walk(query, ranking, seeds, weights, confidence(weights, query.scale.spread))

    def _walk(
        self,
        query: PreparedQuery,
        ranking: Ranking,
        seeds: np.ndarray,
        weights: np.ndarray,
        confidence: float,
    ) -> Ranking:
        """Mix the walk from the seeds into the similarity.

        Returns the ranking unchanged if the walk reaches nothing.
        """
        store, own = self.store, np.unique(query.in_gallery)
        removal = Removal.of(own, store) if len(own) else None
        ids, diffused = diffuse(
            store.diffusion_ids[seeds], store.diffusion_values[seeds], weights, removal
        )
        if len(ids) == 0:
            return ranking
        # The walk may reach photos that were not candidates; their descriptors must be read.
        new = ids[~np.isin(ids, np.concatenate([ranking.ids, own, store.damaged]))]
        new = new[order(values_at(new, ids, diffused))[:ADDED]]
        wider = ranking.extended(new, cosine(query.descriptor, store.descriptors[new]))
        reached = values_at(wider.ids, ids, diffused)
        reached[np.isin(wider.ids, query.copy_ids)] = diffused.max()
        return wider.rescored(mix(wider.similarity, reached, confidence, query.scale, self.share))
