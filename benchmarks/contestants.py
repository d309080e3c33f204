"""Who judges the same rows in benchmarks/judge_speed.py? One function for each contestant.

    python benchmarks/judge_speed.py --only ours stock

Ours is the path of run_experiment.py, journal included; stock is its `--stock`; peers.py has the
others, each in a process of its own; ceiling.py has who does nothing but send.
"""

import inspect
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.metrics.genai import make_genai_metric

from benchmarks.ceiling import BenchmarkFailed, load_loop, request_bodies, vllm_client
from benchmarks.speed_pass import Outcome, failures_of
from llm_client.judge_client import JudgeClient
from llm_client.reply import Reply
from mlflow_tracking.command.experiment import Plan
from mlflow_tracking.custom_metrics import evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording import run as mlflow_run
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataSet, Item, Row

# Tokens, label included, or as many as the form's 400 characters take: 123 on average here.
LONG_REPLY = 135
PEERS = ("deepeval", "vllm-judge", "autoevals")
_PEERS_SCRIPT = Path(__file__).resolve().parent / "peers.py"


class NotInstalled(Exception):
    """A peer that the given Python does not have."""


class _LongReplies(JudgeClient):
    """Asks for LONG_REPLY tokens at least, of replies that may be longer than one."""

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        least = {"min_tokens": LONG_REPLY} if body["max_tokens"] > 1 else {}
        return await super().chat({**body, **least})


class _LongConnection(JudgeConnection):
    """Where the judge is that writes long replies."""

    def client(self) -> JudgeClient:
        return _LongReplies(self.base_url, self.api_key, self.policy, self.concurrency)


@dataclass(frozen=True)
class Bench:
    """The server, the judge and what the contestants are run with."""

    plan: Plan
    folder: Path  # for journals and MLflow's database, thrown away afterwards
    peers_python: str
    ceiling_at_once: int
    long_replies: bool = False  # of ours

    def connection(self, journal_name: str, score_only: bool) -> JudgeConnection:
        """Our judge as run_experiment.py sets it up, with a journal of its own."""
        made = self.plan.connection(Journal(self.folder / f"{journal_name}.jsonl", {}))
        if self.long_replies:
            made = _LongConnection(**vars(made))
        return replace(made, settings=replace(made.settings, score_only=score_only))


# (bench, the rows of this pass, a name that no other pass has)
Contestant = Callable[[Bench, Sequence[Item], str], Outcome]


def ours(bench: Bench, rows: Sequence[Item], name: str, score_only: bool = False) -> Outcome:
    """`evaluate_with_llm_judge`; raises ServerGone."""
    judge = bench.connection(name, score_only)
    started = time.monotonic()
    verdicts = evaluate_with_llm_judge(
        [row.item.answer for row in rows],
        [row.item.question for row in rows],
        [row.item.reference for row in rows],
        judge=judge,
    )
    seconds = time.monotonic() - started
    judge.journal.close()
    return _outcome(verdicts, seconds)


def ours_score_only(bench: Bench, rows: Sequence[Item], name: str) -> Outcome:
    """`evaluate_with_llm_judge` as `--score-only` calls it."""
    return ours(bench, rows, name, score_only=True)


def stock_by_itself(bench: Bench, rows: Sequence[Item], name: str) -> Outcome:
    """MLflow's own scorer with the number of workers that it takes when nobody names one."""
    workers = inspect.signature(make_genai_metric).parameters["max_workers"].default
    return stock(bench, rows, name, workers)


def stock(bench: Bench, rows: Sequence[Item], name: str, workers: int | None = None) -> Outcome:
    """MLflow's own scorer through `mlflow.evaluate`, as `run_experiment.py --stock` has it."""
    tracking = mlflow_run.Tracking(f"sqlite:///{bench.folder / 'mlflow.db'}", "judge_speed")
    mlflow_run.open_experiment(tracking)
    judge = bench.connection(name, score_only=False)
    judge = replace(judge, concurrency=workers or judge.concurrency)
    # By itself it gives up after a minute, and 32 calls at once take longer without a GPU.
    os.environ["MLFLOW_GENAI_EVAL_LLM_TIMEOUT"] = str(int(judge.policy.timeout_s))
    # Its progress bars would stand between ours; what it could not score is counted.
    with mlflow_run.mlflow_errors(tracking), redirect_stderr(io.StringIO()):
        mlflow_run.start_run(tracking, name, None)
        try:
            dataset = mlflow_run.log_start(_data_set(rows), {}, judge)
            started = time.monotonic()
            verdicts = mlflow_run.evaluate_stock(dataset, judge, judge.api_key)
            seconds = time.monotonic() - started
        finally:
            judge.journal.close()
            mlflow.end_run()
    return _outcome(verdicts, seconds)


def ceiling(bench: Bench, rows: Sequence[Item], name: str, score_only: bool = False) -> Outcome:
    """A bare loop that sends what `ours` sends."""
    judge = bench.connection(name, score_only)
    judge.journal.close()
    return load_loop(request_bodies(rows, judge), judge, bench.ceiling_at_once)


def ceiling_score_only(bench: Bench, rows: Sequence[Item], name: str) -> Outcome:
    """A bare loop that sends what `ours_score_only` sends."""
    return ceiling(bench, rows, name, score_only=True)


def client(bench: Bench, rows: Sequence[Item], name: str, score_only: bool = False) -> Outcome:
    """vLLM's benchmark client, sending what `ours` sends."""
    judge = bench.connection(name, score_only)
    judge.journal.close()
    return vllm_client(request_bodies(rows, judge), judge, bench.ceiling_at_once)


def client_score_only(bench: Bench, rows: Sequence[Item], name: str) -> Outcome:
    """vLLM's benchmark client, sending what `ours_score_only` sends."""
    return client(bench, rows, name, score_only=True)


def peer(package: str) -> Contestant:
    """One of PEERS, in the Python that has it; raises NotInstalled."""

    def judge(bench: Bench, rows: Sequence[Item], name: str) -> Outcome:
        done = subprocess.run(
            [bench.peers_python, str(_PEERS_SCRIPT), package],
            input=json.dumps(_job(bench, rows)),
            capture_output=True,
            text=True,
            cwd=bench.folder,  # some leave folders behind
        )
        if done.returncode:
            raise BenchmarkFailed(" ".join(done.stderr.strip().split("\n")[-1:]))
        told = json.loads(done.stdout)
        if told.get("missing"):
            raise NotInstalled(f"{package}: not installed in {bench.peers_python}")
        return Outcome(
            asked=len(told["rows"]),
            scored=sum(row["score"] is not None for row in told["rows"]),
            seconds=told["seconds"],
            latencies=tuple(row["seconds"] for row in told["rows"]),
            failures=failures_of([row["error"] for row in told["rows"] if row["error"]]),
            warm_ups=1,
        )

    return judge


CONTESTANTS: dict[str, Contestant] = {
    "ours": ours,
    "ours-score-only": ours_score_only,
    "stock": stock,
    "stock-10": stock_by_itself,
    **{name: peer(name) for name in PEERS},
    "ceiling": ceiling,
    "ceiling-score-only": ceiling_score_only,
    "vllm-client": client,
    "vllm-client-score-only": client_score_only,
}


def _job(bench: Bench, rows: Sequence[Item]) -> dict[str, Any]:
    settings = bench.plan.findings.settings
    told = [
        {"question": row.item.question, "answer": row.item.answer, "reference": row.item.reference}
        for row in rows
    ]
    return {
        "base_url": bench.plan.judge_at,
        "api_key": bench.plan.api_key,
        "model": settings.model,
        "max_tokens": settings.max_tokens,
        "seed": settings.seed,
        "timeout_s": bench.plan.policy.timeout_s,
        "concurrency": bench.plan.arguments.concurrency,
        "warm_up": {**told[0], "question": f"(warm) {rows[0].question}"},
        "rows": told,
    }


def _data_set(rows: Sequence[Item]) -> DataSet:
    columns = [
        {QUESTION: row.item.question, ANSWER: row.item.answer, REFERENCE: row.item.reference}
        for row in rows
    ]
    made = (
        Row(number, number, row.item.question, row.item.answer, row.item.reference, column)
        for number, (row, column) in enumerate(zip(rows, columns, strict=True), 1)
    )
    return DataSet(Path("judge_speed.csv"), "0" * 64, ",", tuple(made))


def _outcome(verdicts: Sequence[Verdict | None], seconds: float) -> Outcome:
    scored = [v for v in verdicts if v and v.overall]
    failed = [
        f"{v.status}: {v.reason}" if v else "not judged" for v in verdicts if not (v and v.overall)
    ]
    times = tuple(v.latency_s for v in verdicts if v and v.latency_s)
    return Outcome(len(verdicts), len(scored), seconds, times, failures_of(failed))
