"""Query time: find, rerank, explain. One `Engine`, one `SearchResult`."""

from .engine import Engine
from .ranking import FLOOR
from .reranker import RERANKERS, Reranker
from .result import Hit, SearchResult
from .verification import Verification, verify, verify_many

__all__ = ["FLOOR", "RERANKERS", "Engine", "Hit", "Reranker", "SearchResult", "Verification", "verify", "verify_many"]
