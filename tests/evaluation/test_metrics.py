"""Metrics worked by hand, and against the slow and obvious way to say the same."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.metrics import (
    average_precision,
    found_among,
    group_means,
    mean_average_precision,
    mean_over_groups,
    precision_at,
    recall_at_1,
    trapezoid_average_precision,
    without,
)

EVERY_METRIC = [
    average_precision,
    trapezoid_average_precision,
    recall_at_1,
    lambda ranking, positives: precision_at(ranking, positives, 5),
    lambda ranking, positives: found_among(ranking, positives, 4),
]


@pytest.mark.parametrize(
    "ranking, positives, plain, trapezoid",
    [
        ([1, 2, 3, 4], {1, 2}, 1.0, 1.0),
        ([9, 1, 8, 2], {1, 2}, (1 / 2 + 2 / 4) / 2, ((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2),
        ([9, 8, 1], {1}, 1 / 3, (0 + 1 / 3) / 2),
        ([1, 9, 8], {1, 2}, 1 / 2, 1 / 2),  # the second positive was not returned
        ([9, 8, 7], {1, 2}, 0.0, 0.0),
        ([], {1}, 0.0, 0.0),
        (
            [1, 9, 2, 8, 3],
            {1, 2, 3},
            (1 + 2 / 3 + 3 / 5) / 3,
            (1 + (1 / 2 + 2 / 3) / 2 + (2 / 4 + 3 / 5) / 2) / 3,
        ),
    ],
)
def test_average_precision_by_hand(ranking, positives, plain, trapezoid):
    assert average_precision(ranking, positives) == pytest.approx(plain)
    assert trapezoid_average_precision(ranking, positives) == pytest.approx(trapezoid)


@pytest.mark.parametrize(
    "ranking, positives, k, expected",
    [
        ([1, 9, 2, 8], {1, 2}, 1, 1.0),
        (
            [1, 9, 2, 8],
            {1, 2},
            5,
            2 / 3,
        ),  # the last positive is at rank 3: the 8 behind it does not count
        ([1, 2, 9, 8, 7, 6], {1, 2}, 5, 1.0),
        ([9, 8, 7, 6, 5, 1], {1}, 5, 0.0),
        ([9, 1, 8, 2, 7, 3], {1, 2, 3}, 5, 2 / 5),
        ([9, 8], {1, 2}, 5, 0.0),  # truncated before the first positive
        ([], {1}, 10, 0.0),
    ],
)
def test_precision_at_k_by_hand(ranking, positives, k, expected):
    assert precision_at(ranking, positives, k) == pytest.approx(expected)


def slow_trapezoid(ranking, positives, junk) -> float:
    """Walks down the list with recall and precision before and after each item, as the protocol's
    own program does.
    """
    area, recall, precision, found, seen = 0.0, 0.0, 1.0, 0, 0
    for item in ranking:
        if item in junk:
            continue
        found += item in positives
        seen += 1
        new_recall, new_precision = found / len(positives), found / seen
        area += (new_recall - recall) * (precision + new_precision) / 2
        recall, precision = new_recall, new_precision
    return area


def slow_plain(ranking, positives) -> float:
    return sum(
        sum(other in positives for other in ranking[: rank + 1]) / (rank + 1)
        for rank, item in enumerate(ranking)
        if item in positives
    ) / len(positives)


def slow_precision(ranking, positives, k) -> float:
    ranks = [rank for rank, item in enumerate(ranking, 1) if item in positives]
    depth = min(max(ranks), k) if ranks else 1
    return sum(rank <= depth for rank in ranks) / depth


def test_metrics_against_the_slow_way(rng):
    for _ in range(300):
        items = rng.permutation(30).tolist()
        positives = set(rng.choice(30, rng.integers(1, 12), replace=False).tolist())
        junk = set(rng.choice(30, rng.integers(0, 10), replace=False).tolist()) - positives
        ranking = items[: rng.integers(0, 31)]  # truncated anywhere
        clean = without(ranking, junk)
        assert clean == [item for item in ranking if item not in junk]
        trapezoid = trapezoid_average_precision(clean, positives)
        assert trapezoid == pytest.approx(slow_trapezoid(ranking, positives, junk))
        assert average_precision(clean, positives) == pytest.approx(slow_plain(clean, positives))
        assert trapezoid <= average_precision(clean, positives) + 1e-12
        for k in (1, 5, 10):
            assert precision_at(clean, positives, k) == pytest.approx(
                slow_precision(clean, positives, k)
            )
        assert found_among(clean, positives, 4) == len(set(clean[:4]) & positives)
        assert recall_at_1(clean, positives) == float(clean[:1] != [] and clean[0] in positives)


def test_junk_moves_what_is_behind_it_up():
    assert without([7, 1, 8, 2], {7, 8}) == [1, 2]
    assert trapezoid_average_precision(without([7, 1, 8, 2], {7, 8}), {1, 2}) == 1.0


def test_the_query_in_its_own_list_has_to_be_taken_out():
    """Left in, it would be one more wrong photo at the top."""
    assert average_precision(["q", "a"], {"a"}) == 0.5
    assert average_precision(without(["q", "a"], {"q"}), {"a"}) == 1.0


def test_n_s_counts_the_query_among_its_four():
    assert found_among(["q", "a", "x", "b", "c"], {"q", "a", "b", "c"}, 4) == 3


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_no_metric_without_positives_nor_with_an_item_twice(metric):
    with pytest.raises(ValueError, match="without positives"):
        metric([1, 2], set())
    with pytest.raises(ValueError, match="twice"):
        metric([1, 2, 1], {1})


@pytest.mark.parametrize("metric", EVERY_METRIC)
def test_a_positive_named_twice_counts_once(metric):
    assert metric([9, 1, 2], [1, 2, 2, 1]) == metric([9, 1, 2], {1, 2})


def test_mean_over_groups_by_hand():
    values = {"many": [1.0, 1.0, 1.0, 0.0], "one": [0.25], "none": []}
    assert group_means(values).tolist() == [0.75, 0.25]
    assert mean_over_groups(values) == 0.5
    with pytest.raises(ValueError, match="nothing to average"):
        mean_over_groups({"none": []})


def test_mean_average_precision_by_hand():
    x = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.6, 0.4]])
    # Query 0: 1 first. Query 1: 0 first (0.9), then 3 (0.58). Query 2: 3 first, then 1. Query 3: 0
    # (0.6), 1 (0.58), 2.
    assert mean_average_precision(x, [[0, 1], [2, 3]]) == pytest.approx((1 + (1 + 1 / 3) / 2) / 2)
