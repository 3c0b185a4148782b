"""Candidates by keypoint votes, in addition to the descriptor's."""

from __future__ import annotations

import numpy as np

from index_store import Store
from matching.votes import NEAREST, Votes, count_votes

from ..query import PreparedQuery
from ..ranking import Ranking, cosine, order
from ..stopwatch import Stopwatch
from ..verify.matcher import Matcher
from ..verify.shortlist import query_keypoints

DETAILS = "details"  # the stage
PROPOSED = 100  # photos with the most votes that become candidates
OWN_KEYPOINTS = 2  # nearest keypoints expected from each gallery photo that is the query itself
MAX_OWN_KEYPOINTS = 24
# Weights of `promise_features`, chosen by hand on three labelled sets. `evaluation shortlist`
# compares them with fitted ones (docs/RESULTS.md).
PROMISE = (1.0, 1.5, 2.5)


def find_votes(
    query: PreparedQuery, name: str, matcher: Matcher, store: Store, watch: Stopwatch
) -> Votes | None:
    """Votes of a query's keypoints; cached in `query.votes`.

    For several photos, the best score of each gallery photo counts.

    Args:
        query: the query.
        name: name of the matcher.
        matcher: matcher whose keypoints vote.
        store: the gallery.
        watch: records the stage DETAILS if votes are counted.

    Returns:
        None for a matcher whose keypoints the store has no index of.

    Raises:
        ValueError: an upload was prepared without this matcher's keypoints.
    """
    if not matcher.is_indexed:
        return None
    if name not in query.votes:
        with watch.stage(DETAILS):
            excluded = query.in_gallery
            counted = []
            for photo in query.examples:
                features = query_keypoints(photo, name, matcher)
                if features is None:
                    continue
                voting = features.strongest(store.keypoints.form.points)
                more = min(OWN_KEYPOINTS * len(excluded), MAX_OWN_KEYPOINTS)
                near = store.keypoints.nearest(voting.descriptors, NEAREST + more)
                counted.append(count_votes(near.distances, near.photos, len(store), excluded))
            query.votes[name] = best_of(counted)
    return query.votes[name]


def best_of(counted: list[Votes]) -> Votes:
    """The best score of each photo."""
    if len(counted) == 1:
        return counted[0]
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *(votes.ids for votes in counted)]))
    scores = np.max([np.zeros(len(ids)), *(votes.of(ids) for votes in counted)], axis=0)
    best = order(scores)
    return Votes(ids[best], scores[best])


def proposed(query: PreparedQuery, votes: Votes, store: Store) -> Ranking:
    """The candidates of the descriptor, and those that only keypoint votes have found.

    Args:
        query: the query.
        votes: votes of its keypoints.
        store: the gallery.
    """
    known = np.concatenate([query.candidates.ids, query.own_ids])
    best = votes.ids[:PROPOSED]
    ids = best[~np.isin(best, known)]
    return query.candidates.extended(ids, cosine(query.descriptor, store.descriptors[ids])).sorted()


def most_promising(query: PreparedQuery, ranking: Ranking, votes: Votes) -> Ranking:
    """The same photos, the most promising to compare point by point first.

    Args:
        query: the query.
        ranking: ranking by the descriptor or by a reranker.
        votes: votes of the query's keypoints.
    """
    return ranking[order(promise_features(query, ranking, votes) @ PROMISE)]


def promise_features(query: PreparedQuery, ranking: Ranking, votes: Votes) -> np.ndarray:
    """What `most_promising` weighs: votes; the score above its background, in units of similarity;
    and the similarity above its own background, at least 0.

    Args:
        query, ranking, votes: as in `most_promising`.

    Returns:
        float64 (n, 3).
    """
    background, spread = query.scale.of(ranking.scores[~np.isin(ranking.ids, query.copy_ids)])
    score = (ranking.scores - background) / spread * query.scale.spread
    similarity = np.maximum(ranking.similarity - query.scale.background, 0)
    return np.stack([votes.of(ranking.ids), score, similarity], axis=1)
