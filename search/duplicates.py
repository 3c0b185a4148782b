"""Near-duplicates among hits: one picture saved twice fills no two places of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from index_store import Store
from index_store.duplicates import AGREEMENT, SIMILARITY, picture

from .result import Hit

PICTURES = 512  # small pictures that are held ready
held_picture = lru_cache(PICTURES)(picture)


def fold(store: Store, hits: Sequence[Hit]) -> list[list[Hit]]:
    """Hits in groups of near-duplicates, by the store's own rule (`index_store.duplicates`).

    A group is built around its best hit: all of it is the same picture as that one.

    Args:
        store: they are from.
        hits: best first.

    Returns:
        The groups in the order of their best hits; in each, best first.
    """
    if not hits:
        return []
    ids = [hit.id for hit in hits]
    return [[hits[i] for i in group] for group in grouped(same_picture(store, ids))]


def same_picture(store: Store, ids: Sequence[int]) -> np.ndarray:
    """Which photos are one picture, bool (n, n).

    Their files have the same SHA-256; or their descriptors are similar, and their pictures agree.

    Args:
        store: of the photos.
        ids: n of them.
    """
    rows = store.descriptors[list(ids)].astype(np.float32)
    hashes = np.array([photo.sha256 for photo in store.catalogue.photos_of(ids)])
    same = hashes[:, None] == hashes[None]
    similar = np.triu(rows @ rows.T >= SIMILARITY, 1) & ~same
    for a, b in np.argwhere(similar):
        first, second = (held_picture(store.thumbnail(ids[i])) for i in (a, b))
        same[a, b] = same[b, a] = first @ second >= AGREEMENT
    return same


def grouped(same: np.ndarray) -> list[list[int]]:
    """Positions in groups: each free position in turn takes all free ones that are like it.

    Args:
        same: whether two are alike, bool (n, n).
    """
    free = np.ones(len(same), bool)
    groups = []
    for leader in range(len(same)):
        if free[leader]:
            members = free & same[leader]
            members[leader] = False
            free &= ~members
            free[leader] = False
            groups.append([leader, *np.flatnonzero(members).tolist()])
    return groups
