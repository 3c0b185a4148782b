"""Confidence intervals of means: percentile bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from validation import KNOWN_KEYS, Number

from . import group_means

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean with its confidence interval.

    Attributes:
        mean: mean over groups.
        low, high: ends of the interval that contains LEVEL of the means of resampled groups.
    """

    __pydantic_config__ = KNOWN_KEYS

    mean: Number
    low: Number
    high: Number


def interval(
    units: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Confidence interval of a mean, by resampling with replacement.

    Equal seeds draw the same samples, so that methods are compared on the same resamples.

    Args:
        units: values to average, (n,).
        seed: seed of the random draws.
        level: share of the resampled means inside the interval, 0 to 1.
        resamples: number of resamples.

    Returns:
        Its lower and upper end.

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
    """Mean over groups of the mean over each group's queries. Groups are resampled.

    Args:
        values: values of the queries, by group.
        seed: seed of the random draws.

    Raises:
        ValueError: there are no groups.
    """
    units = group_means(values)
    return Estimate(float(units.mean()) if len(units) else 0.0, *interval(units, seed))
