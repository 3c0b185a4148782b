"""Query expansion and database augmentation: average a descriptor with its neighbours.

Alpha query expansion (Radenovic et al. 2018, "Fine-tuning CNN image retrieval with no human
annotation"): the query and its nearest photos, weighted by similarity ** ALPHA, form a new query,
which searches again. Once photos are verified, they replace the nearest, all with equal weight
(Chum et al. 2007, "Total recall", average query expansion).

Database augmentation (Turcot and Lowe 2009; Arandjelovic and Zisserman 2012, section 4) does to
every gallery photo what expansion does to the query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index_store import CANDIDATES, Store, candidate_ids

from ..query import PreparedQuery
from ..ranking import Ranking, Trusted, cosine

ALPHA = 3.0
EXPANDED_BY = 10  # nearest photos of a query
AUGMENTED_BY = 9  # nearest photos of a gallery photo; the store lists 10, so one may be excluded
BLOCK = 4096  # photos augmented at a time


def expansion_weights(similarity: np.ndarray) -> np.ndarray:
    """max(0, similarity) ** ALPHA, any shape."""
    return np.maximum(similarity, 0) ** ALPHA


def expand(descriptor: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The descriptor plus the weighted rows, at unit length.

    Args:
        descriptor: float32 (D,).
        rows: (n, D).
        weights: (n,).

    Returns:
        float32 (D,).
    """
    expanded = descriptor + weights.astype(np.float32) @ rows.astype(np.float32)
    return expanded / np.linalg.norm(expanded)


def augment(
    descriptors: np.ndarray,
    ids: np.ndarray,
    neighbour_ids: np.ndarray,
    neighbour_sims: np.ndarray,
    exclude: Sequence[int] | np.ndarray = (),
) -> np.ndarray:
    """Gallery photos expanded by their AUGMENTED_BY nearest.

    Args:
        descriptors: descriptors of the whole gallery, (N, D).
        ids: the photos, int (n,).
        neighbour_ids: their rows of the store's lists, themselves in slot 0, -1 unused, int (n, K).
        neighbour_sims: the similarities of those, (n, K).
        exclude: gallery ids ignored as neighbours; the next in the list take their places.

    Returns:
        Unit vectors float16 (n, D).
    """
    others = (neighbour_ids >= 0) & ~np.isin(neighbour_ids, exclude)
    others[:, 0] = False
    others &= others.cumsum(1) <= AUGMENTED_BY
    weights = np.where(others, expansion_weights(neighbour_sims), 0).astype(np.float32)
    rows = descriptors[ids].astype(np.float32)
    # Processing one neighbour of all photos at a time keeps the block small.
    for slot in range(1, weights.shape[1]):
        rows += weights[:, slot, None] * descriptors[neighbour_ids[:, slot]]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class AlphaQueryExpansion:
    """Searches again with the expanded query; may add photos."""

    def __init__(self, store: Store):
        self.store = store

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        copies, others = ranking.parted(query.in_gallery)
        if trusted is None:
            sources = others.ids[:EXPANDED_BY]
            weights = expansion_weights(others.similarity[:EXPANDED_BY])
        else:
            sources = trusted.without(query.in_gallery).ids
            weights = np.ones(len(sources))
            if len(sources) == 0:
                return ranking
        expanded = expand(query.descriptor, self.store.descriptors[sources], weights)
        found = candidate_ids(self.store.index, expanded, CANDIDATES)
        new = np.setdiff1d(found, np.concatenate([ranking.ids, query.in_gallery]))
        everyone = np.concatenate([others.ids, new])
        rows = self.store.descriptors[everyone]
        wider = others.extended(new, cosine(query.descriptor, rows[len(others.ids) :]))
        return copies.followed_by(wider.rescored(cosine(expanded, rows)))


class DatabaseAugmentation:
    """Compares the query with the candidates' augmented descriptors.

    These are computed on construction and held in memory.
    """

    def __init__(self, store: Store):
        self.store = store
        self.augmented = np.empty(store.descriptors.shape, np.float16)  # (N, D)
        for start in range(0, len(store), BLOCK):
            ids = np.arange(start, min(start + BLOCK, len(store)))
            self.augmented[ids] = self._augment(ids)

    def _augment(self, ids: np.ndarray, exclude: Sequence[int] | np.ndarray = ()) -> np.ndarray:
        store = self.store
        return augment(
            store.descriptors, ids, store.neighbour_ids[ids], store.neighbour_sims[ids], exclude
        )

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        if trusted is not None:
            return ranking
        copies, others = ranking.parted(query.in_gallery)
        rows = self.augmented[others.ids]
        if len(query.in_gallery):
            # Photos augmented by the query itself would rank high for that reason alone.
            neighbours = self.store.neighbour_ids[others.ids]
            touched = np.isin(neighbours, query.in_gallery).any(1)
            rows[touched] = self._augment(others.ids[touched], query.in_gallery)
        return copies.followed_by(others.rescored(cosine(query.descriptor, rows)))
