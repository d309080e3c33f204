"""Which is better? Two runs or more, compared on the rows that they share, and is it chance?

    python mlflow_tracking/compare_runs.py RUN_A RUN_B
    python mlflow_tracking/compare_runs.py RUN_A RUN_B RUN_C --markdown comparison.md --moved 20
    python mlflow_tracking/compare_runs.py RUN_A RUN_B RUN_C --pairwise --pairs 300

A RUN is a run's id, as run_experiment.py prints it. Two judges or two prompts are paired by
question and answer, systems that answered the same questions by question. Prints each system's mean
with an interval, which pairs differ (all intervals hold together), what people would say where rows
are graded (grade_rows.py), and the rows that the systems differ most on. Recorded as a run.
With --pairwise the judge is shown two answers at once, too, in both orders.

Exit codes: 0 compared; 1 --pairwise was stopped or lacks verdicts (what is judged is kept, the last
line says how to go on); 2 a run that is not there, or nothing that all judged.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    OF_A_RUN,
    CallFlags,
    FlagParser,
    ProbeFlags,
    RunFlags,
    flag,
    natural,
    positive,
    take,
)
from mlflow_tracking.command.frame import check_output, run_command

if TYPE_CHECKING:
    from mlflow_tracking.comparing.pairwise import PairwisePlan
    from mlflow_tracking.comparing.systems import Comparison
    from mlflow_tracking.comparing.told_directly import Told


@dataclass(frozen=True)
class ComparisonFlags:
    """The command line."""

    runs: Sequence[str]
    moved: int = flag("rows to list", 10, type=natural, metavar="N")
    markdown: Path | None = flag(
        "write the tables for a README", None, type=Path, metavar="FILE.md"
    )
    pairwise: bool = flag("have a judge compare the answers directly, too, in both orders", False)
    pairs: int | None = flag(
        "with --pairwise: so many comparisons, drawn by chance, of every two systems as many "
        "(default: all)",
        None,
        type=positive,
        metavar="N",
    )
    pairwise_prompt: Path = flag("the prompt for that", ProbeFlags.pairwise_prompt, type=Path)
    model: str = flag("the judge for that, as its server names it", "")


def main() -> int:
    """Compare, print, record; returns the exit code."""
    return run_command("compare_runs", compare_and_record)


def compare_and_record() -> int:
    """Read the runs back, compare them, tell it, and record it as a run."""
    settings = load_settings()
    given, calls, kept = read_flags(settings)
    check_output("--markdown", given.markdown)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    from mlflow_tracking.comparing.told import most_apart, told
    from mlflow_tracking.comparing.told_directly import ask_and_tell

    compared = read_and_compare(given.runs, settings.tracking_uri)
    plan = plan_directly(compared, given, calls, kept, settings) if given.pairwise else None
    for note in (*compared.notes, *(plan.notes if plan else ())):
        warn(f"note: {note}")
    for block in filter(None, (told(compared), most_apart(compared, given.moved))):
        say("\n".join(block) + "\n")
    direct = ask_and_tell(plan, [one.letter for one in compared.systems]) if plan else None
    if plan and direct is None:
        return 1
    if direct:
        say("\n".join(direct.lines) + "\n")
    keep(compared, direct, given.markdown, settings)
    if direct and direct.missing:
        warn(f"compare_runs: {direct.missing}")
        return 1
    return 0


def read_and_compare(ids: Sequence[str], tracking_uri: str) -> Comparison:
    """The runs by their scores; raises TrackingError for one that is not there."""
    import mlflow

    from mlflow_tracking.comparing.systems import compare
    from mlflow_tracking.grading.judged_run import read_run
    from mlflow_tracking.recording.run import Tracking, mlflow_errors

    with mlflow_errors(Tracking(tracking_uri, "")):
        mlflow.set_tracking_uri(tracking_uri)
        return compare([read_run(run) for run in ids])


def plan_directly(
    compared: Comparison,
    given: ComparisonFlags,
    calls: CallFlags,
    kept: RunFlags,
    settings: Settings,
) -> PairwisePlan:
    """What --pairwise asks, and whom; raises the mistake of what is wrong."""
    from mlflow_tracking.comparing.pairwise import choose_pairs, plan_pairwise
    from mlflow_tracking.comparing.shared_rows import share_rows

    shared = share_rows(compared.shared.runs)  # those without a score, too
    chosen = choose_pairs(shared, given.pairs)
    prompt, model = given.pairwise_prompt, given.model
    return plan_pairwise(chosen, shared, prompt, model, calls, kept, settings)


def keep(
    compared: Comparison, direct: Told | None, markdown_file: Path | None, settings: Settings
) -> None:
    """Write the tables, record all of it as a run, and say where it is."""
    from mlflow_tracking.comparing.record import record
    from mlflow_tracking.comparing.told import markdown

    text = markdown(compared) + (f"\n{direct.markdown}" if direct else "")
    if markdown_file:
        markdown_file.write_text(text, encoding="utf-8")
    run_id, where = record(compared, direct, text, settings)
    say(f"run          {run_id}")
    say("look at it   " + "\n             ".join(where))


def read_flags(settings: Settings) -> tuple[ComparisonFlags, CallFlags, RunFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("compare_runs", __doc__)
    parser.add("runs", "the ids of the runs; A is the first", metavar="RUN", nargs="+")
    parser.add_group(ComparisonFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=OF_A_RUN)
    given = parser.parse_args()
    if len(given.runs) < 2:
        parser.error("give two runs or more")
    if twice := [run for run in given.runs if given.runs.count(run) > 1]:
        parser.error(f"run {twice[0]}: stands there twice, and the same run differs in nothing")
    if given.pairs and not given.pairwise:
        parser.error("--pairs is for --pairwise, which has answers compared directly")
    return take(ComparisonFlags, given), take(CallFlags, given), take(RunFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
