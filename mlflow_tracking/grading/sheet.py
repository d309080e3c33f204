"""How do people grade in a spreadsheet? Two files with blank grades, the same rows as the queue's.

    python mlflow_tracking/grade_rows.py open --run last --rows 100    # to_grade.csv, to_grade.xlsx
    python mlflow_tracking/grade_rows.py report --run last --graded to_grade.xlsx

What people wrote in MLflow's pages becomes the same file, graded.csv, so both are read in one way:
`rows/graded.py` skips what is blank.
"""

import csv
import io
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Alignment, Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.datavalidation import DataValidation

from mlflow_tracking.grading.draw import Draw
from mlflow_tracking.rows.graded import (
    ALL_UNITS,
    DRAWN_FROM,
    FEEDBACK,
    GRADE,
    GRADED_ON,
    STRATUM,
    STRATUM_UNITS,
    UNIT,
    is_rater,
)
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataError, Item
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale

_WIDTHS = {QUESTION: 50, REFERENCE: 40, ANSWER: 70, GRADE: 13, FEEDBACK: 40}
_MOST_CHARS = 32_767  # of a workbook's cell
_MOST_CHOICES = 250  # characters of a list to pick from, which Excel holds to 255

Line = Mapping[str, str]


def grading_lines(
    draw: Draw, items: Sequence[Item], scale: Scale, grades: Mapping[int, Line] | None = None
) -> list[Line]:
    """A line for each drawn row, by column; `items` are all rows of the run, graded on `scale`.

    `grades` are the cells of grades by the row's number, which counts from 1.
    Nothing of the judge's is among them.
    """
    names = dict.fromkeys(name for cells in (grades or {}).values() for name in cells)
    blank = dict.fromkeys(names or (GRADE, FEEDBACK), "")
    people = scale.for_people
    on = {} if people == ONE_TO_FIVE else {GRADED_ON: people.in_cells}
    return [
        {
            "row": str(one.row),
            QUESTION: items[one.row - 1].question,
            **dict(items[one.row - 1].more),
            REFERENCE: items[one.row - 1].reference,
            ANSWER: items[one.row - 1].answer,
            **blank,
            **(grades or {}).get(one.row, {}),
            DRAWN_FROM: draw.digest,
            UNIT: one.unit,
            STRATUM: draw.aliases[one.stratum],
            STRATUM_UNITS: str(draw.stratum_units[one.stratum]),
            ALL_UNITS: str(sum(draw.stratum_units.values())),
            **on,
        }
        for one in draw.drawn
    ]


def as_csv(lines: Sequence[Line]) -> str:
    """The lines as a CSV file's text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, lines[0])
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def write_sheets(folder: Path, lines: Sequence[Line], scale: Scale) -> tuple[Path, Path]:
    """to_grade.csv and to_grade.xlsx in `folder`; raises DataError where grades would be lost."""
    text, book = folder / "to_grade.csv", folder / "to_grade.xlsx"
    if not folder.is_dir():
        raise DataError(f"--folder {folder}: there is no such folder; make it")
    for path in (text, book):
        check_no_grades_lost("--folder", path)
    write_csv(text, lines)
    write_workbook(book, lines, scale)
    return text, book


def check_no_grades_lost(flag: str, path: Path, graded: Set[str] = frozenset()) -> None:
    """Raises DataError if the file at `path` has grades of other rows than those `graded`."""
    if not path.exists():
        return
    for row in load_rows(path, needs=(QUESTION,)).rows:
        cells = row.columns
        grades = [
            text for name, text in cells.items() if name in (GRADE, FEEDBACK) or is_rater(name)
        ]
        if any(text.strip() for text in grades) and cells.get("row", "") not in graded:
            raise DataError(
                f"{path}:{row.line}: has a grade; move the file, or name another {flag}"
            )


def write_csv(path: Path, lines: Sequence[Line]) -> None:
    """In UTF-8 with its mark, without which Excel takes it for another encoding."""
    _write(path, as_csv(lines).encode("utf-8-sig", "replace"))


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path}: cannot be written: {error.strerror}; name another place"
        ) from None


def write_workbook(path: Path, lines: Sequence[Line], scale: Scale) -> None:
    """The lines as a workbook: text wrapped, grades to be picked from a list.

    What has no width of its own and no place behind the grade is a further column of the rows.
    """
    book = Workbook()
    sheet = book.active
    header = list(lines[0])
    widths = dict.fromkeys(header[1 : header.index(GRADE)], 50) | _WIDTHS
    for number, cells in enumerate([dict.fromkeys(header, ""), *lines], 1):
        for place, name in enumerate(header, 1):
            text = name if number == 1 else ILLEGAL_CHARACTERS_RE.sub("", cells[name])
            cell = sheet.cell(number, place, text[:_MOST_CHARS])
            cell.data_type = "s"  # or an answer that begins with '=' would be a formula
            cell.alignment = Alignment(wrap_text=name in widths, vertical="top")
            cell.font = Font(bold=number == 1)
    for place, name in enumerate(header, 1):
        sheet.column_dimensions[get_column_letter(place)].width = widths.get(name, 10)
    choices = "pass,fail" if scale.is_choice else ",".join(scale.words)
    if len(choices) > _MOST_CHOICES or '"' in choices:
        choices = ",".join(map(str, scale.values))
    validation = DataValidation("list", formula1=f'"{choices}"', allow_blank=True)
    letter = get_column_letter(header.index(GRADE) + 1)
    validation.add(f"{letter}2:{letter}{len(lines) + 1}")
    sheet.add_data_validation(validation)
    sheet.freeze_panes = "A2"
    content = io.BytesIO()
    book.save(content)
    _write(path, content.getvalue())
