"""Which MLflow metrics does the judge give? `llm_judge_accuracy`, and one for each further score.

    python mlflow_tracking/run_experiment.py
    cd mlflow_tracking && python run_experiment.py --prompt prompts/judge_prompt_criteria.txt

`evaluate_with_llm_judge` calls the judge and reads its replies. `make_judge_metrics` declares the
metrics with MLflow's `make_genai_metric`, which records what the judge was, and lets
`evaluate_with_llm_judge` do their scoring in place of MLflow's own scorer.
"""

import asyncio
import inspect
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pandas as pd
from mlflow.metrics import MetricValue
from mlflow.metrics.genai import make_genai_metric
from mlflow.models import EvaluationMetric

from llm_client.adaptive_limit import START
from llm_client.judge_client import JudgeClient, RetryPolicy
from llm_client.settings import split_base_urls
from mlflow_tracking.journal import Journal
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_prompt import JudgePrompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.judging import judge_all
from mlflow_tracking.verdict import Verdict

METRIC_NAME = "llm_judge_accuracy"
METRIC_VERSION = "v1"
AGGREGATIONS = ("mean", "median", "variance", "p90")

Scorer = Callable[..., MetricValue]


@dataclass(frozen=True)
class JudgeConnection:
    """Where the judge is, who it is, and how hard it may be asked."""

    base_url: str  # of several servers: separated by commas
    api_key: str
    settings: JudgeSettings
    journal: Journal
    concurrency: int | None = None  # rows in flight; None: as many as make it faster
    policy: RetryPolicy = RetryPolicy()

    def client(self) -> JudgeClient:
        """A client for the judge's servers, to be used with `async with`."""
        return JudgeClient(self.base_url, self.api_key, self.policy, self.concurrency)


def evaluate_with_llm_judge(
    predictions: Sequence[str],
    inputs: Sequence[str],
    targets: Sequence[str] | None = None,
    *,
    judge: JudgeConnection,
    on_verdict: Callable[[Verdict, int], None] | None = None,
) -> list[Verdict]:
    """Have the judge score each prediction as an answer to its input, 1-5 with a justification.

    `targets` are reference answers, '' for none. Every row gets a Verdict: a score and a
    justification, or a status and a reason. Equal rows are judged once, rows that the journal has
    a score for are not judged again. Raises ServerGone when the server stays away and
    JournalError when the disk does not take a verdict; what was judged is in the journal then.
    """
    references = targets if targets is not None else [""] * len(predictions)
    items = [
        Question(question, answer, reference)
        for question, answer, reference in zip(inputs, predictions, references, strict=True)
    ]
    return asyncio.run(_judge(items, judge, on_verdict))


async def _judge(
    items: Sequence[Question],
    connection: JudgeConnection,
    on_verdict: Callable[[Verdict, int], None] | None,
) -> list[Verdict]:
    async with connection.client() as client:
        judge = Judge(client, connection.settings)
        journal = connection.journal
        await judge_all(items, judge, journal, on_verdict=on_verdict)
        return [journal.verdicts[judge.key(item)] for item in items]


def make_judge_metrics(judge: JudgeConnection) -> list[EvaluationMetric]:
    """`llm_judge_accuracy` for the overall score, `llm_judge_<label>` for each score beside it.

    MLflow calls each metric for the first row alone and then for all rows; that costs no call to
    the judge, since `evaluate_with_llm_judge` judges no row twice.
    """
    prompt = judge.settings.prompt
    metrics = []
    for label in reversed(prompt.format.scores):
        metric = make_stock_metric(judge, metric_name(prompt, label))
        metric.eval_fn = _scorer(judge, label, metric.eval_fn)
        metrics.append(metric)
    return metrics


def metric_name(prompt: JudgePrompt, label: str) -> str:
    """MLflow's name of the metric for one of the prompt's scores, in the signs that MLflow takes.

    A criterion 'Accuracy' beside the overall score gives `llm_judge_accuracy_criterion`.
    """
    names = {prompt.format.overall: METRIC_NAME}
    for other in prompt.format.scores[:-1]:
        name = "llm_judge_" + re.sub(r"[^\w.-]+", "_", other.casefold()).strip("_")
        while name in names.values():
            name += "_criterion"
        names[other] = name
    return names[label]


def make_stock_metric(judge: JudgeConnection, name: str = METRIC_NAME) -> EvaluationMetric:
    """The metric as `make_genai_metric` makes it, MLflow's own scorer included."""
    settings = judge.settings
    with quiet_deprecations():
        return make_genai_metric(
            name=name,
            definition="How good the answer is, from 1 to 5, in the words of the judge's prompt.",
            # MLflow fills this text as a template and, where it has no value for a placeholder,
            # sends the judge an empty prompt: doubled braces come out as single ones.
            grading_prompt=settings.prompt.text.replace("{", "{{").replace("}", "}}"),
            version=METRIC_VERSION,
            model=f"openai:/{settings.model}",
            grading_context_columns=["targets"] if settings.prompt.uses_reference else [],
            parameters={
                "temperature": settings.temperature,
                "max_tokens": settings.max_tokens,
                "seed": settings.seed,
            },
            aggregations=list(AGGREGATIONS),
            greater_is_better=True,
            max_workers=judge.concurrency or START,
            # The full address: with .../v1 alone every row is a 404 and the run ends 'well'.
            proxy_url=f"{split_base_urls(judge.base_url)[0]}/chat/completions",
            metric_metadata={
                "prompt_sha256": settings.prompt.sha256,
                "judge_root": settings.model_root,
            },
        )


def _scorer(judge: JudgeConnection, label: str, declared: Callable[..., MetricValue]) -> Scorer:
    """`evaluate_with_llm_judge` in the shape that MLflow calls; `declared` gives the signature."""

    def score(
        predictions: pd.Series, metrics: object, inputs: pd.Series, *context: pd.Series
    ) -> MetricValue:
        targets = list(context[0]) if context else None
        verdicts = evaluate_with_llm_judge(list(predictions), list(inputs), targets, judge=judge)
        values = [v.scores[label].value if label in v.scores else None for v in verdicts]
        return MetricValue(values, [_text(v) for v in verdicts], aggregate(values))

    # MLflow reads from the signature which columns to pass.
    score.__signature__ = inspect.signature(declared)  # type: ignore[attr-defined]
    return score


def _text(verdict: Verdict) -> str:
    """The justification, or, for a row without a verdict, why there is none."""
    return verdict.justification if verdict.scores else f"[{verdict.status}] {verdict.reason}"


def aggregate(values: Sequence[int | None]) -> dict[str, float]:
    """Mean, median, variance (population) and 90th percentile of the scores there are."""
    scores = [value for value in values if value is not None]
    if not scores:
        return {}
    return {
        "mean": float(np.mean(scores)),
        "median": float(np.median(scores)),
        "variance": float(np.var(scores)),
        "p90": float(np.percentile(scores, 90)),
    }


@contextmanager
def quiet_deprecations() -> Iterator[None]:
    """MLflow says that its evaluate API is deprecated, which the user cannot change."""
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
