"""What does a judge's validation look like? Confusion, calibration and shifts, as pictures.

Artifacts `plots/*.png` and the pictures in validation_report.html, made by
`python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from matplotlib.figure import Figure

from mlflow_tracking.recording.plots import (
    BLUE,
    GREY,
    ORANGE,
    draw_counts,
    legend_below,
    mark,
    new_axes,
)
from mlflow_tracking.recording.report import page_environment
from mlflow_tracking.rows.graded import GradedData, GradedPairs
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.table import two_places
from mlflow_tracking.validation.agreement import Bin
from mlflow_tracking.validation.bias import Shift
from mlflow_tracking.validation.outcome import Outcome
from mlflow_tracking.validation.pairs import ROWS
from mlflow_tracking.validation.passes import Verdicts
from mlflow_tracking.validation.trust import USES


def validation_plots(outcome: Outcome) -> dict[str, Figure]:
    """Figures by file name; none of what was not measured."""
    figures, scale = {}, outcome.measured.scale
    if outcome.measured.confusion and any(map(any, outcome.measured.confusion)):
        figures["confusion_matrix.png"] = confusion_matrix(outcome.measured.confusion, scale)
    if any(one.n for one in outcome.measured.bins):
        figures["calibration.png"] = calibration(outcome.measured.bins, scale)
    known = (one for one in outcome.measured.shifts if any(e.value is not None for e in one.by))
    if shifts := list(known):
        figures["bias_shifts.png"] = bias_shifts(shifts)
    return figures


def confusion_matrix(table: Sequence[Sequence[int]], scale: Scale) -> Figure:
    """How many rows have each pair of human and judge's score, to the nearest whole ones."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    counts = {
        (scale.low + human, scale.low + judge): rows
        for human, line in enumerate(table)
        for judge, rows in enumerate(line)
        if rows
    }
    draw_counts(axes, counts, scale, "Rows by both scores", "people's score", "judge's score")
    return figure


def calibration(bins: Sequence[Bin], scale: Scale) -> Figure:
    """What people gave where the judge gave about so much; on the line it can be taken at word."""
    figure, axes = new_axes("Calibration", "judge's mean expected score", "people's mean score")
    ends = [scale.low, scale.high]
    axes.plot(ends, ends, color=GREY, linewidth=1, label="as people score")
    known = [(b.mean_expected, b.mean_human, b.n) for b in bins if b.mean_expected is not None]
    sure = [(x, y, n) for x, y, n in known if y.value is not None]
    for x, estimate, n in sure:
        _bar(axes, x, estimate, vertical=True)
        axes.annotate(f"{n}", (x, estimate.value), (6, 6), textcoords="offset points", fontsize=9)
    few = sum(n for _, y, n in known if y.value is None)
    if sure:
        axes.plot([], [], "o", color=BLUE, label="a fifth of the scale, with its rows")
    if few:
        axes.plot([], [], " ", label=f"left out: {few} rows, fewer than 10 in a fifth")
    margin = scale.span / 20
    axes.set_xlim(scale.low - margin, scale.high + margin)
    axes.set_ylim(scale.low - margin, scale.high + margin)
    mark(axes.xaxis, scale)
    mark(axes.yaxis, scale)
    legend_below(axes)
    return figure


def bias_shifts(shifts: Sequence[Shift]) -> Figure:
    """The mean shift by each probe with its interval; a fair judge's are at 0."""
    figure, axes = new_axes("Shifts that a fair judge does not make", "points of the scale", "")
    figure.set_size_inches(6.4, 1.4 + 0.45 * len(shifts))
    names = [one.label for one in shifts]
    axes.axvline(0, color=GREY, linewidth=1)
    for offset, color, column in ((0.12, BLUE, 0), (-0.12, ORANGE, 1)):
        for place, one in enumerate(shifts):
            estimate = list(one.by)[column]
            if estimate.value is not None:
                _bar(axes, len(shifts) - 1 - place + offset, estimate, vertical=False, color=color)
    axes.plot([], [], "o", color=BLUE, label="expected score")
    axes.plot([], [], "o", color=ORANGE, label="integer score")
    axes.set_yticks(range(len(shifts)), names[::-1])
    axes.set_ylim(-0.6, len(shifts) - 0.4)
    legend_below(axes)
    return figure


def _bar(axes: object, place: float, estimate: Estimate, vertical: bool, color: str = BLUE) -> None:
    """A point with its interval at `place` of the other axis."""
    assert estimate.value is not None, "an estimate with a value"
    low = estimate.value if estimate.low is None else estimate.low
    high = estimate.value if estimate.high is None else estimate.high
    # A percentile interval need not hold its estimate.
    ends = [[max(0.0, estimate.value - low)], [max(0.0, high - estimate.value)]]
    x, y = (place, estimate.value) if vertical else (estimate.value, place)
    error = {"yerr": ends} if vertical else {"xerr": ends}
    axes.errorbar([x], [y], **error, fmt="o", color=color, capsize=3, markersize=5)  # type: ignore[attr-defined]


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
        first=outcome.measured.first,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        plots={name: base64.b64encode(data).decode() for name, data in report.plots.items()},
    )


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
                row.row.item.question,
                row.row.item.answer,
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
                pair.row.item.question,
                f"a: {pair.answer_a}\n\nb: {pair.answer_b}",
                pair.feedback,
                f"a: {said[0]}\n\nb: {said[1]}",
            )
        )
    return found
