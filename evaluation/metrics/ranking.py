"""Metrics of one ranking.

A ranking contains items (ids or file names), best first, each at most once. It may end before all
positives have been found; missing ones add nothing. An item that is listed twice among the
positives counts once. Protocols that do not count the query itself, or ignore junk, remove them
with `without` first. A query without positives has no value: the metrics raise ValueError, and
callers that average must skip and count such queries.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence

import numpy as np


def positions(ranking: Sequence[Hashable], positives: Collection[Hashable]) -> np.ndarray:
    """Positions of positives in the ranking, from 0, int (n,), ascending.

    Raises:
        ValueError: there are no positives, or the ranking names an item twice.
    """
    if not positives:
        raise ValueError("a query without positives cannot be judged")
    if len(set(ranking)) != len(ranking):
        raise ValueError("the ranking names an item twice")
    relevant = set(positives)
    return np.array(
        [position for position, item in enumerate(ranking) if item in relevant], np.int64
    )


def without(ranking: Sequence[Hashable], ignored: Collection[Hashable]) -> list:
    """The ranking without ignored items, such as junk and the query's own photo.

    Later items move up.
    """
    ignored = set(ignored)
    return [item for item in ranking if item not in ignored]


def average_precision(ranking: Sequence[Hashable], positives: Collection[Hashable]) -> float:
    """Mean, over all positives, of the precision at each positive's rank, 0 to 1.

    Raises:
        ValueError: as `positions`.
    """
    at = positions(ranking, positives)
    return float(np.sum(np.arange(1, len(at) + 1) / (at + 1)) / len(set(positives)))


def trapezoid_average_precision(
    ranking: Sequence[Hashable], positives: Collection[Hashable]
) -> float:
    """Average precision as Oxford5k and all its successors compute it, 0 to 1. Raises ValueError.

    Area under the precision-recall curve by the trapezoid rule (Philbin et al. 2007, their
    compute_ap): the precision of each step of recall is the mean of that just before and that at
    the positive. Never higher than `average_precision`.
    """
    at = positions(ranking, positives)
    count = np.arange(len(at))
    before = np.where(at == 0, 1.0, count / np.maximum(at, 1))
    here = (count + 1) / (at + 1)
    return float(np.sum(before + here) / 2 / len(set(positives)))


def precision_at(ranking: Sequence[Hashable], positives: Collection[Hashable], k: int) -> float:
    """Share of positives among the first min(k, rank of the last positive found), 0 to 1.

    This is mP@k of Radenovic et al. 2018 (revisited Oxford and Paris): photos after the last
    positive do not count against a query with fewer than k positives. It is 0 if none was found.

    Raises:
        ValueError: see `positions`.
    """
    at = positions(ranking, positives)
    if len(at) == 0:
        return 0.0
    depth = min(int(at[-1]) + 1, k)
    return float(np.sum(at < depth) / depth)


def recall_at_1(ranking: Sequence[Hashable], positives: Collection[Hashable]) -> float:
    """1.0 if the first of the ranking is a positive, else 0.0. Raises ValueError."""
    return float(found_among(ranking, positives, 1))


def found_among(ranking: Sequence[Hashable], positives: Collection[Hashable], k: int) -> int:
    """Number of positives among the first k. Raises ValueError.

    UKBench's N-S is this with k = 4, where ranking and positives include the query itself (Nister
    and Stewenius 2006).
    """
    return int(np.sum(positions(ranking, positives) < k))
