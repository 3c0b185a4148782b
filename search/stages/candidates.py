"""First stage: candidates, the photos with the most similar descriptors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from index_store import CANDIDATES, Store, candidate_ids

from ..query import QueryPhoto
from ..ranking import Ranking, cosine

MIN_COPY_COSINE = 0.99  # minimum cosine of a copy of the query, perhaps re-encoded


def find_candidates(
    store: Store, descriptor: np.ndarray, photos: Sequence[QueryPhoto], excluded: Iterable[int] = ()
) -> tuple[Ranking, np.ndarray]:
    """Find the photos nearest to a query: proposed by the index, ordered by stored descriptors.

    Args:
        store: the gallery.
        descriptor: descriptor of the whole query, unit vector float32 (D,).
        photos: photos of the query. Gallery photos among them are excluded.
        excluded: gallery ids of further photos to exclude.

    Returns:
        The ranking by similarity, and the ids of candidates that are copies of a query photo, int
        (c,), ascending: reranking must not count these as evidence.
    """
    proposed = candidate_ids(store.index, descriptor, CANDIDATES)
    own = [photo.id for photo in photos if photo.id is not None] + list(excluded)
    ids = proposed[~np.isin(proposed, own)]
    rows = store.descriptors[ids]
    similarity = cosine(descriptor, rows)
    copies = np.zeros(len(ids), bool)
    for photo in photos:
        copies |= cosine(photo.descriptor, rows) >= MIN_COPY_COSINE
    ranking = Ranking(ids, similarity, similarity).sorted()
    return ranking, np.sort(ids[copies]).astype(np.int64)
