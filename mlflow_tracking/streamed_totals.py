"""What do all verdicts come to where they do not fit into memory? A block at a time, then totals.

Recorded by `python mlflow_tracking/run_distributed.py`, under the names that run_experiment.py
gives them: what can be added up is counted by totals.py, block by block.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from mlflow_tracking.block_results import JudgedBlock
from mlflow_tracking.custom_metrics import METRIC_VERSION, metric_name
from mlflow_tracking.judge_prompt import JudgePrompt
from mlflow_tracking.totals import run_metrics

_OURS = "llm_judge/"
_LATENCY_DIGITS = 3  # significant ones: at most 900 different values for each power of ten


class StreamedTotals:
    """Counts, sums and counts of equal values; memory does not grow with the rows."""

    def __init__(self, prompt: JudgePrompt) -> None:
        self._prompt = prompt
        none = run_metrics([], 0.0, 0)  # every name, also where no block was finished
        self._sums = Counter({name: int(value) for name, value in none.items() if _adds_up(name)})
        self._expected_sum, self._expected_count = 0.0, 0
        self._latencies: Counter[float] = Counter()
        self.scores: dict[str, Counter[int]] = {name: Counter() for name in prompt.format.scores}

    def add(self, block: JudgedBlock) -> None:
        """Count a block's rows; the cost of equal rows once."""
        counted = run_metrics(block.verdicts, 0.0, 0)
        for name in self._sums:
            self._sums[name] += int(counted[name])
        for verdict in block.verdicts:
            for label, score in verdict.scores.items():
                self.scores[label][score.value] += 1
            overall = verdict.overall
            if overall is not None and overall.expected is not None:
                self._expected_sum += overall.expected
                self._expected_count += 1
        for verdict in {id(verdict): verdict for verdict in block.verdicts}.values():
            if verdict.attempts and verdict.latency_s:
                self._latencies[float(f"{verdict.latency_s:.{_LATENCY_DIGITS}g}")] += 1

    def metrics(self, rows: int, judged: int, judged_s: float) -> dict[str, float]:
        """The run's metrics; of `rows` rows those that were not added were not judged.

        `judged` rows were judged by this run of the program, in `judged_s` seconds.
        """
        found = {name: float(value) for name, value in self._sums.items()}
        missing = rows - found[f"{_OURS}rows_total"]
        for name in ("rows_total", "rows_failed", "rows_not_judged"):
            found[_OURS + name] += missing
        total = sum(score * count for score, count in self._overall().items())
        for worst in (1, 5):
            failed = found[f"{_OURS}rows_failed"]
            found[f"{_OURS}mean_if_failed_are_{worst}"] = (total + worst * failed) / rows
        if self._expected_count:
            found[f"{_OURS}expected_score_mean"] = self._expected_sum / self._expected_count
        for share in (50, 95):
            if self._latencies:
                found[f"{_OURS}latency_p{share}_s"] = percentile(self._latencies, share)
        if judged and judged_s > 0:
            found[f"{_OURS}rows_per_second"] = judged / judged_s
        return found | self._score_metrics()

    def _overall(self) -> Counter[int]:
        return self.scores[self._prompt.format.overall]

    def _score_metrics(self) -> dict[str, float]:
        metrics = {}
        for label, counts in self.scores.items():
            for name, value in aggregate_counts(counts).items():
                metrics[f"{metric_name(self._prompt, label)}/{METRIC_VERSION}/{name}"] = value
        return metrics


def _adds_up(name: str) -> bool:
    """Whether totals.py's metric of two blocks together is the sum of both."""
    bare = name.removeprefix(_OURS)
    return bare.startswith("rows_") or bare.endswith("_tokens") or bare == "retries"


def aggregate_counts(counts: Mapping[int, int]) -> dict[str, float]:
    """Mean, median, variance (population) and 90th percentile, as custom_metrics.aggregate."""
    total = sum(counts.values())
    if not total:
        return {}
    mean = sum(value * count for value, count in counts.items()) / total
    spread = sum(count * (value - mean) ** 2 for value, count in counts.items()) / total
    median, p90 = (percentile(counts, share) for share in (50, 90))
    return {"mean": mean, "median": median, "variance": spread, "p90": p90}


def percentile(counts: Mapping[Any, int], share: float) -> float:
    """The value below which `share` percent lie, between two values as numpy.percentile has it."""
    place = share / 100 * (sum(counts.values()) - 1)
    low, high = _at(counts, int(place)), _at(counts, -int(-place // 1))
    return low + (high - low) * (place - int(place))


def _at(counts: Mapping[Any, int], index: int) -> float:
    seen = 0
    for value, count in sorted(counts.items()):
        seen += count
        if seen > index:
            return float(value)
    raise IndexError(index)
