"""How far a mean can be trusted: percentile bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from . import group_means

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean, and how far it can be trusted.

    Attributes:
        mean: over groups.
        low, high: ends of the interval that holds LEVEL of the means of resampled groups.
    """

    mean: float
    low: float
    high: float


def interval(
    units: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The interval of a mean, by drawing as many values again with replacement.

    Equal seeds draw the same values, so that methods are compared on the same resamples.

    Args:
        units: what the mean is over, (n,).
        seed: of the draws.
        level: share of the resampled means that the interval holds, 0 to 1.
        resamples: how many draws.

    Returns:
        Its low and its high end.

    Raises:
        ValueError: there are no values.
    """
    if len(units) == 0:
        raise ValueError("there is nothing to resample")
    rng = np.random.default_rng(seed)
    means = [units[rng.integers(len(units), size=len(units))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(values: Mapping[str, Sequence[float]], seed: int) -> Estimate:
    """Mean over groups of the mean over each group's queries. Groups are what is resampled.

    Args:
        values: of the queries, by group.
        seed: of the draws.

    Raises:
        ValueError: there are no groups.
    """
    units = group_means(values)
    return Estimate(float(units.mean()) if len(units) else 0.0, *interval(units, seed))
