"""Verification: which points of the query are which points of a gallery photo, and do they agree on
one geometry?
"""

from .matcher import MATCHERS, Matcher
from .verification import Verification, verify, verify_many

__all__ = ["MATCHERS", "Matcher", "Verification", "verify", "verify_many"]
