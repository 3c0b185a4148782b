"""Base class of rerankers that only use the best photos' descriptors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from index_store import Store

from ..query import PreparedQuery
from ..ranking import Ranking, Trusted

REORDERED = 400  # best photos that are reordered


class ShortlistReranker(ABC):
    """Reorders the best REORDERED photos by `scores`; the others keep their order below.

    Ignores verified photos.
    """

    def __init__(self, store: Store):
        self.store = store

    @abstractmethod
    def scores(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores for reordering the photos.

        Args:
            descriptor: descriptor of the query, unit vector float32 (D,).
            rows: descriptors of the photos, unit vectors float32 (n, D).

        Returns:
            float (n,), higher is better.
        """

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        if trusted is not None:
            return ranking
        copies, others = ranking.parted(query.in_gallery)
        head, tail = others[:REORDERED], others[REORDERED:]
        rows = self.store.descriptors[head.ids].astype(np.float32)
        reordered = head.rescored(self.scores(query.descriptor, rows))
        return copies.followed_by(reordered).followed_by(tail)
