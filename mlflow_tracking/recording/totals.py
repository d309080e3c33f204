"""What do all verdicts of a run come to? Honest totals: every row is counted exactly once.

Recorded and printed by `python mlflow_tracking/run_experiment.py`, and a block at a time by
`python mlflow_tracking/run_distributed.py`.
"""

from collections import Counter
from collections.abc import Sequence

from mlflow_tracking.custom_metrics import METRIC_VERSION, aggregate, metric_name, percentile
from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.verdict import CUT_MARK, FAILURES, Verdict

NOT_JUDGED = "not_judged"


class Totals:
    """Counts, sums and counts of equal values; memory does not grow with the rows."""

    def __init__(self, prompt: JudgePrompt) -> None:
        self._prompt = prompt
        self.overall: Counter[float] = Counter()  # how often each overall score was given
        self._scores: dict[str, Counter[float]] = {name: Counter() for name in prompt.format.scores}
        self._counts: Counter[str] = Counter()
        self._expected_sum, self._expected_count = 0.0, 0
        self._latencies: Counter[float] = Counter()  # seconds, of one call

    def add(self, verdicts: Sequence[Verdict | None]) -> None:
        """Count rows, None for one that was not judged; what equal rows share cost one call."""
        for verdict in verdicts:
            self._count(verdict)
        self.add_costs(verdicts)

    def _count(self, verdict: Verdict | None) -> None:
        counts = self._counts
        counts["rows_total"] += 1
        if verdict is None or verdict.failed:
            counts["rows_failed"] += 1
            counts[f"rows_{verdict.status if verdict else NOT_JUDGED}"] += 1
        else:
            counts["rows_scored"] += 1
            counts["rows_justification_cut"] += verdict.justification.endswith(CUT_MARK)
        if verdict is None:
            return
        counts["rows_suspected_manipulation"] += verdict.suspected_manipulation
        counts["rows_claim_not_in_answer"] += verdict.claim_not_in_answer
        counts["rows_invented_quote"] += bool(verdict.invented_quote)
        counts["rows_speaks_to_judge"] += bool(verdict.addressed)
        for label, counted in self._scores.items():
            if label in verdict.scores:
                counted[verdict.scores[label].value] += 1
        if verdict.overall:
            self.overall[verdict.overall.value] += 1
            if verdict.overall.expected is not None:
                self._expected_sum += verdict.overall.expected
                self._expected_count += 1

    def add_costs(self, verdicts: Sequence[Verdict | None]) -> None:
        """Count what the calls for some rows cost, and nothing else of the rows."""
        counts = self._counts
        for verdict in {id(verdict): verdict for verdict in verdicts if verdict}.values():
            if not verdict.attempts:
                continue
            counts["prompt_tokens"] += verdict.prompt_tokens
            counts["cached_prompt_tokens"] += verdict.cached_tokens
            counts["completion_tokens"] += verdict.completion_tokens
            counts["retries"] += verdict.attempts - verdict.calls
            if verdict.latency_s:
                self._latencies[verdict.latency_s] += 1

    def metrics(self, judged: int, judged_s: float) -> dict[str, float]:
        """The run's `llm_judge/` metrics, and `llm_judge_accuracy/v1/mean` and its like.

        `judged` rows were judged by this process, in `judged_s` seconds.
        """
        names = ("total", "scored", "failed", NOT_JUDGED, *FAILURES)
        names = (*names, "justification_cut", "suspected_manipulation", "claim_not_in_answer")
        names = (*names, "invented_quote", "speaks_to_judge")
        costs = ("prompt_tokens", "cached_prompt_tokens", "completion_tokens", "retries")
        found = {
            name: float(self._counts[name]) for name in (*(f"rows_{n}" for n in names), *costs)
        }
        if rows := self._counts["rows_total"]:
            total = sum(score * count for score, count in self.overall.items())
            scale = self._prompt.format.scale
            for worst in (scale.low, scale.high):
                bound = (total + worst * self._counts["rows_failed"]) / rows
                found[f"mean_if_failed_are_{worst}"] = bound
        if self._expected_count:
            found["expected_score_mean"] = self._expected_sum / self._expected_count
        for share in (50, 95):
            if self._latencies:
                found[f"latency_p{share}_s"] = percentile(self._latencies, share)
        if judged and judged_s > 0:
            found["rows_per_second"] = judged / judged_s
        return {f"llm_judge/{name}": value for name, value in found.items()} | self._aggregates()

    def _aggregates(self) -> dict[str, float]:
        return {
            f"{metric_name(self._prompt, label)}/{METRIC_VERSION}/{name}": value
            for label, counts in self._scores.items()
            for name, value in aggregate(counts).items()
        }
