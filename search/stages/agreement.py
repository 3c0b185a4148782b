"""Warn if the photos of one query do not seem to show the same thing.

Each pair of them gets log-odds of showing the same thing, by the calibration of the store's model.
The mean over all pairs decides: two views of a thing may have nothing in common, but not most of
them. docs/history/measurements-2026-11-30.md reports how often that is wrong.
"""

from __future__ import annotations

import numpy as np

from ..fusion import log_odds
from ..fusion.apply import Fusion
from ..query import PreparedQuery
from ..ranking import Ranking, Verified
from ..stopwatch import Stopwatch
from ..verify.matcher import Matcher
from ..verify.shortlist import query_keypoints

DIFFERENT = "These photos may not show the same thing. Search with each of them on its own."
# Up to FEW photos (10 pairs) are matched by keypoints, and only judged if they were: descriptors
# alone do not distinguish two different things from two views of one well enough.
FEW = 5
MIN_PROBABILITY = 0.0003  # for at most FEW photos
MIN_PROBABILITY_OF_MANY = 0.0002
MAX_PHOTOS = 100  # photos that are judged, the first ones: pairs grow quadratically


def compare(query: PreparedQuery, name: str, matcher: Matcher, watch: Stopwatch) -> None:
    """Match the photos of a query with one another; `query.pairs` caches the evidence.

    Does nothing if `are_compared`.

    Args:
        query: receives the evidence, or None if one of its photos cannot be read.
        name: name of the matcher.
        matcher: the matcher.
        watch: records the stage `name`.

    Raises:
        ValueError: an upload was prepared without this matcher's keypoints.
    """
    if are_compared(query, name):
        return
    with watch.stage(name):
        keypoints = [query_keypoints(photo, name, matcher) for photo in query.photos]
        readable = [features for features in keypoints if features is not None]
        if len(readable) < len(keypoints):
            query.pairs[name] = None
            return
        found = [
            evidence
            for number, features in enumerate(readable[:-1])
            for evidence in matcher.verify_many(features, readable[number + 1 :])
        ]
        query.pairs[name] = Verified(dict(enumerate(found)), matcher.floor)


def are_compared(query: PreparedQuery, name: str) -> bool:
    """Whether `compare` has nothing to do: it has run, or there is one photo or more than FEW."""
    return name in query.pairs or not 2 <= len(query.photos) <= FEW


def warnings(query: PreparedQuery, fusion: Fusion, verify: str | None) -> list[str]:
    """DIFFERENT if the photos of a query do not seem to show the same thing.

    Args:
        query: the query.
        fusion: judges the pairs.
        verify: name of the matcher, None if there was none.

    Returns:
        Empty for a single photo, for at most FEW without compared points, and for a model without a
        fitted calibration.
    """
    photos = query.photos[:MAX_PHOTOS]
    verified = None if verify is None else query.pairs.get(verify)
    if len(photos) < 2 or (len(photos) <= FEW and verified is None):
        return []
    descriptors = np.stack([photo.descriptor for photo in photos])
    similarity = np.clip(descriptors @ descriptors.T, -1, 1)[np.triu_indices(len(photos), 1)]
    pairs = Ranking(np.arange(len(similarity)), similarity, similarity, verified)
    odds = fusion.pairs(query, pairs, None if verified is None else verify)
    return [] if odds is None or agree(odds, verified is not None) else [DIFFERENT]


def agree(odds: np.ndarray, few: bool) -> bool:
    """Whether photos show the same thing.

    Args:
        odds: log-odds of each pair, (n,).
        few: whether points were compared.
    """
    return bool(
        log_odds.probability(odds.mean()) >= (MIN_PROBABILITY if few else MIN_PROBABILITY_OF_MANY)
    )
