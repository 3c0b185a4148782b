"""Global reranking: a better order from descriptors and from what the store holds of neighbours."""

from .reranker import RERANKERS, Reranker

__all__ = ["RERANKERS", "Reranker"]
