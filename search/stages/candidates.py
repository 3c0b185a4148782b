"""First stage: candidates that may show the same thing, by their descriptors alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from index_store import CANDIDATES, Store, candidate_ids

from ..query import QueryPhoto
from ..ranking import Ranking, cosine

COPY = 0.99  # minimum cosine of a copy of the query, perhaps re-encoded


def find_candidates(
    store: Store,
    descriptor: np.ndarray,
    photos: Sequence[QueryPhoto],
    excluded: Iterable[int] = (),
) -> tuple[Ranking, np.ndarray]:
    """The photos nearest to a query. The index proposes them, the stored descriptors order them.

    Args:
        store: the gallery.
        descriptor: descriptor of the whole query, unit vector float32 (D,).
        photos: photos of the query. Gallery photos among them are no candidates.
        excluded: gallery ids of further photos to exclude.

    Returns:
        The ranking, scored by similarity, and the ids int (c,), ascending, of candidates that are
        copies of the query's photos: they are no evidence for themselves.
    """
    proposed = candidate_ids(store.index, descriptor, CANDIDATES)
    own = [photo.id for photo in photos if photo.id is not None] + list(excluded)
    ids = proposed[~np.isin(proposed, own)]
    rows = store.descriptors[ids]
    similarity = cosine(descriptor, rows)
    copies = np.zeros(len(ids), bool)
    for photo in photos:
        copies |= cosine(photo.descriptor, rows) >= COPY
    ranking = Ranking(ids, similarity, similarity).sorted()
    return ranking, np.sort(ids[copies]).astype(np.int64)
