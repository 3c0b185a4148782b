"""Overviews of galleries, computed in the background, one at a time."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from weakref import WeakKeyDictionary

import numpy as np

from index_store import Store
from index_store.analysis.duplicates import duplicates
from index_store.analysis.similarity_map import SimilarityMap, stored_map

from .gallery import Gallery

OUTLIERS = 12
STEPS = 2**16 - 1  # positions are sent as uint16


@dataclass(frozen=True)
class Overview:
    """A gallery as a whole.

    Attributes:
        map: positions of its photos.
        copies: groups of ids of duplicate photos, see `duplicates`.
        outliers: ids of the photos with the most distant nearest photo, most distant first.
    """

    map: SimilarityMap
    copies: list[list[int]]
    outliers: list[int]


def overview(store: Store) -> Overview:
    """Compute the overview of a gallery. Slow if its map is not stored."""
    return Overview(stored_map(store), duplicates(store), outliers(store, OUTLIERS))


class Maps:
    """Overviews by gallery. A race may compute one twice, with the same result."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="map")
        self._futures: WeakKeyDictionary[Gallery, Future[Overview]] = WeakKeyDictionary()

    def of(self, gallery: Gallery) -> Future[Overview]:
        """The overview of a gallery, computed or in progress."""
        if gallery not in self._futures:
            self._futures[gallery] = self._executor.submit(overview, gallery.engine.store)
        return self._futures[gallery]

    def drop(self, gallery: Gallery) -> None:
        """Discard an overview, such as a failed one: the next call of `of` computes it again."""
        self._futures.pop(gallery, None)


@cache
def maps() -> Maps:
    """The overviews of this process."""
    return Maps()


def packed(layout: SimilarityMap) -> bytes:
    """A map as bytes: ids uint32, x and y uint16, clusters int16; n of each, little-endian."""
    x, y = np.round(layout.positions.T * STEPS).astype("<u2")
    clusters = np.minimum(layout.clusters, 2**15 - 1)
    columns = (layout.ids.astype("<u4"), x, y, clusters.astype("<i2"))
    return b"".join(column.tobytes() for column in columns)


def outliers(store: Store, count: int) -> list[int]:
    """Ids of served photos with the most distant nearest served photo, most distant first."""
    served = store.served_ids
    if len(served) < 2:
        return []
    ids, sims = store.neighbour_ids[served, 1:], store.neighbour_sims[served, 1:]
    unserved = (ids < 0) | np.isin(ids, store.damaged)
    nearest = np.where(unserved, -1, sims).max(1)
    return served[np.argsort(nearest, kind="stable")[:count]].tolist()
