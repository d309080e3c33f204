"""In which form do measured numbers travel to the terminal, to the page and to MLflow?

As sections of `python mlflow_tracking/validate_judge.py --data graded.csv`: each is a table of
estimates with their intervals, and what they say in words.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow_tracking.estimate import Estimate

METRICS = "llm_judge_validation"


@dataclass(frozen=True)
class Column:
    """A column of a section: what its metrics' names end in, and its heading."""

    key: str  # '' for a section of one column
    heading: str
    beside: bool = False  # only to compare with: the terminal leaves its intervals out


BOTH_SCORES = (Column("expected", "expected score"), Column("integer", "integer score"))


@dataclass(frozen=True)
class Line:
    """A line of a section: an estimate for each column, None where there is nothing to measure."""

    key: str  # of its metrics, which are not renamed: people compare runs by them
    label: str
    values: tuple[Estimate | None, ...]


@dataclass(frozen=True)
class Section:
    """One part of the validation."""

    key: str
    title: str
    explanation: str  # how to read the numbers, in a sentence or two
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    findings: tuple[str, ...] = ()  # what the numbers say, or why there are none

    def named(self) -> Iterator[tuple[str, Estimate]]:
        """Every estimate under its metric's name."""
        for line in self.lines:
            for column, estimate in zip(self.columns, line.values, strict=True):
                if estimate is not None:
                    yield f"{line.key}_{column.key}".rstrip("_"), estimate


def section_metrics(sections: Sequence[Section]) -> dict[str, float]:
    """`llm_judge_validation/<name>`, `..._low`, `..._high`: only those that have a value."""
    metrics = {}
    for section in sections:
        for name, estimate in section.named():
            parts = (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
            for end, value in parts:
                if value is not None:
                    metrics[f"{METRICS}/{name}{end}"] = value
    return metrics


def value_or_least(estimate: Estimate | None) -> float:
    """For choosing the greatest: what was not measured is below every number."""
    return -math.inf if estimate is None or estimate.value is None else estimate.value


def two_places(value: float) -> str:
    """The value as it is shown, without a sign before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"
