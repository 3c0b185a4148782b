"""Averages over queries and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .ranking import average_precision


def group_means(values: Mapping[str, Sequence[float]]) -> np.ndarray:
    """Mean value of each group's queries, float64 (groups,), without groups that have no values."""
    return np.array([np.mean(group) for group in values.values() if len(group)], np.float64)


def mean_over_groups(values: Mapping[str, Sequence[float]]) -> float:
    """Mean over groups of the mean over their queries.

    A thing with 80 photos counts no more than one with two.

    Raises:
        ValueError: no group has a value.
    """
    means = group_means(values)
    if len(means) == 0:
        raise ValueError("there is nothing to average")
    return float(means.mean())


def mean_average_precision(descriptors: np.ndarray, groups: list[list[int]]) -> float:
    """mAP of plain descriptors by the groups protocol.

    Each photo of a group is the query once, and is excluded from its own ranking. The result is the
    mean over groups of the mean over their queries.

    Args:
        descriptors: unit rows (N, D).
        groups: rows that show the same thing, at least two each.
    """
    values = {}
    for number, members in enumerate(groups):
        order = np.argsort(-(descriptors[members] @ descriptors.T), axis=1, kind="stable").tolist()
        rankings = [[i for i in row if i != query] for query, row in zip(members, order)]
        values[str(number)] = [
            average_precision(ranking, set(members) - {q}) for q, ranking in zip(members, rankings)
        ]
    return mean_over_groups(values)
