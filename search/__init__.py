"""Query time: find, rerank, explain. One `Engine`, one `SearchResult`."""

from .engine import UNCALIBRATED, Engine
from .matcher import MATCHERS, Matcher
from .ranking import FLOOR
from .reranker import RERANKERS, Reranker
from .result import Hit, SearchResult
from .verification import Verification, verify, verify_many

__all__ = [
    "FLOOR",
    "MATCHERS",
    "RERANKERS",
    "UNCALIBRATED",
    "Engine",
    "Hit",
    "Matcher",
    "Reranker",
    "SearchResult",
    "Verification",
    "verify",
    "verify_many",
]
