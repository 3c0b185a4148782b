"""A gallery's description for the pages, see `index_store.about`."""

from __future__ import annotations

import logging

from index_store import Store, StoreCorrupt
from index_store.about import About

log = logging.getLogger(__name__)


def about(store: Store) -> About:
    """The description read when the store's generation was built. Never raises."""
    try:
        return store.about
    except StoreCorrupt as error:
        log.error("%s", error)
        return About()
