"""Settings are chosen on groups that they do not judge."""

from __future__ import annotations

import numpy as np

from evaluation.studies.retrieval.held_out import group_weights, held_out_choice
from search.fusion.fit import OUTER_FOLDS


def test_sets_kinds_and_groups_count_equally():
    groups = [{"a": [], "b": []}, {"c": [], "d": [], "e": [], "f": []}]
    weights = group_weights(groups, {"cover": ["c", "d"], "painting": ["e"]})
    assert weights.tolist() == [1 / 4, 1 / 4, 1 / 12, 1 / 12, 1 / 6, 1 / 6]


def test_no_group_chooses_the_setting_that_judges_it():
    rng = np.random.default_rng(0)
    maps, weights = rng.random((6, 11)), rng.random(11)
    chosen = held_out_choice(maps, weights)
    for group in range(11):
        changed = maps.copy()
        changed[:, group] = rng.random(6) * 100
        assert held_out_choice(changed, weights)[group] == chosen[group]
    folds = [np.arange(part, 11, OUTER_FOLDS) for part in range(OUTER_FOLDS)]
    for judged in folds:
        others = np.setdiff1d(np.arange(11), judged)
        by_hand = max(range(6), key=lambda one: maps[one, others] @ weights[others])
        assert (chosen[judged] == by_hand).all()
