"""What the rerankers have in common that look at the best photos' descriptors only."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from index_store import Store

from ..query import Query
from ..ranking import Ranking, Verified

SHORTLIST = 400  # best photos that are reordered


class ShortlistReranker(ABC):
    """Reorders the best SHORTLIST photos by `scores`. The others keep their order below. Makes nothing of verified photos."""

    def __init__(self, store: Store):
        self.store = store

    @abstractmethod
    def scores(self, descriptor: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,), higher is better, of the query's descriptor float32 (D,) and the photos' (n, D)."""

    def rerank(self, query: Query, current: Ranking, verified: Verified | None = None) -> Ranking:
        if verified is not None:
            return current
        copy, others = current.parted(query.in_gallery)
        head, tail = others[:SHORTLIST], others[SHORTLIST:]
        rows = self.store.descriptors[head.ids].astype(np.float32)
        return copy.followed_by(head.rescored(self.scores(query.descriptor, rows))).followed_by(
            tail
        )
