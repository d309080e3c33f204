"""How do the scores spread, and what do they go with? Four matplotlib figures of a run.

Artifacts `plots/*.png` and the pictures in report.html, made by
`python mlflow_tracking/run_experiment.py`.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import SCALE, Row

BLUE, ORANGE, GREY = "#3b6fb6", "#d9822b", "#8a8f98"
_DPI = 130

Scored = Sequence[tuple[Row, Verdict]]


def make_plots(rows: Scored) -> dict[str, Figure]:
    """Figures by file name, of the rows that have a score; none where nothing has one."""
    if not rows:
        return {}
    figures = {
        "scores.png": scores(rows),
        "score_by_answer_length.png": score_by_length(rows),
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


def scores(rows: Scored) -> Figure:
    """How often each score was given, and where the expected scores lie between them."""
    figure, axes = new_axes("Scores", "score", "rows")
    values = [v.overall.value for _, v in rows if v.overall]
    expected = [e for _, v in rows if v.overall and (e := v.overall.expected) is not None]
    counts = [values.count(score) for score in SCALE]
    bars = axes.bar(SCALE, counts, width=0.8, color=BLUE, label="score that the judge wrote")
    axes.bar_label(bars, padding=2)
    if expected:
        edges = np.arange(0.875, 5.3, 0.25)
        axes.hist(
            expected,
            bins=edges.tolist(),
            histtype="step",
            linewidth=2,
            color=ORANGE,
            label="expected score, from the judge's probabilities",
        )
        _mean_line(axes, float(np.mean(expected)), ORANGE, "mean expected score")
    _mean_line(axes, float(np.mean(values)), BLUE, "mean score")
    axes.set_xticks(SCALE)
    axes.set_xlim(0.4, 5.6)
    axes.margins(y=0.12)
    legend_below(axes)
    return figure


def score_by_length(rows: Scored) -> Figure:
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
    axes.set_yticks(SCALE)
    axes.set_ylim(0.7, 5.3)
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
    """The mean of each of the prompt's scores, for a prompt that asks for several."""
    labels = list(rows[0][1].scores)
    means = [
        np.mean([v.scores[name].value for _, v in rows if name in v.scores]) for name in labels
    ]
    figure, axes = new_axes("Mean of each score", "mean score", "")
    axes.bar_label(axes.barh(labels, means, color=BLUE), fmt="%.2f", padding=3)
    axes.set_xlim(0, 5.5)
    axes.invert_yaxis()
    return figure


def comparison(counts: Mapping[tuple[int, int], int], name_a: str, name_b: str) -> Figure:
    """How often each pair of scores (A, B) of the same row came, and what B - A was."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    grid, bars = figure.subplots(1, 2)
    draw_counts(grid, counts, "Rows by both scores", name_a, name_b)
    spread = range(SCALE[0] - SCALE[-1], SCALE[-1] - SCALE[0] + 1)
    rows = [sum(n for (a, b), n in counts.items() if b - a == step) for step in spread]
    bars.bar_label(bars.bar(list(spread), rows, color=BLUE), padding=2)
    bars.set_title("B - A", loc="left", fontsize=12)
    bars.set_xlabel("difference of a row's scores")
    bars.set_ylabel("rows")
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def draw_counts(
    axes: Axes, counts: Mapping[tuple[int, int], int], title: str, x: str, y: str
) -> None:
    """How many rows have each pair of scores (x, y), with the line of equal ones."""
    table = np.array([[counts.get((a, b), 0) for a in SCALE] for b in SCALE])
    axes.imshow(table, cmap="Blues", origin="lower", extent=(0.5, 5.5, 0.5, 5.5))
    axes.plot([0.5, 5.5], [0.5, 5.5], color=GREY, linewidth=1)
    for (a, b), count in counts.items():
        dark = count > table.max() / 2
        axes.text(a, b, str(count), ha="center", va="center", color="white" if dark else "black")
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_xlabel(x)
    axes.set_ylabel(y)


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
