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
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.metrics import MetricValue
from mlflow.metrics.genai import make_genai_metric
from mlflow.models import EvaluationMetric

from llm_client.adaptive_limit import AT_FIRST
from llm_client.settings import redacted, split_base_urls
from llm_client.surroundings import route_to
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import JudgeConnection, OnVerdict, judge_all, keeping
from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.rows.item import REFERENCE, Item

METRIC_NAME = "llm_judge_accuracy"
METRIC_VERSION = "v1"
AGGREGATIONS = ("mean", "median", "variance", "p90")

Scorer = Callable[..., MetricValue]


def evaluate_with_llm_judge(
    predictions: Sequence[str],
    inputs: Sequence[str],
    targets: Sequence[str] | None = None,
    context: Mapping[str, Sequence[str]] | None = None,
    *,
    judge: JudgeConnection,
    on_verdict: OnVerdict | None = None,
) -> list[Verdict]:
    """Have the judge score each prediction as an answer to its input, with a justification.

    `targets` are reference answers, '' for none; `context` are the further columns that the prompt
    shows, by name. Every row gets a Verdict: a score on the prompt's scale and a justification, or
    a status and a reason. See `judge_items` for the rest.
    """
    references = targets if targets is not None else [""] * len(predictions)
    names = tuple(context or ())
    further = zip(*(context or {}).values(), strict=True) if names else [()] * len(predictions)
    items = [
        Item(question, answer, reference, more=tuple(zip(names, cells, strict=True)))
        for question, answer, reference, cells in zip(
            inputs, predictions, references, further, strict=True
        )
    ]
    return judge_items(items, judge, on_verdict)


def judge_items(
    items: Sequence[Item], judge: JudgeConnection, on_verdict: OnVerdict | None = None
) -> list[Verdict]:
    """Have the judge score every item; a verdict for each.

    Equal items are judged once, those that the journal has a score for are not judged again.
    `on_verdict` is told each verdict as it comes, and the indices of its items. Raises ServerGone
    when the server stays away and JournalError when the disk does not take a verdict; what was
    judged is in the journal then. What `judge.instead` has the verdict on is not judged.
    """
    if not judge.instead:
        return asyncio.run(_judge(items, judge, on_verdict))
    found = [judge.instead.get(judge.settings.key(item)) for item in items]
    tell = keeping(found, on_verdict)
    for place, verdict in enumerate(found):
        if verdict:
            tell(verdict, [place])
    left = [place for place, verdict in enumerate(found) if verdict is None]
    asyncio.run(
        _judge(
            [items[place] for place in left],
            judge,
            lambda verdict, places: tell(verdict, [left[place] for place in places]),
        )
    )
    return [verdict for verdict in found if verdict]  # none is missing


async def _judge(
    items: Sequence[Item], connection: JudgeConnection, on_verdict: OnVerdict | None
) -> list[Verdict]:
    async with connection.caller() as caller:
        judge = Judge(caller, connection.settings)
        return await judge_all(items, judge, connection.journal, on_verdict=on_verdict)


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
    settings, prompt = judge.settings, judge.settings.prompt
    scale = f"from {prompt.format.scale.low} to {prompt.format.scale.high}"
    route = route_to(split_base_urls(judge.base_url)[0], judge.api_key)
    with quiet_deprecations():
        return make_genai_metric(
            name=name,
            definition=f"How good the answer is, {scale}, in the words of the judge's prompt.",
            # MLflow fills this text as a template and, where it has no value for a placeholder,
            # sends the judge an empty prompt: doubled braces come out as single ones.
            grading_prompt=prompt.text.replace("{", "{{").replace("}", "}}"),
            version=METRIC_VERSION,
            model=f"openai:/{settings.model}",
            grading_context_columns=context_columns(prompt),
            parameters={
                "temperature": settings.temperature,
                "max_tokens": settings.max_tokens,
                "seed": settings.seed,
            },
            aggregations=list(AGGREGATIONS),
            greater_is_better=True,
            max_workers=judge.concurrency or AT_FIRST,
            # The full address: with .../v1 alone every row is a 404 and the run ends 'well'.
            proxy_url=f"{route.url}/chat/completions",
            extra_headers=dict(route.headers),  # neither of the two is recorded
            metric_metadata={
                "prompt_sha256": prompt.sha256,
                "judge_root": settings.model_root,
            },
        )


def context_columns(prompt: JudgePrompt) -> list[str]:
    """The columns of the rows that the prompt shows beside the question and the answer."""
    return [*([REFERENCE] if prompt.uses_reference else []), *prompt.columns]


def _scorer(judge: JudgeConnection, label: str, declared: Callable[..., MetricValue]) -> Scorer:
    """`evaluate_with_llm_judge` in the shape that MLflow calls; `declared` gives the signature."""

    def score(
        predictions: pd.Series, metrics: object, inputs: pd.Series, *context: pd.Series
    ) -> MetricValue:
        further = dict(zip(context_columns(judge.settings.prompt), map(list, context), strict=True))
        targets = further.pop(REFERENCE, None)
        verdicts = evaluate_with_llm_judge(
            list(predictions), list(inputs), targets, further, judge=judge
        )
        values = [v.scores[label].value if label in v.scores else None for v in verdicts]
        known = Counter(value for value in values if value is not None)
        return MetricValue(values, [_text(v) for v in verdicts], aggregate(known))

    # MLflow reads from the signature which columns to pass.
    score.__signature__ = inspect.signature(declared)  # type: ignore[attr-defined]
    return score


def _text(verdict: Verdict) -> str:
    """The justification, or, for a row without a verdict, why there is none."""
    return verdict.justification if verdict.scores else f"[{verdict.status}] {verdict.reason}"


def aggregate(counts: Mapping[float, int]) -> dict[str, float]:
    """Mean, median, variance (population) and 90th percentile of scores, by how often each came."""
    total = sum(counts.values())
    if not total:
        return {}
    mean = sum(value * count for value, count in counts.items()) / total
    spread = sum(count * (value - mean) ** 2 for value, count in counts.items()) / total
    median, p90 = (percentile(counts, share) for share in (50, 90))
    return {"mean": mean, "median": median, "variance": spread, "p90": p90}


def percentile(counts: Mapping[Any, int], share: float) -> float:
    """The value below which `share` percent lie, between two values as numpy.percentile has it."""
    values = sorted(counts)
    ends = np.cumsum([counts[value] for value in values])
    place = share / 100 * (ends[-1] - 1)
    low, high = (values[np.searchsorted(ends, at, "right")] for at in (int(place), ceil(place)))
    return float(low + (high - low) * (place - int(place)))


def evaluate_stock(dataset: Any, judge: JudgeConnection) -> list[Verdict | None]:
    """Have MLflow's own scorer do it all, as the baseline; it knows no statuses."""
    os.environ["OPENAI_API_KEY"] = "EMPTY"  # asked for, and replaced by the route's headers
    metric = make_stock_metric(judge)
    result = mlflow.evaluate(data=dataset, extra_metrics=[metric], evaluators="default")
    table: pd.DataFrame = result.tables["eval_results_table"]
    form, name = judge.settings.prompt.format, f"{METRIC_NAME}/{METRIC_VERSION}"
    label, scale = form.overall, form.scale.values
    return [
        Verdict(Status.UNPARSABLE, redacted(str(text)))
        if pd.isna(score)
        else Verdict(
            Status.OK, scores={label: Score(int(score), values=scale)}, justification=str(text)
        )
        for score, text in zip(table[f"{name}/score"], table[f"{name}/justification"], strict=True)
    ]


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
