"""Is what was judged good enough? Gates that decide on the bound of an interval, for CI systems.

    python mlflow_tracking/run_experiment.py --data my.csv --min-score 3.5 --junit gates.xml
    python mlflow_tracking/run_experiment.py --data my.csv --not-worse-than RUN --margin 0.2

A gate looks at the lower end of the 95 % interval, so that no run passes by luck. The interval is
people's where enough rows are graded, otherwise the judge's, and the line says whose. A run in
which rows have no verdict passes nothing.
"""

import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient

from mlflow_tracking.command.console import shorten
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.flags import GateFlags
from mlflow_tracking.command.frame import check_output
from mlflow_tracking.command.recorded_run import RecordedRun, tracking_of
from mlflow_tracking.comparing.people import people_difference
from mlflow_tracking.comparing.shared_rows import SharedRows, share_rows
from mlflow_tracking.grading.judged_run import JudgedRun, read_run
from mlflow_tracking.grading.kept import kept_grades
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.publish import DESCRIPTION_TAG
from mlflow_tracking.recording.results import results_table
from mlflow_tracking.recording.run import TrackingError, mlflow_errors
from mlflow_tracking.recording.summary import Summary
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import MIN_ROWS, Estimate, not_enough_data
from mlflow_tracking.stats.prediction_powered import HumanMean
from mlflow_tracking.stats.several_means import compare_means

MISSED = 3  # the exit code of a bar that was missed
_WIDTH = 500  # characters of a line in a file: a server's fault can be long
_NEAR = 1e-9  # points: what a quantile of equal numbers may be off by


@dataclass(frozen=True)
class Outcome:
    """What a gate says; `passed` is None where it cannot decide."""

    gate: str
    passed: bool | None
    why: str

    @property
    def word(self) -> str:
        """Passed or not."""
        return {True: "passed", False: "missed", None: "not decided"}[self.passed]

    def __str__(self) -> str:
        return f"{self.gate}: {self.word}: {self.why}"


@dataclass(frozen=True)
class Baseline:
    """The run that this one is not to be worse than, and its grades."""

    run: JudgedRun
    graded: GradedData | None


class Gates:
    """The bars that were set, and what they say in the end."""

    def __init__(self, flags: GateFlags, baseline: Baseline | None, notes: tuple[str, ...]) -> None:
        """`notes` are what the user should know before anything is judged."""
        self.flags, self.baseline, self.notes = flags, baseline, notes
        self._outcomes = self._undecided("nothing was recorded")
        self._described = ""

    def decide(
        self, run: RecordedRun, verdicts: Sequence[Verdict | None], human: HumanMean | None
    ) -> None:
        """What the gates say of a run that is recorded but not ended yet."""
        if self.flags.summary:
            tags = MlflowClient().get_run(run.run_id).data.tags
            self._described = tags.get(DESCRIPTION_TAG, "")
        if lacking := _lacking(run):
            self._outcomes = self._undecided(lacking)
        else:
            assert run.summary is not None, "a run that is recorded"
            self._outcomes = []
            if self.flags.min_score is not None:
                found = _reaches(self.flags.min_score, run.summary, human)
                self._outcomes.append(Outcome(self._names[0], *found))
            if self.baseline:
                found = self._compare(self.baseline, run, verdicts, human)
                self._outcomes.append(Outcome(self._names[-1], *found))

    def close(
        self, run: RecordedRun, say: Callable[[str], None], warn: Callable[[str], None]
    ) -> int:
        """Tell, write the files of a run that has ended, and return the exit code."""
        code, lacking = run.exit_code, _lacking(run)
        if lacking:  # what came after the decision can have stopped it
            self._outcomes = self._undecided(lacking)
        if not code and any(outcome.passed is False for outcome in self._outcomes):
            code = MISSED
        for outcome in self._outcomes:
            say(f"gate         {outcome}")
        whole = Outcome(_all_judged(run), not lacking, lacking or "they have")
        try:
            if self.flags.junit:
                write_junit(self.flags.junit, [whole, *self._outcomes], run.judged_s)
            if self.flags.summary:
                told = self._outcomes if whole.passed else [whole, *self._outcomes]
                ended = f"Run `{run.run_id}`, exit code {code}."
                _write_summary(self.flags.summary, told, ended, self._described)
        except OSError as fault:
            warn(f"{run.command}: --summary or --junit: {fault.strerror}; name another file")
            return 1  # a CI system would take a file of another run for this one's
        return code

    @property
    def _names(self) -> list[str]:
        """Of the gates that were set, as they are typed."""
        flags = self.flags
        bar = [] if flags.min_score is None else [f"--min-score {flags.min_score:g}"]
        other = f"--not-worse-than {flags.not_worse_than} --margin {flags.points:g}"
        return [*bar, *([other] if flags.not_worse_than else [])]

    def _undecided(self, why: str) -> list[Outcome]:
        return [Outcome(name, None, why) for name in self._names]

    def _compare(
        self,
        baseline: Baseline,
        run: RecordedRun,
        verdicts: Sequence[Verdict | None],
        human: HumanMean | None,
    ) -> tuple[bool, str]:
        """Whether the run is not worse than the other, and why."""
        if run.run_id == baseline.run.run_id:
            raise TrackingError(f"--not-worse-than {run.run_id}: is this very run; name another")
        this = _judged_run(run.experiment, run.run_id, verdicts)
        pair = share_rows([baseline.run, this])
        found, by = _by_people(baseline, pair, human)
        if found.low is None:
            why = by
            found, over = _by_judge(pair)
            by = f"by the judge, {over} of {len(verdicts)} rows{_about(pair)} ({why})"
        what = f"this run less that one is {found} {by}"
        return _clears(found, 0 - self.flags.points, what)  # 0 and not -0 without a margin


def plan_gates(flags: GateFlags, experiment: Experiment) -> Gates:
    """The gates, checked as far as they can be before a row is judged.

    Raises DataError for a number off the scale or a file that has no folder, TrackingError for a
    run that cannot be compared with.
    """
    check_output("--summary", flags.summary)
    check_output("--junit", flags.junit)
    scale = experiment.judge.settings.prompt.format.scale
    _check_numbers(flags, scale)
    if not flags.not_worse_than:
        return Gates(flags, None, ())
    tracking = tracking_of(experiment)
    with mlflow_errors(tracking):
        mlflow.set_tracking_uri(tracking.uri)
        other = read_run(flags.not_worse_than)
        graded = kept_grades(other.run_id, other.items, other.scale)
    _check_comparable(other, experiment, scale)
    judge, prompt = experiment.judge.settings.model, experiment.judge.settings.prompt.path.name
    note = (
        f"run {other.run_id} was judged by {other.judge} with {other.prompt}, this one is by "
        f"{judge} with {prompt}: the judge's difference is the judges', too"
    )
    same = (other.judge, other.prompt) == (judge, prompt)
    return Gates(flags, Baseline(other, graded), () if same else (note,))


def _check_numbers(flags: GateFlags, scale: Scale) -> None:
    bar = flags.min_score
    if bar is not None and not scale.low <= bar <= scale.high:
        ends = f"{scale.low} to {scale.high}"
        raise DataError(f"--min-score {bar:g}: the prompt scores on {scale}; give a mean of {ends}")
    if flags.not_worse_than and flags.points >= scale.span:
        raise DataError(
            f"--margin {flags.points:g}: the scale {scale} has {scale.span} points in all, so that "
            "any run would pass; give less"
        )


def _check_comparable(other: JudgedRun, experiment: Experiment, scale: Scale) -> None:
    """Raises TrackingError for a run of another scale, or without a score of any of these rows."""
    gate = f"--not-worse-than {other.run_id}"
    if other.scale.for_people.values != scale.for_people.values:
        raise TrackingError(
            f"{gate}: scores on {other.scale}, this run's prompt on {scale}; take a run or a "
            "prompt of the same scale"
        )
    this = _judged_run(experiment, "", [None] * len(experiment.data.rows))
    if np.isnan(share_rows([other, this]).scores()[:, 0]).all():
        data = experiment.data.path
        raise TrackingError(f"{gate}: has no score of any question of {data}; take another run")


def _judged_run(
    experiment: Experiment, run_id: str, verdicts: Sequence[Verdict | None]
) -> JudgedRun:
    """These verdicts as compare_runs.py reads them back."""
    settings, data = experiment.judge.settings, experiment.data
    prompt, rows = settings.prompt, results_table(data, verdicts)
    who = (settings.model, prompt.path.name, data.path.name)
    return JudgedRun(run_id, "", "this run", *who, rows, prompt.format.scale)


def _about(pair: SharedRows) -> str:
    """What the judge's interval is about where there are too few questions to tell of others."""
    both = pair.scored_by_all()
    different = len(set(both.questions))
    few = different < min(MIN_ROWS, len(both.places))
    return f", about other answers to their {different} questions" if few else ""


def _lacking(run: RecordedRun) -> str:
    """Why no gate can be passed; '' where enough rows have a verdict."""
    if run.stopped:
        return f"the run stopped: {run.stopped}"
    if run.exit_code and run.summary:
        return f"{run.summary.missing} of {run.summary.rows} rows have no verdict"
    return ""


def _reaches(bar: float, summary: Summary, human: HumanMean | None) -> tuple[bool, str]:
    """Whether the mean is as good as that, and why."""
    if human and human.people.low is not None:
        over = f"all {human.rows} rows, estimated from {human.people.n} grades"
        return _clears(human.people, bar, f"people's mean of {over}, is {human.people}")
    why = f"{human.people.n} grades give people's no interval" if human else "no row is graded"
    rows = summary.questions or summary.scored
    found = _estimate(summary.mean, summary.interval, rows)
    over = f"{summary.scored} of {summary.rows} rows ({why})"
    return _clears(found, bar, f"the judge's mean of {over} is {found}")


def _by_people(
    baseline: Baseline, pair: SharedRows, human: HumanMean | None
) -> tuple[Estimate, str]:
    """What people would say of the difference and over what; or why they say nothing."""
    this = pair.runs[1]
    graded = kept_grades(this.run_id, this.items, this.scale) if human else None
    if not graded or not baseline.graded:
        one = "only one of the two runs is graded" if graded or baseline.graded else ""
        return not_enough_data(0, ""), one or "no row is graded"
    if pair.same_answers:
        return not_enough_data(0, ""), "the answers are the same, and people's grades with them"
    found, over = people_difference(pair, (baseline.graded, graded))
    if found.low is None:
        return found, f"{over}: people's has no interval"
    return found, f"by people, {over}"


def _by_judge(pair: SharedRows) -> tuple[Estimate, str]:
    """The mean difference of the scores, this run less the other, as compare_runs.py has it."""
    both = pair.scored_by_all()
    compared = compare_means(both.scores(), both.questions)
    within = f"{compared.units} questions in " if compared.grouped else ""
    return compared.differences[0].estimate, f"over {within}{len(both.places)}"


def _estimate(mean: float | None, interval: tuple[float, float] | None, rows: int) -> Estimate:
    """With no interval of so few rows that it would be far too narrow."""
    if mean is None:
        return not_enough_data(rows, "no score")
    if interval is None or rows < MIN_ROWS:
        return Estimate(mean, None, None, rows, f"fewer than {MIN_ROWS} rows")
    return Estimate(mean, *interval, rows)


def _clears(found: Estimate, bar: float, what: str) -> tuple[bool, str]:
    """Whether the interval is not below `bar`, and the sentence that says so."""
    if found.low is None:
        return False, f"{what}; without an interval no gate is passed"
    passed = found.low >= bar - _NEAR
    # With so many places that what is shown is on the side that the number is on.
    shown = [f"{found.low + 0.0:.{places}f}" for places in (2, 4, 6, 12)]
    low = next((text for text in shown if (float(text) >= bar) == passed), shown[-1])
    return passed, f"{what}, 95 % interval; its lower end {low} is {'not ' * passed}below {bar:g}"


def _all_judged(run: RecordedRun) -> str:
    share = run.experiment.run.min_scored
    return "every row has a verdict" if share == 1 else f"{share:g} of the rows have a verdict"


def write_junit(path: Path, outcomes: Sequence[Outcome], seconds: float) -> None:
    """One suite with a case for each gate; one that cannot be decided is skipped."""
    suites = ET.Element("testsuites")
    suite = ET.SubElement(suites, "testsuite", name="llm_judge", errors="0", time=f"{seconds:.3f}")
    suite.set("tests", str(len(outcomes)))
    suite.set("failures", str(sum(one.passed is False for one in outcomes)))
    suite.set("skipped", str(sum(one.passed is None for one in outcomes)))
    for one in outcomes:
        case = ET.SubElement(suite, "testcase", classname="run_experiment", name=one.gate, time="0")
        line = shorten(str(one), _WIDTH)  # without control characters, which XML cannot have
        if one.passed is None:
            ET.SubElement(case, "skipped", message=line)
        elif not one.passed:
            ET.SubElement(case, "failure", message=line, type="gate").text = line
    ET.indent(suites)
    ET.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def _write_summary(path: Path, told: Sequence[Outcome], ended: str, described: str) -> None:
    """Markdown: what the gates say, the run, and its description."""
    gates = [f"**`{one.gate}`: {one.word}.** {shorten(one.why, _WIDTH)}." for one in told]
    parts = (*gates, ended, described)
    path.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
