"""Verification: do points of the query and of a gallery photo agree on one geometry?"""

from .matcher import MATCHERS, Matcher
from .verification import Verification, verify, verify_many

__all__ = ["MATCHERS", "Matcher", "Verification", "verify", "verify_many"]
