"""Collapse duplicates among hits, so that one picture saved twice appears once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from index_store import Store
from index_store.analysis.duplicates import SIMILARITY, grouped, same_thumbnail

from .result import Hit


def collapse_duplicates(store: Store, hits: Sequence[Hit]) -> list[list[Hit]]:
    """Group duplicate hits, by the rule of `index_store.analysis.one_picture`.

    A group is built around its best hit: all its members are the same picture as that one.
    Thumbnails are compared, at most 480 pixels a side.

    Args:
        store: store of the hits.
        hits: hits, best first.

    Returns:
        The groups in the order of their best hits; within each, best first.
    """
    if not hits:
        return []
    ids = [hit.id for hit in hits]
    rows = store.descriptors[ids].astype(np.float32)
    slots = store.rows.slots[ids]  # photos with equal content share a slot
    similar = (rows @ rows.T >= SIMILARITY) | (slots[:, None] == slots)

    def near(position: int) -> list[int]:
        return np.flatnonzero(similar[position]).tolist()

    def same(a: int, b: int) -> bool:
        return bool(slots[a] == slots[b]) or same_thumbnail(store, ids[a], ids[b])

    return [[hits[i] for i in group] for group in grouped(range(len(hits)), near, same)]
