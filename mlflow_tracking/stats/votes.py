"""How many independent votes are several judges worth? Kish's effective number, of their errors.

Told by `python mlflow_tracking/compare_judges.py` before anybody pays for a panel: judges that are
wrong on the same rows outvote nobody.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from mlflow_tracking.stats.estimate import Array, Estimate, Values, bootstrap_estimate
from mlflow_tracking.stats.paired import pearson


def effective_votes(errors: Sequence[Values], names: Sequence[str], seed: int = 0) -> Estimate:
    """What `errors`, a column for each of two judges or more, are worth; rows are drawn.

    k / (1 + (k - 1) r), r the mean correlation of two judges' errors (Kish, *Survey Sampling*,
    1965, the design effect of a cluster): 1 where all err alike, k where they err independently. A
    shift of a judge is in no correlation and counts for nothing.

    Errors that cancel out (r below 0) count as independent. No estimate where a judge's error is
    the same on all rows. The interval held the truth in 95 % of 300 simulations with 3 judges, 100
    rows and a correlation of 0.5; in 92 % with 5 judges, 40 rows and 0.8.
    """
    return bootstrap_estimate(kish_votes, *errors, seed=seed, names=names)


def kish_votes(*errors: Array, axis: int = -1) -> Array:
    """The number for errors of shape (..., rows), one array a judge; shape (...)."""
    judges = len(errors)
    votes = judges / (1 + (judges - 1) * mean_correlation(*errors, axis=axis))
    return np.asarray(np.minimum(votes, judges))


def mean_correlation(*errors: Array, axis: int = -1) -> Array:
    """Of every two judges' errors, -1 / (judges - 1) to 1."""
    pairs = [pearson(one, other, axis) for one, other in combinations(errors, 2)]
    return np.asarray(np.mean(pairs, axis=0))
