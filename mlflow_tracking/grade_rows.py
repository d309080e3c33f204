"""What would people give? Has rows of a run graded, drawn by chance, and tells the mean of all.

    python mlflow_tracking/grade_rows.py open --run last --rows 100
    python mlflow_tracking/grade_rows.py status --run last
    python mlflow_tracking/grade_rows.py read --run last --output graded.csv
    python mlflow_tracking/grade_rows.py report --run last
    python mlflow_tracking/grade_rows.py report --run last --graded to_grade.xlsx --plan 0.1

`open` makes a queue in `mlflow ui`, and to_grade.csv and .xlsx, with copies of the rows and nothing
of the judge's; with more --rows it goes on with the same draw. `status` tells who graded how many.
`read` writes the grades down. `report` records with the run what people would give all its rows.

Exit codes: 0 done; 2 bad input, or a run that has nothing to be graded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, shorten, warn
from mlflow_tracking.command.flags import FlagParser, flag, natural, positive, take
from mlflow_tracking.command.frame import run_command

if TYPE_CHECKING:
    from mlflow_tracking.grading.answers import Answers
    from mlflow_tracking.grading.draw import Draw, Strata
    from mlflow_tracking.grading.judged_run import JudgedRun
    from mlflow_tracking.recording.run import Tracking
    from mlflow_tracking.rows.graded import GradedData
    from mlflow_tracking.rows.scale import Scale

ACTIONS = ("open", "status", "read", "report")


@dataclass(frozen=True)
class RunFlag:
    """Which run's rows are graded."""

    run: str = flag("the judged run: its id, or 'last'", "last", metavar="RUN_ID")
    experiment_name: str = flag("MLflow's experiment, for --run last", "")


@dataclass(frozen=True)
class DrawFlags:
    """Which rows are drawn, and where people find them."""

    rows: int = flag("rows to draw in all", 100, type=positive, metavar="N")
    seed: int = flag("of the draw", 0, type=natural, metavar="N")
    strata: bool = flag("as many rows of each score of the judge's as of the others", False)
    undecided: bool = flag(
        "three quarters of the rows from those that --decide left undecided", False
    )
    cluster: str = flag(
        "draw all rows that are alike in this column together", "", metavar="COLUMN"
    )
    raters: str = flag("a queue for each of these people", "", metavar="NAME,NAME...")
    folder: Path = flag("where to_grade.csv and to_grade.xlsx go", Path(), type=Path)

    @property
    def strata_by(self) -> "Strata":
        """What rows are told apart by before they are drawn."""
        return "score" if self.strata else "decision" if self.undecided else ""


@dataclass(frozen=True)
class GradeFlags:
    """Which grades are read, and what of."""

    graded: Path | None = flag(
        "a graded to_grade.csv or .xlsx, in place of the queue", None, type=Path
    )
    encoding: str = flag("a CSV's encoding", "utf-8")
    sheet: str = flag("a workbook's sheet (default: the first)", "", metavar="NAME")
    output: Path = flag("where the grades go", Path("graded.csv"), type=Path)
    plan: float | None = flag(
        "how many graded rows an interval of plus or minus so many points takes",
        None,
        type=float,
        metavar="POINTS",
    )


def main() -> int:
    """Do one of the four; returns the exit code."""
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if action in ACTIONS:
        return run_command(f"grade_rows {action}", lambda: grade(action, sys.argv[2:]))
    if action in ("-h", "--help"):
        usage = (parser_of(each, load_settings()).format_usage() for each in ACTIONS)
        say("\n".join((str(__doc__), *usage)).strip())
        return 0
    warn(f"grade_rows: {', '.join(ACTIONS[:-1])} or {ACTIONS[-1]}?")
    return 2


def grade(action: str, words: list[str]) -> int:
    """Read the run back, then open the queue, look at it, or use the grades."""
    settings = load_settings()
    where, draw, grades = read_flags(action, words, settings)
    # Only now, or a typo in a flag would be told after the seconds that this takes.
    import mlflow

    from mlflow_tracking.grading.judged_run import last_run, read_run
    from mlflow_tracking.recording.run import Tracking, mlflow_errors

    tracking = Tracking(settings.tracking_uri, where.experiment_name)
    with mlflow_errors(tracking):
        mlflow.set_tracking_uri(tracking.uri)
        run = read_run(last_run(where.experiment_name) if where.run == "last" else where.run)
        say(f"run          {run.run_id}: {run}")
        if action == "open":
            open_draw(run, draw, tracking)
        elif action == "status":
            show_status(run)
        elif action == "read":
            write_grades(run, grades.output)
        else:
            report(run, grades)
    return 0


def read_flags(
    action: str, words: list[str], settings: Settings
) -> tuple[RunFlag, DrawFlags, GradeFlags]:
    """The command line; every default is shown by --help."""
    parser = parser_of(action, settings)
    given = parser.parse_args(words)
    draw, grades = take(DrawFlags, given), take(GradeFlags, given)
    if sum(map(bool, (draw.strata, draw.undecided, draw.cluster))) > 1:
        parser.error("--strata, --undecided and --cluster exclude each other")
    if grades.plan is not None and grades.plan <= 0:
        parser.error(f"--plan {grades.plan:g} is not a number of points above 0")
    return take(RunFlag, given), draw, grades


def parser_of(action: str, settings: Settings) -> FlagParser:
    """The flags of one of the four."""
    parser = FlagParser(f"grade_rows {action}", __doc__)
    parser.prog += f" {action}"
    parser.add_group(RunFlag, experiment_name=settings.experiment_name)
    if action == "open":
        parser.add_group(DrawFlags)
    elif action == "read":
        parser.add_group(GradeFlags, without=("graded", "encoding", "sheet", "plan"))
    elif action == "report":
        parser.add_group(GradeFlags, without=("output",))
    return parser


def open_draw(run: "JudgedRun", flags: DrawFlags, tracking: "Tracking") -> None:
    """Draw rows, keep the draw with the run, and put the rows where people can grade them."""
    from mlflow_tracking.grading.draw import Design, candidates, draw_rows, go_on_with
    from mlflow_tracking.grading.judged_run import rows_digest
    from mlflow_tracking.grading.kept import keep_draw, kept_draw
    from mlflow_tracking.grading.sheet import grading_lines, write_sheets

    design = Design(flags.seed, flags.strata_by, flags.cluster)
    scale = run.read_prompt().format.scale
    draw = draw_rows(candidates(run, design), rows_digest(run.items), design, flags.rows)
    if earlier := kept_draw(run.run_id):
        draw = go_on_with(earlier, draw)
    sheets = write_sheets(flags.folder, grading_lines(draw, run.shown, scale), scale)
    keep_draw(run.run_id, draw)
    say(f"drawn        {draw}")
    raters = [name.strip() for name in flags.raters.split(",") if name.strip()]
    open_pages(run, draw, scale, raters, tracking)
    say(f"or in        {' or '.join(map(str, sheets))}: fill in human_score")
    say(f"then         python mlflow_tracking/grade_rows.py report --run {run.run_id}")


def open_pages(
    run: "JudgedRun", draw: "Draw", scale: "Scale", raters: list[str], tracking: "Tracking"
) -> None:
    """Queues in MLflow's pages; where there can be none a note, for the files are there."""
    from mlflow_tracking.grading.review_queue import NoQueues, open_queues
    from mlflow_tracking.recording.run import TrackingError, experiment_name, look_at_it

    rows = [(one.row, run.shown[one.row - 1]) for one in draw.drawn]
    name = experiment_name(run.experiment_id)
    try:
        queues = open_queues(run.run_id, name, rows, scale=scale, raters=raters)
    except (NoQueues, TrackingError) as fault:
        warn(f"note: {fault}")
        return
    for page in queues.pages:
        say("grade in     " + "\n             ".join(look_at_it(tracking, page)))


def show_status(run: "JudgedRun") -> None:
    """Graded, pending, out of range, by whom; agreement where several graded the same rows."""
    from mlflow_tracking.grading.answers import read_answers_of
    from mlflow_tracking.grading.kept import wanted_draw

    draw = wanted_draw(run.run_id)
    answers = read_answers_of(run, draw)
    say(f"drawn        {draw}")
    say(f"graded       {len(answers.by_row)}; pending {answers.pending}")
    for name, count in answers.by_rater().items():
        say(f"             {count} by {name}")
    if answers.unusable:
        say(f"out of range {len(answers.unusable)}")
    tell_unusable(answers)
    if agreement := answers.agreement():
        say(f"agreement    Spearman {agreement.spearman}")
        say(f"             quadratic weighted kappa {agreement.quadratic_weighted_kappa}")


def write_grades(run: "JudgedRun", output: Path) -> None:
    """The grades of the queue as a file for validate_judge.py, compare_prompts.py and others."""
    from mlflow_tracking.command.frame import check_output
    from mlflow_tracking.grading.answers import read_answers_of
    from mlflow_tracking.grading.kept import wanted_draw
    from mlflow_tracking.grading.sheet import check_no_grades_lost, write_csv
    from mlflow_tracking.rows.item import DataError

    check_output("--output", output)
    draw = wanted_draw(run.run_id)
    answers = read_answers_of(run, draw)
    tell_unusable(answers)
    if not answers.by_row:
        raise DataError(f"run {run.run_id}: nobody has graded a row in the queue yet")
    check_no_grades_lost("--output", output, {str(row) for row in answers.by_row})
    write_csv(output, answers.lines(draw, run.shown))
    say(f"grades       {len(answers.by_row)} of {len(draw.drawn)} drawn rows, in {output}")


def report(run: "JudgedRun", flags: GradeFlags) -> None:
    """Keep the grades with the run, and tell its three numbers apart wherever it is shown."""
    from mlflow_tracking.grading.human_mean import read_drawn_grades
    from mlflow_tracking.grading.told import tell_people
    from mlflow_tracking.recording.people import human_lines, planned
    from mlflow_tracking.rows.item import DataError

    if flags.plan and flags.plan >= run.scale.span:
        raise DataError(
            f"--plan {flags.plan:g} is not a number of points between 0 and {run.scale.span}: "
            f"scores are {run.scale}"
        )
    graded = (
        read_drawn_grades(flags.graded, run.items, run.scale, flags.encoding, flags.sheet)
        if flags.graded
        else queue_grades(run)
    )
    for line in graded.notes if graded else ():
        warn(f"note: {line}")
    human = tell_people(run.run_id, run.items, run.scale, run.finest, graded, warn)
    if human is None:
        raise DataError(
            f"run {run.run_id}: no row is graded yet; grade the rows that grade_rows.py open "
            "draws, or give a file with --graded"
        )
    say("\n".join(human_lines(human)))
    if flags.plan:
        say(f"plan         {planned(human, flags.plan)}")


def queue_grades(run: "JudgedRun") -> "GradedData | None":
    """The grades of the run's queue, None if nobody has graded there."""
    from mlflow_tracking.grading.answers import read_answers_of
    from mlflow_tracking.grading.kept import kept_draw

    draw = kept_draw(run.run_id)
    if draw is None:
        return None
    answers = read_answers_of(run, draw)
    tell_unusable(answers)
    return answers.graded(draw, run.items) if answers.by_row else None


def tell_unusable(answers: "Answers") -> None:
    """A line for each answer that is no grade of a drawn row."""
    for one in answers.unusable:
        warn(f"note: row {one.row}: '{shorten(one.text, 40)}' by {one.rater} is no grade, not used")


if __name__ == "__main__":
    raise SystemExit(main())
