"""How are two columns of scores compared? The statistics, over many resamples at once.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv`. Each takes two arrays of shape
(..., rows) and gives shape (...), NaN where it is undefined (one constant column); rows where
either is NaN are left out. They are written out here because the functions of scipy and sklearn
take one resample a call, 0.3-1.5 ms: 2,000 resamples of 8 statistics would take half a minute.
The tests hold each to scipy's and sklearn's value.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlflow_tracking.stats.estimate import Array


def pearson(first: Array, second: Array, axis: int = -1) -> Array:
    """The linear correlation, -1 to 1."""
    first, second = _paired(first, second)
    x = first - np.nanmean(first, axis=axis, keepdims=True)
    y = second - np.nanmean(second, axis=axis, keepdims=True)
    spread = np.sqrt(np.nansum(x * x, axis=axis) * np.nansum(y * y, axis=axis))
    # By the values, not the spread: the mean of equal decimals is off by a rounding error.
    constant = np.logical_or(_constant(first, axis), _constant(second, axis))
    return np.where(constant, np.nan, np.nansum(x * y, axis=axis) / spread)


def spearman(first: Array, second: Array, axis: int = -1) -> Array:
    """The correlation of ranks, equal values at their mean rank."""
    first, second = _paired(first, second)
    return pearson(_ranks(first, axis), _ranks(second, axis), axis)


def kendall_tau_b(first: Array, second: Array, axis: int = -1) -> Array:
    """Pairs of rows in the same order less those in the other, corrected for ties."""
    first, second = _paired(first, second)
    flat = zip(
        first.reshape(-1, first.shape[axis]), second.reshape(-1, first.shape[axis]), strict=True
    )
    taus = [_kendall(x[~np.isnan(x)], y[~np.isnan(y)]) for x, y in flat]
    return np.asarray(taus).reshape(first.shape[:-1])


def quadratic_weighted_kappa(first: Array, second: Array, axis: int = -1) -> Array:
    """Cohen's kappa (1968) with weights (i - j)^2 on the rounded scores.

    With these weights the expected disagreement of independent scores is var x + var y +
    (mean x - mean y)^2, so that no 5 x 5 table is needed.
    """
    x, y = _paired(whole(first), whole(second))
    seen = np.nanmean((x - y) ** 2, axis=axis)
    shift = np.nanmean(x, axis=axis) - np.nanmean(y, axis=axis)
    chance = np.nanvar(x, axis=axis) + np.nanvar(y, axis=axis) + shift**2
    return np.where(chance > 0, 1 - seen / chance, np.nan)


def mean_absolute_error(first: Array, second: Array, axis: int = -1) -> Array:
    """In points of the scale."""
    return np.asarray(np.nanmean(np.abs(first - second), axis=axis))


def exact_share(first: Array, second: Array, axis: int = -1) -> Array:
    """The share of rows with the same rounded score."""
    return _share_within(first, second, 0, axis)


def within_one_share(first: Array, second: Array, axis: int = -1, point: float = 1) -> Array:
    """The share of rows whose rounded scores are at most one point of 1-5 apart.

    On another scale that is a quarter of it, `point`: 2 of 0-10, and the same level of three.
    """
    return _share_within(first, second, point, axis)


def bias(first: Array, second: Array, axis: int = -1) -> Array:
    """Mean of first - second in points: above 0, the judge is more generous than people."""
    return np.asarray(np.nanmean(first - second, axis=axis))


def area_under_curve(scores: Array, labels: Array, axis: int = -1) -> Array:
    """The chance that a right answer (label 1) scores above a wrong one (0), ties half."""
    right = labels == 1
    hits, misses = right.sum(axis=axis), (~right).sum(axis=axis)
    above = np.where(right, _ranks(scores, axis), 0).sum(axis=axis) - hits * (hits + 1) / 2
    return np.where(hits * misses > 0, above / (hits * misses), np.nan)


def whole(scores: Array) -> Array:
    """Means of raters and expected scores at the nearest whole score, halves upwards."""
    return np.asarray(np.floor(scores + 0.5))


def _share_within(first: Array, second: Array, distance: float, axis: int) -> Array:
    apart = np.abs(whole(first) - whole(second))
    return np.asarray(np.nanmean(np.where(np.isnan(apart), np.nan, apart <= distance), axis=axis))


def _kendall(x: Array, y: Array) -> float:
    return float(stats.kendalltau(x, y, method="asymptotic").statistic)  # the p-value is not used


def _paired(first: Array, second: Array) -> tuple[Array, Array]:
    """NaN in both where either is NaN: ranks and means are over the same rows."""
    gap = np.isnan(first) | np.isnan(second)
    if not gap.any():
        return first, second
    return np.where(gap, np.nan, first), np.where(gap, np.nan, second)


def _ranks(values: Array, axis: int) -> Array:
    gap = np.isnan(values)
    ranks = stats.rankdata(np.where(gap, np.inf, values), axis=axis)  # gaps rank behind all others
    return np.where(gap, np.nan, ranks)


def _constant(values: Array, axis: int) -> NDArray[np.bool_]:
    return np.asarray(np.nanmax(values, axis=axis) == np.nanmin(values, axis=axis))
