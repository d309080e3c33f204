"""How is a plan judged and recorded? From the first row to the exit code, in one MLflow run.

Done by `python mlflow_tracking/run_experiment.py` with a server's replies and by
`python mlflow_tracking/batch_requests.py import` with those that a batch job wrote.
"""

import time
from dataclasses import dataclass

from llm_client.judge_client import ServerGone
from mlflow_tracking import mlflow_run
from mlflow_tracking.calibrated_scores import add_calibrated, calibrate, calibration_metrics
from mlflow_tracking.console import Progress, print_summary, print_table, say, warn
from mlflow_tracking.custom_metrics import (
    METRIC_NAME,
    METRIC_VERSION,
    JudgeConnection,
    evaluate_with_llm_judge,
)
from mlflow_tracking.experiment_plan import Plan, questions
from mlflow_tracking.journal import Journal, JournalError
from mlflow_tracking.judge import Judge
from mlflow_tracking.results_table import results_table
from mlflow_tracking.run_control import (
    INTERRUPTED,
    check_folder,
    journal_to_resume,
    record_in_peace,
    resume_command,
    stop_on_sigterm,
)
from mlflow_tracking.run_views import log_views
from mlflow_tracking.totals import run_metrics, score_metrics
from mlflow_tracking.verdict import Verdict


@dataclass(frozen=True)
class ExperimentRun:
    """A plan with the MLflow run that is made for it, or that it goes on with."""

    command: str  # what its messages begin with
    plan: Plan
    resumed: Journal | None
    run_id: str
    experiment_id: str


def begin_run(plan: Plan, command: str) -> ExperimentRun:
    """Make the run, or find the one to resume; raises JournalError or TrackingError."""
    arguments = plan.arguments
    check_folder(arguments.journal_dir)
    experiment_id = mlflow_run.open_experiment(plan.tracking)
    journal = None
    if arguments.resume:
        header, tracking = plan.journal_header(), plan.tracking
        folder, wanted = arguments.journal_dir, arguments.resume
        journal = journal_to_resume(folder, wanted, header, tracking, experiment_id)
    stop_on_sigterm()
    known_id = journal.path.stem if journal else None
    run_id = mlflow_run.start_run(plan.tracking, arguments.run_name, known_id)
    return ExperimentRun(command, plan, journal, run_id, experiment_id)


def judge_and_record(run: ExperimentRun) -> int:
    """Judge all rows, record what came of them, print it; returns the exit code."""
    try:
        return _judge_and_record(run)
    except KeyboardInterrupt:
        record_in_peace()
        stopped = "interrupted while the run was recorded"
    except (JournalError, mlflow_run.TrackingError) as fault:
        stopped = str(fault)
    mlflow_run.give_up_run(run.plan.tracking)
    warn(f"{run.command}: stopped: {stopped}")
    if not run.plan.arguments.stock:
        warn(f"go on with it: {resume_command(run.run_id)}")
    return 1


def _judge_and_record(run: ExperimentRun) -> int:
    plan, run_id = run.plan, run.run_id
    journal = run.resumed or Journal(
        plan.arguments.journal_dir / f"{run_id}.jsonl", plan.journal_header()
    )
    if plan.arguments.stock:
        journal.path.unlink()  # nothing is kept in it, and `--resume last` must not find it
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
    calibrated = calibrate(verdicts, plan.calibration) if plan.calibration else []
    metrics |= calibration_metrics(calibrated)
    with mlflow_run.mlflow_errors(plan.tracking):
        if not (stopped or plan.arguments.stock):
            mlflow_run.log_evaluation(dataset, judge)
        table = results_table(plan.data, verdicts)
        if plan.calibration:
            add_calibrated(table, calibrated)
        mlflow_run.log_results(table, metrics, None if plan.arguments.stock else journal.path)
        if stopped != INTERRUPTED:  # that is to stop at once; a resumed run makes the views
            log_views(run_id, plan.data, verdicts, metrics, judge, plan.arguments.traces, warn)
        mlflow_run.end_run(complete=not stopped)
    journal.close()
    return _report(run, verdicts, metrics, stopped)


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
        record_in_peace()
        stopped = INTERRUPTED
    except (ServerGone, JournalError) as fault:
        stopped = str(fault)
    progress.close()
    return stopped, time.monotonic() - started, len(judge.journal.fresh) - before


def _report(
    run: ExperimentRun,
    verdicts: list[Verdict | None],
    metrics: dict[str, float],
    stopped: str,
) -> int:
    plan, run_id = run.plan, run.run_id
    print_table(plan.data, verdicts)
    print_summary(metrics, f"{METRIC_NAME}/{METRIC_VERSION}/mean")
    say(f"run          {run_id}")
    say("look at it   mlflow ui   (from the repo's root), then")
    say(f"             http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run_id}")
    missing = int(metrics["llm_judge/rows_failed"])
    total = len(verdicts)
    if stopped:
        warn(f"{run.command}: stopped: {stopped}")
    if (missing or stopped) and not plan.arguments.stock:
        what = f"the {missing} rows that have no verdict" if missing else "it"
        warn(f"go on with {what}: {resume_command(run_id)}")
    # As a quotient: 0.55 * 100 is more than 55.
    return 1 if stopped or (total - missing) / total < plan.arguments.min_scored else 0
