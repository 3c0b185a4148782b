"""Which photos are compared with the query, and in which order: worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from matching.verification import Verification
from matching.votes import Votes
from search.ranking import Ranking, Scale
from search.stages.details import PROMISE, most_promising
from search.stopwatch import Stopwatch
from search.verify.matcher import Sift
from search.verify.shortlist import STEP, verify_in_steps, verify_photos


class Listed:
    """A matcher by which the photos in `same` match, and those in `gone` cannot be read."""

    first = 15
    floor = 8

    def __init__(self, same, gone=()):
        self.same, self.gone, self.compared = set(same), set(gone), []

    def query_features(self, id):
        return id

    def gallery_features(self, id):
        if id in self.gone:
            raise FileNotFoundError
        return id

    def verify_many(self, query, hits):
        self.compared += hits
        none, size = np.empty((0, 2), np.float32), (480, 640)
        points = [self.floor if hit in self.same else self.floor - 1 for hit in hits]
        return [Verification(n, None, none, none, size, size, 20, 0.1) for n in points]


BEST = [*range(20, 45)]  # 25 ids, best first


@pytest.mark.parametrize(
    "same, count",
    [
        ([], 25),  # nothing is proven yet
        (BEST[:1], 15),  # the first matches, but none of the last STEP
        (BEST[10:11], 20),
        (BEST[14:15], 20),
        (BEST[17:18], 25),  # the second step proves the first one
        (BEST[14:20:5], 25),  # each step proves one
        (BEST[:5] + BEST[15:20], 15),  # what the second step would prove is not seen
        (BEST, 25),
        (BEST[14:25:5], 25),
    ],
)
def test_steps_go_on_while_the_last_one_proves_something(engine, same, count):
    assert (Sift.first, STEP) == (Listed.first, 5)
    query, matcher = engine.prepare(0), Listed(same)
    assert verify_in_steps(query, BEST, "listed", matcher, Stopwatch(), cached_only=True) is None
    assert matcher.compared == [], "nothing is compared from the cache"
    verified = verify_in_steps(query, BEST, "listed", matcher, Stopwatch())
    assert matcher.compared == list(verified.found) == BEST[:count] and verified.notes == ()
    again = verify_in_steps(query, BEST, "listed", matcher, Stopwatch(), cached_only=True)
    assert again == verified and matcher.compared == BEST[:count]


@pytest.mark.parametrize("best", [[], BEST[:1], BEST[:10], BEST[:12]])
def test_a_short_list_ends(engine, best):
    matcher = Listed(BEST)
    verified = verify_in_steps(engine.prepare(0), best, "listed", matcher, Stopwatch())
    assert matcher.compared == list(verified.found) == best


def test_what_was_compared_before_changes_no_step(engine):
    """The match viewer has compared a photo that matches, beyond the first step."""
    query, matcher = engine.prepare(0), Listed([BEST[0], *BEST[17:]])
    verify_photos(query, BEST[17:19], "listed", matcher, Stopwatch())
    verified = verify_in_steps(query, BEST, "listed", matcher, Stopwatch())
    assert list(verified.found) == BEST[:15]


def test_unreadable_photos_prove_nothing(engine):
    matcher = Listed(BEST, gone=BEST[10:15])  # the first ten match
    verified = verify_in_steps(engine.prepare(0), BEST, "listed", matcher, Stopwatch())
    assert list(verified.found) == BEST[:15] and matcher.compared == BEST[:10]
    assert verified.notes == ("5 photos could not be verified: changed or missing on disk.",)


@pytest.mark.parametrize("factor, offset", [(1.0, 0.0), (3.0, 7.0)])
def test_votes_scores_and_similarities_add_up(engine, factor, offset):
    """The scores of a reranker count in units of similarity, whatever its own units are."""
    query = replace(engine.prepare(0), scale=Scale(0.2, 0.5, 4), copy_ids=np.empty(0, np.int64))
    similarity = np.array([0.7, 0.6, 0.3, 0.2, 0.1])
    ranking = Ranking(np.array([4, 9, 2, 7, 5]), similarity, factor * similarity + offset)
    votes = Votes(np.array([5, 2]), np.array([2.5, 0.9]))
    vote, score, alike = PROMISE
    promise = {
        4: score * 0.5 + alike * 0.5,
        9: score * 0.4 + alike * 0.4,
        2: vote * 0.9 + score * 0.1 + alike * 0.1,
        7: 0.0,
        5: vote * 2.5 - score * 0.1,
    }
    ordered = most_promising(query, ranking, votes)
    assert ordered.ids.tolist() == sorted(promise, key=lambda id: -promise[id]) == [5, 4, 9, 2, 7]
    assert np.array_equal(ordered.similarity, similarity[[4, 0, 1, 2, 3]])
