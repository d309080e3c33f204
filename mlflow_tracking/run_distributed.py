"""How good are these answers, when they do not fit one machine? The same judge, on Ray Data.

    python mlflow_tracking/run_distributed.py --data 'answers/*.parquet' --output verdicts/
    python mlflow_tracking/run_distributed.py --data s3://bucket/answers --output s3://bucket/out \\
        --ray-address auto --workers 16 --concurrency 512 --base-url http://10.0.0.5:8000/v1,http://10.0.0.6:8000/v1
    python mlflow_tracking/run_distributed.py --check --data answers/ --output verdicts/

Needs `pip install -r mlflow_tracking/requirements-distributed.txt`. Reads CSV, JSON Lines and
Parquet, writes a Parquet file for each block of rows. The same command again goes on: what is
written is not judged again, rows without a verdict are.

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is kept and recorded, the
last line says how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import hashlib
import os
import re
import shlex
import tempfile
import time
from dataclasses import dataclass, replace
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from llm_client.settings import SettingsError, load_settings
from mlflow_tracking import mlflow_run
from mlflow_tracking.block_judge import BlockJob
from mlflow_tracking.block_results import OutputError, ResultFolder
from mlflow_tracking.console import Progress, print_summary, say, warn
from mlflow_tracking.custom_metrics import METRIC_NAME, METRIC_VERSION
from mlflow_tracking.distributed_flags import parse_arguments
from mlflow_tracking.experiment_plan import Plan, check_judge, wanted_judge
from mlflow_tracking.preflight import Findings, PreflightError
from mlflow_tracking.row_files import check_encoding, find_files
from mlflow_tracking.rows import DataError, DataSet
from mlflow_tracking.run_control import INTERRUPTED, record_in_peace, stop_on_sigterm
from mlflow_tracking.streamed_sample import RowSample
from mlflow_tracking.streamed_totals import StreamedTotals
from mlflow_tracking.verdict_format import PromptError

try:
    from mlflow_tracking.distributed_judging import (
        CheckedFiles,
        JudgingStopped,
        check_files,
        judge_files,
    )
    from mlflow_tracking.distributed_record import Outcome, log_outcome, log_start
    from mlflow_tracking.ray_runtime import RayUnavailable, running_ray
except ModuleNotFoundError as missing:
    warn(
        f"run_distributed: no module {missing.name}; "
        "pip install -r mlflow_tracking/requirements-distributed.txt"
    )
    raise SystemExit(2) from None

_MISTAKES = (
    SettingsError,
    PromptError,
    DataError,
    PreflightError,
    OutputError,
    RayUnavailable,
    mlflow_run.TrackingError,
)


@dataclass(frozen=True)
class Work:
    """What is judged, by whom, and where the verdicts go; checked before anything is made."""

    plan: Plan
    checked: CheckedFiles
    encoding: str
    results: ResultFolder

    @property
    def rows(self) -> int:
        """Rows that are wanted."""
        return min(self.checked.total, self.plan.arguments.limit or self.checked.total)

    def header(self) -> dict[str, Any]:
        """What must be the same for the verdicts in the folder to count."""
        return self.plan.journal_header() | {"rows_per_block": self.plan.arguments.rows_per_block}

    def params(self) -> dict[str, Any]:
        """As run_experiment.py's, and what only this command has."""
        arguments = self.plan.arguments
        ours = {"workers": arguments.workers, "rows_per_block": arguments.rows_per_block}
        return self.plan.params() | ours | {"data_files": len(self.checked.rows)}

    def job(self) -> BlockJob:
        """What the workers are told."""
        plan, workers = self.plan, self.plan.arguments.workers
        return BlockJob(
            plan.judge_at,
            plan.api_key,
            plan.findings.settings,
            plan.policy,
            max(1, plan.arguments.concurrency // workers) if plan.arguments.concurrency else None,
            self.results,
            plan.arguments.journal_dir or _journal_folder(self.results),
        )


def _journal_folder(results: ResultFolder) -> Path:
    if results.is_local:
        return Path(results.path) / "_journals"
    place = hashlib.sha256(results.location.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "llm-judge-journals" / place


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    try:
        settings = load_settings()
        arguments = parse_arguments(__doc__, settings)
        wanted_judge(arguments)  # a mistake in the prompt need not wait for Ray
        files, encoding = find_files(arguments.data), check_encoding(arguments.encoding)
        with running_ray(arguments.ray_address, arguments.workers, arguments.object_store_mb):
            stop_on_sigterm()
            checked = check_files(files, encoding, arguments.rows_per_block)
            data = DataSet(Path(arguments.data), checked.sha256, "", ())
            plan = check_judge(arguments, settings, data, [checked.longest])
            plan = replace(plan, findings=_with_place(plan.findings, checked.longest_at))
            return _run(Work(plan, checked, encoding, ResultFolder(arguments.output)))
    except _MISTAKES as mistake:
        warn(f"run_distributed: {mistake}")
        return 2
    except KeyboardInterrupt:
        warn("run_distributed: interrupted before any row was judged")
        return 1


def _with_place(findings: Findings, place: str) -> Findings:
    """The preflight was shown the longest row alone and calls it row 1."""

    def placed(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(re.sub(r"\brow 1(?=\)| has )", lambda _: place, line) for line in lines)

    return replace(findings, lines=placed(findings.lines), warnings=placed(findings.warnings))


def _run(work: Work) -> int:
    plan = work.plan
    for line in plan.findings.warnings:
        warn(f"note: {line}")
    if plan.arguments.check:
        say("\n".join(plan.findings.lines))
        say(f"rows         {work.checked.total} in {len(work.checked.rows)} files")
        return 0
    with work.results.locked():
        known = work.results.open(work.header())
        experiment_id = mlflow_run.open_experiment(plan.tracking)
        run_id = mlflow_run.start_run(
            plan.tracking, plan.arguments.run_name, _run_to_go_on_with(plan, known, experiment_id)
        )
        work.results.remember(work.header(), run_id)
        try:
            return _judge_and_record(work, run_id, experiment_id)
        except KeyboardInterrupt:
            record_in_peace()
            stopped = "interrupted while the run was recorded"
        except mlflow_run.TrackingError as fault:
            stopped = str(fault)
        mlflow_run.give_up_run(plan.tracking)
        warn(f"run_distributed: stopped: {stopped}")
        warn(f"go on with it: {_same_command()}")
        return 1


def _run_to_go_on_with(plan: Plan, known: str, experiment_id: str) -> str | None:
    """The folder's run if MLflow still has it; a new one otherwise, for the verdicts are there."""
    try:
        if known:
            mlflow_run.check_run(plan.tracking, known, experiment_id)
    except mlflow_run.TrackingError as gone:
        warn(f"note: {gone}; a new run is recorded")
        return None
    return known or None


def _judge_and_record(work: Work, run_id: str, experiment_id: str) -> int:
    plan = work.plan
    with mlflow_run.mlflow_errors(plan.tracking):
        log_start(plan, plan.arguments.data, work.params(), work.results.path)
    stopped, judged_s, judged = _judge(work)
    record_in_peace()
    outcome = _sum_up(work, judged, judged_s)
    with mlflow_run.mlflow_errors(plan.tracking):
        log_outcome(run_id, plan, outcome, warn)
        mlflow_run.end_run(complete=not stopped)
    return _report(work, run_id, experiment_id, outcome, stopped)


def _judge(work: Work) -> tuple[str, float, int]:
    """Judge all blocks; returns why it stopped early ('' if it did not), seconds, rows judged."""
    arguments, done = work.plan.arguments, 0
    finished = set()
    for name, rows, failed in work.results.rows_by_name():
        if not failed:
            finished.add(name)
            done += rows
    progress = Progress(work.rows)
    progress.count(done, 0)
    started, judged, stopped = time.monotonic(), 0, ""
    try:
        if done < work.rows:
            wanted = work.checked.first(arguments.limit)
            blocks = judge_files(
                wanted,
                work.encoding,
                arguments.rows_per_block,
                frozenset(finished),
                work.job(),
                arguments.workers,
                progress.count,
            )
            for rows in blocks:
                judged += rows
    except KeyboardInterrupt:
        stopped = INTERRUPTED
    except JudgingStopped as fault:
        stopped = str(fault)
    progress.close()
    return stopped, time.monotonic() - started, judged


def _sum_up(work: Work, judged: int, judged_s: float) -> Outcome:
    """Read back what is written, block by block."""
    prompt = work.plan.findings.settings.prompt
    totals, sample = StreamedTotals(prompt), RowSample(work.plan.arguments.sample)
    for name in work.results.names():
        block = work.results.read(name)
        totals.add(block)
        sample.add(block)
    metrics = totals.metrics(work.rows, judged, judged_s)
    return Outcome(metrics, totals.scores[prompt.format.overall], sample.rows())


def _report(work: Work, run_id: str, experiment_id: str, outcome: Outcome, stopped: str) -> int:
    print_summary(outcome.metrics, f"{METRIC_NAME}/{METRIC_VERSION}/mean")
    say(f"verdicts     {work.results.path}/*.parquet")
    say(f"run          {run_id}")
    say("look at it   mlflow ui   (from the repo's root), then")
    say(f"             http://127.0.0.1:5000/#/experiments/{experiment_id}/runs/{run_id}")
    missing = int(outcome.metrics["llm_judge/rows_failed"])
    if stopped:
        warn(f"run_distributed: stopped: {stopped}")
    if missing or stopped:
        what = f"the {missing} rows that have no verdict" if missing else "it"
        warn(f"go on with {what}: {_same_command()}")
    enough = (work.rows - missing) / work.rows >= work.plan.arguments.min_scored
    return 0 if enough and not stopped else 1


def _same_command() -> str:
    return shlex.join(["python", *sys.argv])


if __name__ == "__main__":
    raise SystemExit(main())
