"""Queries for a visitor who has no photo at hand."""

from __future__ import annotations

import numpy as np

from index_store import Photo, Store

# Of the sample gallery: six that are found, and one that is not: the Louvre by day and by night.
FOUND = (
    "brandenburg-gate.jpg",
    "colosseum.jpg",
    "eiffel-tower.jpg",
    "neuschwanstein-castle.jpg",
    "mount-rushmore.jpg",
    "great-pyramid.jpg",
)
MISSED = "le-musee.jpg"


def sample_queries(store: Store) -> list[Photo]:
    """Up to seven photos.

    They are the sample gallery's own choice, or those whose nearest photo stands out most from the
    rest. That looks at all photos: ask once for each generation.
    """
    names = (*FOUND, MISSED)
    curated = [photo for file in names if (photo := store.catalogue.find(file)) is not None]
    if len(curated) == len(names):
        return curated
    sims = np.asarray(store.neighbour_sims)
    if sims.shape[1] < 3:
        return store.catalogue.photos()[:7]
    standing_out = np.argsort(-(sims[:, 1] - sims[:, 2:].mean(1)), kind="stable")
    chosen: list[int] = []
    for id in standing_out:
        if store.neighbour_ids[id, 1] not in chosen:  # one of a pair is enough
            chosen.append(int(id))
        if len(chosen) == 7:
            break
    return [store.catalogue.photo(id) for id in chosen]
