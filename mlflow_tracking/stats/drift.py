"""Is the judge still the one that it was? A test of the same anchors, scored again in every run.

    python mlflow_tracking/run_experiment.py --data my.csv --anchors graded.csv
    python benchmarks/judge_drift.py

While the judge stays the same, an anchor's scores in all runs so far could have come in any order.
After a change the later ones differ. Nothing else is assumed: noise may be skewed, rare, or of
another size for each anchor; only the noise of one anchor must not depend on that of another.
"""

from dataclasses import dataclass

import numpy as np

from mlflow_tracking.stats.estimate import Array

ALPHA = 0.05  # of all looks together
# For scores in points of 1-5 with noise from 0.005 to 2 points. The bound is valid for any tilts;
# in steps of two the best of them loses at most a ninth of the logarithm.
_TILTS = np.concatenate([sign * 2.0 ** np.arange(-5, 9) for sign in (-1, 1)])


@dataclass(frozen=True)
class Look:
    """What the test says after the last run."""

    p: float  # below ALPHA at any of all looks with a chance of at most ALPHA, without a change
    changed_at: int  # the index of the run with which another judge would have begun

    @property
    def found(self) -> bool:
        """Whether the judge is another one."""
        return self.p <= ALPHA


def look(scores: Array) -> Look:
    """The test after the last of these runs, two or more; `scores` as `every_look` takes them."""
    logs, begins = every_look(scores)
    return Look(float(np.exp(logs[-1])), int(begins[-1]))


def every_look(scores: Array) -> tuple[Array, Array]:
    """The logarithm of p after each run, and the index of the run with which a change would begin.

    `scores` has the shape (..., runs, anchors), the oldest run first, in points of 1-5, NaN for
    what is missing; both results have (..., runs). One half of ALPHA is for a shift of the mean.
    The other is for anchors that move up and down: a shift of their distance from the first run's
    scores, which can be told from the third run on.
    """
    logs, begins = _shifts(scores)
    apart, since = _shifts(np.abs(scores[..., 1:, :] - scores[..., :1, :]))
    further = apart < logs[..., 1:]
    logs[..., 1:] = np.where(further, apart, logs[..., 1:])
    begins[..., 1:] = np.where(further, since + 1, begins[..., 1:])
    return np.minimum(logs + np.log(2), 0.0), begins


def _shifts(scores: Array) -> tuple[Array, Array]:
    """The same for a shift of the mean alone, which may take all of ALPHA.

    A shift after `c` runs and `l` runs ago is tested by the sum of the scores of the earlier or the
    later runs, whichever are fewer: draws without replacement from each anchor's scores, whose
    Chernoff bound is at most that of draws with replacement (Hoeffding, 1963, theorem 4). ALPHA is
    spent on all `c` and `l` in proportion to 1 / (c^2 l^2). By the union bound that is enough for
    any number of looks.
    """
    known = ~np.isnan(scores)
    values = np.where(known, scores, 0.0)
    counts, totals = known.cumsum(axis=-2, dtype=float), values.cumsum(axis=-2)
    tilted = np.full((*scores[..., 0, :].shape, len(_TILTS)), -np.inf)  # log of the sum of exp
    logs, begins = np.zeros(scores.shape[:-1]), np.zeros(scores.shape[:-1], dtype=int)
    for last in range(scores.shape[-2]):
        tilts = values[..., last, :, None] * _TILTS
        np.logaddexp(tilted, tilts, out=tilted, where=known[..., last, :, None])
        if last:
            seen = slice(0, last + 1)
            bound = _bounds(tilted, counts[..., seen, :], totals[..., seen, :])
            logs[..., last] = np.minimum(bound.min(axis=-1), 0.0)
            begins[..., last] = bound.argmin(axis=-1) + 1
    return logs, begins


def _bounds(tilted: Array, counts: Array, totals: Array) -> Array:
    """The adjusted logarithms of p after the last run, one for each place where a shift can begin.

    `counts` and `totals` of each anchor's scores are cumulative over the runs.
    """
    n, total = np.maximum(counts[..., -1, :], 1), totals[..., -1, :]
    mean = total / n
    growth = tilted - np.log(n)[..., None] - mean[..., None] * _TILTS
    np.maximum(growth, 0.0, out=growth)  # it is by Jensen, but of an anchor that no run has
    before = counts[..., :-1, :]
    sums = (totals[..., :-1, :] - before * mean[..., None, :]).sum(axis=-1)
    runs = np.arange(1, counts.shape[-2])
    since = runs[::-1]
    early = runs <= since
    drawn = np.where(early[:, None], before, counts[..., -1:, :] - before)
    sums = np.where(early, sums, -sums)
    chernoff = (drawn @ growth - sums[..., None] * _TILTS).min(axis=-1)
    spent = np.log(2) + 2 * np.log(np.pi**2 / 6 * runs * since)  # 2: a shift up or down
    return np.asarray(chernoff + spent)
