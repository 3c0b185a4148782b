"""Retrieval metrics. Rankings in, numbers out."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


def average_precision(ranking: Sequence[int], positives: Collection[int]) -> float:
    """Mean, over all positives, of the precision at each positive's rank; one that is not in the ranking counts 0.

    ranking: ids, best first, without the query and without repeats. Raises ValueError without positives.
    """
    if not positives:
        raise ValueError("average precision needs at least one positive")
    wanted, found, total = set(positives), 0, 0.0
    for rank, id in enumerate(ranking, 1):
        if id in wanted:
            found += 1
            total += found / rank
    return total / len(wanted)


def recall_at_1(ranking: Sequence[int], positives: Collection[int]) -> float:
    """1.0 if the first of the ranking is a positive, else 0.0."""
    return float(len(ranking) > 0 and ranking[0] in set(positives))


def mean_average_precision(descriptors: np.ndarray, groups: list[list[int]]) -> float:
    """Groups protocol on plain descriptors (N, D), groups being row numbers: each photo of a group is the query once.

    Mean over groups of the mean over their queries; the query is left out of its own ranking.
    """
    by_group = []
    for members in groups:
        order = np.argsort(-(descriptors[members] @ descriptors.T), axis=1, kind="stable").tolist()
        rankings = [[i for i in row if i != query] for query, row in zip(members, order)]
        aps = [average_precision(ranking, set(members) - {q}) for q, ranking in zip(members, rankings)]
        by_group.append(np.mean(aps))
    return float(np.mean(by_group))
