"""What does a person read about a judge's validation? One self-contained page.

    python mlflow_tracking/validate_judge.py --data graded.csv
    mlflow ui        # the run, Artifacts, validation_report.html

Text of rows is material and escaped, as in report.html.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mlflow_tracking.estimate import Estimate
from mlflow_tracking.graded_rows import GradedData, GradedPairs
from mlflow_tracking.judge_passes import Verdicts
from mlflow_tracking.pairs_section import ROWS
from mlflow_tracking.report import page_environment
from mlflow_tracking.section import two_places, value_or_least
from mlflow_tracking.validation_console import USES, missing
from mlflow_tracking.validation_outcome import Outcome


@dataclass(frozen=True)
class DisagreementShown:
    """A row that judge and people see differently, with both reasons."""

    row: int
    human: str
    score: str
    question: str
    answer: str
    feedback: str
    justification: str


@dataclass(frozen=True)
class ValidationReport:
    """What the page is made of."""

    title: str
    run_id: str
    params: Mapping[str, Any]
    outcome: Outcome
    disagreements: Sequence[DisagreementShown]
    judged: int  # rows with a verdict, of `rows`
    rows: int
    plots: Mapping[str, bytes]  # PNG files by name
    notes: Sequence[str] = ()  # how the file was read


def render_validation_report(report: ValidationReport) -> str:
    """The page as HTML."""
    environment, outcome = page_environment(), report.outcome
    environment.filters["two_places"] = two_places
    return environment.get_template("validation_report.html").render(
        report=report,
        outcome=outcome,
        use=USES[outcome.trust.level],
        headline=_headline(outcome),
        missing={section.key: missing(section) for section in outcome.sections},
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        plots={name: base64.b64encode(data).decode() for name, data in report.plots.items()},
    )


def _headline(outcome: Outcome) -> tuple[str, Estimate]:
    """The number that the verdict rests on first, and its name."""
    section = outcome.sections[0]
    line = section.lines[0]
    known = [
        (f"{line.label}, {column.heading}", value)
        for column, value in zip(section.columns, line.values, strict=True)
        if value is not None and not column.beside
    ]
    return max(known, key=lambda pair: value_or_least(pair[1]))


def shown_disagreements(
    graded: GradedData | GradedPairs, outcome: Outcome, verdicts: Verdicts
) -> list[DisagreementShown]:
    """The worst ones, as far as they are rows with a score."""
    if isinstance(graded, GradedPairs):
        return _disagreeing_pairs(graded, outcome, verdicts)
    found = []
    for one in outcome.measured.disagreements:
        row, verdict = graded.rows[one.index], verdicts[ROWS][one.index]
        label = "right" if row.human else "wrong"
        found.append(
            DisagreementShown(
                row.row.number,
                label if graded.kind == "binary" else f"{row.human:g}",
                f"{one.score:.2f}",
                row.row.question,
                row.row.answer,
                row.feedback,
                verdict.justification if verdict else "",
            )
        )
    return found


def _disagreeing_pairs(
    graded: GradedPairs, outcome: Outcome, verdicts: Verdicts
) -> list[DisagreementShown]:
    """The pairs where the judge prefers the other answer most clearly, by single scores."""
    if outcome.measured.preferences is None:
        return []
    half, scores = len(graded.pairs), outcome.measured.scores.finest
    gaps: dict[int, float] = {}
    for index, pair in enumerate(graded.pairs):
        first, second = scores[index], scores[half + index]
        if first is not None and second is not None and pair.winner != "tie":
            gaps[index] = (second - first) * (1 if pair.winner == "a" else -1)
    worst = sorted((i for i, gap in gaps.items() if gap > 0), key=lambda i: -gaps[i])[:10]
    found = []
    for index in worst:
        pair = graded.pairs[index]
        both = [verdicts[ROWS][index], verdicts[ROWS][half + index]]
        said = [verdict.justification if verdict else "" for verdict in both]
        found.append(
            DisagreementShown(
                pair.row.number,
                pair.winner,
                f"a {scores[index]:.2f}, b {scores[half + index]:.2f}",
                pair.row.question,
                f"a: {pair.answer_a}\n\nb: {pair.answer_b}",
                pair.feedback,
                f"a: {said[0]}\n\nb: {said[1]}",
            )
        )
    return found
