"""How sure is a mean of scores? A bootstrap interval, the same for the same scores.

Shown in the run's description and report (`python mlflow_tracking/run_experiment.py`) and for the
difference of two runs (`python mlflow_tracking/compare_runs.py RUN_A RUN_B`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

_RESAMPLES = 10_000
LEVEL = 0.95


def mean_interval(values: Sequence[int], seed: int = 0) -> tuple[float, float] | None:
    """The percentile bootstrap's 95 % interval of the mean (Efron and Tibshirani, 1993, ch. 13).

    None for fewer than two values, which say nothing about spread. Scores have few different
    values, so a resample is one draw of how often each comes (a multinomial): the same
    distribution as drawing row by row, in memory that does not grow with the rows.
    """
    return counted_mean_interval(Counter(values), seed)


def counted_mean_interval(scores: Mapping[int, int], seed: int = 0) -> tuple[float, float] | None:
    """`mean_interval` of values of which only how often each came is known."""
    total = sum(scores.values())
    if total < 2:
        return None
    different, counts = (np.array(column) for column in zip(*sorted(scores.items()), strict=True))
    draws = np.random.default_rng(seed).multinomial(total, counts / total, size=_RESAMPLES)
    means = draws @ different / total
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
