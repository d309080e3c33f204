"""In which form do measured numbers travel to the terminal, to the page and to MLflow?

As tables of `python mlflow_tracking/validate_judge.py --data graded.csv`: each is a table of
estimates with their intervals, and what they say in words.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow_tracking.stats.estimate import Estimate

METRICS = "llm_judge_validation"


@dataclass(frozen=True)
class TableColumn:
    """A column of a table: what its metrics' names end in, and its heading."""

    key: str  # '' for a table of one column
    heading: str
    beside: bool = False  # only to compare with: the terminal leaves its intervals out


BOTH_SCORES = (TableColumn("expected", "expected score"), TableColumn("integer", "integer score"))


@dataclass(frozen=True)
class TableLine:
    """A line of a table: an estimate for each column, None where there is nothing to measure."""

    key: str  # of its metrics, which are not renamed: people compare runs by them
    label: str
    values: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class TwoEstimates:
    """A statistic of the expected scores, and the same of the integer ones."""

    expected: Estimate
    integer: Estimate

    @property
    def finer(self) -> Estimate:
        """The first or, where a server tells no probabilities, the second."""
        return self.integer if self.expected.value is None else self.expected

    def __iter__(self) -> Iterator[Estimate]:
        """Both, in the order of BOTH_SCORES."""
        return iter((self.expected, self.integer))


@dataclass(frozen=True)
class Table:
    """One part of the validation."""

    key: str
    title: str
    explanation: str  # how to read the numbers, in a sentence or two
    columns: tuple[TableColumn, ...]
    lines: tuple[TableLine, ...]
    findings: tuple[str, ...] = ()  # what the numbers say, or why there are none

    def missing(self) -> list[str]:
        """Why numbers or intervals are not there, each cause once, with what lacks it."""
        causes: dict[str, list[str]] = {}
        for line in self.lines:
            for column, value in zip(self.columns, line.values, strict=True):
                if value is None or column.beside:
                    continue
                if value.value is None or value.low is None:
                    names = causes.setdefault(_cause(value), [])
                    names += [line.label] if line.label not in names else []
        total = len(self.lines)
        return [
            f"{cause}: {'all of these' if len(names) == total > 1 else ', '.join(names)}"
            for cause, names in causes.items()
        ]

    def named(self) -> Iterator[tuple[str, Estimate]]:
        """Every estimate under its metric's name."""
        for line in self.lines:
            for column, estimate in zip(self.columns, line.values, strict=True):
                if estimate is not None:
                    yield f"{line.key}_{column.key}".rstrip("_"), estimate


def table_metrics(tables: Sequence[Table]) -> dict[str, float]:
    """`llm_judge_validation/<name>`, `..._low`, `..._high`: only those that have a value."""
    metrics = {}
    for table in tables:
        for name, estimate in table.named():
            parts = (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
            for end, value in parts:
                if value is not None:
                    metrics[f"{METRICS}/{name}{end}"] = value
    return metrics


def _cause(value: Estimate) -> str:
    what = "not enough data" if value.value is None else "no interval"
    return f"{what} ({value.note})"


def value_or_least(estimate: Estimate | None) -> float:
    """For choosing the greatest: what was not measured is below every number."""
    return -math.inf if estimate is None or estimate.value is None else estimate.value


def two_places(value: float) -> str:
    """The value as it is shown, without a sign before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"
