"""Inverted lists that a query visits, and their photos."""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np

from .faiss_index import FaissIndex, first_transform
from .id_map import NumberedIndex


@dataclass(frozen=True)
class VisitedList:
    """An inverted list that a query visits.

    Attributes:
        number: number of the list.
        distance: squared distance from the query to the list's centroid.
        ids: ids of its photos, int64 (n,).
    """

    number: int
    distance: float
    ids: np.ndarray


def visited_lists(numbered: NumberedIndex, descriptor: np.ndarray) -> list[VisitedList]:
    """The lists that a search visits, nearest first; empty if the index has no lists.

    Args:
        numbered: index of a store.
        descriptor: float32 (D,), unit norm.
    """
    if not isinstance(numbered.index, FaissIndex):
        return []
    whole = numbered.index.faiss_index
    found = faiss.try_extract_index_ivf(whole)
    if found is None:
        return []
    query = rotated(whole, np.ascontiguousarray(descriptor[None], np.float32))
    distances, numbers = found.quantizer.search(query, found.nprobe)
    visited: list[VisitedList] = []
    if found.invlists is None:
        return visited
    for number, distance in zip(numbers[0].tolist(), distances[0].tolist()):
        if number < 0:
            continue
        size = found.invlists.list_size(number)
        ids = np.empty(0, np.int64)
        if size:
            ids = numbered.ids[faiss.rev_swig_ptr(found.invlists.get_ids(number), size)]
        visited.append(VisitedList(number, distance, ids.astype(np.int64)))
    return visited


def rotated(index: faiss.Index, query: np.ndarray) -> np.ndarray:
    """A query float32 (1, D) after the index's rotation, if it has one."""
    if isinstance(index, faiss.IndexPreTransform):
        return first_transform(index).apply(query)
    return query
