"""Retrieval metrics. Rankings in, numbers out."""

from __future__ import annotations

from collections.abc import Collection, Sequence


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
