"""How good are these answers? Has the judge score a file's answers and records the run in MLflow.

    python mlflow_tracking/run_experiment.py
    python mlflow_tracking/run_experiment.py --data my.csv --prompt my_prompt.txt --limit 20
    python mlflow_tracking/run_experiment.py --check

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is recorded, the last line
says how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command import flags
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import CallFlags, JudgeFlags, RowFlags, RunFlags, take
from mlflow_tracking.command.frame import run_command


@dataclass(frozen=True)
class ExperimentFlags:
    """The command line."""

    rows: RowFlags
    judge: JudgeFlags
    calls: CallFlags
    run: RunFlags
    check: bool
    stock: bool


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    return run_command("run_experiment", judge_and_record)


def judge_and_record() -> int:
    """Load the rows, have the judge score them, let mlflow.evaluate make its metrics of that."""
    settings = load_settings()
    given = read_flags(settings)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    import mlflow

    from mlflow_tracking.command.experiment import read_experiment
    from mlflow_tracking.command.recorded_run import recorded_run
    from mlflow_tracking.custom_metrics import make_judge_metrics

    experiment = read_experiment(given.rows, given.judge, given.calls, given.run, settings)
    for line in experiment.judge.warnings:
        warn(f"note: {line}")
    if given.check:
        say("\n".join(experiment.judge.lines))
        return 0
    if given.stock:
        experiment = replace(experiment, more_params={"scorer": "mlflow stock"})
    with recorded_run("run_experiment", experiment, keeps_journal=not given.stock) as run:
        # evaluate_with_llm_judge scores the rows, as far as the server lets it
        verdicts = run.judge_rows_with_stock() if given.stock else run.judge_rows()
        if run.complete and not given.stock:
            metrics = make_judge_metrics(run.judge)  # of the verdicts that there are
            mlflow.evaluate(data=run.dataset, extra_metrics=metrics, evaluators="default")
        run.record(verdicts)
    return run.exit_code


def read_flags(settings: Settings) -> ExperimentFlags:
    """The command line; every default is shown by --help."""
    parser = flags.FlagParser("run_experiment", __doc__)
    data = "CSV, JSON Lines or Parquet with inputs,predictions[,targets]"
    flags.add_row_flags(parser, data, flags.SHIPPED_DATA)
    flags.add_prompt_flag(parser)
    flags.add_judge_flags(parser)
    flags.add_scoring_flags(parser)
    flags.add_call_flags(parser, settings)
    flags.add_recording_flags(parser, settings)
    add = parser.add
    add("--check", "only find out whether the server can judge these rows", action="store_true")
    add("--stock", "score with MLflow's own scorer instead, as the baseline", action="store_true")
    given = parser.parse_args()
    if given.stock and given.resume:
        parser.error("--stock keeps no journal, so there is nothing to --resume")
    if given.stock and given.score_only:
        parser.error("--stock has MLflow's own scorer do it, which knows no --score-only")
    flags.check_scoring_flags(parser, given)
    rows, judge = take(RowFlags, given), take(JudgeFlags, given)
    calls, run = take(CallFlags, given), take(RunFlags, given)
    return ExperimentFlags(rows, judge, calls, run, given.check, given.stock)


if __name__ == "__main__":
    raise SystemExit(main())
