"""What did the run find, in one glance? The numbers at the top of the report and of the run's page.

Recorded by `python mlflow_tracking/run_experiment.py`, shown by `mlflow ui`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_tracking.judge.verdict import FAILURES
from mlflow_tracking.recording.people import BEGINS, human_paragraph
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import counted_mean_interval
from mlflow_tracking.stats.prediction_powered import HumanMean


@dataclass(frozen=True)
class Summary:
    """The mean with its interval, and what it does not rest on. Times in seconds."""

    scale: Scale  # of the scores
    rows: int
    scored: int
    mean: float | None
    interval: tuple[float, float] | None  # 95 %, of the judge's mean over other rows like these
    bounds: tuple[float, float] | None  # of the mean, if rows without a verdict were worst or best
    expected: float | None
    failures: Mapping[str, int]  # why rows have no verdict
    flagged: int
    invented_quotes: int  # rows whose justification quotes what the row does not say
    addressed: int  # rows in which a text speaks to the judge
    prompt_tokens: int
    completion_tokens: int
    latency_p50_s: float | None
    latency_p95_s: float | None
    decided: tuple[str, ...] = ()  # which rows a rule lets the judge decide, in words
    answered: tuple[tuple[str, str], ...] = ()  # of a model under test: what, and that in words
    questions: int = 0  # that the interval is over; 0: every row is a question of its own

    @property
    def missing(self) -> int:
        """Rows without a verdict."""
        return self.rows - self.scored

    @property
    def units(self) -> str:
        """What the interval is over."""
        return "questions" if self.questions else "rows"


def summarise(
    scores: Mapping[float, int],
    metrics: Mapping[str, float],
    scale: Scale,
    decided: tuple[str, ...] = (),
) -> Summary:
    """Sum up how often each score was given, and the run's `llm_judge/` metrics."""
    scored = sum(scores.values())
    total = sum(score * count for score, count in scores.items())

    def metric(name: str) -> float | None:
        return metrics.get(f"llm_judge/{name}")

    reasons = ("not_judged", *map(str, FAILURES))
    low, high = (metric(f"mean_if_failed_are_{end}") for end in (scale.low, scale.high))
    return Summary(
        scale=scale,
        rows=int(metrics["llm_judge/rows_total"]),
        scored=scored,
        mean=total / scored if scored else None,
        interval=counted_mean_interval(scores),
        bounds=(low, high) if low is not None and high is not None else None,
        expected=metric("expected_score_mean"),
        failures={name: int(metric(f"rows_{name}") or 0) for name in reasons},
        flagged=int(metric("rows_suspected_manipulation") or 0),
        invented_quotes=int(metric("rows_invented_quote") or 0),
        addressed=int(metric("rows_speaks_to_judge") or 0),
        prompt_tokens=int(metric("prompt_tokens") or 0),
        completion_tokens=int(metric("completion_tokens") or 0),
        latency_p50_s=metric("latency_p50_s"),
        latency_p95_s=metric("latency_p95_s"),
        decided=decided,
    )


def describe(
    summary: Summary, params: Mapping[str, str], traced: int, results_at: str = "", shown: int = 0
) -> str:
    """The run's description in Markdown, with nothing that is from the rows.

    `traced` rows have a trace, `shown` ones are in the report. `results_at` is the tag that says
    where every row is, if that is not in the run's artifacts.
    """
    scored = f"over {summary.scored} of {summary.rows} rows"
    lines = [f"**The judge's mean score: {_mean(summary)}** of {_best(summary.scale)}, {scored}"]
    if summary.expected is not None:
        lines[0] += f"; expected score {summary.expected:.2f}"
    if summary.missing:
        named = ", ".join(f"{count} {name}" for name, count in summary.failures.items() if count)
        lines.append(f"**No verdict** on {summary.missing} rows: {named}.")
        if summary.bounds:
            low, high = summary.bounds
            ends = f"{summary.scale.low}s or {summary.scale.high}s"
            lines.append(f"The mean would be {low:.2f} to {high:.2f} if they were all {ends}.")
    if summary.flagged:
        lines.append(
            f"**{summary.flagged} answers sound much better than what they claim**: "
            "`suspected_manipulation`."
        )
    if summary.invented_quotes:
        lines.append(
            f"**{summary.invented_quotes} justifications quote what is not in the row**: "
            "`invented_quote`."
        )
    if summary.addressed:
        lines.append(f"**{summary.addressed} rows speak to the judge**: `speaks_to_judge`.")
    if summary.decided:
        head, *rest = summary.decided
        lines.append(" ".join((f"**{head}**", *rest)))
    lines += [f"**{what.capitalize()}**: {told}." for what, told in summary.answered]
    judge, prompt, data = (params.get(n, "?") for n in ("judge_model", "prompt_file", "data_file"))
    lines.append(f"Judge `{judge}`, prompt `{prompt}`, rows of `{data}`.")
    files = "**Artifacts** → `report.html`, `judge_results.json`, `plots`"
    if results_at:
        part = f"{shown} of {summary.rows} rows, the worst and a sample of all"
        lines.append(
            "Every row with its score and justification: the Parquet files that the tag "
            f"`{results_at}` names. **Artifacts** → `report.html`, `judge_results.json`: "
            f"{'every row too' if shown == summary.rows else part}."
        )
    elif traced == summary.rows:
        lines.append(f"Every row with its score and justification: **Traces**, or {files}.")
    else:
        lines.append(f"Every row with its score and justification: {files}.")
    if 0 < traced < summary.rows:
        lines.append(
            f"**Traces** has {traced} of {summary.rows} rows, the worst and a sample of the "
            "others: the average shown there is not the mean."
        )
    return "\n\n".join(lines)


def with_people(description: str, human: HumanMean) -> str:
    """A description with what people would give as its second paragraph, once."""
    first, *rest = description.split("\n\n")
    kept = [paragraph for paragraph in rest if not paragraph.startswith(BEGINS)]
    return "\n\n".join([first, human_paragraph(human), *kept])


def _best(scale: Scale) -> str:
    """The best score, with the levels' words where they are no numbers."""
    if scale.is_choice or scale.is_numbers:
        return str(scale.high)
    return f"{scale.high} ({', '.join(map(scale.shown, scale.values))})"


def _mean(summary: Summary) -> str:
    if summary.mean is None:
        return "none"
    if summary.interval is None:
        return f"{summary.mean:.2f}"
    low, high = summary.interval
    others = f"other {summary.units} like these, 95 %{'' if summary.questions else ' bootstrap'}"
    return f"{summary.mean:.2f} ({low:.2f} to {high:.2f} over {others})"
