"""Preparing queries and searching, shared by the page and the API.

Everything except `search_cached` is heavy and must run in a turn (`admission`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from extractor import Region
from search import Match, PreparedQuery, SearchResult

from .decoding.decoder import decoder
from .galleries.gallery import Gallery
from .galleries.originals import reading_originals
from .operations import prometheus

Upload = bytes | np.ndarray
"""A visitor's photo: the file's bytes, or its pixels uint8 RGB (H, W, 3)."""


def prepare(
    gallery: Gallery,
    photos: Sequence[Upload | int],
    region: Region | None = None,
    matchers: Sequence[str] = ("sift",),
) -> PreparedQuery:
    """Prepare a query from uploads and gallery ids. Arguments as `Engine.prepare`.

    Raises:
        BadPhoto, Refused: an upload cannot be decoded, or not now, see `Decoder.decode`.
        OriginalGone, Refused: the file of a gallery photo cannot be read, see `originals`.
        KeyError, ValueError: as `Engine.prepare`.
    """
    if len(photos) == 1 and isinstance(photos[0], int) and region is None:
        return gallery.queries.prepare(photos[0])
    begin = time.perf_counter()
    as_stored = gallery.engine.store.as_stored
    sources = [
        decoder().read(photo, as_stored) if isinstance(photo, bytes) else photo for photo in photos
    ]
    decoding = (time.perf_counter() - begin) * 1000
    with reading_originals():
        query = gallery.engine.prepare(sources, region, matchers)
    if any(isinstance(photo, bytes) for photo in photos):
        query.spend("decode", decoding)
    return query


def search(
    gallery: Gallery, query: PreparedQuery, rerank: str | None, matcher: str | None, k: int, by: str
) -> SearchResult:
    """`Engine.search`, recorded in the metrics. by: "page" or "api"."""
    result = gallery.engine.search(query, rerank, matcher, k)
    count(result, by)
    return result


def search_cached(
    gallery: Gallery, query: PreparedQuery, rerank: str | None, matcher: str | None, k: int, by: str
) -> SearchResult | None:
    """`Engine.search_cached`, recorded in the metrics: the answer if no photo must be compared."""
    result = gallery.engine.search_cached(query, rerank, matcher, k)
    if result is not None:
        count(result, by)
    return result


def count(result: SearchResult, by: str) -> None:
    """Record an answer and the durations of its stages."""
    prometheus.SEARCHES.labels(by).inc()
    prometheus.observe_stages(result.timings_ms)


def compare(gallery: Gallery, query: PreparedQuery, photo: bytes | int) -> Match:
    """`Engine.compare` with an upload's bytes or a gallery id, recorded in the metrics."""
    begin = time.perf_counter()
    if isinstance(photo, bytes):
        pixels = decoder().decode(photo, gallery.engine.store.as_stored)
        decoding = {"decode": (time.perf_counter() - begin) * 1000}
        found = gallery.engine.compare(query, pixels)
        found.timings_ms.update(decoding)
    else:
        found = gallery.engine.compare(query, photo)
    prometheus.observe_stages(found.timings_ms)
    return found
