"""The second stage: global reranking methods behind one interface."""

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

    It finds a better order from descriptors, and from what the store holds of neighbours.
    """

    def rerank(
        self, query: PreparedQuery, ranking: Ranking, trusted: Trusted | None = None
    ) -> Ranking:
        """A new order, photos that were not there before perhaps among it.

        Gallery photos that are the query (`query.in_gallery`) are no evidence for any other; those
        that are hits stay first.

        Args:
            query: asked for.
            ranking: best first.
            trusted: None in the first round. After verification there is a second one: then these
                photos probably show the same thing, and `ranking` is the first round's answer. A
                method that makes nothing of such photos returns it as it is.
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
