"""Maps of galleries, made aside: on a thread of its own, one after the other."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np

from index_store import Store
from index_store.similarity_map import SimilarityMap, kept_map

from .galleries import Gallery

SAME = 0.99  # photos this similar are one photo, perhaps saved anew
STEPS = 2**16 - 1  # a position travels as a whole number


class Maps:
    """The maps asked for. Thread-safe as far as the page needs: a map made twice is the same."""

    def __init__(self) -> None:
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._made: WeakKeyDictionary[Gallery, Future[SimilarityMap]] = WeakKeyDictionary()

    def of(self, gallery: Gallery) -> Future[SimilarityMap]:
        """The map of a gallery: at hand, or begun."""
        if gallery not in self._made:
            self._made[gallery] = self._maker.submit(kept_map, gallery.engine.store)
        return self._made[gallery]


@cache
def maps() -> Maps:
    """Those of this process."""
    return Maps()


def packed(made: SimilarityMap) -> bytes:
    """A map as it travels: ids uint32, x and y uint16, crowds int16; n of each, little-endian."""
    x, y = np.round(made.positions.T * STEPS).astype("<u2")
    crowds = np.minimum(made.crowds, 2**15 - 1)
    columns = (made.ids.astype("<u4"), x, y, crowds.astype("<i2"))
    return b"".join(column.tobytes() for column in columns)


def copies(store: Store, most: int) -> list[list[int]]:
    """Photos that are in a gallery more than once.

    Args:
        store: the gallery.
        most: how many groups, those of the most similar photos first.

    Returns:
        Ids of each group, the same photo in all of them.
    """
    ids, sims = np.asarray(store.neighbour_ids), np.asarray(store.neighbour_sims)
    rows, slots = np.nonzero((sims >= SAME) & (ids >= 0) & (ids != np.arange(len(ids))[:, None]))
    order = np.argsort(-sims[rows, slots], kind="stable")
    group: dict[int, list[int]] = {}
    for row, slot in zip(rows[order], slots[order]):
        a, b = int(row), int(ids[row, slot])
        joined = group.get(a, [a])
        other = group.get(b, [b])
        if joined is not other:
            joined.extend(other)
            group.update(dict.fromkeys(joined, joined))
    distinct = {id(members): members for members in group.values()}
    return list(distinct.values())[:most]


def loners(store: Store, most: int) -> list[int]:
    """Ids of the photos whose nearest photo is furthest, furthest first."""
    sims = np.asarray(store.neighbour_sims)
    if sims.shape[1] < 2:
        return []
    return np.argsort(sims[:, 1], kind="stable")[:most].tolist()
