"""What would people give all rows of a run? Three numbers that are told apart.

    python mlflow_tracking/grade_rows.py report --run last
    python mlflow_tracking/run_experiment.py --data my.csv --graded graded.csv

Only grades of rows that were drawn by chance from the run's own rows speak for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlflow_tracking.grading.judged_run import rows_digest
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.graded import (
    ALL_UNITS,
    DRAWN_FROM,
    GRADED_ON,
    STRATUM,
    STRATUM_UNITS,
    UNIT,
    GradedData,
    GradedPairs,
    load_graded,
    shown,
)
from mlflow_tracking.rows.item import ANSWER, QUESTION, DataError, Item
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.prediction_powered import (
    DrawnGrades,
    HumanMean,
    prediction_powered_mean,
)

_DRAWN = (DRAWN_FROM, "row", UNIT, STRATUM, STRATUM_UNITS, ALL_UNITS)


def read_drawn_grades(
    path: Path, items: Sequence[Item], scale: Scale, encoding: str = "utf-8", sheet: str = ""
) -> GradedData:
    """The graded rows of `path`; raises DataError unless they were drawn from `items` by chance.

    `scale` is that of the run's prompt, which people's grades are on, too.
    """
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; --graded takes a to_grade.csv that people filled in"
        )
    graded = load_graded(path, encoding, sheet=sheet, scale=scale)
    if isinstance(graded, GradedPairs):
        raise DataError(f"{path}: has compared pairs; grades of single answers are needed")
    header = graded.rows[0].row.columns
    on, wanted = header.get(GRADED_ON, ONE_TO_FIVE.in_cells), scale.for_people.in_cells
    if graded.kind == "scale" and on != wanted:
        raise DataError(
            f"{path}: was graded on {shown(on)}, and this run's prompt scores on {scale}; take a "
            "prompt of that scale, or grade rows of this run"
        )
    if lacking := [name for name in _DRAWN if name not in header]:
        raise DataError(
            f"{path}: no column {lacking[0]}: rows that were picked by hand say nothing of all "
            "rows; draw some with grade_rows.py open"
        )
    digest, seen = rows_digest(items), dict[str, Mapping[str, str]]()
    for one in graded.rows:
        place, cells = f"{path}:{one.row.line}", one.row.columns
        if cells[DRAWN_FROM] != digest:
            raise DataError(
                f"{place}: was drawn from other rows than this run's, so it says nothing of these"
            )
        for name in ("row", STRATUM_UNITS, ALL_UNITS):
            if not cells[name].isdecimal() or not 1 <= int(cells[name]) <= len(items):
                raise DataError(f"{place}: {name} is '{shown(cells[name])}'; leave it as it was")
        if _folded(cells[QUESTION], cells[ANSWER]) != _folded_item(items[int(cells["row"]) - 1]):
            raise DataError(f"{place}: is not row {cells['row']} of the run; sort whole lines only")
        if cells["row"] in seen:
            raise DataError(f"{place}: row {cells['row']} stands there twice; keep one")
        seen[cells["row"]] = cells
    _check_strata(path, list(seen.values()))
    return graded


def _folded(*texts: str) -> list[str]:
    """What a spreadsheet leaves as it is: no blanks, no control signs, what a cell holds."""
    return ["".join(filter(str.isprintable, text[:30_000])).replace(" ", "") for text in texts]


def _folded_item(item: Item) -> list[str]:
    return _folded(item.question, item.answer)


def _check_strata(path: Path, lines: Sequence[Mapping[str, str]]) -> None:
    """Raises DataError where the numbers of units cannot be those of one draw."""
    units: dict[str, set[str]] = {}
    for cells in lines:
        units.setdefault(cells[STRATUM], set()).add(cells[UNIT])
    there = {(cells[STRATUM], int(cells[STRATUM_UNITS])) for cells in lines}
    totals = {int(cells[ALL_UNITS]) for cells in lines}
    if (
        len(there) > len(units)
        or len(totals) > 1
        or sum(count for _, count in there) > max(totals)
        or any(len(units[stratum]) > count for stratum, count in there)
    ):
        raise DataError(
            f"{path}: {STRATUM_UNITS} or {ALL_UNITS} are not those of one draw; leave them as "
            "they were, and do not mix two draws"
        )


def drawn_grades(graded: GradedData) -> DrawnGrades:
    """The grades, and how their rows were drawn."""
    columns = [one.row.columns for one in graded.rows]
    return DrawnGrades(
        [int(cells["row"]) - 1 for cells in columns],
        graded.points,
        [cells[UNIT] for cells in columns],
        [cells[STRATUM] for cells in columns],
        {cells[STRATUM]: int(cells[STRATUM_UNITS]) for cells in columns},
        int(columns[0][ALL_UNITS]),
    )


def finest(verdicts: Sequence[Verdict | None]) -> Array:
    """Expected scores, or whole ones where there are none; NaN without a verdict."""
    scores = [verdict.overall if verdict else None for verdict in verdicts]
    return np.array([np.nan if score is None else score.finest for score in scores])


def human_mean(judged: Array, graded: GradedData) -> HumanMean:
    """What people would give all rows on average, with what the judge gave of shape (rows,)."""
    found = prediction_powered_mean(judged, drawn_grades(graded))
    ends = (found.people.value, found.people.low, found.people.high)
    scale = graded.scale
    value, least, most = (
        None if end is None else min(scale.high, max(scale.low, end)) for end in ends
    )
    people = replace(found.people, value=value, low=least, high=most)
    return replace(found, people=people, labels=graded.kind == "binary", scale=scale)
