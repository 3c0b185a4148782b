"""What links to uploads need is remembered for so long, and so much of it."""

from __future__ import annotations

import numpy as np

from search import QueryPhoto
from search.duplicates import grouped
from serving.remembered import PARTS, Remembered


def test_a_link_works_until_it_said():
    now = [100.0]
    kept = Remembered(60, 2, clock=lambda: now[0])
    token, known = kept.keep()
    assert known.until == 160 and kept.find(token) is known and kept.find("x") is None
    now[0] = 159.9
    assert kept.find(token) is known, "looking does not prolong it"
    now[0] = 160.0
    assert kept.find(token) is None and len(kept) == 0


def test_the_oldest_goes_first():
    kept = Remembered(60, 2, clock=lambda: 0.0)
    tokens = [kept.keep()[0] for _ in range(3)]
    assert len(set(tokens)) == 3 and [kept.find(t) is not None for t in tokens] == [
        False,
        True,
        True,
    ]


def test_few_parts_are_kept_and_the_whole_always():
    _, known = Remembered(60, 2).keep()
    photo = QueryPhoto(np.zeros(2, np.float32))
    known.add("model", None, photo)
    for left in range(20):
        known.add("model", (left / 100, 0.0, 1.0, 1.0), photo)
    assert len(known.photos) == PARTS and ("model", None) in known.photos
    assert ("model", (0.19, 0.0, 1.0, 1.0)) in known.photos


def test_groups_are_built_around_their_best():
    same = np.eye(5, dtype=bool)
    for a, b in ((0, 2), (2, 4), (1, 3)):  # 4 is like 2, but not like 0
        same[a, b] = same[b, a] = True
    assert grouped(same) == [[0, 2], [1, 3], [4]]
