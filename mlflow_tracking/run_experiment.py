"""How good are these answers? Has the judge score a file's answers and records the run in MLflow.

    python mlflow_tracking/run_experiment.py
    python mlflow_tracking/run_experiment.py --data my.csv --prompt my_prompt.txt --limit 20
    python mlflow_tracking/run_experiment.py --data my.csv --graded graded.csv
    python mlflow_tracking/run_experiment.py --answers-from http://127.0.0.1:8001/v1
    python mlflow_tracking/run_experiment.py --check
    python mlflow_tracking/run_experiment.py --data my.csv --plan
    python mlflow_tracking/run_experiment.py --data my.csv --decide decision_rule.json
    python mlflow_tracking/run_experiment.py --data my.csv --min-score 3.5 --junit gates.xml
    python mlflow_tracking/run_experiment.py --data my.csv --anchors graded.csv

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is recorded, the last line
says how to go on); 2 bad input or settings, told in one line before any row is judged; 3 every row
has a verdict, and a gate is missed.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.answer_flags import SHIPPED_QUESTIONS, AnswerFlags, check_answering
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    SHIPPED_DATA,
    CallFlags,
    DecideFlags,
    FlagParser,
    GateFlags,
    JudgeFlags,
    RowFlags,
    RunFlags,
    check_deciding,
    check_gates,
    check_scoring,
    flag,
    take,
)
from mlflow_tracking.command.frame import run_command

if TYPE_CHECKING:
    from mlflow_tracking.choosing.anchors import Anchors
    from mlflow_tracking.command.answered import Answering
    from mlflow_tracking.command.experiment import Experiment
    from mlflow_tracking.comparing.gates import Gates
    from mlflow_tracking.rows.graded import GradedData
    from mlflow_tracking.validation.decision_rule import Deciding


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    check: bool = flag("only find out whether the server can judge these rows", False)
    plan: bool = flag(
        "judge 16 rows, keep their verdicts for the run, and tell how long it would take", False
    )
    graded: Path | None = flag(
        "grades of rows drawn from these by grade_rows.py: tell what people would give all",
        None,
        type=Path,
    )
    anchors: Path | None = flag(
        "graded answers that every run with them scores again, one token each: tell whether the "
        "judge is still the one of the first such run",
        None,
        type=Path,
        metavar="FILE",
    )
    stock: bool = flag("score with MLflow's own scorer instead, as the baseline", False)


@dataclass(frozen=True)
class Given:
    """The command line, group by group."""

    rows: RowFlags
    answers: AnswerFlags
    judge: JudgeFlags
    calls: CallFlags
    run: RunFlags
    decide: DecideFlags
    gates: GateFlags
    own: OwnFlags


@dataclass(frozen=True)
class PlannedRun:
    """What is going to be done, read and checked; nothing is made yet."""

    experiment: Experiment
    answering: Answering | None
    graded: GradedData | None
    deciding: Deciding
    anchors: Anchors
    gates: Gates

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before the run."""
        graded = self.graded.notes if self.graded else ()
        judge = (*self.experiment.judge.warnings, *self.deciding.warnings)
        return (
            *self.experiment.data.notes,
            *graded,
            *self.gates.notes,
            *self.anchors.notes,
            *judge,
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """What was checked, for --check."""
        answers = self.answering.lines if self.answering else ()
        judge = self.experiment.judge.lines
        return (*judge, *self.deciding.lines, *answers, *self.anchors.lines)


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    return run_command("run_experiment", judge_and_record)


def judge_and_record() -> int:
    """Read and check what is wanted; then tell, plan, or judge and record it."""
    settings = load_settings()
    given = read_flags(settings)
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    from mlflow_tracking.command.answered import plan_answers
    from mlflow_tracking.command.plan import plan

    own = given.own
    answering = plan_answers(given.answers, given.rows, given.calls, given.run, settings)
    if answering and given.answers.answers_only:
        return answering.only("run_experiment", own.check, given.run.min_scored)
    planned = plan_run(given, answering, settings)
    for line in dict.fromkeys(planned.notes):
        warn(f"note: {line}")
    if own.check:
        say("\n".join(planned.lines))
        return 0
    if own.plan:
        return plan("run_experiment", planned.experiment)
    return run_planned(given, planned)


def plan_run(given: Given, answering: Answering | None, settings: Settings) -> PlannedRun:
    """Read the rows and check the judge and all that is wanted of them; raises the mistake."""
    from mlflow_tracking.choosing.anchors import plan_anchors
    from mlflow_tracking.command.experiment import read_experiment
    from mlflow_tracking.comparing.gates import plan_gates
    from mlflow_tracking.grading.human_mean import read_drawn_grades
    from mlflow_tracking.validation.decision_rule import plan_deciding

    rows, own = given.rows, given.own
    data = answering.known(own.plan, own.graded) if answering else None
    experiment = read_experiment(rows, given.judge, given.calls, given.run, settings, data)
    if answering:
        experiment = answering.recorded(experiment)
    items, scale = experiment.data.items, experiment.judge.settings.prompt.format.scale
    graded = read_drawn_grades(own.graded, items, scale, rows.encoding) if own.graded else None
    deciding = plan_deciding(given.decide, experiment)
    experiment = deciding.recorded(experiment)
    anchors = plan_anchors(own.anchors, rows.encoding, experiment)
    experiment = anchors.recorded(experiment)
    gates = plan_gates(given.gates, experiment)
    if own.stock:
        params = {**experiment.more_params, "scorer": "mlflow stock"}
        experiment = replace(experiment, more_params=params)
    return PlannedRun(experiment, answering, graded, deciding, anchors, gates)


def run_planned(given: Given, planned: PlannedRun) -> int:
    """Have the judge score the rows, let mlflow.evaluate make its metrics of that."""
    import mlflow

    from mlflow_tracking.command.plan import plan_journal
    from mlflow_tracking.command.recorded_run import recorded_run
    from mlflow_tracking.custom_metrics import make_judge_metrics
    from mlflow_tracking.grading.human_mean import finest
    from mlflow_tracking.grading.told import tell_people_of_recorded
    from mlflow_tracking.recording.people import human_lines

    experiment, stock = planned.experiment, given.own.stock
    with recorded_run("run_experiment", experiment, keeps_journal=not stock) as run:
        if planned.answering:
            planned.answering.answer(run)
        if not stock:
            run.take_over(plan_journal(experiment))
        # evaluate_with_llm_judge scores the rows, as far as the server lets it
        verdicts = (
            run.judge_rows_with_stock()
            if stock
            else run.judge_rows(shown=not given.decide.second_opinion)
        )
        decided = planned.deciding.decide(run, verdicts)  # which count, without --decide all
        if run.complete and not stock:
            metrics = make_judge_metrics(decided.judge)  # of the verdicts that there are
            mlflow.evaluate(data=run.dataset, extra_metrics=metrics, evaluators="default")
        run.record(decided.verdicts, decided.decisions)
        human = None
        if run.complete:
            items, scale = run.experiment.data.items, experiment.judge.settings.prompt.format.scale
            judged = finest(decided.verdicts)
            human = tell_people_of_recorded(run.run_id, items, scale, judged, planned.graded, warn)
            for line in human_lines(human) if human else ():
                say(line)
        planned.anchors.compare(run, say, warn)
        planned.gates.decide(run, decided.verdicts, human)
    return planned.gates.close(run, say, warn)


def read_flags(settings: Settings) -> Given:
    """The command line; every default is shown by --help."""
    parser = FlagParser("run_experiment", __doc__)
    parser.add_group(RowFlags, data=SHIPPED_DATA)
    parser.add_group(AnswerFlags)
    parser.add_group(JudgeFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, experiment_name=settings.experiment_name)
    parser.add_group(DecideFlags)
    parser.add_group(GateFlags)
    parser.add_group(OwnFlags)
    given = parser.parse_args()
    check_answering(parser, given)
    if given.answers_from and given.data is SHIPPED_DATA:  # nobody named a file
        given.data = SHIPPED_QUESTIONS
    check_scoring(parser, given)
    check_deciding(parser, given)
    check_gates(parser, given)
    if given.stock and given.resume:
        parser.error("--stock keeps no journal, so there is nothing to --resume")
    if given.stock and given.score_only:
        parser.error("--stock has MLflow's own scorer do it, which knows no --score-only")
    if given.stock and given.anchors:
        parser.error("--stock has MLflow's own scorer do it, which scores no --anchors")
    _check_plan(parser, given)
    return Given(
        take(RowFlags, given),
        take(AnswerFlags, given),
        take(JudgeFlags, given),
        take(CallFlags, given),
        take(RunFlags, given),
        take(DecideFlags, given),
        take(GateFlags, given),
        take(OwnFlags, given),
    )


def _check_plan(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for a plan of what it could not tell the time of."""
    others = {
        "check": "which judges nothing",
        "stock": "which keeps no verdicts",
        "resume": "which goes on with a run; plan before it begins",
        "decide": "whose second judge is not planned; leave it out, the verdicts are the same",
        "graded": "which tells of the rows of a whole run",
        "anchors": "which a run scores",
    }
    for name, why in others.items():
        if given.plan and getattr(given, name):
            parser.error(f"--plan goes without --{name}, {why}")


if __name__ == "__main__":
    raise SystemExit(main())
