"""Global reranking methods behind one interface: a better order from descriptors and what the store holds of neighbours."""

from __future__ import annotations

from typing import Protocol

from ..query import Query
from ..ranking import Ranking, Verified
from .diffusion import Diffusion
from .expansion import AlphaQueryExpansion, DatabaseAugmentation
from .k_reciprocal import KReciprocal
from .superglobal import SuperGlobal


class Reranker(Protocol):
    """One method on one store: `RERANKERS[name](store)`. Thread-safe."""

    def rerank(self, query: Query, current: Ranking, verified: Verified | None = None) -> Ranking:
        """A new order of the query's ranking (best first), photos it did not have perhaps among it.

        The gallery photo that is the query (`query.in_gallery`) is no evidence for any other; if it is a hit, it stays
        first. verified: None in the first round; in the second, after SIFT, `current` is the first round's answer, and a
        method that makes nothing of verified photos returns it as it is.
        """
        ...


RERANKERS: dict[str, type[Reranker]] = {
    "diffusion": Diffusion,
    "alpha-qe": AlphaQueryExpansion,
    "dba": DatabaseAugmentation,
    "k-reciprocal": KReciprocal,
    "superglobal": SuperGlobal,
}
