"""How good are these answers? Has the judge score a CSV's answers and records the run in MLflow.

    python mlflow_tracking/run_experiment.py
    python mlflow_tracking/run_experiment.py --data my.csv --prompt my_prompt.txt --limit 20
    python mlflow_tracking/run_experiment.py --check

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is recorded, the last line
says how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import os

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from llm_client.settings import SettingsError, load_settings
from mlflow_tracking.calibration import CalibrationError
from mlflow_tracking.console import say, warn
from mlflow_tracking.experiment_flags import parse_arguments
from mlflow_tracking.experiment_plan import make_plan
from mlflow_tracking.experiment_run import begin_run, judge_and_record
from mlflow_tracking.journal import JournalError
from mlflow_tracking.mlflow_run import TrackingError
from mlflow_tracking.preflight import PreflightError
from mlflow_tracking.rows import DataError
from mlflow_tracking.verdict_format import PromptError

_COMMAND = "run_experiment"
_MISTAKES = (
    SettingsError,
    PromptError,
    DataError,
    PreflightError,
    CalibrationError,
    JournalError,
    TrackingError,
)


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
        run = begin_run(plan, _COMMAND)
    except _MISTAKES as mistake:
        warn(f"{_COMMAND}: {mistake}")
        return 2
    except KeyboardInterrupt:
        warn(f"{_COMMAND}: interrupted before any row was judged")
        return 1
    return judge_and_record(run)


if __name__ == "__main__":
    raise SystemExit(main())
