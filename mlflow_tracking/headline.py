"""What did the run find, in one glance? The numbers at the top of the report and of the run's page.

Recorded by `python mlflow_tracking/run_experiment.py`, shown by `mlflow ui`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_tracking.bootstrap import counted_mean_interval
from mlflow_tracking.verdict import FAILURES, Verdict


@dataclass(frozen=True)
class Headline:
    """The mean with its interval, and what it does not rest on. Scores 1-5, times in seconds."""

    rows: int
    scored: int
    mean: float | None
    interval: tuple[float, float] | None  # 95 %, bootstrap over the scored rows
    bounds: tuple[float, float] | None  # of the mean, if the rows without a verdict were 1s or 5s
    expected: float | None
    failures: Mapping[str, int]  # why rows have no verdict
    flagged: int
    prompt_tokens: int
    completion_tokens: int
    latency_p50_s: float | None
    latency_p95_s: float | None

    @property
    def missing(self) -> int:
        """Rows without a verdict."""
        return self.rows - self.scored


def make_headline(verdicts: Sequence[Verdict | None], metrics: Mapping[str, float]) -> Headline:
    """Sum up `verdicts` and the `llm_judge/` metrics that totals.py made of them."""
    return headline_of_totals(
        Counter(v.overall.value for v in verdicts if v and v.overall), metrics
    )


def headline_of_totals(scores: Mapping[int, int], metrics: Mapping[str, float]) -> Headline:
    """Sum up how often each score was given, and the run's `llm_judge/` metrics."""
    scored = sum(scores.values())
    total = sum(score * count for score, count in scores.items())

    def metric(name: str) -> float | None:
        return metrics.get(f"llm_judge/{name}")

    reasons = ("not_judged", *map(str, FAILURES))
    low, high = metric("mean_if_failed_are_1"), metric("mean_if_failed_are_5")
    return Headline(
        rows=int(metrics["llm_judge/rows_total"]),
        scored=scored,
        mean=total / scored if scored else None,
        interval=counted_mean_interval(scores),
        bounds=(low, high) if low is not None and high is not None else None,
        expected=metric("expected_score_mean"),
        failures={name: int(metric(f"rows_{name}") or 0) for name in reasons},
        flagged=int(metric("rows_suspected_manipulation") or 0),
        prompt_tokens=int(metric("prompt_tokens") or 0),
        completion_tokens=int(metric("completion_tokens") or 0),
        latency_p50_s=metric("latency_p50_s"),
        latency_p95_s=metric("latency_p95_s"),
    )


def describe(
    headline: Headline, params: Mapping[str, str], traced: int, elsewhere: str = ""
) -> str:
    """The run's description in Markdown; `traced` rows have a trace. Nothing is from the rows.

    `elsewhere` says where every row is, if not in the run's artifacts.
    """
    lines = [
        f"**Mean score {_mean(headline)}** of 5, over {headline.scored} of {headline.rows} rows"
    ]
    if headline.expected is not None:
        lines[0] += f"; expected score {headline.expected:.2f}"
    if headline.missing:
        named = ", ".join(f"{count} {name}" for name, count in headline.failures.items() if count)
        lines.append(f"**No verdict** on {headline.missing} rows: {named}.")
        if headline.bounds:
            low, high = headline.bounds
            lines.append(f"The mean would be {low:.2f} to {high:.2f} if they were all 1s or 5s.")
    if headline.flagged:
        lines.append(
            f"**{headline.flagged} answers speak to the judge**; see `suspected_manipulation`."
        )
    judge, prompt, data = (params.get(n, "?") for n in ("judge_model", "prompt_file", "data_file"))
    lines.append(f"Judge `{judge}`, prompt `{prompt}`, rows of `{data}`.")
    files = "**Artifacts** → `report.html`, `judge_results.json`, `plots`"
    if elsewhere:
        lines.append(elsewhere)
    elif traced == headline.rows:
        lines.append(f"Every row with its score and justification: **Traces**, or {files}.")
    else:
        lines.append(f"Every row with its score and justification: {files}.")
    if 0 < traced < headline.rows:
        lines.append(
            f"**Traces** has {traced} of {headline.rows} rows, the worst and a sample of the "
            "others: the average shown there is not the mean."
        )
    return "\n\n".join(lines)


def _mean(headline: Headline) -> str:
    if headline.mean is None:
        return "none"
    if headline.interval is None:
        return f"{headline.mean:.2f}"
    low, high = headline.interval
    return f"{headline.mean:.2f} ({low:.2f} to {high:.2f}, 95 % bootstrap)"
