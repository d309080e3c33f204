"""How well do people agree with each other? The ceiling of what a judge can be asked for.

Reported by `python mlflow_tracking/validate_judge.py --data graded.csv` for `human_score_1..k`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from statsmodels.stats.inter_rater import fleiss_kappa

from mlflow_tracking.stats.estimate import (
    MIN_ROWS,
    Array,
    Estimate,
    Statistic,
    bootstrap_estimate,
    not_enough_data,
)
from mlflow_tracking.stats.paired import quadratic_weighted_kappa, spearman, whole

Ratings = Sequence[Sequence[float | None]]  # rows x raters; None: did not grade the row


@dataclass(frozen=True)
class RaterAgreement:
    """What raters reach among themselves; every interval is over rows, raters stay the same."""

    raters: int
    spearman: Estimate  # the mean over all pairs of raters, each on the rows that both graded
    quadratic_weighted_kappa: Estimate
    against_others: tuple[Estimate, ...]  # by rater: Spearman with the mean of the other raters
    kappa_against_others: tuple[Estimate, ...]
    fleiss_kappa: Estimate  # of rounded scores; a 4 beside a 5 counts as if beside a 1


def rater_agreement(ratings: Ratings, seed: int = 0) -> RaterAgreement | None:
    """The ceiling; None with fewer than two raters.

    A judge is compared with the mean of the raters, which is less noisy than one of them:
    `against_others` is the fair comparison, and the pairs' mean is the stricter one.
    """
    raters = max((len(row) for row in ratings), default=0)
    if raters < 2:
        return None
    table = np.array(ratings, dtype=float).T  # raters x rows
    table = table[:, (~np.isnan(table)).sum(axis=0) > 1]  # a row of one rater compares nothing
    names = [f"the scores of rater {number}" for number in range(1, raters + 1)]

    def pairs_mean(statistic: Statistic) -> Estimate:
        return bootstrap_estimate(
            lambda *columns, axis: _pairs_mean(statistic, columns, axis),
            *table,
            seed=seed,
            names=names,
            gaps=True,
        )

    def others(statistic: Statistic) -> tuple[Estimate, ...]:
        return tuple(
            bootstrap_estimate(
                statistic, table[i], _mean_of_others(table, i), seed=seed, names=(names[i], "")
            )
            for i in range(raters)
        )

    return RaterAgreement(
        raters,
        pairs_mean(spearman),
        pairs_mean(quadratic_weighted_kappa),
        others(spearman),
        others(quadratic_weighted_kappa),
        _fleiss(table, seed),
    )


def _pairs_mean(statistic: Statistic, columns: Sequence[Array], axis: int) -> Array:
    values = [statistic(one, other, axis=axis) for one, other in combinations(columns, 2)]
    return np.asarray(np.nanmean(values, axis=0))  # a pair without a common row says nothing


def _mean_of_others(table: Array, rater: int) -> Array:
    others = np.delete(table, rater, axis=0)
    graded = (~np.isnan(others)).sum(axis=0)
    return np.where(graded > 0, np.nansum(others, axis=0) / np.maximum(graded, 1), np.nan)


def _fleiss(table: Array, seed: int) -> Estimate:
    """On the rows that all raters graded, as its formula needs them."""
    full = table[:, ~np.isnan(table).any(axis=0)]
    if full.shape[1] < MIN_ROWS:
        note = f"fewer than {MIN_ROWS} rows that every rater graded"
        return not_enough_data(full.shape[1], note)

    given = np.unique(whole(full))  # a score that nobody gave has no part in it

    def kappa(*columns: Array, axis: int) -> Array:
        scores = whole(np.stack(columns, axis=-1))  # (..., rows, raters)
        counts = (scores[..., None] == given).sum(axis=-2)  # (..., rows, scores)
        values = [fleiss_kappa(sample) for sample in counts.reshape(-1, *counts.shape[-2:])]
        return np.asarray(values).reshape(scores.shape[:-2])

    return bootstrap_estimate(kappa, *full, seed=seed)
