"""Near-duplicates among hits: the same photo saved twice fills no two places of an answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index_store import Store

from .candidates import COPY
from .result import Hit


def fold(store: Store, hits: Sequence[Hit]) -> list[list[Hit]]:
    """Hits in groups of near-duplicates.

    Two photos are near-duplicates if their files have the same SHA-256, or their descriptors a
    cosine of at least COPY. A group is built around its best hit: all of it resembles that one.

    Args:
        store: they are from.
        hits: best first.

    Returns:
        The groups in the order of their best hits; in each, best first.
    """
    if not hits:
        return []
    ids = [hit.id for hit in hits]
    rows = store.descriptors[ids].astype(np.float32)
    hashes = np.array([photo.sha256 for photo in store.catalogue.photos_of(ids)])
    same = (rows @ rows.T >= COPY) | (hashes[:, None] == hashes[None])
    return [[hits[i] for i in group] for group in grouped(same)]


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
            members[leader] = True
            free &= ~members
            groups.append([leader, *(int(i) for i in np.flatnonzero(members) if i != leader)])
    return groups
