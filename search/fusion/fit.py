"""Fitting of the calibration: pure functions of arrays, without stores or files.

1. A logistic regression by maximum likelihood determines the order. All groups of photos have the
   same weight, and so have all gallery sizes.
2. Beta calibration (Kull et al. 2017) determines the probability. It is fitted on results whose
   group the regression had not seen, and under its own prior: a page must expect a gallery that has
   one or two photos of half the things that users search for, and none of the others.

Both judge candidates, separately for each mode of `log_odds.mode`. `held_out` measures whether the
result generalises to other things: there neither step has seen the group.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

import numpy as np
from scipy.optimize import minimize

from . import log_odds
from .calibration import CalibrationModel

RIDGE = 1e-4  # weight decay of standardised features, only to keep weights finite
PRECISION = {"maxiter": 1000, "ftol": 1e-15, "gtol": 1e-9}  # the loss is in nats
LEAST_SLOPE = 0.1  # minimum slope of the calibration: a flatter one would create ties
INNER_FOLDS, OUTER_FOLDS = 4, 6
HEAD, STRIDE = 40, 10  # the first HEAD of a ranking are fitted, and every STRIDE-th after them
BINS = (0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 1)


@dataclass(frozen=True)
class Samples:
    """Candidates of many queries in one setting, n in all.

    Attributes:
        features: output of `log_odds.features`, float64 (n, F).
        mode: `log_odds.mode`, str (n,).
        relevant: whether the candidate shows the same thing as the query, bool (n,).
        weight: weight in the regression, float64 (n,); 0 for queries without relevant photos.
        prior: weight in the calibration, float64 (n,).
        query: index of the query, int (n,); equal ones are adjacent, best ranked first.
        group: index of the group that is held out together with the query, int (n,).
        photos: number of photos in the gallery, int (n,).
    """

    features: np.ndarray
    mode: np.ndarray
    relevant: np.ndarray
    weight: np.ndarray
    prior: np.ndarray
    query: np.ndarray
    group: np.ndarray
    photos: np.ndarray

    def __len__(self) -> int:
        return len(self.relevant)

    def __getitem__(self, which: np.ndarray) -> Samples:
        """The samples where a mask (n,) is true."""
        return Samples(*(getattr(self, field.name)[which] for field in fields(self)))

    @staticmethod
    def together(parts: Iterable[Samples]) -> Samples:
        """Concatenate samples, whose queries must have different indices."""
        columns = zip(*([getattr(p, field.name) for field in fields(Samples)] for p in parts))
        return Samples(*(np.concatenate(column) for column in columns))


def regression(
    features: np.ndarray, relevant: np.ndarray, weight: np.ndarray, least: np.ndarray
) -> np.ndarray:
    """Maximum-likelihood logistic regression with lower bounds on the weights.

    Args:
        features: (n, F), the first column a constant 1.
        relevant: (n,), 0 or 1.
        weight: (n,), not all 0.
        least: (F,), lower bounds of the weights, -inf for none; always -inf for the first one.

    Returns:
        The weights, float64 (F,).
    """
    mean = np.average(features, axis=0, weights=weight)
    deviation = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=weight))
    mean[0], deviation[0] = 0, 1
    deviation[deviation == 0] = 1
    scaled, share = (features - mean) / deviation, weight / weight.sum()
    ridge = np.r_[0, np.full(len(mean) - 1, RIDGE)]
    low = least * deviation

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        odds = scaled @ w
        value = share @ (np.logaddexp(0, odds) - relevant * odds) + ridge @ w**2
        slope = scaled.T @ (share * (log_odds.probability(odds) - relevant)) + 2 * ridge * w
        return float(value), slope

    bounds = [(bound, None) for bound in low]
    start = np.maximum(low, 0)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=PRECISION)
    weights = found.x / deviation
    weights[0] -= weights[1:] @ mean[1:]
    return weights


def order_weights(samples: Samples) -> np.ndarray:
    """Weights (F,) of the evidence, from samples of one mode; those of a photo's own are >= 0."""
    least = np.zeros(samples.features.shape[1])
    least[: len(log_odds.QUERY_FEATURES)] = -np.inf
    return regression(samples.features, samples.relevant, samples.weight, least)


def beta_calibration(
    z: np.ndarray, relevant: np.ndarray, prior: np.ndarray, photos: np.ndarray
) -> tuple[float, float, float, float]:
    """Maximum-likelihood low, high, shift and size of a `CalibrationModel`.

    Args:
        z: (n,), log-odds of photos that the regression has not seen.
        relevant: (n,), 0 or 1.
        prior: (n,), weight of each photo.
        photos: (n,), size of each photo's gallery.
    """
    columns = [
        np.ones(len(z)),
        -np.logaddexp(0, -z),
        np.logaddexp(0, z),
        log_odds.smallness(photos),
    ]
    least = np.array([-np.inf, LEAST_SLOPE, LEAST_SLOPE, -np.inf])
    shift, low, high, size = regression(np.stack(columns, axis=1), relevant, prior, least)
    return float(low), float(high), float(shift), float(size)


def thinned(samples: Samples) -> Samples:
    """The first HEAD of each ranking and every STRIDE-th after them, with STRIDE times the weight.

    Keeps all relevant photos and all with matched points. The rest of a ranking is thousands of
    photos that look alike to the fit, and would take most of its time.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(samples.query) != 0])
    rank = np.arange(len(samples)) - np.repeat(starts, np.diff(np.r_[starts, len(samples)]))
    own = samples.relevant | (rank < HEAD)
    names = log_odds.names_of(samples.features[0])
    if "points" in names:
        own |= samples.features[:, names.index("points")] > 0
    stands_for = np.where(own, 1, STRIDE)
    kept = samples[own | (rank % STRIDE == 0)]
    stands_for = stands_for[own | (rank % STRIDE == 0)]
    return Samples(
        kept.features,
        kept.mode,
        kept.relevant,
        kept.weight * stands_for,
        kept.prior * stands_for,
        kept.query,
        kept.group,
        kept.photos,
    )


def fit_curves(samples: Samples) -> dict[str, CalibrationModel]:
    """Fit a curve for each mode, except modes without a relevant photo to learn from."""
    return {
        str(mode): curve
        for mode in np.unique(samples.mode)
        if (curve := fit_curve(samples[samples.mode == mode])) is not None
    }


def fit_curve(samples: Samples) -> CalibrationModel | None:
    """Fit both steps on samples of one mode."""
    if not can_be_learned(samples):
        return None
    z, known = np.zeros(len(samples)), np.zeros(len(samples), bool)
    for inside in folds(samples.group, INNER_FOLDS):
        rest = samples[~inside]
        if can_be_learned(rest):
            z[inside] = samples.features[inside] @ order_weights(rest)
            known |= inside
    weights = order_weights(samples)
    if not (samples.prior[known] * samples.relevant[known]).any():
        return CalibrationModel(weights)
    seen = samples[known]
    return CalibrationModel(
        weights, *beta_calibration(z[known], seen.relevant, seen.prior, seen.photos)
    )


def can_be_learned(samples: Samples) -> bool:
    """Whether there are both relevant and irrelevant photos."""
    counted = samples.weight > 0
    return bool(samples.relevant[counted].any() and not samples.relevant[counted].all())


def folds(group: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Masks (n,) of at most `count` parts of the groups (n,), each group in one part."""
    numbers = np.unique(group)
    for part in range(min(count, len(numbers))):
        yield np.isin(group, numbers[part::count])


def held_out(samples: Samples) -> np.ndarray:
    """Log-odds (n,), each by curves that have not seen its group; 0 for modes of one group only."""
    odds = np.zeros(len(samples))
    small = thinned(samples)
    seen_apart = zip(folds(samples.group, OUTER_FOLDS), folds(small.group, OUTER_FOLDS))
    for inside, inside_small in seen_apart:
        for mode, curve in fit_curves(small[~inside_small]).items():
            part = inside & (samples.mode == mode)
            odds[part] = curve.of_features(samples.features[part], samples.photos[part])
    return odds


# -- how good it is --------------------------------------------------------------------------------


def reliability(
    odds: np.ndarray, relevant: np.ndarray, prior: np.ndarray
) -> list[tuple[float, float, float]]:
    """Compare probabilities with observed frequencies.

    Args:
        odds: (n,), log-odds.
        relevant: bool (n,).
        prior: (n,), weight of each photo.

    Returns:
        For each non-empty bin of BINS: mean probability, share that is relevant, share of all
        relevant photos.
    """
    p, rows = log_odds.probability(odds), []
    total = (prior * relevant).sum()
    for low, high in zip(BINS, BINS[1:]):
        inside = (low <= p) & (p < high if high < 1 else p <= 1)
        if prior[inside].sum() > 0:
            found = (prior[inside] * relevant[inside]).sum()
            mean = np.average(p[inside], weights=prior[inside])
            rows.append((float(mean), float(found / prior[inside].sum()), float(found / total)))
    return rows


def calibration_error(
    odds: np.ndarray, relevant: np.ndarray, prior: np.ndarray, least: float = 0.0
) -> float:
    """Expected calibration error over BINS, 0 to 1 (Naeini et al. 2015).

    Args:
        odds, relevant, prior: as in `reliability`.
        least: photos below this probability are ignored. Nearly all candidates are clearly wrong;
            if they counted, they would hide any error of the others.
    """
    p = log_odds.probability(odds)
    error, total = 0.0, prior[p >= least].sum()
    for low, high in zip(BINS, BINS[1:]):
        inside = (max(low, least) <= p) & (p < high if high < 1 else p <= 1)
        error += abs((prior[inside] * (p[inside] - relevant[inside])).sum())
    return float(error / total) if total > 0 else 0.0


def log_loss(odds: np.ndarray, relevant: np.ndarray, prior: np.ndarray) -> float:
    """Mean log-loss over candidates, in nats.

    Args:
        odds: log-odds, (n,).
        relevant: whether each shows the same thing, bool (n,).
        prior: weight of each photo, (n,).
    """
    return float(np.average(np.logaddexp(0, odds) - relevant * odds, weights=prior))
