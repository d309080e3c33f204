"""Are people's scores read on the prompt's own scale? Numbers within it, its levels' words, labels.

python -m pytest tests/rows/test_graded_scales.py
"""

from pathlib import Path

import pytest

from mlflow_tracking.rows.graded import GradedData, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, choice, level_scale, number_scale
from tests.support.experiment_process import write_csv

TEN = number_scale(0, 10)
LEVELS = level_scale(["poor", "fair", "Good"])
WRONG_OR_NOT = level_scale(["wrong", "partly", "correct"])
YES_NO = choice("yes", "no")


def read(folder: Path, scale: Scale, *cells: str, column: str = "human_score") -> GradedData:
    rows = [{"inputs": "q", "predictions": "a", column: cell} for cell in cells]
    graded = load_graded(write_csv(folder / "graded.csv", rows), scale=scale)
    assert isinstance(graded, GradedData)
    return graded


@pytest.mark.parametrize(
    ("scale", "cells", "human"),
    [
        (TEN, ("0", "10", "7,5"), [0, 10, 7.5]),
        (LEVELS, ("fair", " GOOD ", "1"), [2, 3, 1]),
        (LEVELS, ("2.5", "poor"), [2.5, 1]),
        (WRONG_OR_NOT, ("wrong", "correct"), [1, 3]),
        (WRONG_OR_NOT, ("wrong", "2", "partly"), [1, 2, 2]),
        (YES_NO, ("3", "5"), [3, 5]),
        (TEN, ("0", "0"), [0, 0]),
    ],
    ids=["0-10", "words", "between", "labels-as-levels", "mixed", "yes-no", "zeros"],
)
def test_scores_are_on_the_prompts_scale(
    tmp_path: Path, scale: Scale, cells: tuple[str, ...], human: list[float]
) -> None:
    graded = read(tmp_path, scale, *cells)
    assert (graded.kind, graded.human, graded.points) == ("scale", human, human)
    assert graded.scale == scale.for_people


@pytest.mark.parametrize(
    ("scale", "points"),
    [(TEN, [10, 0]), (LEVELS, [3, 1]), (YES_NO, [5, 1]), (ONE_TO_FIVE, [5, 1])],
    ids=str,
)
def test_labels_are_the_two_ends_of_the_scale(
    tmp_path: Path, scale: Scale, points: list[float]
) -> None:
    graded = read(tmp_path, scale, "right", "wrong")
    assert (graded.kind, graded.human, graded.points) == ("binary", [1, 0], points)


def test_raters_columns_are_on_the_scale_too(tmp_path: Path) -> None:
    cells = {"human_score_1": "poor", "human_score_2": "good"}
    row = {"inputs": "q", "predictions": "a", **cells}
    graded = load_graded(write_csv(tmp_path / "graded.csv", [row]), scale=LEVELS)
    assert isinstance(graded, GradedData)
    assert (graded.human, graded.ratings) == ([2], [(1, 3)])


@pytest.mark.parametrize(
    ("scale", "cell", "cause"),
    [
        (TEN, "11", "human_score is 11, off the scale; map it to 0-10"),
        (TEN, "good", "human_score is 'good', not a number; scores are 0-10"),
        (LEVELS, "4", "human_score is 4, off the scale; map it to 1-3 or to poor/fair/Good"),
        (LEVELS, "great", "human_score is 'great', no score; scores are poor/fair/Good"),
        (YES_NO, "0.5", "human_score is 0.5, off the scale; map it to 1-5"),
    ],
    ids=["number", "word", "level-number", "level-word", "yes-no"],
)
def test_what_is_off_the_scale_is_told_with_it(
    tmp_path: Path, scale: Scale, cell: str, cause: str
) -> None:
    with pytest.raises(DataError) as told:
        read(tmp_path, scale, "2", cell)
    assert str(told.value) == f"{tmp_path / 'graded.csv'}:3: {cause}"


@pytest.mark.parametrize(
    ("scale", "cells", "note"),
    [
        (TEN, ("1", "1"), "every human_score is 1: read as a score of 0-10, not as a label"),
        (TEN, ("0", "0"), "every human_score is 0: read as the lowest score of 0-10, not as a "),
        (TEN, ("0", "1"), "every human_score is 0 or 1: read as labels, not as scores of 0-10"),
    ],
    ids=["ones", "zeros", "both"],
)
def test_what_could_be_labels_or_scores_is_told(
    tmp_path: Path, scale: Scale, cells: tuple[str, ...], note: str
) -> None:
    [told] = read(tmp_path, scale, *cells).notes
    assert told.startswith(note)
