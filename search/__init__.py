"""Query time: find, rerank, explain. One `Engine`, one `SearchResult`."""

from .engine import Engine
from .ranking import FLOOR
from .result import Hit, SearchResult
from .verification import Verification, verify

__all__ = ["FLOOR", "Engine", "Hit", "SearchResult", "Verification", "verify"]
