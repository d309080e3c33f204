"""How far can this judge be trusted? Judges rows that people graded, and measures what it is worth.

    python mlflow_tracking/validate_judge.py --data graded.csv
    python mlflow_tracking/validate_judge.py --data graded.csv --quick --calibrate calibration.json
    python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise

Exit codes: 0 every judgement was made; 1 some were not (what is judged is kept, the last line says
how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import os
import time

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from llm_client.judge_client import ServerGone
from llm_client.settings import SettingsError, load_settings
from mlflow_tracking import mlflow_run
from mlflow_tracking.console import Progress, warn
from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.journal import Journal, JournalError
from mlflow_tracking.judge_passes import read_passes, run_passes
from mlflow_tracking.preflight import PreflightError
from mlflow_tracking.rows import DataError
from mlflow_tracking.run_control import (
    INTERRUPTED,
    check_folder,
    journal_to_resume,
    record_in_peace,
    resume_command,
    stop_on_sigterm,
)
from mlflow_tracking.validation_console import print_outcome, print_place, print_unfinished
from mlflow_tracking.validation_flags import parse_validation_arguments
from mlflow_tracking.validation_outcome import Outcome, find_outcome
from mlflow_tracking.validation_plan import ValidationPlan, make_validation_plan
from mlflow_tracking.validation_record import (
    VALIDATION_TAGS,
    counts,
    log_outcome,
    log_unfinished,
)
from mlflow_tracking.verdict_format import PromptError

_MISTAKES = (
    SettingsError,
    PromptError,
    DataError,
    PreflightError,
    JournalError,
    mlflow_run.TrackingError,
)


def main() -> int:
    """Parse, check, judge, measure, record; returns the exit code."""
    try:
        settings = load_settings()
        plan = make_validation_plan(parse_validation_arguments(__doc__, settings), settings)
        for line in (*plan.plan.findings.warnings, *plan.graded.notes, plan.cost()):
            warn(f"note: {line}")
        journal, run_id, experiment_id = _start(plan)
    except _MISTAKES as mistake:
        warn(f"validate_judge: {mistake}")
        return 2
    except KeyboardInterrupt:
        warn("validate_judge: interrupted before any row was judged")
        return 1
    try:
        return _validate(plan, journal, run_id, experiment_id)
    except KeyboardInterrupt:
        record_in_peace()
        stopped = "interrupted while the run was recorded"
    except (JournalError, mlflow_run.TrackingError) as fault:
        stopped = str(fault)
    mlflow_run.give_up_run(plan.plan.tracking)
    warn(f"validate_judge: stopped: {stopped}")
    warn(f"go on with it: {resume_command(run_id)}")
    return 1


def _start(plan: ValidationPlan) -> tuple[Journal, str, str]:
    """The journal, the run and its experiment; raises JournalError or TrackingError."""
    arguments, tracking, header = plan.arguments, plan.plan.tracking, plan.journal_header()
    folder = plan.journal_folder
    check_folder(folder)
    experiment_id = mlflow_run.open_experiment(tracking)
    journal = None
    if arguments.resume:
        journal = journal_to_resume(folder, arguments.resume, header, tracking, experiment_id)
    stop_on_sigterm()
    known_id = journal.path.stem if journal else None
    run_id = mlflow_run.start_run(tracking, arguments.run_name, known_id, VALIDATION_TAGS)
    return journal or Journal(folder / f"{run_id}.jsonl", header), run_id, experiment_id


def _validate(plan: ValidationPlan, journal: Journal, run_id: str, experiment_id: str) -> int:
    tracking, connection = plan.plan.tracking, plan.plan.connection(journal)
    with mlflow_run.mlflow_errors(tracking):
        mlflow_run.log_start(plan.graded.data, plan.params(), connection, as_input="validation")
    stopped, judged_s, judged = _judge(plan, connection)
    verdicts = read_passes(plan.passes, connection)
    missing = sum(v is None or v.failed for rows in verdicts.values() for v in rows)
    total = sum(len(rows) for rows in verdicts.values())
    metrics = counts(verdicts, judged_s, judged)
    if stopped:
        with mlflow_run.mlflow_errors(tracking):
            log_unfinished(plan, verdicts, metrics, journal.path)
            mlflow_run.end_run(complete=False)
        print_unfinished(total - missing, total)
        warn(f"validate_judge: stopped: {stopped}")
    else:
        outcome = find_outcome(plan, verdicts)
        with mlflow_run.mlflow_errors(tracking):
            log_outcome(plan, verdicts, outcome, metrics, run_id, journal.path)
            mlflow_run.end_run(complete=True)
        print_outcome(outcome)
    journal.close()
    print_place(run_id, experiment_id, () if stopped else _write_calibration(plan, outcome))
    if missing or stopped:
        what = f"the {missing} of {total} judgements that are missing" if missing else "it"
        warn(f"go on with {what}: {resume_command(run_id)}")
    return 1 if missing or stopped else 0


def _judge(plan: ValidationPlan, connection: JudgeConnection) -> tuple[str, float, int]:
    """Make every pass; returns why it stopped early ('' if it did not), seconds, rows judged."""
    progress = Progress(sum(len(one.items) for one in plan.passes))
    before, started, stopped = len(connection.journal.fresh), time.monotonic(), ""
    try:
        run_passes(plan.passes, connection, progress)
    except KeyboardInterrupt:
        record_in_peace()
        stopped = INTERRUPTED
    except (ServerGone, JournalError) as fault:
        stopped = str(fault)
    progress.close()
    return stopped, time.monotonic() - started, len(connection.journal.fresh) - before


def _write_calibration(plan: ValidationPlan, outcome: Outcome) -> list[str]:
    """Write the file that was asked for, and say so; it is among the run's artifacts anyway."""
    path = plan.arguments.calibrate
    if path is None:
        return []
    if outcome.calibration is None:
        return [f"calibration  none was fitted, {path} is not written"]
    try:
        outcome.calibration.save(path)
    except OSError as error:
        return [f"calibration  {path}: {error.strerror}; it is the run's artifact calibration.json"]
    return [f"calibration  {path}, for run_experiment.py --calibration {path}"]


if __name__ == "__main__":
    raise SystemExit(main())
