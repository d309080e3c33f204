"""Which is better? Two runs or more, compared on the rows that they share, and is it chance?

    python mlflow_tracking/compare_runs.py RUN_A RUN_B
    python mlflow_tracking/compare_runs.py RUN_A RUN_B RUN_C --markdown comparison.md --moved 20

A RUN is a run's id, as run_experiment.py prints it. Two judges or two prompts are paired by
question and answer, systems that answered the same questions by question. Prints each system's mean
with an interval, which pairs differ (all intervals hold together), what people would say where rows
are graded (grade_rows.py), and the rows that the systems differ most on. Recorded as a run.

Exit codes: 0 compared; 2 a run that is not there, or nothing that all judged.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Sequence
from dataclasses import dataclass

from llm_client.settings import load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import FlagParser, flag, natural, take
from mlflow_tracking.command.frame import check_output, run_command


@dataclass(frozen=True)
class ComparisonFlags:
    """The command line."""

    runs: Sequence[str]
    moved: int = flag("rows to list", 10, type=natural, metavar="N")
    markdown: Path | None = flag(
        "write the tables for a README", None, type=Path, metavar="FILE.md"
    )


def main() -> int:
    """Compare, print, record; returns the exit code."""
    return run_command("compare_runs", compare_and_record)


def compare_and_record() -> int:
    """Read the runs back, compare them, tell it, and record it as a run."""
    given = read_flags()
    settings = load_settings()
    check_output("--markdown", given.markdown)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    import mlflow

    from mlflow_tracking.comparing.record import record
    from mlflow_tracking.comparing.systems import compare
    from mlflow_tracking.comparing.told import markdown, most_apart, told
    from mlflow_tracking.grading.judged_run import read_run
    from mlflow_tracking.recording.run import Tracking, mlflow_errors

    with mlflow_errors(Tracking(settings.tracking_uri, "")):
        mlflow.set_tracking_uri(settings.tracking_uri)
        compared = compare([read_run(run) for run in given.runs])
    for note in compared.notes:
        warn(f"note: {note}")
    for block in filter(None, (told(compared), most_apart(compared, given.moved))):
        say("\n".join(block) + "\n")
    if given.markdown:
        given.markdown.write_text(markdown(compared), encoding="utf-8")
    run_id, where = record(compared, settings)
    say(f"run          {run_id}")
    say("look at it   " + "\n             ".join(where))
    return 0


def read_flags() -> ComparisonFlags:
    """The command line; every default is shown by --help."""
    parser = FlagParser("compare_runs", __doc__)
    parser.add("runs", "the ids of the runs; A is the first", metavar="RUN", nargs="+")
    parser.add_group(ComparisonFlags)
    given = parser.parse_args()
    if len(given.runs) < 2:
        parser.error("give two runs or more")
    if twice := [run for run in given.runs if given.runs.count(run) > 1]:
        parser.error(f"run {twice[0]}: stands there twice, and the same run differs in nothing")
    return take(ComparisonFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
