"""What would people give all rows of a run? Three numbers that are told apart.

    python mlflow_tracking/grade_rows.py report --run last
    python mlflow_tracking/run_experiment.py --data my.csv --graded graded.csv

Only grades of rows that were drawn by chance from the run's own rows speak for all of them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mlflow_tracking.grading.judged_run import rows_digest
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.graded import (
    DRAWN_FROM,
    STRATUM,
    STRATUM_UNITS,
    UNIT,
    GradedData,
    GradedPairs,
    load_graded,
)
from mlflow_tracking.rows.item import SCALE, DataError, Item
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.prediction_powered import (
    DrawnGrades,
    HumanMean,
    prediction_powered_mean,
)


def read_drawn_grades(path: Path, items: Sequence[Item], sheet: str = "") -> GradedData:
    """The graded rows of `path`; raises DataError unless they were drawn from `items` by chance."""
    graded = load_graded(path, sheet=sheet)
    if isinstance(graded, GradedPairs):
        raise DataError(f"{path}: has compared pairs; grades of single answers are needed")
    columns = graded.rows[0].row.columns
    if lacking := [
        n for n in (DRAWN_FROM, "row", UNIT, STRATUM, STRATUM_UNITS) if n not in columns
    ]:
        raise DataError(
            f"{path}: no column {lacking[0]}: rows that were picked by hand say nothing of all "
            "rows; draw some with grade_rows.py open"
        )
    digest = rows_digest(items)
    for one in graded.rows:
        if one.row.columns[DRAWN_FROM] != digest:
            raise DataError(
                f"{path}:{one.row.line}: was drawn from other rows than this run's, so it says "
                "nothing of these"
            )
        for name, most in (("row", len(items)), (STRATUM_UNITS, len(items))):
            cell = one.row.columns[name]
            if not cell.isdecimal() or not 1 <= int(cell) <= most:
                raise DataError(f"{path}:{one.row.line}: {name} is '{cell}'; leave it as it was")
    return graded


def drawn_grades(graded: GradedData) -> DrawnGrades:
    """The grades as numbers from 1 to 5; of labels, right is 5 and wrong is 1."""
    columns = [one.row.columns for one in graded.rows]
    low, high = SCALE[0], SCALE[-1]
    grades = graded.human
    if graded.kind == "binary":
        grades = [low + (high - low) * label for label in grades]
    return DrawnGrades(
        [int(cells["row"]) - 1 for cells in columns],
        grades,
        [cells[UNIT] for cells in columns],
        [cells[STRATUM] for cells in columns],
        {cells[STRATUM]: int(cells[STRATUM_UNITS]) for cells in columns},
    )


def finest(verdicts: Sequence[Verdict | None]) -> Array:
    """Expected scores, or whole ones where there are none; NaN without a verdict."""
    scores = [verdict.overall if verdict else None for verdict in verdicts]
    return np.array([np.nan if score is None else score.finest for score in scores])


def human_mean(judged: Array, graded: GradedData) -> HumanMean:
    """What people would give all rows on average, with what the judge gave of shape (rows,)."""
    return prediction_powered_mean(judged, drawn_grades(graded))
