"""A store's index in a server that may go away while visitors search."""

from __future__ import annotations

import logging

import numpy as np

from index_store import IndexUnavailable, Store
from index_store.ann.id_map import NumberedIndex

from ..refusal import refuse

SENTENCE = "The gallery cannot be searched at the moment. Please try again later."
RETRY_SECONDS = 10

log = logging.getLogger(__name__)


class DistantIndex(NumberedIndex):
    """Visitors are told that there is no answer; the log says why."""

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As of `NumberedIndex`. Raises Refused."""
        try:
            return super().search(descriptors, k)
        except IndexUnavailable as error:
            log.error("not searched: %s", error)
            raise refuse("index", 503, SENTENCE, RETRY_SECONDS) from None


def shielded(store: Store) -> Store:
    """The store, opened for visitors."""
    if store.manifest.searched_in is not None:
        store.index = DistantIndex(store.index.index, store.index.ids)
    return store
