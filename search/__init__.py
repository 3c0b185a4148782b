"""Query time: find, rerank, explain. One `Engine`, one `SearchResult`."""

from .engine import UNCALIBRATED, Engine
from .ranking import FLOOR
from .rerank.reranker import RERANKERS, Reranker
from .result import Hit, SearchResult
from .verify.matcher import MATCHERS, Matcher
from .verify.verification import Verification

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
]
