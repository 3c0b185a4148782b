"""An index whose vectors keep their numbers while the photos' ids change.

Ids follow the order of the files: one photo more, and all that come after it have another id. The
index is not touched for that. A vector keeps the number it was added with, and a table says which
photo it belongs to.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from .faiss_index import VectorIndex


class NumberedIndex:
    """Searches an index, and answers with the photos' ids.

    Attributes:
        index: Its labels are the vectors' numbers, in the order in which they were added.
        ids: int32 (numbers,), for each number the photo's id; -1 if the photo was removed.
        ntotal: Vectors in the index, as faiss calls it.
    """

    def __init__(self, index: VectorIndex, ids: np.ndarray):
        stats = index.stats()
        self.index, self.ids, self.ntotal = index, ids, stats.vectors - stats.removed

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """As faiss does it: distances float32 and ids int64, both (n, k), ids -1 where none is."""
        distances, numbers = self.index.search(descriptors, k)
        return distances, np.where(numbers >= 0, self.ids[numbers], -1).astype(np.int64)

    def without(self, ids: np.ndarray) -> Self:
        """The same index, that passes these photos over."""
        return type(self)(self.index, np.where(np.isin(self.ids, ids), -1, self.ids))


def all_numbered(index: VectorIndex) -> NumberedIndex:
    """An index whose vectors were added in the order of the photos' ids."""
    return NumberedIndex(index, np.arange(index.stats().vectors, dtype=np.int32))


def renumber(
    index: VectorIndex,
    ids: np.ndarray,
    new_ids: np.ndarray,
    added_ids: np.ndarray,
    added: np.ndarray,
) -> NumberedIndex:
    """Take vectors out of an index, and add others.

    Args:
        index: Changed in place.
        ids: As of NumberedIndex, with the old ids.
        new_ids: int (N,), for each old id the new one, or -1 for a photo that goes.
        added_ids: int (n,), new ids of the photos that come.
        added: Their descriptors, (n, D).
    """
    mapped = np.where(ids >= 0, new_ids[ids], -1)
    gone = np.flatnonzero((ids >= 0) & (mapped < 0))
    if len(gone):
        index.remove(gone)
    if len(added_ids):
        index.add(added)
    return NumberedIndex(index, np.concatenate([mapped, added_ids]).astype(np.int32))
