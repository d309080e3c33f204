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
    known = [pair for pair in pairs if np.isfinite([values[name] for name in pair]).all()]
    found = {pair: not_enough_data(rows, "a column has no value for these rows") for pair in pairs}
    if not known:
        return found
    middles = np.array([values[one] - values[other] for one, other in known])
    spread = np.array([draws[one] - draws[other] for one, other in known])
    spread = spread[:, np.isfinite(spread).all(axis=0)]
    if spread.shape[1] < (1 - MAX_UNDEFINED) * resamples_of(rows):
        why = "too many resamples have no value"
        return found | {
            pair: Estimate(float(middle), None, None, rows, why)
            for pair, middle in zip(known, middles, strict=True)
        }
    halves = _half_widths(spread, middles)
    for pair, middle, half in zip(known, middles, halves, strict=True):
        note = "" if half else "no resample differs"
        low, high = float(middle - half), float(middle + half)
        found[pair] = Estimate(float(middle), low, high, rows, note)
    return found


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
