"""What does a judge's validation look like? Confusion, calibration and shifts, as pictures.

Artifacts `plots/*.png` and the pictures in validation_report.html, made by
`python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure

from mlflow_tracking.agreement import Bin
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.plots import BLUE, GREY, ORANGE, draw_counts, legend_below, new_axes
from mlflow_tracking.section import Line, Section
from mlflow_tracking.validation_outcome import Outcome
from mlflow_tracking.verdict import SCALE


def validation_plots(outcome: Outcome) -> dict[str, Figure]:
    """Figures by file name; none of what was not measured."""
    figures = {}
    if outcome.measured.confusion and any(map(any, outcome.measured.confusion)):
        figures["confusion_matrix.png"] = confusion_matrix(outcome.measured.confusion)
    if any(one.n for one in outcome.measured.bins):
        figures["calibration.png"] = calibration(outcome.measured.bins)
    lines = _shifts(outcome.sections)
    if lines:
        figures["bias_shifts.png"] = bias_shifts(lines)
    return figures


def confusion_matrix(table: Sequence[Sequence[int]]) -> Figure:
    """How many rows have each pair of human and judge's score, to the nearest whole ones."""
    figure = Figure(figsize=(4.8, 4.4), layout="constrained")
    axes = figure.subplots()
    counts = {
        (human, judge): table[human - 1][judge - 1]
        for human in SCALE
        for judge in SCALE
        if table[human - 1][judge - 1]
    }
    draw_counts(axes, counts, "Rows by both scores", "people's score", "judge's score")
    axes.set_xticks(SCALE)
    axes.set_yticks(SCALE)
    return figure


def calibration(bins: Sequence[Bin]) -> Figure:
    """What people gave where the judge gave about so much; on the line it can be taken at word."""
    figure, axes = new_axes("Calibration", "judge's mean expected score", "people's mean score")
    axes.plot([1, 5], [1, 5], color=GREY, linewidth=1, label="as people score")
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
    axes.set_xlim(0.8, 5.2)
    axes.set_ylim(0.8, 5.2)
    axes.set_xticks(SCALE)
    axes.set_yticks(SCALE)
    legend_below(axes)
    return figure


def bias_shifts(lines: Sequence[Line]) -> Figure:
    """The mean shift by each probe with its interval; a fair judge's are at 0."""
    figure, axes = new_axes("Shifts that a fair judge does not make", "points of the scale", "")
    figure.set_size_inches(6.4, 1.4 + 0.45 * len(lines))
    names = [line.label for line in lines]
    axes.axvline(0, color=GREY, linewidth=1)
    for offset, color, column in ((0.12, BLUE, 0), (-0.12, ORANGE, 1)):
        for place, line in enumerate(lines):
            estimate = line.values[column]
            if estimate is not None and estimate.value is not None:
                _bar(axes, len(lines) - 1 - place + offset, estimate, vertical=False, color=color)
    axes.plot([], [], "o", color=BLUE, label="expected score")
    axes.plot([], [], "o", color=ORANGE, label="integer score")
    axes.set_yticks(range(len(lines)), names[::-1])
    axes.set_ylim(-0.6, len(lines) - 0.4)
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


def _shifts(sections: Sequence[Section]) -> list[Line]:
    """The lines that are shifts and have a value, of all sections."""
    lines = [line for section in sections for line in section.lines]
    shifts = [line for line in lines if line.key.startswith("shift_")]
    return [line for line in shifts if any(v and v.value is not None for v in line.values)]
