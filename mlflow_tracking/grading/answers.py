"""What did people answer in MLflow's pages? Counted, checked, and as the cells of a graded file.

python mlflow_tracking/grade_rows.py status --run last
python mlflow_tracking/grade_rows.py read --run last --output graded.csv
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mlflow_tracking.grading.draw import Draw
from mlflow_tracking.grading.human_mean import read_drawn_grades
from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.grading.review_queue import Answer, read_answers
from mlflow_tracking.grading.sheet import Line, grading_lines, write_csv
from mlflow_tracking.recording.run import experiment_name
from mlflow_tracking.rows.graded import FEEDBACK, GRADE, GradedData, level_of
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.labels import read_label, read_number
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.raters import RaterAgreement, rater_agreement


@dataclass(frozen=True)
class Answers:
    """The answers on the drawn rows."""

    by_row: Mapping[int, Mapping[str, Answer]]  # usable ones, by row and rater
    unusable: tuple[Answer, ...]  # off the scale, or on rows that were not drawn
    pending: int  # drawn rows without a usable answer
    scale: Scale  # that they are on

    @property
    def raters(self) -> list[str]:
        """Everybody who graded a row."""
        return sorted({name for answers in self.by_row.values() for name in answers})

    def by_rater(self) -> Counter[str]:
        """How many rows each graded."""
        return Counter(name for answers in self.by_row.values() for name in answers)

    def agreement(self) -> RaterAgreement | None:
        """How far raters agree on the rows that several graded; None if there are none."""
        names = self.raters
        several = [answers for answers in self.by_row.values() if len(answers) > 1]
        ratings = [
            [_points(one[name], self.scale) if name in one else None for name in names]
            for one in several
        ]
        return rater_agreement(ratings) if ratings else None

    def lines(self, draw: Draw, items: Sequence[Item]) -> list[Line]:
        """The drawn rows of `items` with their grades, blank where there is none."""
        return grading_lines(draw, items, self.scale, self.cells())

    def graded(self, draw: Draw, items: Sequence[Item]) -> GradedData:
        """The same, read as a file of grades is."""
        with TemporaryDirectory() as folder:
            path = Path(folder) / "graded.csv"
            write_csv(path, self.lines(draw, items))
            return read_drawn_grades(path, items, self.scale)

    def cells(self) -> dict[int, Line]:
        """Grade and feedback of each row: one grade, or a column for each rater."""
        names = self.raters
        if not any(len(answers) > 1 for answers in self.by_row.values()):
            firsts = {row: next(iter(one.values())) for row, one in self.by_row.items()}
            return {row: {GRADE: one.text, FEEDBACK: one.comment} for row, one in firsts.items()}
        return {
            row: {
                f"{GRADE}_{k}": _cell(answers.get(name), self.scale)
                for k, name in enumerate(names, 1)
            }
            | {FEEDBACK: _comments(answers)}
            for row, answers in self.by_row.items()
        }


def read_answers_of(run: JudgedRun, draw: Draw) -> Answers:
    """What people answered on the run's drawn rows so far."""
    answers = read_answers(run.run_id, experiment_name(run.experiment_id))
    return sort_answers(answers, draw, run.scale)


def sort_answers(answers: Sequence[Answer], draw: Draw, scale: Scale) -> Answers:
    """Tell usable answers from others."""
    drawn = {one.row for one in draw.drawn}
    by_row: dict[int, dict[str, Answer]] = {}
    unusable = []
    for answer in answers:
        if answer.row in drawn and _points(answer, scale) is not None:
            by_row.setdefault(answer.row, {})[answer.rater] = answer
        else:
            unusable.append(answer)
    return Answers(by_row, tuple(unusable), len(drawn) - len(by_row), scale)


def _points(answer: Answer, scale: Scale) -> float | None:
    """A score on the scale; pass and fail are the best and the worst. None for all else."""
    level = level_of(answer.text, scale.for_people)
    number = read_number(answer.text) if level is None else float(level)
    if number is None:
        label = read_label(answer.text)
        return None if label is None else float(scale.high if label else scale.low)
    return number if scale.low <= number <= scale.high else None


def _cell(answer: Answer | None, scale: Scale) -> str:
    """Where several graded, labels are points: they have a mean."""
    points = _points(answer, scale) if answer else None
    return "" if points is None else f"{points:g}"


def _comments(answers: Mapping[str, Answer]) -> str:
    return "; ".join(f"{name}: {one.comment}" for name, one in answers.items() if one.comment)
