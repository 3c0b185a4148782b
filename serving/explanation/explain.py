"""Explanation of one search, stage by stage, for the page "How it works"."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from extractor import Extractor, Region
from extractor.descriptor.attention import Attention
from index_store.ann.inverted_lists import VisitedList, visited_lists
from search import PreparedQuery, SearchResult

from .. import searches
from ..galleries.gallery import Gallery
from ..galleries.originals import OriginalGone, reading_originals
from .diffusion_trace import DiffusionTrace, trace_diffusion
from .graph_moves import Moves, graph_moves

HITS = 6
REACHED = 10
FIRST = 20  # ranks in which moves of the matching graph are explained
FOLLOWED = 200  # hits searched, so that photos that fell out of the first ranks are among them

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Explained:
    """Intermediate results of all stages for one query.

    Attributes:
        descriptor: the query's descriptor, unit vector float32 (D,).
        region: part of the photo that was searched with, None for all of it.
        heat: attention map of the descriptor in that part, float (h, w) that sums to 1; None if
            the model has none.
        lists: visited lists of the index, nearest first.
        diffusion: trace of the first round of diffusion.
        moves: what the matching graph moved; None for a store without one.
        result: the answer of all stages.
    """

    descriptor: np.ndarray
    region: Region | None
    heat: np.ndarray | None
    lists: list[VisitedList]
    diffusion: DiffusionTrace
    moves: Moves | None
    result: SearchResult


def explain(gallery: Gallery, query: PreparedQuery, pixels: np.ndarray | None) -> Explained:
    """Search and record every stage. Heavy: run it in a turn.

    Args:
        gallery: the gallery to search.
        query: query prepared for it.
        pixels: the whole photo, uint8 RGB (H, W, 3); None if it is not available.
    """
    store, extractor = gallery.engine.store, gallery.engine.extractor
    result = searches.search(gallery, query, "diffusion", "sift", FOLLOWED, "page")
    return Explained(
        descriptor=query.descriptor,
        region=query.region,
        heat=None if pixels is None else heat(extractor, pixels, query.region),
        lists=visited_lists(store.index, query.descriptor),
        diffusion=trace_diffusion(query, store, REACHED),
        moves=graph_moves(result.hits, "sift", FIRST) if gallery.engine.graph else None,
        result=replace(result, hits=result.hits[:HITS]),
    )


def pixels_of(gallery: Gallery, id: int) -> np.ndarray | None:
    """The pixels of a gallery photo; None if its file is gone or has changed.

    Raises Refused if the system fails to read it.
    """
    try:
        with reading_originals():
            return gallery.engine.store.pixels(id)
    except OriginalGone:
        return None


def heat(extractor: Extractor, pixels: np.ndarray, region: Region | None) -> np.ndarray | None:
    """Attention map of the descriptor, see `Attention.heat`; None if the model has none or its file
    cannot be read at the moment.
    """
    try:
        maps = attention(extractor)
    except OSError as error:
        log.error("the model's file cannot be read: %s", error.strerror or error)
        return None
    return None if maps is None else maps.heat(pixels, region)


@lru_cache(2)
def attention(extractor: Extractor) -> Attention | None:
    """The attention maps of a model; None if it has no GeM pooling.

    Loaded on first use. Raises OSError, which is not cached.
    """
    try:
        return Attention(extractor)
    except ValueError:
        return None
