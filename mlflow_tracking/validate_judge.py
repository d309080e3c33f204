"""How far can this judge be trusted? Judges rows that people graded, and measures what it is worth.

    python mlflow_tracking/validate_judge.py --data graded.csv
    python mlflow_tracking/validate_judge.py --data graded.csv --quick
    python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise

Exit codes: 0 every judgement was made; 1 some were not (what is judged is kept, the last line says
how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command import flags
from mlflow_tracking.command.console import warn
from mlflow_tracking.command.flags import (
    CallFlags,
    JudgeFlags,
    ProbeFlags,
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
    rows, judge, calls, run_flags, probes = read_flags(settings)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    from mlflow_tracking.command.recorded_run import recorded_run
    from mlflow_tracking.validation.outcome import find_outcome
    from mlflow_tracking.validation.passes import known_passes, run_passes
    from mlflow_tracking.validation.plan import make_validation_plan
    from mlflow_tracking.validation.record import (
        VALIDATION_TAGS,
        counts,
        record_outcome,
        record_unfinished,
    )

    plan = make_validation_plan(rows, judge, calls, run_flags, probes, settings)
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
            record_outcome(run, plan, verdicts, find_outcome(plan, verdicts), metrics)
        else:
            record_unfinished(run, metrics, total - missing, total)
    return run.exit_code


def read_flags(
    settings: Settings,
) -> tuple[RowFlags, JudgeFlags, CallFlags, RunFlags, ProbeFlags]:
    """The command line; every default is shown by --help."""
    parser = flags.FlagParser("validate_judge", __doc__)
    flags.add_row_flags(
        parser,
        "rows with inputs,predictions,human_score (or human_score_1, _2 ...), or with "
        "inputs,answer_a,answer_b,winner; targets and human_feedback where there are any",
    )
    flags.add_prompt_flag(parser)
    flags.add_judge_flags(parser)
    add = parser.add
    add("--quick", "only judge the rows: agreement with people, no probes", action="store_true")
    add(
        "--probe-rows",
        "rows that the probes of consistency and biases are made on, all levels of the human "
        "score alike; 0 for no such probes",
        type=flags.natural,
        default=30,
        metavar="N",
    )
    add("--repeats", "times that a probed row is judged", type=_repeats, default=3, metavar="K")
    add("--no-injection", "do not append attacks to wrong answers", action="store_true")
    add("--pairwise", "have the pairs of a CSV compared directly, too", action="store_true")
    add(
        "--pairwise-prompt", "the prompt for that", type=Path, default=flags.SHIPPED_PAIRWISE_PROMPT
    )
    flags.add_call_flags(parser, settings)
    flags.add_recording_flags(parser, settings)
    given = parser.parse_args()
    return (
        take(RowFlags, given),
        take(JudgeFlags, given),
        take(CallFlags, given),
        take(RunFlags, given),
        take(ProbeFlags, given),
    )


def _repeats(text: str) -> int:
    if flags.positive(text) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 2")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
