"""How good are these answers? Has the judge score a CSV's answers and records the run in MLflow.

    python mlflow_tracking/run_experiment.py
    python mlflow_tracking/run_experiment.py --data my.csv --prompt mlflow_tracking/prompts/judge_prompt_en.txt
    python mlflow_tracking/run_experiment.py --check

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is recorded, the last line
says how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse  # noqa: E402  (the repo's root must be on the path first)
import asyncio  # noqa: E402
import os  # noqa: E402
import shlex  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from typing import Any  # noqa: E402

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
import mlflow  # noqa: E402

from llm_client.judge_client import RetryPolicy, ServerGone  # noqa: E402
from llm_client.settings import (  # noqa: E402
    Settings,
    SettingsError,
    check_base_url,
    load_settings,
)
from mlflow_tracking import mlflow_run  # noqa: E402
from mlflow_tracking.console import Progress, print_summary, print_table, say, warn  # noqa: E402
from mlflow_tracking.custom_metrics import (  # noqa: E402
    METRIC_NAME,
    METRIC_VERSION,
    JudgeConnection,
    evaluate_with_llm_judge,
)
from mlflow_tracking.experiment_flags import parse_arguments  # noqa: E402
from mlflow_tracking.journal import Journal, JournalError  # noqa: E402
from mlflow_tracking.judge import Judge, JudgeSettings, Question  # noqa: E402
from mlflow_tracking.judge_prompt import PromptError, load_prompt  # noqa: E402
from mlflow_tracking.preflight import Findings, PreflightError, preflight  # noqa: E402
from mlflow_tracking.rows import DataError, DataSet, load_rows  # noqa: E402
from mlflow_tracking.totals import run_metrics, score_metrics  # noqa: E402
from mlflow_tracking.verdict import Verdict  # noqa: E402

_MISTAKES = (
    SettingsError,
    PromptError,
    DataError,
    PreflightError,
    JournalError,
    mlflow_run.TrackingError,
)


@dataclass(frozen=True)
class Plan:
    """What is judged, by whom, and where it is recorded; checked before anything is made."""

    arguments: argparse.Namespace
    data: DataSet
    findings: Findings
    judge_at: str  # the server's root, ends in /v1
    api_key: str
    policy: RetryPolicy
    tracking: mlflow_run.Tracking

    def connection(self, journal: Journal) -> JudgeConnection:
        """The judge, with a journal for its verdicts."""
        return JudgeConnection(
            self.judge_at,
            self.api_key,
            self.findings.settings,
            journal,
            self.arguments.concurrency,
            self.policy,
        )

    def params(self) -> dict[str, Any]:
        """Every setting that could change a number."""
        judge, arguments = self.findings.settings, self.arguments
        return {
            "judge_model": judge.model,
            "judge_root": judge.model_root,
            "base_url": self.judge_at,
            "vllm_version": self.findings.server_version or "unknown",
            "prompt_file": judge.prompt.path.name,
            "prompt_sha256": judge.prompt.sha256,
            "data_file": self.data.path.name,
            "data_sha256": self.data.sha256,
            "limit": arguments.limit or "none",
            "temperature": judge.temperature,
            "max_tokens": judge.max_tokens,
            "seed": judge.seed,
            "constrained": judge.constrained,
            "context_length": judge.context_length or "unknown",
            "on_too_long": judge.on_too_long,
            "check_manipulation": judge.check_manipulation,
            "concurrency": arguments.concurrency,
            "retries": arguments.retries,
            "scorer": "mlflow stock" if arguments.stock else "evaluate_with_llm_judge",
            "mlflow_version": mlflow.__version__,
        }

    def journal_header(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        names = ("data_sha256", "limit", "prompt_sha256", "judge_model", "judge_root")
        sampling = ("temperature", "max_tokens", "seed", "constrained", "on_too_long")
        params = self.params()
        return {
            **{name: params[name] for name in (*names, *sampling)},
            "judge": self.findings.settings.fingerprint(),
        }


def make_plan(arguments: argparse.Namespace, settings: Settings) -> Plan:
    """Read and check everything that can be; raises one of `_MISTAKES`."""
    base_url = check_base_url(arguments.base_url)
    prompt = load_prompt(arguments.prompt)
    data = load_rows(arguments.data, arguments.encoding, arguments.limit)
    policy = RetryPolicy(arguments.retries + 1, arguments.timeout, arguments.wait_for_server)
    wanted = JudgeSettings(
        model=arguments.model,
        prompt=prompt,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        seed=arguments.seed,
        on_too_long=arguments.on_too_long,
        check_manipulation=not arguments.no_manipulation_check,
    )
    findings = asyncio.run(preflight(base_url, settings.api_key, wanted, questions(data)))
    tracking = mlflow_run.Tracking(settings.tracking_uri, arguments.experiment_name)
    return Plan(arguments, data, findings, base_url, settings.api_key, policy, tracking)


def questions(data: DataSet) -> list[Question]:
    """The rows as the judge is asked about them."""
    return [Question(row.question, row.answer, row.reference) for row in data.rows]


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    try:
        settings = load_settings()
        arguments = parse_arguments(__doc__, settings)
        plan = make_plan(arguments, settings)
        for line in plan.findings.warnings:
            warn(f"note: {line}")
        if arguments.check:
            say("\n".join(plan.findings.lines))
            return 0
        experiment_id = mlflow_run.open_experiment(plan.tracking)
        run_id = _run_to_resume(plan) if arguments.resume else ""
        check_folder(arguments.journal_dir)
    except _MISTAKES as mistake:
        warn(f"run_experiment: {mistake}")
        return 2
    except KeyboardInterrupt:
        return 1
    # A polite kill stops as Ctrl-C does: what is judged is recorded.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with mlflow_run.quiet_deprecations():
        if run_id:
            run = mlflow.start_run(run_id=run_id)
        else:
            run = mlflow.start_run(run_name=arguments.run_name, tags=mlflow_run.RUN_TAGS)
    try:
        return _judge_and_record(plan, run.info.run_id, experiment_id)
    except (JournalError, mlflow_run.TrackingError) as fault:
        mlflow_run.end_run(complete=False)
        warn(f"run_experiment: {fault}")
        return 2 if isinstance(fault, JournalError) else 1


def _run_to_resume(plan: Plan) -> str:
    """The id of the run to go on with; raises JournalError or TrackingError."""
    folder, wanted = plan.arguments.journal_dir, str(plan.arguments.resume)
    if wanted == "last":
        journals = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        if not journals:
            raise JournalError(f"{folder}: no journal of a run there; start one without --resume")
        wanted = journals[-1].stem
    if not (folder / f"{wanted}.jsonl").is_file():
        raise JournalError(f"{folder}: no journal of run {wanted}; --resume takes an id or 'last'")
    mlflow_run.check_run(plan.tracking, wanted)
    # Opened and closed: a changed judge is told before the run is touched.
    Journal(folder / f"{wanted}.jsonl", plan.journal_header()).close()
    return wanted


def check_folder(folder: Path) -> None:
    """Raises JournalError unless files can be made in `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise JournalError(f"--journal-dir {folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK):
        raise JournalError(f"--journal-dir {folder}: cannot be written; name another")


def _judge_and_record(plan: Plan, run_id: str, experiment_id: str) -> int:
    journal = Journal(plan.arguments.journal_dir / f"{run_id}.jsonl", plan.journal_header())
    judge = plan.connection(journal)
    with mlflow_run.mlflow_errors(plan.tracking):
        dataset = mlflow_run.log_start(plan.data, plan.params(), judge)
    stopped, judged_s, judged = "", 0.0, len(plan.data.rows)
    if plan.arguments.stock:
        started = time.monotonic()
        with mlflow_run.mlflow_errors(plan.tracking):
            verdicts = mlflow_run.evaluate_stock(dataset, judge, plan.api_key)
        judged_s = time.monotonic() - started
    else:
        stopped, judged_s, judged = _judge(plan, judge)
        key = Judge(judge.client(), judge.settings).key
        verdicts = [journal.verdicts.get(key(item)) for item in questions(plan.data)]
    metrics = run_metrics(verdicts, judged_s, judged)
    metrics |= score_metrics(verdicts, judge.settings.prompt)
    with mlflow_run.mlflow_errors(plan.tracking):
        if not (stopped or plan.arguments.stock):
            mlflow_run.log_evaluation(dataset, judge)
        table = mlflow_run.results_table(plan.data, verdicts)
        mlflow_run.log_results(table, metrics, None if plan.arguments.stock else journal.path)
        mlflow_run.end_run(complete=not stopped)
    journal.close()
    return _report(plan, run_id, experiment_id, verdicts, metrics, stopped)


def _judge(plan: Plan, judge: JudgeConnection) -> tuple[str, float, int]:
    """Judge all rows; returns why it stopped early ('' if it did not), seconds, and rows judged."""
    rows = plan.data.rows
    progress = Progress(len(rows))
    before, started, stopped = len(judge.journal.fresh), time.monotonic(), ""
    try:
        evaluate_with_llm_judge(
            [row.answer for row in rows],
            [row.question for row in rows],
            [row.reference for row in rows],
            judge=judge,
            on_verdict=progress,
        )
    except KeyboardInterrupt:
        stopped = "interrupted"
    except (ServerGone, JournalError) as fault:
        stopped = str(fault)
    progress.close()
    return stopped, time.monotonic() - started, len(judge.journal.fresh) - before


def _report(
    plan: Plan,
    run_id: str,
    experiment_id: str,
    verdicts: list[Verdict | None],
    metrics: dict[str, float],
    stopped: str,
) -> int:
    print_table(plan.data, verdicts)
    print_summary(metrics, f"{METRIC_NAME}/{METRIC_VERSION}/mean")
    say(f"run          {run_id}")
    say("look at it   mlflow ui   (from the repo's root), then")
    say(f"             http://127.0.0.1:5000/#/experiments/{experiment_id}/runs/{run_id}")
    missing = int(metrics["llm_judge/rows_failed"])
    total = len(verdicts)
    if stopped:
        warn(f"run_experiment: stopped: {stopped}")
    if missing and not plan.arguments.stock:
        warn(f"go on with the {missing} rows that have no verdict: {_resume_command(run_id)}")
    return 1 if stopped or total - missing < plan.arguments.min_scored * total else 0


def _resume_command(run_id: str) -> str:
    """This very command, with --resume."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and not word.startswith("--resume"):
            words.append(word)
        skip = word == "--resume"
    return shlex.join(["python", sys.argv[0], *words, "--resume", run_id])


if __name__ == "__main__":
    raise SystemExit(main())
