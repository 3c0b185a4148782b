"""Expansion: a descriptor becomes a mean of itself and its neighbours, the query's at query time or the gallery's offline.

Alpha query expansion (Radenovic et al. 2018, "Fine-tuning CNN image retrieval with no human annotation"): the query and
its nearest photos, weighted by similarity ** ALPHA, make a new query, which searches again. Once photos are verified,
they take the place of the nearest, all weighing the same (Chum et al. 2007, "Total recall", average query expansion).

Database augmentation (Turcot and Lowe 2009; Arandjelovic and Zisserman 2012, section 4) does to every gallery
photo what expansion does to the query.
"""

from __future__ import annotations

import numpy as np

from index_store import SHORTLIST as CANDIDATES
from index_store import Store, shortlist

from ..query import Query
from ..ranking import Ranking, Verified, cosine

ALPHA = 3.0
EXPANDED_BY = 10  # nearest photos of a query
AUGMENTED_BY = (
    9  # nearest photos of a gallery photo; the store lists 10, so that one may be left out
)
BLOCK = 4096  # photos augmented at a time


def expansion_weights(similarity: np.ndarray) -> np.ndarray:
    """max(0, similarity) ** ALPHA, any shape."""
    return np.maximum(similarity, 0) ** ALPHA


def expand(descriptor: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Unit vector float32 (D,) along descriptor (D,) + sum of weights (n,) x rows (n, D)."""
    expanded = descriptor + weights.astype(np.float32) @ rows.astype(np.float32)
    return expanded / np.linalg.norm(expanded)


def augment(
    descriptors: np.ndarray,
    ids: np.ndarray,
    neighbour_ids: np.ndarray,
    neighbour_sims: np.ndarray,
    exclude: int | None = None,
) -> np.ndarray:
    """Unit vectors float16 (n, D): gallery photos ids (n,) expanded by their AUGMENTED_BY nearest.

    descriptors (N, D). neighbour_ids, neighbour_sims (n, K): the photos' rows of the store's lists, themselves in slot 0,
    -1 unused. exclude: a gallery id to be overlooked as a neighbour; the next in the list takes its place.
    """
    others = (neighbour_ids >= 0) & (neighbour_ids != exclude)
    others[:, 0] = False
    others &= others.cumsum(1) <= AUGMENTED_BY
    weights = np.where(others, expansion_weights(neighbour_sims), 0).astype(np.float32)
    rows = descriptors[ids].astype(np.float32)
    for slot in range(
        1, weights.shape[1]
    ):  # one neighbour of all photos at a time keeps the block small
        rows += weights[:, slot, None] * descriptors[neighbour_ids[:, slot]]
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


class AlphaQueryExpansion:
    """Searches again with the expanded query; may add photos."""

    def __init__(self, store: Store):
        self.store = store

    def rerank(self, query: Query, current: Ranking, verified: Verified | None = None) -> Ranking:
        copy, others = current.parted(query.in_gallery)
        if verified is None:
            sources, weights = (
                others.ids[:EXPANDED_BY],
                expansion_weights(others.similarity[:EXPANDED_BY]),
            )
        else:
            sources = verified.without(query.in_gallery).ids
            weights = np.ones(len(sources))
            if len(sources) == 0:
                return current
        expanded = expand(query.descriptor, self.store.descriptors[sources], weights)
        found = shortlist(self.store.index, expanded, CANDIDATES)
        new = np.setdiff1d(found, current.ids)
        new = new[new != query.in_gallery]
        everyone = np.concatenate([others.ids, new])
        rows = self.store.descriptors[everyone]
        new_similarity = cosine(query.descriptor, rows[len(others.ids) :])
        scores = cosine(expanded, rows)
        return copy.followed_by(
            Ranking(everyone, np.concatenate([others.similarity, new_similarity]), scores).sorted()
        )


class DatabaseAugmentation:
    """Compares the query with the candidates' augmented descriptors, which are made with the object and held in memory."""

    def __init__(self, store: Store):
        self.store = store
        self.augmented = np.empty(store.descriptors.shape, np.float16)  # (N, D)
        for start in range(0, len(store), BLOCK):
            ids = np.arange(start, min(start + BLOCK, len(store)))
            self.augmented[ids] = self._augment(ids)

    def _augment(self, ids: np.ndarray, exclude: int | None = None) -> np.ndarray:
        store = self.store
        return augment(
            store.descriptors, ids, store.neighbour_ids[ids], store.neighbour_sims[ids], exclude
        )

    def rerank(self, query: Query, current: Ranking, verified: Verified | None = None) -> Ranking:
        if verified is not None:
            return current
        copy, others = current.parted(query.in_gallery)
        rows = self.augmented[others.ids]
        if query.in_gallery is not None:
            # Photos that are augmented by the query itself would come up for that alone.
            touched = (self.store.neighbour_ids[others.ids] == query.in_gallery).any(1)
            rows[touched] = self._augment(others.ids[touched], query.in_gallery)
        return copy.followed_by(others.rescored(cosine(query.descriptor, rows)))
