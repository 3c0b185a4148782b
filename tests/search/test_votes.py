"""Votes of keypoints, counted by hand and by loops, and what they find that descriptors miss."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matching.votes import LUCK, NEAREST, Votes, count_votes


def counted_by_loops(
    distances: np.ndarray, photos: np.ndarray, gallery: int, apart: set[int]
) -> dict[int, float]:
    """The rule in plain Python, one keypoint at a time."""
    votes: dict[int, float] = {}
    late = 0.0
    for row, owners in zip(distances.tolist(), photos.tolist()):
        others = [(d, o) for d, o in zip(row, owners) if o not in apart and math.isfinite(d)]
        others = others[:NEAREST]
        if not others:
            continue
        last = others[-1][0]
        best: dict[int, float] = {}
        for d, o in zip(row, owners):
            if math.isfinite(d) and d < last:
                best[o] = max(best.get(o, 0), 1 - d / last)
        for o, vote in best.items():
            votes[o] = votes.get(o, 0) + vote
        weights = [1 - d / last for d, _ in others if d < last]
        late += sum(weights[NEAREST // 2 :])
    return {o: math.log1p(v / (2 * late / gallery + LUCK)) for o, v in votes.items()}


@pytest.mark.parametrize("apart", [[], [3], [0, 1, 2, 3]])
def test_votes_are_those_of_the_rule(rng, apart):
    distances = np.sort(rng.uniform(1, 100, (40, 20)), axis=1)
    distances[5, 3:] = np.inf
    distances[6] = np.inf
    photos = rng.integers(0, 9, (40, 20))
    photos[~np.isfinite(distances)] = -1
    found = count_votes(distances, photos, 9, np.array(apart, int))
    wanted = counted_by_loops(distances, photos, 9, set(apart))
    assert dict(zip(found.ids.tolist(), found.scores)) == pytest.approx(wanted)
    assert (np.diff(found.scores) <= 0).all()


def test_a_vote_by_hand():
    # Two keypoints, each of which has two neighbours: the last one gives no vote.
    distances = np.array([[10.0, 40.0], [0.0, 20.0]])
    photos = np.array([[7, 2], [7, 7]])
    found = count_votes(distances, photos, 100, np.array([], int))
    assert found.ids.tolist() == [7]
    assert found.scores[0] == pytest.approx(math.log1p((0.75 + 1) / LUCK))


def test_what_has_no_votes():
    nothing = count_votes(np.full((3, 4), np.inf), np.full((3, 4), -1), 5, np.array([], int))
    assert len(nothing.ids) == 0 and nothing.of(np.array([1, 2])).tolist() == [0, 0]
    assert len(count_votes(np.empty((0, 4)), np.empty((0, 4), int), 5, np.array([0])).ids) == 0
    assert Votes(np.array([5, 2]), np.array([3.0, 1.0])).of(np.array([2, 9, 5])).tolist() == [
        1,
        0,
        3,
    ]
