"""Verification: which photos are compared with the query point by point, and by what."""

from .matcher import MATCHERS, Matcher

__all__ = ["MATCHERS", "Matcher"]
