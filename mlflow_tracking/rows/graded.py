"""What did people say of these answers? Reads graded answers or compared pairs.

    python mlflow_tracking/validate_judge.py --data graded.csv

The kind of file is found from its columns: `inputs,predictions,human_score` (or `human_score_1`,
`human_score_2` ... of several raters) with scores on the prompt's scale or with labels right/wrong,
or `inputs,answer_a,answer_b,winner`. `targets` (a reference) and `human_feedback` are optional.
In a file of `grade_rows.py` rows without a grade are passed over: nobody has come to them yet.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlflow_tracking.rows.conversation import answer_text
from mlflow_tracking.rows.item import (
    ANSWER,
    QUESTION,
    DataError,
    DataSet,
    Named,
    Row,
)
from mlflow_tracking.rows.item import ANSWER_A as ANSWER_A
from mlflow_tracking.rows.item import ANSWER_B as ANSWER_B
from mlflow_tracking.rows.labels import Winner as Winner
from mlflow_tracking.rows.labels import (
    is_dash,
    is_plus,
    is_word,
    read_label,
    read_number,
    read_winner,
)
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale
from mlflow_tracking.rows.table import Columns


def shown(cell: str, width: int = 40) -> str:
    """A cell on one line of a message, whatever is in it."""
    text = " ".join(cell.split())
    return f"{text[:width]}…" if len(text) > width else text


GRADE, FEEDBACK = "human_score", "human_feedback"
# Of a file with rows that were drawn by chance: from which rows, what was drawn (a row or a cluster
# of rows), in which stratum, and how many such units there were to draw from, there and in all.
DRAWN_FROM, UNIT, STRATUM = "drawn_from", "unit", "stratum"
STRATUM_UNITS, ALL_UNITS = "stratum_units", "all_units"
GRADED_ON = "graded_on"  # the scale that these were graded on; a file without it: 1-5
WINNER = "winner"
_SCORED, _PAIRED = (QUESTION, ANSWER, GRADE), (QUESTION, ANSWER_A, ANSWER_B, WINNER)


def is_paired(path: Path, header: list[str]) -> bool:
    """True for pairs, False for single answers; raises DataError for both or half of the first."""
    lacking = [name for name in _PAIRED if name not in header]
    scored = ANSWER in header and any(name == GRADE or is_rater(name) for name in header)
    if not lacking and scored:
        raise DataError(
            f"{path}:1: has the columns of scored answers and of pairs; split it into two files"
        )
    if lacking and not scored and (ANSWER_A in header or ANSWER_B in header):
        raise DataError(_no_column(path, lacking, header, _PAIRED))
    return not lacking


def rater_columns(path: Path, header: list[str]) -> tuple[str, ...]:
    """The columns of several raters, by their number; raises DataError if a column is lacking."""
    numbered = [name for name in header if is_rater(name)]
    lacking = [name for name in _SCORED if name not in header]
    if numbered and GRADE in lacking:
        lacking.remove(GRADE)
    if lacking:
        raise DataError(_no_column(path, lacking, header, _SCORED))
    return tuple(sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[1])))


def is_rater(name: str) -> bool:
    """Whether a column is one rater's of several."""
    return re.fullmatch(rf"{GRADE}_[0-9]+", name) is not None


def _no_column(path: Path, lacking: list[str], header: list[str], needs: tuple[str, ...]) -> str:
    names = shown(", ".join(header), 200)
    missing = f"no column {' and '.join(lacking)}; it has {names}, needs {','.join(needs)}"
    return f"{path}:1: {missing}{Columns().remedy(lacking, header)}"


@dataclass(frozen=True)
class GradedRow:
    """An answer and what people gave it."""

    row: Row
    human: float  # on the scale, the mean of several raters; labels: 1 right, 0 wrong
    raters: tuple[float | None, ...] = ()  # by GradedData.raters; None: did not grade this row
    feedback: str = ""  # the grader's reason


@dataclass(frozen=True)
class GradedData:
    """The graded answers of one file."""

    data: DataSet
    kind: Literal["scale", "binary"]
    rows: tuple[GradedRow, ...]
    scale: Scale  # of people's scores; labels are its two ends
    raters: tuple[str, ...] = ()  # the columns of several raters
    notes: tuple[str, ...] = ()  # what the user should know of how the file was read

    def asking(self, names: Sequence[str]) -> "GradedData":
        """The rows as they are judged by prompts that show these further columns."""
        rows = tuple(replace(one, row=one.row.showing(names, self.data.named)) for one in self.rows)
        return replace(self, rows=rows)

    @property
    def human(self) -> list[float]:
        """One human score (or label, 1 or 0) for each row."""
        return [row.human for row in self.rows]

    @property
    def points(self) -> list[float]:
        """The human scores on the scale; of labels, right is its best and wrong its worst."""
        if self.kind == "scale":
            return self.human
        return [float(self.scale.high if label else self.scale.low) for label in self.human]

    @property
    def drawn_alike(self) -> bool:
        """Whether every row had the same chance, for all that the file tells."""
        columns = [one.row.columns for one in self.rows]
        strata = {cells.get(STRATUM_UNITS) for cells in columns}
        alone = all(cells.get(UNIT, "") == cells.get("row", "") for cells in columns)
        return DRAWN_FROM not in columns[0] or (alone and strata == {columns[0].get(ALL_UNITS)})

    @property
    def ratings(self) -> list[tuple[float | None, ...]]:
        """Rows x raters; empty tuples if the file has one score a row only."""
        return [row.raters for row in self.rows]


@dataclass(frozen=True)
class GradedPair:
    """Two answers to one question and which of them people prefer."""

    row: Row
    answer_a: str
    answer_b: str
    winner: Winner
    feedback: str = ""


@dataclass(frozen=True)
class GradedPairs:
    """The compared pairs of one file."""

    data: DataSet
    pairs: tuple[GradedPair, ...]
    notes: tuple[str, ...] = ()

    def asking(self, names: Sequence[str]) -> "GradedPairs":
        """The pairs as they are judged by prompts that show these further columns."""
        pairs = tuple(
            replace(one, row=one.row.showing(names, self.data.named)) for one in self.pairs
        )
        return replace(self, pairs=pairs)


def load_graded(
    path: Path,
    encoding: str = "utf-8",
    limit: int | None = None,
    sheet: str = "",
    named: Named = (),
    scale: Scale = ONE_TO_FIVE,
) -> GradedData | GradedPairs:
    """Read the file at `path`; raises DataError, which names the file, the line and the remedy.

    `named` are columns with other headers. `scale` is that of the prompt: people's scores are on
    it, as numbers or as its levels' words. Where the judge says but yes or no, people may give 2, 3
    and 4 as well.

    Few rows or one score for all are no errors: the statistics of them say 'not enough data'.
    """
    data = load_rows(path, encoding, limit, needs=(QUESTION,), sheet=sheet, named=named)
    header = list(data.rows[0].columns)
    if is_paired(path, header):
        return GradedPairs(data, tuple(_pair(path, row) for row in data.rows), data.notes)
    raters, scale = rater_columns(path, header), scale.for_people
    if DRAWN_FROM in header:
        data = _without_blanks(data)
    if raters:
        return _rated(data, raters, GRADE in header, scale)
    return _labelled_or_scored(data, scale)


def answers_only(graded: GradedData | GradedPairs) -> GradedData:
    """The graded answers; raises DataError for pairs."""
    if isinstance(graded, GradedPairs):
        raise DataError(f"{graded.data.path}: has pairs; graded answers are needed")
    return graded


def _without_blanks(data: DataSet) -> DataSet:
    """The rows that somebody graded; of a cluster that was drawn whole, all or none."""
    names = [name for name in data.rows[0].columns if name == GRADE or is_rater(name)]
    blank = [row for row in data.rows if not any(row.columns[name].strip() for name in names)]
    half = {row.columns.get(UNIT, "") for row in blank}
    kept = tuple(row for row in data.rows if row.columns.get(UNIT, "") not in half)
    if not kept:
        raise DataError(f"{data.path}: no row is graded yet; fill in {GRADE}")
    passed = [f"{len(blank)} of {len(data.rows)} drawn rows are not graded yet"] if blank else []
    if lost := len(data.rows) - len(kept) - len(blank):
        passed.append(f"{lost} graded rows are left out until their whole cluster is graded")
    return replace(data, rows=kept, notes=(*data.notes, *passed))


def _rated(data: DataSet, raters: tuple[str, ...], single: bool, scale: Scale) -> GradedData:
    rows = []
    for row in data.rows:
        given = tuple(
            _score(data.path, row, name, scale) if row.columns[name].strip() else None
            for name in raters
        )
        known = [score for score in given if score is not None]
        if single:
            human = _score(data.path, row, GRADE, scale)
        elif known:
            human = sum(known) / len(known)
        else:
            raise DataError(
                f"{data.path}:{row.line}: no rater graded this row; fill one in or remove the row"
            )
        rows.append(GradedRow(row, human, given, _feedback(row)))
    return GradedData(data, "scale", tuple(rows), scale, raters, data.notes)


def _labelled_or_scored(data: DataSet, scale: Scale) -> GradedData:
    """Labels if every cell is one; a level's word is a score, and so are all 1s on the scale."""
    for row in data.rows:
        if not row.columns[GRADE].strip():
            raise DataError(_empty(data.path, row, GRADE))
    _refuse_dashes(data)
    cells = [row.columns[GRADE] for row in data.rows]
    labels = [None if level_of(cell, scale) else read_label(cell) for cell in cells]
    alike = {read_number(cell) for cell in cells}
    one = alike.pop() if len(alike) == 1 else None
    ones = one is not None and scale.low <= one <= scale.high
    if None not in labels and not ones:
        rows = [
            GradedRow(row, float(label or 0), (), _feedback(row))
            for row, label in zip(data.rows, labels, strict=True)
        ]
        both = f"every {GRADE} is 0 or 1: read as labels, not as scores of {scale}"
        numbers = scale.low == 0 and None not in map(read_number, cells)
        notes = (*data.notes, both) if numbers else data.notes
        return GradedData(data, "binary", tuple(rows), scale, (), notes)
    _refuse_mixture(data, labels, scale)
    rows = [
        GradedRow(row, _score(data.path, row, GRADE, scale), (), _feedback(row))
        for row in data.rows
    ]
    which = f"the lowest score of {scale}" if one == scale.low else f"a score of {scale}"
    note = f"every {GRADE} is {one:g}: read as {which}, not as a label" if one in (0, 1) else ""
    return GradedData(
        data, "scale", tuple(rows), scale, (), (*data.notes, *([note] if note else ()))
    )


def _refuse_dashes(data: DataSet) -> None:
    """A dash is 'wrong' beside a plus; elsewhere people mean that there is no grade."""
    if any(is_plus(row.columns[GRADE]) for row in data.rows):
        return
    for row in data.rows:
        if is_dash(row.columns[GRADE]):
            raise DataError(
                f"{data.path}:{row.line}: {GRADE} is '{shown(row.columns[GRADE])}', which is a "
                "label beside '+' only; fill it in or remove the row"
            )


def _refuse_mixture(data: DataSet, labels: list[bool | None], scale: Scale) -> None:
    """Where a word such as 'yes' is used, every cell must be a label."""
    cells = [row.columns[GRADE] for row in data.rows]
    words = [cell for cell in cells if is_word(cell) and not level_of(cell, scale)]
    for row, label in zip(data.rows, labels, strict=True):
        if words and label is None:
            raise DataError(
                f"{data.path}:{row.line}: {GRADE} is '{shown(row.columns[GRADE])}' where other "
                f"rows have labels ('{words[0].strip()}'); use labels or scores, not both"
            )


def level_of(cell: str, scale: Scale) -> int | None:
    """The score whose word a cell has; None for all else, numbers included."""
    folded = cell.strip().casefold()
    named = {word.casefold(): value for word, value in zip(scale.words, scale.values, strict=True)}
    return None if scale.is_numbers else named.get(folded)


def _score(path: Path, row: Row, column: str, scale: Scale) -> float:
    cell = row.columns[column].strip()
    level = level_of(cell, scale)
    number = read_number(cell) if level is None else float(level)
    wanted = f"{scale.low}-{scale.high}" + ("" if scale.is_numbers else f" or to {scale}")
    if not cell:
        raise DataError(_empty(path, row, column))
    if number is None:
        what = "not a number" if scale.is_numbers else "no score"
        raise DataError(
            f"{path}:{row.line}: {column} is '{shown(cell)}', {what}; scores are {scale}"
            + (", labels such as right/wrong go into human_score" if column != GRADE else "")
        )
    if not scale.low <= number <= scale.high:
        raise DataError(
            f"{path}:{row.line}: {column} is {shown(cell)}, off the scale; map it to {wanted}"
        )
    return number


def _empty(path: Path, row: Row, column: str) -> str:
    return f"{path}:{row.line}: {column} is empty; fill it in or remove the row"


def _pair(path: Path, row: Row) -> GradedPair:
    cell = row.columns[WINNER]
    winner = read_winner(cell)
    if not cell.strip():
        raise DataError(_empty(path, row, WINNER))
    if winner is None:
        raise DataError(f"{path}:{row.line}: {WINNER} is '{shown(cell)}'; write a, b or tie")
    first, second = (answer_text(row.columns[name]) for name in (ANSWER_A, ANSWER_B))
    return GradedPair(row, first, second, winner, _feedback(row))


def _feedback(row: Row) -> str:
    return row.columns.get(FEEDBACK, "").strip()
