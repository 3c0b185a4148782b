"""Sample queries for a visitor without a photo."""

from __future__ import annotations

import numpy as np

from index_store import Photo, Store

from .about import about

MOST = 7
ASKED = 10_000


def sample_queries(store: Store) -> list[Photo]:
    """The samples that the gallery names, see `about`, or the photos whose nearest photo stands
    out most from their other neighbours.

    The latter compares ASKED random photos: cache the result for each generation.
    """
    find = store.catalogue.find
    curated = [photo for name in about(store).file.samples if (photo := find(name)) is not None]
    if curated:
        return curated
    asked = np.sort(np.random.default_rng(0).permutation(store.served_ids)[:ASKED])
    sims = store.neighbour_sims[asked]
    if sims.shape[1] < 3:
        return store.catalogue.photos_of(asked[:MOST])
    standing_out = np.argsort(-(sims[:, 1] - sims[:, 2:].mean(1)), kind="stable")
    chosen: list[int] = []
    for id in asked[standing_out]:
        if store.neighbour_ids[id, 1] not in chosen:  # one of a pair is enough
            chosen.append(int(id))
        if len(chosen) == MOST:
            break
    return [store.catalogue.photo(id) for id in chosen]
