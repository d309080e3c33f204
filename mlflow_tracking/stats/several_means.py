"""Which of several means differ? Scores of the same rows, compared two by two.

Used by `python mlflow_tracking/compare_runs.py RUN RUN ...`, and for two runs by
`python mlflow_tracking/run_experiment.py --not-worse-than RUN`.

Student's t of the paired differences, with Bonferroni's correction for the number of pairs: all
intervals hold together in 95 % of cases, whatever the systems have in common. The quantile of the
greatest t (max-t, Westfall and Young, 1993) would make them 2 % to 3 % narrower where 3 to 20
systems vary alike, which is not worth a simulation in every comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from mlflow_tracking.stats.estimate import LEVEL, MIN_ROWS, Array, Estimate, not_enough_data

SAME = "the same on every row"  # an interval without width, which says nothing of other rows
_ROUNDING = 1e-9  # points: what is below it is none


@dataclass(frozen=True)
class Difference:
    """The mean of system `second` less that of system `first`, both by their place."""

    first: int
    second: int
    estimate: Estimate  # its interval holds together with those of all other pairs

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.estimate.is_not_0


@dataclass(frozen=True)
class SeveralMeans:
    """The mean of each system and the difference of every two."""

    means: tuple[Estimate, ...]  # each with an interval of its own
    differences: tuple[Difference, ...]
    units: int  # what the intervals rest on: groups of rows, or single rows
    grouped: bool  # which of the two


def compare_means(scores: Array, groups: Sequence[str]) -> SeveralMeans:
    """Compare the columns of `scores`, shape (rows, systems), which has no NaN.

    Rows of one group (answers to the same question) are no news of each other, so that the groups
    are what varies: their totals, by which the mean of the rows is linear (Cochran, *Sampling
    Techniques*, 1977, ch. 9A). With groups of one size that is the t of the groups' means. Of fewer
    than 10 groups nothing can be said of others: the intervals are then about these groups alone,
    and the rows are what varies. Fewer than 10 rows give none.
    """
    rows = len(scores)
    codes, different = pd.factorize(np.asarray(groups, dtype=object))
    grouped = MIN_ROWS <= len(different) < rows
    values = _group_values(scores, codes, len(different)) if grouped else scores
    pairs = list(combinations(range(scores.shape[1]), 2))
    tails = (1 - LEVEL) / 2 / np.array([1, len(pairs)])
    own, together = stats.t.isf(tails, len(values) - 1).tolist()
    means = tuple(_estimate(column, own, rows) for column in values.T)
    differences = tuple(
        Difference(a, b, _estimate(values[:, b] - values[:, a], together, rows)) for a, b in pairs
    )
    return SeveralMeans(means, differences, len(values), grouped)


def mean_over_groups(values: Sequence[float], groups: Sequence[int]) -> Estimate:
    """The mean of the values with an interval over other groups like these; `n` counts groups.

    As `compare_means` has it of one system, but for fewer than 10 groups, which give no interval.
    """
    codes, different = pd.factorize(np.asarray(groups))
    if len(different) < MIN_ROWS:
        mean = float(np.mean(values)) if len(values) else None
        why = f"fewer than {MIN_ROWS} questions"
        return Estimate(mean, None, None, len(different), why)
    totals = _group_values(np.asarray(values, dtype=float)[:, None], codes, len(different))
    wide = float(stats.t.isf((1 - LEVEL) / 2, len(different) - 1))
    return _estimate(totals[:, 0], wide, len(different))


def _group_values(scores: Array, codes: NDArray[np.int64], groups: int) -> Array:
    """A value for each group, shape (groups, systems); their mean is that of the rows."""
    sizes, totals = np.bincount(codes, minlength=groups), np.zeros((groups, scores.shape[1]))
    np.add.at(totals, codes, scores)
    mean = scores.mean(axis=0)
    return np.asarray(mean + (totals - sizes[:, None] * mean) * groups / len(scores))


def _estimate(values: Array, wide: float, rows: int) -> Estimate:
    """The mean and `wide` standard errors around it."""
    units = len(values)
    if not units:
        return not_enough_data(0, "no rows")
    mean = round(float(values.mean()), 9) + 0.0
    if units < MIN_ROWS:
        return Estimate(mean, None, None, rows, f"fewer than {MIN_ROWS} rows")
    error = float(values.std(ddof=1)) / math.sqrt(units)
    if error < _ROUNDING:
        return Estimate(mean, mean, mean, rows, SAME)
    return Estimate(mean, mean - wide * error, mean + wide * error, rows)
