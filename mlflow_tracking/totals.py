"""What do all verdicts of a run come to? Honest totals: every row is counted exactly once.

Recorded and printed by `python mlflow_tracking/run_experiment.py`.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from mlflow_tracking.custom_metrics import METRIC_VERSION, aggregate, metric_name
from mlflow_tracking.judge_prompt import JudgePrompt
from mlflow_tracking.verdict import CUT_MARK, FAILURES, Verdict


def score_metrics(verdicts: Sequence[Verdict | None], prompt: JudgePrompt) -> dict[str, float]:
    """`llm_judge_accuracy/v1/mean` and its like, as mlflow.evaluate names them."""
    metrics = {}
    for label in prompt.format.scores:
        values = [v.scores[label].value if v and label in v.scores else None for v in verdicts]
        for name, value in aggregate(values).items():
            metrics[f"{metric_name(prompt, label)}/{METRIC_VERSION}/{name}"] = value
    return metrics


def run_metrics(
    verdicts: Sequence[Verdict | None], judged_s: float, judged: int
) -> dict[str, float]:
    """The `llm_judge/` metrics of a run; None stands for a row that was not judged.

    `judged` rows were judged by this process in `judged_s` seconds. Latencies in seconds, of one
    call; tokens in all, equal rows counted once, as the server saw them.
    """
    scores = [verdict.overall for verdict in verdicts if verdict and verdict.overall]
    values = [score.value for score in scores]
    failed = len(verdicts) - len(values)
    metrics: dict[str, float] = {
        "rows_total": len(verdicts),
        "rows_scored": len(values),
        "rows_failed": failed,
        "rows_not_judged": sum(verdict is None for verdict in verdicts),
        "rows_justification_cut": sum(
            bool(v and v.scores and v.justification.endswith(CUT_MARK)) for v in verdicts
        ),
        "rows_suspected_manipulation": sum(bool(v and v.suspected_manipulation) for v in verdicts),
    }
    for status in FAILURES:
        metrics[f"rows_{status}"] = sum(
            bool(v and v.failed and v.status == status) for v in verdicts
        )
    if verdicts:
        for worst in (1, 5):
            metrics[f"mean_if_failed_are_{worst}"] = (sum(values) + worst * failed) / len(verdicts)
    expected = [score.expected for score in scores if score.expected is not None]
    if expected:
        metrics["expected_score_mean"] = float(np.mean(expected))
    metrics |= _costs({id(verdict): verdict for verdict in verdicts if verdict}.values())
    if judged and judged_s > 0:
        metrics["rows_per_second"] = judged / judged_s
    return {f"llm_judge/{name}": float(value) for name, value in metrics.items()}


def _costs(verdicts: Iterable[Verdict]) -> dict[str, float]:
    called = [verdict for verdict in verdicts if verdict.attempts]
    costs: dict[str, float] = {
        "prompt_tokens": sum(verdict.prompt_tokens for verdict in called),
        "cached_prompt_tokens": sum(verdict.cached_tokens for verdict in called),
        "completion_tokens": sum(verdict.completion_tokens for verdict in called),
        "retries": sum(v.attempts - (2 if v.suspected_manipulation else 1) for v in called),
    }
    latencies = [verdict.latency_s for verdict in called if verdict.latency_s]
    if latencies:
        costs["latency_p50_s"] = float(np.percentile(latencies, 50))
        costs["latency_p95_s"] = float(np.percentile(latencies, 95))
    return costs
