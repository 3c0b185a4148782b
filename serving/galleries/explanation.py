"""Every stage of one search, told: what the page "How it works" draws."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from extractor import Extractor, Region
from extractor.descriptor.attention import Attention
from index_store.ann.inverted_lists import VisitedList, visited_lists
from search import PreparedQuery, SearchResult
from search.diffusion_trace import Walk, walk

from .. import searches
from .galleries import Gallery
from .originals import OriginalGone, reading_originals

HITS = 6
REACHED = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explained:
    """What the stages made of a query.

    Attributes:
        descriptor: of the query, unit vector float32 (D,).
        region: the part of the photo that counts, None for all of it.
        heat: where the descriptor looks in that part, float (h, w) that sums to 1; None if that is
            not known.
        lists: of the index that were visited, nearest first.
        walk: of diffusion.
        result: the answer, with everything switched on.
    """

    descriptor: np.ndarray
    region: Region | None
    heat: np.ndarray | None
    lists: list[VisitedList]
    walk: Walk
    result: SearchResult


def explain(gallery: Gallery, query: PreparedQuery, pixels: np.ndarray | None) -> Explained:
    """Search, and tell how. Heavy: this belongs into a turn.

    Args:
        gallery: what is searched.
        query: prepared for it.
        pixels: of the whole photo, uint8 RGB (H, W, 3); None if they cannot be had.
    """
    store, extractor = gallery.engine.store, gallery.engine.extractor
    return Explained(
        descriptor=query.descriptor,
        region=query.region,
        heat=None if pixels is None else heat(extractor, pixels, query.region),
        lists=visited_lists(store.index, query.descriptor),
        walk=walk(query, store, REACHED),
        result=searches.search(gallery, query, "diffusion", "sift", HITS, "page"),
    )


def pixels_of(gallery: Gallery, id: int) -> np.ndarray | None:
    """The pixels of a gallery photo; None if its file is gone or has changed.

    Raises Refused if the system has failed to read it.
    """
    try:
        with reading_originals():
            return gallery.engine.store.pixels(id)
    except OriginalGone:
        return None


def heat(extractor: Extractor, pixels: np.ndarray, region: Region | None) -> np.ndarray | None:
    """Where the descriptor looks, see `Attention.heat`; None if its model cannot tell, or its file
    cannot be read at the moment.
    """
    try:
        looking = attention(extractor)
    except OSError as error:
        log.error("the model's file cannot be read: %s", error.strerror or error)
        return None
    return None if looking is None else looking.heat(pixels, region)


@lru_cache(2)
def attention(extractor: Extractor) -> Attention | None:
    """What tells where a model looks; None if it has no GeM pooling.

    Loaded when it is first needed. Raises OSError, which is not cached.
    """
    try:
        return Attention(extractor)
    except ValueError:
        return None
