"""How far a mean can be trusted: percentile bootstrap (Efron and Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metrics import group_means

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean, and the interval that holds LEVEL of the means of resampled queries or groups."""

    mean: float
    low: float
    high: float


def interval(
    units: np.ndarray, seed: int, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Low and high end of the interval of the mean of units (n,), n of which are drawn with
    replacement `resamples` times.

    Equal seeds draw the same units, so that methods are compared on the same resamples. Raises
    ValueError without units.
    """
    if len(units) == 0:
        raise ValueError("there is nothing to resample")
    rng = np.random.default_rng(seed)
    means = [units[rng.integers(len(units), size=len(units))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def estimate(values: Mapping[str, Sequence[float]], seed: int) -> Estimate:
    """Mean over groups of the mean over each group's queries, groups being what is resampled.
    Raises ValueError.
    """
    units = group_means(values)
    return Estimate(float(units.mean()) if len(units) else 0.0, *interval(units, seed))
