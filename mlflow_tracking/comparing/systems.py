"""Which system is better by its judge's scores, and of which pairs can that be said?

    python mlflow_tracking/compare_runs.py RUN RUN RUN

A system is what gave a run's answers. Its letter is its place on the command line: A is the first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from mlflow_tracking.comparing.people import people_difference
from mlflow_tracking.comparing.shared_rows import SharedRows, share_rows
from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.grading.kept import kept_grades
from mlflow_tracking.recording.run import TrackingError
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.several_means import SeveralMeans, compare_means


@dataclass(frozen=True)
class System:
    """One run among the others."""

    letter: str
    run: JudgedRun
    mean: Estimate  # over the shared rows, with an interval of its own
    wins: int  # shared rows on which it scores better than another system, over all others
    ties: int
    losses: int
    no_verdict: int  # of all rows of the run


@dataclass(frozen=True)
class Comparison:
    """What the scores of several runs say."""

    shared: SharedRows  # those rows that have a verdict in every run
    systems: tuple[System, ...]  # in the order of the command line
    found: SeveralMeans
    notes: tuple[str, ...]  # why a difference may not be the systems'
    people: tuple[str, ...]  # what people would say, in words

    @property
    def ranked(self) -> list[System]:
        """The best mean first."""
        return sorted(self.systems, key=lambda one: -(one.mean.value or 0.0))

    @property
    def scores(self) -> pd.DataFrame:
        """A line for each shared row: its number in the first run, the scores, and the question."""
        letters = [one.letter for one in self.systems]
        table = pd.DataFrame(self.shared.scores(), columns=letters)
        table.insert(0, "row", self.shared.runs[0].rows["row"].to_numpy()[self.shared.places[:, 0]])
        return table.assign(question=self.shared.questions)

    @property
    def most_apart(self) -> pd.DataFrame:
        """`scores` of the rows that the systems differ on, the furthest apart first."""
        spread = self.shared.scores().std(axis=1).round(9)
        order = np.argsort(-spread, kind="stable")
        return self.scores.iloc[order[: int((spread > 0).sum())]]


def letter(place: int) -> str:
    """A to Z, then A2 to Z2 and so on."""
    rounds, place = divmod(place, 26)
    return f"{chr(ord('A') + place)}{rounds + 1 if rounds else ''}"


def compare(runs: Sequence[JudgedRun]) -> Comparison:
    """Compare the runs; raises TrackingError where their scores say nothing of each other."""
    _check_scales(runs)
    shared = share_rows(runs).scored_by_all()
    if not len(shared.places):
        raise TrackingError(_nothing_shared(runs))
    scores = shared.scores()
    found = compare_means(scores, shared.questions)
    systems = []
    for place, (run, mean) in enumerate(zip(runs, found.means, strict=True)):
        shown = _on_the_scale(mean, run.scale)
        apart = scores[:, [place]] - np.delete(scores, place, axis=1)
        counts = (int((apart > 0).sum()), int((apart == 0).sum()), int((apart < 0).sum()))
        systems.append(
            System(letter(place), run, shown, *counts, int(run.rows["score"].isna().sum()))
        )
    return Comparison(shared, tuple(systems), found, _notes(runs), tuple(_people(runs)))


def _on_the_scale(mean: Estimate, scale: Scale) -> Estimate:
    """Scores end where the scale does; an interval of Student's does not know it."""
    if mean.low is None or mean.high is None:
        return mean
    return replace(mean, low=max(mean.low, scale.low), high=min(mean.high, scale.high))


def _check_scales(runs: Sequence[JudgedRun]) -> None:
    """Raises TrackingError for runs whose scores do not run from the same worst to the same best.

    Yes and no count 5 and 1, so they compare with 1-5.
    """
    first = runs[0]
    for place, run in enumerate(runs):
        if run.scale.for_people.values != first.scale.for_people.values:
            raise TrackingError(
                f"runs {first.run_id} and {run.run_id}: A scores on {first.scale}, {letter(place)} "
                f"on {run.scale}; a difference of means says nothing; judge the rows again with "
                "prompts of one scale"
            )


def _nothing_shared(runs: Sequence[JudgedRun]) -> str:
    for first, second in combinations(runs, 2):
        if not len(share_rows([first, second]).scored_by_all().places):
            return f"runs {first.run_id} and {second.run_id}: no question that both judged"
    return "no question that all of these runs judged; compare fewer of them"


def _notes(runs: Sequence[JudgedRun]) -> tuple[str, ...]:
    """What besides the answers the runs do not have in common."""
    kinds: dict[str, Callable[[JudgedRun], str]] = {
        "judges": lambda run: run.judge,
        "prompts": lambda run: f"{run.prompt} {run.prompt_sha256[:8]}".strip(),
        "scales": lambda run: str(run.scale),
    }
    notes = []
    for kind, name_of in kinds.items():
        letters: dict[str, list[str]] = {}
        for place, run in enumerate(runs):
            letters.setdefault(name_of(run), []).append(letter(place))
        if len(letters) > 1:
            who = "; ".join(f"{', '.join(those)}: {name}" for name, those in letters.items())
            notes.append(f"the runs' {kind} differ ({who}): so may the scores of equal answers")
    return tuple(notes)


def _people(runs: Sequence[JudgedRun]) -> list[str]:
    """What people would say of each pair; nothing where no row is graded."""
    graded = [kept_grades(run.run_id, run.items, run.scale) for run in runs]
    lines, ungraded = [], dict[int, None]()
    for a, b in combinations(range(len(runs)), 2):
        one, other, who = graded[a], graded[b], f"{letter(b)} - {letter(a)}"
        if not (one or other):
            continue
        pair = share_rows([runs[a], runs[b]])
        if pair.same_answers:
            lines.append(f"{who}: the answers are the same, and people's grades with them")
        elif one and other:
            found, over = people_difference(pair, (one, other))
            lines.append(
                f"{who} {found}, {over}{'' if found.is_not_0 else ': cannot tell which is better'}"
            )
        else:
            ungraded[a if other else b] = None
    lines += [
        f"cannot tell of {letter(place)}; grade it: grade_rows.py report --run {runs[place].run_id}"
        for place in sorted(ungraded)
    ]
    return lines
