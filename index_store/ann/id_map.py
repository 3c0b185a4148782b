"""Map from an index's vector numbers to photo ids, so that ids can change without a rebuild.

Ids follow the order of the files: one more photo changes the ids of all that come after it. The
index stays untouched: a vector keeps the number it was added with, and a table maps numbers to
photos.
"""

from __future__ import annotations

from typing import Self, cast

import numpy as np

from .faiss_index import FaissIndex, VectorIndex


class NumberedIndex:
    """Searches an index and returns photo ids.

    Attributes:
        index: the index; its labels are vector numbers, in the order of adding.
        ids: int32 (numbers,), the photo id of each number; -1 if the photo was removed.
        ntotal: number of vectors in the index, as faiss calls it.
    """

    def __init__(self, index: VectorIndex, ids: np.ndarray):
        stats = index.stats()
        self.index, self.ids, self.ntotal = index, ids, stats.vectors - stats.removed

    @property
    def embedded(self) -> FaissIndex:
        """The index of a store that was opened with its own, not a server's."""
        return cast(FaissIndex, self.index)

    def search(self, descriptors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Search like faiss: distances float32 and ids int64, both (n, k), id -1 for no result."""
        distances, numbers = self.index.search(descriptors, k)
        return distances, np.where(numbers >= 0, self.ids[numbers], -1).astype(np.int64)

    def without(self, ids: np.ndarray) -> Self:
        """The same index without these photos in its results."""
        return type(self)(self.index, np.where(np.isin(self.ids, ids), -1, self.ids))


def all_numbered(index: VectorIndex) -> NumberedIndex:
    """An index whose vectors were added in the order of the photos' ids."""
    return NumberedIndex(index, np.arange(index.stats().vectors, dtype=np.int32))


def renumber(
    index: FaissIndex,
    ids: np.ndarray,
    new_ids: np.ndarray,
    added_ids: np.ndarray,
    added: np.ndarray,
) -> NumberedIndex:
    """Remove vectors from an index and add others.

    Args:
        index: the index, changed in place.
        ids: as in NumberedIndex, with the old ids.
        new_ids: int (N,), the new id of each old one, or -1 for a photo that is removed.
        added_ids: int (n,), new ids of the added photos.
        added: their descriptors, (n, D).
    """
    mapped = np.where(ids >= 0, new_ids[ids], -1)
    removed = np.flatnonzero((ids >= 0) & (mapped < 0))
    if len(removed):
        index.remove(removed)
    if len(added_ids):
        index.add(added)
    return NumberedIndex(index, np.concatenate([mapped, added_ids]).astype(np.int32))
