"""Global reranking: improve the order by descriptors and the store's neighbour data."""

from .reranker import RERANKERS, Reranker

__all__ = ["RERANKERS", "Reranker"]
