"""Interface and registry of global reranking methods, the second stage."""

from __future__ import annotations

from typing import Protocol

from ..query import PreparedQuery
from ..ranking import Ranking, Trusted
from .diffusion import Diffusion
from .expansion import AlphaQueryExpansion, DatabaseAugmentation
from .k_reciprocal import KReciprocal
from .superglobal import SuperGlobal


class Reranker(Protocol):
    """One method on one store: `RERANKERS[name](store)`. Thread-safe.

    It improves the order by descriptors, and by the store's neighbour data.
    """

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        """A new order, possibly with additional photos.

        Gallery photos that are the query (`query.in_gallery`) are not evidence for any other; those
        that are hits stay first.

        Args:
            query: the query.
            ranking: best first.
            trusted: None in the first round. In the second round, after verification, photos that
                probably show the same thing; `ranking` is then the first round's result. A method
                that ignores such photos returns it unchanged.
        """
        ...


DIFFUSION = "diffusion"
RERANKERS: dict[str, type[Reranker]] = {
    DIFFUSION: Diffusion,
    "alpha-qe": AlphaQueryExpansion,
    "dba": DatabaseAugmentation,
    "k-reciprocal": KReciprocal,
    "superglobal": SuperGlobal,
}
