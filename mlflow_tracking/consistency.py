"""Does the judge say the same twice? Flips and spread over repeated passes of the same rows.

Reported by `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_tracking.estimate import Estimate, mean_estimate, share_estimate

Pass = Sequence[int | None]  # one score a row; None: no verdict in this pass


@dataclass(frozen=True)
class Consistency:
    """Over rows that have a verdict in two passes at least; spreads in points of the scale."""

    passes: int
    flips: Estimate  # share of rows whose scores are not all the same
    deviation: Estimate  # mean standard deviation of a row's scores (n - 1)
    spread: Estimate  # mean of a row's highest less its lowest score


def consistency(passes: Sequence[Pass], seed: int = 0) -> Consistency:
    """From k passes over the same rows."""
    rows = [[score for score in row if score is not None] for row in zip(*passes, strict=True)]
    rows = [row for row in rows if len(row) > 1]
    return Consistency(
        len(passes),
        share_estimate([len(set(row)) > 1 for row in rows]),
        mean_estimate([float(np.std(row, ddof=1)) for row in rows], seed=seed),
        mean_estimate([float(max(row) - min(row)) for row in rows], seed=seed),
    )


def changed_share(first: Pass, other: Pass) -> Estimate:
    """The share of rows whose score is another in `other`: in another order, at another speed."""
    both = zip(first, other, strict=True)
    return share_estimate([a != b for a, b in both if a is not None and b is not None])
