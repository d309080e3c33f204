"""How sure is a statistic of judged rows? A number with its 95 % interval, or why there is none.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv` for everything it reports.
"""

import math
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Takes columns of shape (..., rows) and `axis=-1`; gives shape (...), NaN where it is undefined.
Statistic = Callable[..., Array]
Values = Sequence[float | None] | Array

LEVEL = 0.95
MIN_ROWS = 10  # below that a percentile interval is far too narrow: not enough data
# 2,000 are enough for the ends of a 95 % interval (Efron and Tibshirani, 1993, ch. 13); of many
# rows fewer, so that 10,000 rows take seconds: their interval is narrow, its noise too.
_RESAMPLES, _FEWEST, _CELLS = 2_000, 400, 4_000_000
MAX_UNDEFINED = 0.1  # of the resamples; with more, what is left is no fair sample
_NAMES = ("the judge's scores", "the human scores")


@dataclass(frozen=True)
class Estimate:
    """A statistic over `n` rows and its 95 % interval. None, never NaN, where there is none."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""  # why there is no value or no interval, or what is odd about them

    def __post_init__(self) -> None:
        for number in (self.value, self.low, self.high):
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{number} is no estimate; say None and why in the note")

    @property
    def is_not_0(self) -> bool:
        """Whether there is an interval, and 0 is not in it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def interval(self) -> tuple[float, float] | None:
        """Its ends; None where there is none."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def __str__(self) -> str:
        if self.value is None:
            return f"not enough data ({self.note})"
        if self.low is None or self.high is None:
            return f"{_short(self.value)} (no interval: {self.note})"
        return f"{_short(self.value)} ({_short(self.low)} to {_short(self.high)})"


def not_enough_data(n: int, note: str) -> Estimate:
    """An estimate that is none, and why."""
    return Estimate(None, None, None, n, note)


def bootstrap_estimate(
    statistic: Statistic,
    *columns: Values,
    seed: int = 0,
    names: Sequence[str] = _NAMES,
    gaps: bool = False,
) -> Estimate:
    """`statistic(*columns, axis=-1)` with its bootstrap interval; whole rows are drawn.

    Rows with a None or NaN are left out; with `gaps`, only those that have nothing else, and the
    statistic sees the gaps as NaN. `names` are the columns' names for the note.

    The interval is the percentile one. BCa corrects for skew, but it is undefined when all rows
    agree or a single row decides, as in small graded files, and percentiles never leave a
    statistic's range. Resamples without a value (one constant score) are left out; if they are
    more than a tenth, there is no interval.
    """
    table = np.array([np.asarray(column, dtype=float) for column in columns])
    missing = np.isnan(table)
    table = table[:, ~(missing.all(axis=0) if gaps else missing.any(axis=0))]
    rows = table.shape[1]
    if rows < MIN_ROWS:
        return not_enough_data(rows, f"fewer than {MIN_ROWS} rows")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of undefined resamples, which are counted below
        value = float(statistic(*table, axis=-1))
        if not math.isfinite(value):
            return not_enough_data(rows, _why_undefined(table, names))
        draws = _resample(statistic, table, seed)
    defined = draws[np.isfinite(draws)]
    undefined = 1 - len(defined) / len(draws)
    if undefined > MAX_UNDEFINED:
        return Estimate(value, None, None, rows, f"{undefined:.0%} of the resamples have no value")
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    note = "no resample differs" if low == high else ""
    return Estimate(value, float(low), float(high), rows, note)


def difference_estimate(
    statistic: Statistic,
    first: Values,
    second: Values,
    truth: Values,
    *,
    seed: int = 0,
    names: Sequence[str] = ("the first judge's scores", "the second judge's scores", _NAMES[1]),
) -> Estimate:
    """`statistic(first, truth) - statistic(second, truth)` of two judges on the same rows.

    Both are computed on the same resample, so that what makes a row easy or hard cancels out.
    """

    def difference(one: Array, other: Array, human: Array, axis: int = -1) -> Array:
        return statistic(one, human, axis=axis) - statistic(other, human, axis=axis)

    return bootstrap_estimate(difference, first, second, truth, seed=seed, names=names)


def mean_estimate(values: Values, *, seed: int = 0) -> Estimate:
    """The mean, for shifts and other differences by row."""
    return bootstrap_estimate(np.mean, values, seed=seed)


def share_estimate(hits: Sequence[bool]) -> Estimate:
    """The share of True with Wilson's interval (1927), which has a width even at 0 and at 1."""
    n, found = len(hits), sum(map(bool, hits))
    if n < MIN_ROWS:
        return not_enough_data(n, f"fewer than {MIN_ROWS} rows")
    from statsmodels.stats.proportion import proportion_confint  # a second, which no run needs

    low, high = proportion_confint(found, n, alpha=1 - LEVEL, method="wilson")
    return Estimate(found / n, float(low), float(high), n)


def resamples_of(rows: int) -> int:
    """How many resamples an interval is made of."""
    return int(min(_RESAMPLES, max(_FEWEST, _CELLS // rows)))


def _short(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # + 0.0: no '-0.00'


def _resample(statistic: Statistic, table: Array, seed: int) -> Array:
    from scipy import stats  # half a second, which no run needs

    rows = table.shape[1]
    result = stats.bootstrap(
        tuple(table),
        statistic,
        n_resamples=resamples_of(rows),
        batch=max(1, _CELLS // rows),
        vectorized=True,
        paired=True,
        axis=-1,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return np.asarray(result.bootstrap_distribution, dtype=float)


def _why_undefined(table: Array, names: Sequence[str]) -> str:
    for column, name in zip(table, names, strict=False):
        known = column[~np.isnan(column)]
        if len(known) and known.min() == known.max():
            return f"{name} are all {known[0]:g}"
    return "has no value for these rows"


_MEAN_RESAMPLES = 10_000


def mean_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float] | None:
    """The percentile bootstrap's 95 % interval of the mean (Efron and Tibshirani, 1993, ch. 13).

    None for fewer than two values, which say nothing about spread. Scores have few different
    values, so a resample is one draw of how often each comes (a multinomial): the same
    distribution as drawing row by row, in memory that does not grow with the rows.
    """
    return counted_mean_interval(Counter(values), seed)


def counted_mean_interval(scores: Mapping[float, int], seed: int = 0) -> tuple[float, float] | None:
    """`mean_interval` of values of which only how often each came is known."""
    total = sum(scores.values())
    if total < 2:
        return None
    different, counts = (np.array(column) for column in zip(*sorted(scores.items()), strict=True))
    draws = np.random.default_rng(seed).multinomial(total, counts / total, size=_MEAN_RESAMPLES)
    means = draws @ different / total
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
