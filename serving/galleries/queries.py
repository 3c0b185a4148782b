"""A gallery's own photos as queries, held ready for everybody.

A whole gallery photo is the same query whoever asks: it is prepared and verified once, and kept
while it is asked for. Uploads, and parts of photos, are never here.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import replace

from search import Engine, PreparedQuery


class GalleryQueries:
    """The queries asked for last. Thread-safe.

    Args:
        engine: prepares them, for one generation of the gallery.
        most: how many are kept.
    """

    def __init__(self, engine: Engine, most: int):
        self._engine, self._most = engine, most
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, PreparedQuery] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def prepare(self, id: int) -> PreparedQuery:
        """The query of one whole photo. Raises KeyError for an unknown id or a damaged photo.

        Returns:
            An object of the caller's own, that shares the evidence with all others, and what that
            has cost. Keypoints, which are large and quickly read again, are the caller's alone.
        """
        self._engine.store.catalogue.served(id)
        with self._lock:
            query = self._kept.get(id)
            if query is not None:
                self._kept.move_to_end(id)
        if query is not None:
            return own(query, {})
        query = self._engine.prepare(id)
        with self._lock:
            query = self._kept.setdefault(id, query)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return own(query, dict(query.cost_ms))


def own(query: PreparedQuery, unreported_ms: dict[str, float]) -> PreparedQuery:
    """A caller's object of a shared query. unreported_ms: stages that were run for this caller."""
    photos = tuple(replace(photo, keypoints={}) for photo in query.photos)
    return replace(query, photos=photos, unreported_ms=unreported_ms)
