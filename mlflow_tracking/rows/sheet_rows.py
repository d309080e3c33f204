"""How is a workbook read? One sheet of it, each cell as the text that a person sees in it.

    python mlflow_tracking/run_experiment.py --data my.xlsx --sheet 'Second round'

A number is written with all its digits, whatever its format rounds; percent signs and leading
zeros are kept. What a formula gave when the file was saved is read. A merged cell counts for every
row beside which it stands.
"""

import datetime as dt
import io
import itertools
import re
import warnings
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from openpyxl import load_workbook
from openpyxl.utils import get_column_letter, range_boundaries

from mlflow_tracking.rows.item import DataError, Row
from mlflow_tracking.rows.table import Columns, Line, PassedOver, read_table

# Of what it does not keep of a workbook (validations, styles): nothing that is read here.
warnings.filterwarnings("ignore", module=r"openpyxl\.")

_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, ET.ParseError, OSError, EOFError),
    *(LookupError, ValueError, TypeError, AttributeError, NotImplementedError),
)


@dataclass(frozen=True)
class Sheet:
    """A sheet of an opened workbook."""

    path: str
    title: str
    cells: Any  # openpyxl's read-only worksheet, with the values of formulas
    formulas: Any  # the same with the formulas themselves; None where there are none
    others: tuple[str, ...]  # the other sheets that are not hidden
    chosen: bool

    def rows(self, columns: Columns, passed: PassedOver) -> Iterator[Row]:
        """The rows below the header; raises DataError, which names the line."""
        others = ", ".join(f"'{name}'" for name in self.others)
        if others and not self.chosen:
            passed.told[f"the sheet '{self.title}' is read, not {others} (--sheet)"] = None
        try:
            yield from read_table(self.path, self._lines(passed), columns, passed, ragged=True)
        except DataError as mistake:
            if "no column" in str(mistake) or "is empty" in str(mistake):
                sheet = f" (sheet '{self.title}'" + (f"; --sheet: {others})" if others else ")")
                raise DataError(f"{mistake}{sheet}") from None
            raise
        except _BROKEN as error:
            raise DataError(_broken(self.path, error)) from None

    def _lines(self, passed: PassedOver) -> Iterator[Line]:
        merged = _merged_down(self.cells)
        tops: dict[int, tuple[int, str]] = {}  # last line and text of a merged cell, by its column
        formulas = self.formulas.rows if self.formulas else itertools.repeat(())
        for line, (row, asked) in enumerate(zip(self.cells.rows, formulas, strict=False), 1):
            texts = [
                self._text(line, at, cell, asked[at] if at < len(asked) else None)
                for at, cell in enumerate(row)
            ]
            tops = {column: top for column, top in tops.items() if line <= top[0]}
            own = any(text.strip() for text in texts)
            if tops and not own:
                continue  # one high row, not several
            for column, (_, text) in tops.items():
                texts += [""] * (column + 1 - len(texts))
                texts[column] = text
                passed.told["a merged cell is read in every row beside which it stands"] = None
            for column, last in merged.get(line, ()):
                if column < len(texts) and texts[column].strip():
                    tops[column] = last, texts[column]
            yield line, texts or [""]

    def _text(self, line: int, at: int, cell: Any, formula: Any) -> str:
        value, place = cell.value, f"{self.path}:{line}: cell {get_column_letter(at + 1)}{line}"
        if formula is not None and formula.data_type == "f":
            # A file that was only written: no value, or the zero of one who cannot calculate. An
            # empty text that was calculated has its type.
            recalculate = bool(getattr(self.cells.parent.calculation, "fullCalcOnLoad", False))
            if (value is None and cell.data_type != "str") or (value == 0 and recalculate):
                raise DataError(
                    f"{place} is a formula that was never calculated; open the file in Excel or "
                    "LibreOffice and save it"
                )
        if cell.data_type == "e":
            raise DataError(f"{place} is {value}, an error; mend it or clear the cell")
        if value is None:
            return ""
        return _unescaped(value) if isinstance(value, str) else _shown(value, cell.number_format)


def open_sheet(path: str, content: bytes, name: str = "") -> Sheet:
    """The sheet of that name, or the first that is not hidden; raises DataError."""
    try:
        book = load_workbook(io.BytesIO(content), read_only=True, data_only=True, keep_links=False)
        shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
        there = [sheet.title for sheet in book.worksheets]
        alike = [title for title in there if title.strip().casefold() == name.strip().casefold()]
        if name and not alike:
            names = ", ".join(f"'{title}'" for title in there)
            raise DataError(f"{path}: no sheet '{name}'; it has {names}")
        if not there:
            raise DataError(f"{path}: has no sheet of cells; save it as 'Excel Workbook (.xlsx)'")
        first = (shown or book.worksheets)[0].title
        title = (name if name in alike else alike[0]) if name else first
        sheet, formulas = book[title], None
        if _has_formulas(content):  # or it would be read twice for nothing
            formulas = load_workbook(io.BytesIO(content), read_only=True, keep_links=False)[title]
            formulas.reset_dimensions()
        sheet.reset_dimensions()  # some programs write wrong ones, and rows beyond them were lost
    except _BROKEN as error:
        raise DataError(_broken(path, error)) from None
    others = tuple(one.title for one in shown if one.title != title)
    return Sheet(path, title, sheet, formulas, others, bool(name))


def _broken(path: str, error: Exception) -> str:
    cause = " ".join(str(error).split())[:150] or type(error).__name__
    return f"{path}: cannot be read as a workbook ({cause}); save it anew in Excel or LibreOffice"


def _has_formulas(content: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        sheets = [name for name in parts.namelist() if name.startswith("xl/worksheets/")]
        return any(re.search(rb"<(\w+:)?f[ />]", parts.read(name)) for name in sheets)


def _merged_down(sheet: Any) -> dict[int, list[tuple[int, int]]]:
    """Column (from 0) and last line of the cells that cover several lines, by their first."""
    found: dict[int, list[tuple[int, int]]] = {}
    with sheet._get_source() as source:  # read-only worksheets tell no merged cells
        for _, element in ET.iterparse(source):
            if element.tag.endswith("}mergeCell"):
                column, first, _, last = range_boundaries(element.get("ref", ""))
                if first < last:
                    found.setdefault(first, []).append((column - 1, last))
            elif element.tag.endswith("}row"):
                element.clear()
    return found


def _unescaped(text: str) -> str:
    """Excel writes signs that XML does not have as _x000D_."""
    return re.sub(r"_x(?!D[89A-F])([0-9A-F]{4})_", lambda code: chr(int(code[1], 16)), text)


def _shown(value: object, shape: str) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return _number(value, re.sub(r'"[^"]*"|\\.|\[[^\]]*\]', "", shape.split(";")[0]))
    if isinstance(value, dt.datetime):
        return str(value.date() if value.time() == dt.time() else value)
    if isinstance(value, dt.timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value)


def _number(value: float, shape: str) -> str:
    if "%" in shape:
        return _number(value * 100, "") + "%"
    digits = Decimal(value if isinstance(value, int) else f"{value:.15g}")  # Excel's 15
    fixed = digits == 0 or -12 < digits.adjusted() < 21
    text = format(digits, "f") if fixed else f"{value:.15g}".upper()
    return text.zfill(len(shape)) if re.fullmatch("00+", shape) else text
