"""How sure is a mean of scores? A bootstrap interval, the same for the same scores.

Shown in the run's description and report (`python mlflow_tracking/run_experiment.py`) and for the
difference of two runs (`python mlflow_tracking/compare_runs.py RUN_A RUN_B`).
"""

from collections.abc import Sequence

import numpy as np

_RESAMPLES = 10_000
LEVEL = 0.95


def mean_interval(values: Sequence[int], seed: int = 0) -> tuple[float, float] | None:
    """The percentile bootstrap's 95 % interval of the mean (Efron and Tibshirani, 1993, ch. 13).

    None for fewer than two values, which say nothing about spread. Scores have few different
    values, so a resample is one draw of how often each comes (a multinomial): the same
    distribution as drawing row by row, in memory that does not grow with the rows.
    """
    if len(values) < 2:
        return None
    different, counts = np.unique(np.asarray(values), return_counts=True)
    draws = np.random.default_rng(seed).multinomial(
        len(values), counts / len(values), size=_RESAMPLES
    )
    means = draws @ different / len(values)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
