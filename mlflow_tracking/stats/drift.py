"""Is the judge still the one that it was? A test of the same anchors, scored again in every run.

    python mlflow_tracking/run_experiment.py --data my.csv --anchors graded.csv
    python benchmarks/simulations/judge_drift.py

While the judge stays the same, an anchor's scores in all runs so far could have come in any order.
After a change the later ones differ. Noise may be skewed, rare, or of another size for each anchor;
only the noise of one anchor must not depend on that of another.
"""

from dataclasses import dataclass

import numpy as np

from mlflow_tracking.stats.estimate import Array

ALPHA = 0.05  # of all looks together
# Points of 1-5 by which a score may differ from the first run's and count as the same. One judge on
# one server gave 31 of 40 anchors the same score when others used it, too: of the others one was
# 0.12 off, all else less than 0.1. That is a wobble of whole runs, which no order of runs explains.
TOLERANCE = 0.1
# Per point. The bound is valid for any; by twos, the best of them loses at most a ninth of the
# logarithm. With greater ones a hundredth of a point beyond the tolerance would count as a point.
_TILTS = 2.0 ** np.arange(-5, 6)
_BOTH = np.concatenate([-_TILTS, _TILTS])


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

    `scores` has the shape (..., runs, anchors), two runs or more, the oldest first, in points of
    1-5, NaN for what is missing; both results have (..., runs). All that counts is by how much more
    than TOLERANCE an anchor is above or below the first run. A third of ALPHA is for a shift of the
    mean from the first run's, one for a shift among the later runs, and one for a shift of the
    distance from the first run, when anchors move up and down.
    """
    apart = scores[..., 1:, :] - scores[..., :1, :]
    apart = np.sign(apart) * np.maximum(np.abs(apart) - TOLERANCE, 0.0)
    later, further = _shifts(apart), _shifts(np.abs(apart))
    logs = np.stack([_from_first(apart), later[0], further[0]])
    runs = np.broadcast_to(np.arange(apart.shape[-2]), logs.shape[1:])
    begins = np.stack([runs, later[1], further[1]])
    best = logs.argmin(axis=0)[None]
    found = np.zeros(scores.shape[:-1]), np.zeros(scores.shape[:-1], dtype=int)
    found[0][..., 1:] = np.minimum(np.take_along_axis(logs, best, 0)[0] + np.log(3), 0.0)
    found[1][..., 1:] = np.take_along_axis(begins, best, 0)[0] + 1
    return found


def _from_first(apart: Array) -> Array:
    """The logarithm of p for a shift from the first run to each later one alone.

    Two runs of one judge can change places: each anchor's difference is as likely to be minus that.
    Chernoff's bound for random signs; ALPHA is spent in proportion to 1 / l^2, `l` runs later.
    """
    logs = np.zeros(apart.shape[:-1])
    for run in range(apart.shape[-2]):
        now = np.nan_to_num(apart[..., run, :])
        growth = np.log(np.cosh(now[..., None] * _TILTS)).sum(axis=-2)
        chernoff = (growth - np.abs(now.sum(axis=-1))[..., None] * _TILTS).min(axis=-1)
        logs[..., run] = np.minimum(chernoff + np.log(2 * np.pi**2 / 6 * (run + 1) ** 2), 0.0)
    return logs


def _shifts(scores: Array) -> tuple[Array, Array]:
    """The same for a shift of the mean among any runs.

    A shift after `c` runs and `l` runs ago is tested by the sum of the scores of the earlier or the
    later runs, whichever are fewer: draws without replacement from each anchor's scores, whose
    Chernoff bound is at most that of draws with replacement (Hoeffding, 1963, theorem 4). ALPHA is
    spent on all `c` and `l` in proportion to 1 / (c^2 l^2). By the union bound that is enough for
    any number of looks.
    """
    known = ~np.isnan(scores)
    values = np.where(known, scores, 0.0)
    counts, totals = known.cumsum(axis=-2, dtype=float), values.cumsum(axis=-2)
    tilted = np.full((*scores[..., 0, :].shape, len(_BOTH)), -np.inf)  # log of the sum of exp
    logs, begins = np.zeros(scores.shape[:-1]), np.zeros(scores.shape[:-1], dtype=int)
    for last in range(scores.shape[-2]):
        tilts = values[..., last, :, None] * _BOTH
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
    growth = tilted - np.log(n)[..., None] - mean[..., None] * _BOTH
    np.maximum(growth, 0.0, out=growth)  # it is by Jensen, but of an anchor that no run has
    before = counts[..., :-1, :]
    sums = (totals[..., :-1, :] - before * mean[..., None, :]).sum(axis=-1)
    runs = np.arange(1, counts.shape[-2])
    since = runs[::-1]
    early = runs <= since
    drawn = np.where(early[:, None], before, counts[..., -1:, :] - before)
    sums = np.where(early, sums, -sums)
    chernoff = (drawn @ growth - sums[..., None] * _BOTH).min(axis=-1)
    spent = np.log(2) + 2 * np.log(np.pi**2 / 6 * runs * since)  # 2: a shift up or down
    return np.asarray(chernoff + spent)
