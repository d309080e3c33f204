"""How do the scores spread, and what do they go with? Four matplotlib figures of a run.

Artifacts `plots/*.png` and the pictures in report.html, made by
`python mlflow_tracking/run_experiment.py`; and two of `python mlflow_tracking/compare_runs.py`.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from math import floor
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Row
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import Estimate

BLUE, ORANGE, GREY = "#3b6fb6", "#d9822b", "#8a8f98"
_DPI = 130
_NAME = 40  # characters of a run's name
_BY: dict[str, Any] = {"textcoords": "offset points", "fontsize": 9}

Scored = Sequence[tuple[Row, Verdict]]


def make_plots(rows: Scored, scale: Scale) -> dict[str, Figure]:
    """Figures by file name, of the rows that have a score; none where nothing has one.

    `scale` is that of the overall score.
    """
    if not rows:
        return {}
    figures = {
        "scores.png": scores(rows, scale),
        "score_by_answer_length.png": score_by_length(rows, scale),
        "latency.png": latency(rows),
        "tokens.png": tokens(rows),
    }
    if len(rows[0][1].scores) > 1:
        figures["scores_by_criterion.png"] = scores_by_criterion(rows)
    return figures


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    # MLflow and the browser keep the file's bytes: no date in it, equal runs give equal pictures.
    figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def scores(rows: Scored, scale: Scale) -> Figure:
    """How often each score was given, and where the expected scores lie between them."""
    figure, axes = new_axes("Scores", "score", "rows")
    values = [v.overall.value for _, v in rows if v.overall]
    expected = [e for _, v in rows if v.overall and (e := v.overall.expected) is not None]
    if all(value in scale.values for value in values):
        places = scale.for_people.values
        counts = [values.count(score) for score in places]
        bars = axes.bar(places, counts, width=0.8, color=BLUE, label="score that the judge wrote")
        axes.bar_label(bars, padding=2)
    else:
        label = "weighted mean of what the judge wrote"
        axes.hist(values, bins=_bins(scale), color=BLUE, label=label)
    if expected:
        axes.hist(
            expected,
            bins=_bins(scale),
            histtype="step",
            linewidth=2,
            color=ORANGE,
            label="expected score, from the judge's probabilities",
        )
        _mean_line(axes, float(np.mean(expected)), ORANGE, "mean expected score")
    _mean_line(axes, float(np.mean(values)), BLUE, "mean score")
    mark(axes.xaxis, scale)
    axes.set_xlim(scale.low - 0.6, scale.high + 0.6)
    axes.margins(y=0.12)
    legend_below(axes)
    return figure


def score_by_length(rows: Scored, scale: Scale) -> Figure:
    """Whether longer answers get better scores (a judge's known weakness)."""
    lengths = np.array([max(1, len(row.item.answer)) for row, _ in rows])
    values = np.array([_finest(verdict) for _, verdict in rows])
    title = "Score against the answer's length"
    if len(rows) > 2 and np.ptp(lengths) and np.ptp(values):
        # pandas' own: scipy.stats takes half a second to import
        ranked = pd.DataFrame({"length": lengths, "value": values}).corr("spearman").to_numpy()
        title += f" (Spearman {ranked[0, 1]:+.2f})"
    figure, axes = new_axes(title, "characters of the answer", "expected score, or score")
    axes.scatter(lengths, values, s=26, color=BLUE, alpha=_alpha(len(rows)), linewidths=0)
    axes.set_xscale("log")
    for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        which(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
    mark(axes.yaxis, scale)
    axes.set_ylim(scale.low - 0.3, scale.high + 0.3)
    return figure


def latency(rows: Scored) -> Figure:
    """How long the calls took, with the median and the slowest twentieth."""
    seconds = [verdict.latency_s for _, verdict in rows]
    figure, axes = new_axes("Time of a call to the judge, waiting included", "seconds", "rows")
    axes.hist(seconds, bins=min(40, max(5, len(seconds) // 3)), color=BLUE)
    for share, name in ((50, "median"), (95, "95 % are faster")):
        value = float(np.percentile(seconds, share))
        style = "--" if share == 50 else ":"
        axes.axvline(value, color=ORANGE, linestyle=style, label=f"{name}: {value:.2f} s")
    axes.set_xlim(left=0)
    legend_below(axes)
    return figure


def tokens(rows: Scored) -> Figure:
    """What the rows cost: tokens read and written."""
    figure, axes = new_axes("Tokens of a row", "prompt tokens", "completion tokens")
    axes.scatter(
        [verdict.prompt_tokens for _, verdict in rows],
        [verdict.completion_tokens for _, verdict in rows],
        s=26,
        color=BLUE,
        alpha=_alpha(len(rows)),
        linewidths=0,
    )
    axes.margins(0.08)
    return figure


def scores_by_criterion(rows: Scored) -> Figure:
    """The mean of each of the prompt's scores, for a prompt that asks for several.

    Where their scales have other ends, each is shown as a share of its own.
    """
    first = rows[0][1].scores
    means = [np.mean([v.scores[n].value for _, v in rows if n in v.scores]) for n in first]
    title, most = "mean score", next(iter(first.values())).values[-1]
    if len({(score.values[0], score.values[-1]) for score in first.values()}) > 1:
        each = zip(means, first.values(), strict=True)
        means = [(mean - score.values[0]) / score.span for mean, score in each]
        title, most = "mean score, 0 the worst and 1 the best", 1
    figure, axes = new_axes("Mean of each score", title, "")
    axes.bar_label(axes.barh(list(first), means, color=BLUE), fmt="%.2f", padding=3)
    axes.set_xlim(0, 1.1 * most)
    axes.invert_yaxis()
    return figure


def comparison(
    pairs: Sequence[tuple[float, float]], scale: Scale, name_a: str, name_b: str
) -> Figure:
    """How often each pair of scores (A, B) of the same row came, and what B - A was.

    Means of a checklist are shown at the nearest whole score.
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    grid, bars = figure.subplots(1, 2)
    counts = Counter((floor(a + 0.5), floor(b + 0.5)) for a, b in pairs)
    draw_counts(grid, counts, scale, "Rows by both scores", name_a, name_b)
    spread = range(-scale.span, scale.span + 1)
    apart = Counter(floor(b - a + 0.5) for a, b in pairs)
    rows = [apart[step] for step in spread]
    bars.bar_label(bars.bar(list(spread), rows, color=BLUE), padding=2)
    bars.set_title("B - A", loc="left", fontsize=12)
    bars.set_xlabel("difference of a row's scores")
    bars.set_ylabel("rows")
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def means(found: Mapping[str, Estimate], scale: Scale) -> Figure:
    """The mean of each system with its interval, as far as it has one, the first above."""
    figure = Figure(figsize=(7.6, 1.4 + 0.34 * len(found)), layout="constrained")
    axes = figure.subplots()
    for place, one in enumerate(found.values()):
        if one.low is not None and one.high is not None:
            axes.plot(
                [one.low, one.high], [place, place], color=BLUE, linewidth=2, solid_capstyle="butt"
            )
        value = one.value or 0.0
        axes.plot([value], [place], "o", color=BLUE, markersize=7)
        axes.annotate(f"{value:.2f}", (value, place), (0, 6), ha="center", **_BY)
    names = [name if len(name) <= _NAME else f"{name[:_NAME]}…" for name in found]
    axes.set_yticks(range(len(names)), labels=names, parse_math=False)  # a $ is a $
    axes.set_ylim(len(names) - 0.5, -0.7)
    axes.margins(x=0.1)
    axes.set_title("Mean score with its 95 % interval", loc="left", fontsize=12)
    axes.set_xlabel(f"score, {scale.low} the worst and {scale.high} the best")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2)
    return figure


def draw_counts(
    axes: Axes, counts: Mapping[tuple[int, int], int], scale: Scale, title: str, x: str, y: str
) -> None:
    """How many rows have each pair of scores (x, y), with the line of equal ones."""
    values, low, high = scale.for_people.values, scale.low - 0.5, scale.high + 0.5
    table = np.array([[counts.get((a, b), 0) for a in values] for b in values])
    axes.imshow(table, cmap="Blues", origin="lower", extent=(low, high, low, high))
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    for (a, b), count in counts.items():
        dark = count > table.max() / 2
        axes.text(a, b, str(count), ha="center", va="center", color="white" if dark else "black")
    mark(axes.xaxis, scale)
    mark(axes.yaxis, scale)
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


def mark(axis: Axis, scale: Scale) -> None:
    """Every score of the scale on an axis, levels with their words."""
    values = scale.for_people.values
    axis.set_ticks(values, labels=list(map(scale.for_people.shown, values)))


def _bins(scale: Scale) -> list[float]:
    """Edges around every sixteenth of the scale: quarters of a point of 1-5."""
    width = scale.span / 16
    return [scale.low + width * (step - 0.5) for step in range(18)]


def new_axes(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    """A figure of one plot, as all of a page's look."""
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=GREY, alpha=0.2)
    axes.set_axisbelow(True)
    return figure, axes


def _mean_line(axes: Axes, value: float, color: str, name: str) -> None:
    axes.axvline(value, color=color, linestyle="--", linewidth=1.2, label=f"{name} {value:.2f}")


def legend_below(axes: Axes) -> None:
    """The legend where it covers nothing."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=9)


def _finest(verdict: Verdict) -> float:
    assert verdict.overall is not None, "a row with a score"
    return verdict.overall.finest


def _alpha(rows: int) -> float:
    """Points that lie on each other are to show, of few rows and of many."""
    return 0.7 if rows < 200 else max(0.05, 0.7 * (200 / rows) ** 0.5)
