"""How far can this judge be trusted? Judges rows that people graded, and measures what it is worth.

    python mlflow_tracking/validate_judge.py --data graded.csv
    python mlflow_tracking/validate_judge.py --data graded.csv --quick
    python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise
    python mlflow_tracking/validate_judge.py --data graded.csv --quick --max-wrong 0.1

Exit codes: 0 every judgement was made; 1 some were not (what is judged is kept, the last line says
how to go on); 2 bad input or settings, told in one line before any row is judged; 3 every judgement
was made, and no rule can promise --max-wrong.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import warn
from mlflow_tracking.command.flags import (
    SHOWING,
    CallFlags,
    FlagParser,
    JudgeFlags,
    ProbeFlags,
    PromiseFlags,
    RowFlags,
    RunFlags,
    take,
)
from mlflow_tracking.command.frame import run_command


def main() -> int:
    """Parse, check, judge, measure, record; returns the exit code."""
    return run_command("validate_judge", validate)


def validate() -> int:
    """Judge the graded rows and the probes, measure, record."""
    settings = load_settings()
    rows, judge, calls, kept, probes, promise = read_flags(settings)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    from mlflow_tracking.command.recorded_run import recorded_run
    from mlflow_tracking.validation.outcome import find_outcome
    from mlflow_tracking.validation.passes import known_passes, run_passes
    from mlflow_tracking.validation.plan import make_validation_plan
    from mlflow_tracking.validation.record import (
        VALIDATION_TAGS,
        counts,
        record_outcome,
        record_rule,
        record_unfinished,
    )

    plan = make_validation_plan(rows, judge, calls, kept, probes, promise, settings)
    for line in (*plan.experiment.judge.warnings, *plan.graded.notes, plan.cost()):
        warn(f"note: {line}")
    with recorded_run(
        "validate_judge",
        plan.experiment,
        tags=VALIDATION_TAGS,
        as_input="validation",
        journals="validation",
    ) as run:
        verdicts = known_passes(plan.passes, run.judge)
        total = sum(len(one) for one in verdicts.values())
        with run.judging(total) as tell:
            run_passes(plan.passes, run.judge, verdicts, tell)
        missing = sum(v is None or v.failed for one in verdicts.values() for v in one)
        if missing:
            run.miss(f"the {missing} of {total} judgements that are missing")
        metrics = counts(run, verdicts)
        if run.complete:
            outcome = find_outcome(plan, verdicts)
            record_outcome(run, plan, verdicts, outcome, metrics)
            if promise.max_wrong:
                record_rule(run, promise.write_rule, plan, outcome)
        else:
            record_unfinished(run, metrics, total - missing, total)
    return run.exit_code


def read_flags(
    settings: Settings,
) -> tuple[RowFlags, JudgeFlags, CallFlags, RunFlags, ProbeFlags, PromiseFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("validate_judge", __doc__)
    parser.add(
        "--data",
        "rows with inputs,predictions,human_score (or human_score_1, _2 ...), or with "
        "inputs,answer_a,answer_b,winner; targets and human_feedback where there are any",
        type=Path,
        required=True,
    )
    parser.add_group(RowFlags, without=("data",))
    # The others of SCORING are for a run's rows; a rule of these two holds for runs with them.
    parser.add_group(JudgeFlags, without=("temperature", "explain_below", "on_too_long"))
    parser.add_group(ProbeFlags)
    parser.add_group(PromiseFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=SHOWING, experiment_name=settings.experiment_name)
    given = parser.parse_args()
    if (given.second_prompt or given.by_distance) and given.max_wrong is None:
        name = "--second-prompt" if given.second_prompt else "--by-distance"
        parser.error(f"{name} is for --max-wrong, which says what a rule is to promise")
    rows, judge, calls = take(RowFlags, given), take(JudgeFlags, given), take(CallFlags, given)
    kept, probes = take(RunFlags, given), take(ProbeFlags, given)
    return rows, judge, calls, kept, probes, take(PromiseFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
