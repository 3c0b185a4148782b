"""Sample queries for a visitor without a photo."""

from __future__ import annotations

import numpy as np

from index_store import Photo, Store

from .about import about

MAX_SAMPLES = 7
MAX_QUERIES = 10_000


def sample_queries(store: Store) -> list[Photo]:
    """The samples that the gallery names, see `about`, or the photos whose nearest photo stands
    out most from their other neighbours.

    The latter compares MAX_QUERIES random photos: cache the result for each generation.
    """
    find = store.catalogue.find
    curated = [photo for name in about(store).file.samples if (photo := find(name)) is not None]
    if curated:
        return curated
    queries = np.sort(np.random.default_rng(0).permutation(store.served_ids)[:MAX_QUERIES])
    sims = store.neighbour_sims[queries]
    if sims.shape[1] < 3:
        return store.catalogue.photos_of(queries[:MAX_SAMPLES])
    standing_out = np.argsort(-(sims[:, 1] - sims[:, 2:].mean(1)), kind="stable")
    chosen: list[int] = []
    for id in queries[standing_out]:
        if store.neighbour_ids[id, 1] not in chosen:  # one of a pair is enough
            chosen.append(int(id))
        if len(chosen) == MAX_SAMPLES:
            break
    return [store.catalogue.photo(id) for id in chosen]
