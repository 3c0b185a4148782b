"""Maps of galleries, made aside: on a thread of its own, one after the other."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np

from index_store import Store
from index_store.analysis.duplicates import duplicates
from index_store.analysis.similarity_map import SimilarityMap, kept_map

from .galleries import Gallery

OUTLIERS = 12
STEPS = 2**16 - 1  # a position travels as a whole number


@dataclass(frozen=True)
class Overview:
    """A gallery as a whole.

    Attributes:
        map: where its photos lie.
        copies: ids of photos that are there more than once, a list each, see `duplicates`.
        outliers: ids of the photos whose nearest photo is furthest, furthest first.
    """

    map: SimilarityMap
    copies: list[list[int]]
    outliers: list[int]


def overview(store: Store) -> Overview:
    """Look at a whole gallery. Takes long where its map is not kept."""
    return Overview(kept_map(store), duplicates(store), outliers(store, OUTLIERS))


class Maps:
    """The overviews asked for. Thread-safe as far as the page needs: one made twice is the same."""

    def __init__(self) -> None:
        self._maker = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._made: WeakKeyDictionary[Gallery, Future[Overview]] = WeakKeyDictionary()

    def of(self, gallery: Gallery) -> Future[Overview]:
        """The overview of a gallery: at hand, or begun."""
        if gallery not in self._made:
            self._made[gallery] = self._maker.submit(overview, gallery.engine.store)
        return self._made[gallery]

    def drop(self, gallery: Gallery) -> None:
        """Discard an overview, such as a failed one: the next call of `of` makes another."""
        self._made.pop(gallery, None)


@cache
def maps() -> Maps:
    """Those of this process."""
    return Maps()


def packed(made: SimilarityMap) -> bytes:
    """A map as it travels: ids uint32, x and y uint16, clusters int16; n of each, little-endian."""
    x, y = np.round(made.positions.T * STEPS).astype("<u2")
    clusters = np.minimum(made.clusters, 2**15 - 1)
    columns = (made.ids.astype("<u4"), x, y, clusters.astype("<i2"))
    return b"".join(column.tobytes() for column in columns)


def outliers(store: Store, most: int) -> list[int]:
    """Ids of the served photos whose nearest served photo is furthest, furthest first."""
    served = store.served_ids
    if len(served) < 2:
        return []
    ids, sims = store.neighbour_ids[served, 1:], store.neighbour_sims[served, 1:]
    unserved = (ids < 0) | np.isin(ids, store.damaged)
    nearest = np.where(unserved, -1, sims).max(1)
    return served[np.argsort(nearest, kind="stable")[:most]].tolist()
