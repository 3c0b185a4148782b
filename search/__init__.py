"""Query time: prepare a photo, search with it, explain a hit. One `Engine`, one `SearchResult`."""

from matching.verification import Verification

from .collapse import collapse_duplicates
from .engine import Engine
from .fusion.apply import UNCALIBRATED
from .fusion.calibration import BadCalibration
from .prepare import Source
from .query import PreparedQuery, QueryPhoto
from .rerank.reranker import RERANKERS, Reranker
from .result import Contradiction, Hit, Link, Match, SearchResult
from .verify.fractions import relative_homography, relative_points
from .verify.matcher import MATCHERS, UNREADABLE, Matcher

__all__ = [
    "MATCHERS",
    "RERANKERS",
    "UNCALIBRATED",
    "UNREADABLE",
    "BadCalibration",
    "Contradiction",
    "Engine",
    "Hit",
    "Link",
    "Match",
    "Matcher",
    "PreparedQuery",
    "QueryPhoto",
    "Reranker",
    "SearchResult",
    "Source",
    "Verification",
    "collapse_duplicates",
    "relative_homography",
    "relative_points",
]
