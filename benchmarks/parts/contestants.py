"""Who judges the same rows in benchmarks/judge_speed.py? One function for each contestant.

    python benchmarks/judge_speed.py --only ours stock

Ours is the path of run_experiment.py, journal included; stock is its `--stock`; ceiling.py does
nothing but send.
"""

import inspect
import io
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
from mlflow.metrics.genai import make_genai_metric

from benchmarks.parts.ceiling import send_all
from benchmarks.parts.passes import Tally, count_reasons
from llm_client.caller import Caller
from llm_client.reply import Reply
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.custom_metrics import evaluate_stock, evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording import run as mlflow_run
from mlflow_tracking.recording.results import log_dataset
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataSet, Item, row_of

# Tokens, label included, or as many as the form's 400 characters take: 123 on average here.
LONG_REPLY = 135
SCORE_ONLY = "-score-only"


class _LongReplies:
    """A caller that asks for LONG_REPLY tokens at least, of replies that may be longer than one."""

    def __init__(self, caller: Caller) -> None:
        self._caller, self.limit = caller, caller.limit
        self.count_tokens = caller.count_tokens

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        scored = body["max_tokens"] > 1 and "logprobs" in body  # a claim stays as short as it is
        least = {"min_tokens": LONG_REPLY} if scored else {}
        return await self._caller.chat({**body, **least})


class _LongConnection(JudgeConnection):
    """Where the judge is that writes long replies."""

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        async with super().caller() as caller:
            yield _LongReplies(caller)


@dataclass(frozen=True)
class Bench:
    """The server, the judge and what the contestants are run with."""

    experiment: Experiment
    folder: Path  # for journals and MLflow's database, thrown away afterwards
    ceiling_at_once: int
    long_replies: bool = False  # of ours

    def settings(self, score_only: bool, ask_claim: bool = False) -> JudgeSettings:
        """Our judge's."""
        judge = self.experiment.judge.settings
        return replace(judge, score_only=score_only, ask_claim=ask_claim)

    def connection(self, name: str, score_only: bool, ask_claim: bool = False) -> JudgeConnection:
        """Our judge as run_experiment.py sets it up, with a journal of its own."""
        made = self.experiment.connection(Journal(self.folder / f"{name}.jsonl", {}))
        made = replace(made, settings=self.settings(score_only, ask_claim))
        return _LongConnection(**vars(made)) if self.long_replies else made


# (bench, the rows of this pass, a name that no other pass has); each may raise ServerGone
Contestant = Callable[[Bench, Sequence[Item], str], Tally]


def ours(
    bench: Bench,
    items: Sequence[Item],
    name: str,
    score_only: bool = False,
    ask_claim: bool = True,
) -> Tally:
    """`evaluate_with_llm_judge`, as `--score-only` and `--no-claim` call it or by default."""
    judge = bench.connection(name, score_only, ask_claim)
    started = time.monotonic()
    verdicts = evaluate_with_llm_judge(
        [item.answer for item in items],
        [item.question for item in items],
        [item.reference for item in items],
        judge=judge,
    )
    seconds = time.monotonic() - started
    judge.journal.close()
    return _tally(verdicts, seconds)


def stock(bench: Bench, items: Sequence[Item], name: str, workers: int | None = None) -> Tally:
    """MLflow's own scorer through `mlflow.evaluate`, as `run_experiment.py --stock` has it."""
    tracking = mlflow_run.Tracking(f"sqlite:///{bench.folder / 'mlflow.db'}", "judge_speed")
    mlflow_run.open_experiment(tracking)
    judge = bench.connection(name, score_only=False)
    judge.journal.close()  # it keeps none
    judge = replace(judge, concurrency=workers or judge.concurrency)
    # By itself it gives up after a minute, and 32 calls at once take longer without a GPU.
    os.environ["MLFLOW_GENAI_EVAL_LLM_TIMEOUT"] = str(int(judge.policy.timeout_s))
    # Its progress bars would stand between ours; what it could not score is counted.
    with mlflow_run.mlflow_errors(tracking), redirect_stderr(io.StringIO()):
        mlflow_run.start_run(tracking, name, None)
        try:
            dataset = log_dataset(_data_set(items))
            started = time.monotonic()
            verdicts = evaluate_stock(dataset, judge)
            seconds = time.monotonic() - started
        finally:
            mlflow.end_run()
    return _tally(verdicts, seconds)


def ceiling(bench: Bench, items: Sequence[Item], name: str, score_only: bool = False) -> Tally:
    """A bare loop that sends what `ours` sends with `--no-claim`: no request follows a reply."""
    judge = bench.connection(name, score_only)
    judge.journal.close()
    return send_all(items, judge, bench.ceiling_at_once)


# What MLflow takes when nobody names a number of workers.
_OWN_WORKERS = inspect.signature(make_genai_metric).parameters["max_workers"].default

CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours-no-claim": partial(ours, ask_claim=False),
    f"ours{SCORE_ONLY}": partial(ours, score_only=True),
    f"ours-no-claim{SCORE_ONLY}": partial(ours, score_only=True, ask_claim=False),
    "stock": stock,
    "stock-10": partial(stock, workers=_OWN_WORKERS),
    "ceiling": ceiling,
    f"ceiling{SCORE_ONLY}": partial(ceiling, score_only=True),
}


def _data_set(items: Sequence[Item]) -> DataSet:
    rows = (
        row_of(n, n, {QUESTION: item.question, ANSWER: item.answer, REFERENCE: item.reference})
        for n, item in enumerate(items, 1)
    )
    return DataSet(Path("judge_speed.csv"), "0" * 64, ",", tuple(rows))


def _tally(verdicts: Sequence[Verdict | None], seconds: float) -> Tally:
    failed = [
        f"{v.status}: {v.reason}" if v else "not judged" for v in verdicts if not (v and v.overall)
    ]
    times = tuple(v.latency_s for v in verdicts if v and v.latency_s)
    scored = len(verdicts) - len(failed)
    return Tally(len(verdicts), scored, seconds, times, count_reasons(failed))
