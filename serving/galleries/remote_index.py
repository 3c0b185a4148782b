"""Index of a store in a remote server, which may become unavailable during searches."""

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
    """An index whose failures are refusals for visitors; the log has the reason."""

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As `NumberedIndex.search`. Raises Refused if the server is unavailable."""
        try:
            return super().search(descriptors, k)
        except IndexUnavailable as error:
            log.error("not searched: %s", error)
            raise refuse("index", 503, SENTENCE, RETRY_SECONDS) from None


def shielded(store: Store) -> Store:
    """The store, with a remote index replaced by a `DistantIndex`."""
    if store.manifest.searched_in is not None:
        store.index = DistantIndex(store.index.index, store.index.ids)
    return store
