"""Cache of a gallery's own photos as prepared queries.

A whole gallery photo is the same query for every visitor: it is prepared and verified once and kept
while it is in use. Uploads and parts of photos are never cached here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from search import Engine, PreparedQuery


class GalleryQueries:
    """LRU cache of prepared queries. Thread-safe.

    Args:
        engine: engine of one generation of the gallery.
        max_queries: maximum number of cached queries.
    """

    def __init__(self, engine: Engine, max_queries: int):
        self._engine, self._max_queries = engine, max_queries
        self._lock = threading.Lock()
        self._queries: OrderedDict[int, PreparedQuery] = OrderedDict()

    def __len__(self) -> int:
        return len(self._queries)

    def prepare(self, id: int) -> PreparedQuery:
        """Prepare one whole photo as a query. Raises KeyError for an unknown id or a damaged photo.

        Returns:
            A copy for the caller that shares the evidence and its cost with all others. Keypoints
            are large and quick to reload, so they are not shared.
        """
        self._engine.store.catalogue.served(id)
        with self._lock:
            query = self._queries.get(id)
            if query is not None:
                self._queries.move_to_end(id)
        if query is not None:
            return for_caller(query, {})
        query = self._engine.prepare(id)
        with self._lock:
            query = self._queries.setdefault(id, query)
            while len(self._queries) > self._max_queries:
                self._queries.popitem(last=False)
        return for_caller(query, dict(query.cost_ms))


def for_caller(query: PreparedQuery, unreported_ms: dict[str, float]) -> PreparedQuery:
    """A caller's copy of a shared query. unreported_ms: stages that were run for this caller."""
    photos = tuple(replace(photo, keypoints={}) for photo in query.photos)
    return replace(query, photos=photos, unreported_ms=unreported_ms)
