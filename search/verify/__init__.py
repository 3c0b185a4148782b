"""Verification: select photos and compare them with the query by keypoints."""

from .matcher import MATCHERS, Matcher

__all__ = ["MATCHERS", "Matcher"]
