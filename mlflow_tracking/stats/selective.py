"""From which signal on is a judge seldom wrong? A threshold that keeps its promise.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv --max-wrong 0.1`.

Fixed-sequence testing, as in Jung, Brahman and Choi (2024, arXiv:2407.18370). The graded rows are
ordered by a signal, the surest first. Of so many of the surest it is tested whether they are wrong
in more than `max_wrong` of cases (exact binomial test), then of more of them, until a test fails:
the last one before it is the rule. The order of the tests depends on the signals alone, and only
the first promise in it that is not true could be made wrongly, so the tests share no error.

Tested are only the numbers of rows at which one more wrong row is allowed (29, 46, 61 ... for 0.1):
between two of them a test is stricter than at the next one, and ends the sequence for nothing. The
first is the fewest rows that can pass at all, or a quarter of the graded rows where that is more:
otherwise one wrong row among the 29 surest of 300 would end it. Of a judge that is wrong in 3 % of
cases, 300 graded rows let 26 % be decided with every number from 29 on, 36 % with these alone, and
70 % from a quarter on (29 November 2026, 1,000 draws).

Decided are the rows with a greater signal than the first row that is left out. Given that signal,
they are drawn by chance from all rows above it, so the binomial test is exact. Rows of one value
stay together; with such ties it is exact as long as surer rows are not more often wrong.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mlflow_tracking.stats.estimate import LEVEL, Array, Values

_FIRST_SHARE = 0.25  # of the graded rows; a rule that decides fewer is hardly worth having


@dataclass(frozen=True)
class Step:
    """One test: the surest rows by a signal, and how many of them are wrong."""

    signal: str
    above: float | None  # decided are the rows with a greater signal; None: all that have one
    decided: int
    wrong: int
    most: int  # that may be wrong
    upper: float  # Clopper-Pearson's one-sided bound of the share of wrong rows

    @property
    def passed(self) -> bool:
        """Whether the promise can be made for these rows."""
        return self.wrong <= self.most


@dataclass(frozen=True)
class Selection:
    """What the graded rows allow to be promised."""

    rows: int  # graded, with a signal or without
    max_wrong: float
    confidence: float
    fewest: int  # rows with a signal that a promise takes, if not one of them is wrong
    known: Mapping[str, int]  # rows that have each signal
    passed: Mapping[str, Step]  # the last one of each signal that passed
    failed: Mapping[str, Step]  # the one that ended its sequence

    @property
    def best(self) -> Step | None:
        """The rule that decides most rows; None: nothing can be promised."""
        return max(self.passed.values(), key=lambda step: step.decided, default=None)


def select(
    signals: Mapping[str, Values],
    wrong: Sequence[bool],
    max_wrong: float,
    confidence: float = LEVEL,
) -> Selection:
    """By each signal, the most rows that are wrong in at most `max_wrong` of cases.

    `signals` are columns by name: greater is surer, None or NaN where a row has none. `wrong` has a
    value for each row. Several signals share the error equally (Bonferroni): that holds whatever
    they have to do with each other, and none of them is known to be the best for every judge.
    """
    error = (1 - confidence) / max(1, len(signals))
    columns = {name: np.asarray(values, dtype=float) for name, values in signals.items()}
    passed: dict[str, Step] = {}
    failed: dict[str, Step] = {}
    for name, column in columns.items():
        for step in walk(name, column, np.asarray(wrong, dtype=bool), max_wrong, error):
            (passed if step.passed else failed)[name] = step
    known = {name: int((~np.isnan(column)).sum()) for name, column in columns.items()}
    fewest = fewest_rows(max_wrong, error)
    return Selection(len(wrong), max_wrong, confidence, fewest, known, passed, failed)


def walk(
    name: str, signal: Array, wrong: NDArray[np.bool_], max_wrong: float, error: float
) -> Iterator[Step]:
    """The tests of one signal at that `error`, up to the first that does not pass."""
    known = ~np.isnan(signal)
    order = np.argsort(-signal[known], kind="stable")
    signal, wrongs = signal[known][order], np.cumsum(wrong[known][order])
    ends = np.append(np.flatnonzero(np.diff(signal)) + 1, len(signal))  # no value is torn apart
    allowed = _allowed(len(signal), max_wrong, error)
    for size in sorted({int(ends[ends >= size][0]) for size in _sizes(allowed)}):
        bad, most = int(wrongs[size - 1]), int(allowed[size - 1])
        above = float(signal[size]) if size < len(signal) else None
        step = Step(name, above, size, bad, most, upper_bound(bad, size, error))
        yield step
        if not step.passed:
            return


def _sizes(allowed: NDArray[np.int64]) -> list[int]:
    """How many of the surest rows are tested, one after the other."""
    more = np.flatnonzero(np.diff(allowed, prepend=-1) > 0) + 1  # one more wrong row is allowed
    early = int((more <= len(allowed) * _FIRST_SHARE).sum())
    return [*map(int, more[max(0, early - 1) :]), len(allowed)] if len(more) else []


@cache
def _allowed(rows: int, max_wrong: float, error: float) -> NDArray[np.int64]:
    """For 1, 2 ... `rows` rows: how many may be wrong. -1: too few rows for any promise."""
    from scipy import stats  # half a second, which no run needs

    sizes = np.arange(1, rows + 1)
    wrong = stats.binom.ppf(error, sizes, max_wrong)  # the fewest that are not too rare
    likely = stats.binom.cdf(wrong, sizes, max_wrong) > error
    return np.asarray(wrong - likely, dtype=np.int64)


def fewest_rows(max_wrong: float, error: float) -> int:
    """How many rows a promise takes if none of them is wrong: (1 - max_wrong) ** n <= error."""
    return int(np.ceil(np.log(error) / np.log1p(-max_wrong) - 1e-9))


def upper_bound(wrong: int, rows: int, error: float) -> float:
    """Clopper and Pearson's one-sided bound (1934) of the share that `wrong` of `rows` are."""
    from scipy import stats

    return 1.0 if wrong == rows else float(stats.beta.ppf(1 - error, wrong + 1, rows - wrong))
