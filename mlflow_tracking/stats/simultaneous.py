"""Which of several differ? The differences of every two, with intervals that all hold together.

Printed by `python mlflow_tracking/compare_judges.py`.
"""

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from mlflow_tracking.stats.estimate import (
    LEVEL,
    MAX_UNDEFINED,
    MIN_ROWS,
    Array,
    Estimate,
    Statistic,
    Values,
    not_enough_data,
    resamples_of,
)

_CELLS = 1_000_000  # of resampled rows at once


def all_differences(
    statistic: Statistic, columns: Mapping[str, Values], truth: Values, seed: int = 0
) -> dict[tuple[str, str], Estimate]:
    """`statistic(one, truth) - statistic(other, truth)` of every two columns, by their names.

    All on the same resamples of the rows that every column has. The 95 % are of all intervals
    together: the single-step max-t of Westfall and Young (*Resampling-Based Multiple Testing*,
    1993), the bootstrap's quantile of the largest of the differences' |t|. Where one interval does
    not hold 0, the two differ, and in at most 5 % of files of equal judges any is found to.
    """
    table = np.array([np.asarray(column, dtype=float) for column in (*columns.values(), truth)])
    table = table[:, ~np.isnan(table).any(axis=0)]
    rows, pairs = table.shape[1], list(combinations(columns, 2))
    if rows < MIN_ROWS:
        return {pair: not_enough_data(rows, f"fewer than {MIN_ROWS} rows") for pair in pairs}
    with np.errstate(all="ignore"):
        values = dict(zip(columns, _values(statistic, table), strict=True))
        draws = dict(zip(columns, _draws(statistic, table, seed), strict=True))
    vague = {name for name, drawn in draws.items() if _undefined(drawn) > MAX_UNDEFINED}
    found = {
        (one, other): _no_interval(float(values[one] - values[other]), rows) for one, other in pairs
    }
    known = [pair for pair in pairs if found[pair].value is not None and vague.isdisjoint(pair)]
    if not known:
        return found
    spread = np.array([draws[one] - draws[other] for one, other in known])
    spread = spread[:, np.isfinite(spread).all(axis=0)]
    middles = np.array([found[pair].value for pair in known], dtype=float)
    halves = _half_widths(spread, middles)
    for pair, middle, half in zip(known, middles, halves, strict=True):
        note = "" if half else "no resample differs"
        low, high = float(middle - half), float(middle + half)
        found[pair] = Estimate(float(middle), low, high, rows, note)
    return found


def _undefined(draws: Array) -> float:
    return 1 - float(np.isfinite(draws).mean())


def _no_interval(difference: float, rows: int) -> Estimate:
    """Of a column that nearly, or always, has one value: it takes away no other pair's interval."""
    if not np.isfinite(difference):
        return not_enough_data(rows, "one of the two has no value for these rows")
    return Estimate(difference, None, None, rows, "too many resamples have no value")


def _half_widths(spread: Array, middles: Array) -> Array:
    """Of the intervals around `middles`; `spread` is pairs x resamples."""
    errors = spread.std(axis=1)
    away = np.abs(spread - middles[:, None])
    steps = np.divide(away, errors[:, None], out=np.zeros_like(away), where=errors[:, None] > 0)
    return np.asarray(errors * np.quantile(steps.max(axis=0), LEVEL))


def _values(statistic: Statistic, table: Array) -> Array:
    """Of each column with the last one: table is (columns + 1) x ... x rows."""
    return np.array([statistic(column, table[-1], axis=-1) for column in table[:-1]])


def _draws(statistic: Statistic, table: Array, seed: int) -> Array:
    """Columns x resamples."""
    rows, random = table.shape[1], np.random.default_rng(seed)
    left, parts = resamples_of(rows), []
    while left > 0:
        some = min(left, max(1, _CELLS // rows))
        drawn = random.integers(rows, size=(some, rows))
        parts.append(_values(statistic, table[:, drawn]))
        left -= some
    return np.concatenate(parts, axis=1)
