"""Where are the rows in a table? Below the line that names the columns, and not where all is empty.

Cells from csv_rows.py and sheet_rows.py become rows here, for
`python mlflow_tracking/run_experiment.py --data my.xlsx`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mlflow_tracking.rows.item import DataError, Row, row_of

_HEADER_WITHIN = 20  # lines that are not empty: a title and remarks may stand above the header

Line = tuple[int, Sequence[str]]  # a row's line in the file, and its cells


@dataclass
class PassedOver:
    """What was not read, and what else there is to say of how a table was read."""

    empty: list[tuple[int, int]] = field(default_factory=list)  # first and last line
    columns: int = 0  # without a name and without content
    told: dict[str, None] = field(default_factory=dict)  # further notes, once each

    def row(self, line: int) -> None:
        """A row in which every cell is empty."""
        follows = self.empty and self.empty[-1][1] == line - 1
        first = self.empty.pop()[0] if follows else line
        self.empty.append((first, line))

    def notes(self) -> tuple[str, ...]:
        """One line for each kind."""
        notes = list(self.told)
        rows = sum(last - first + 1 for first, last in self.empty)
        if rows:
            spans = [f"{a}-{b}" if b > a else str(a) for a, b in self.empty]
            places = ", ".join(spans[:8]) + (" ..." if len(spans) > 8 else "")
            are = "1 row was" if rows == 1 else f"{rows} rows were"
            notes.append(f"{are} passed over, every cell is empty: line{'s' * (rows > 1)} {places}")
        if self.columns:
            are = "1 column was" if self.columns == 1 else f"{self.columns} columns were"
            notes.append(f"{are} passed over: without a name, every cell is empty")
        return tuple(notes)


def brief(text: str) -> str:
    """On one line, of a file that may be anything."""
    shown = " ".join(text.split())
    return f"{shown[:200]}…" if len(shown) > 200 else shown


def find_header(lines: Iterable[Line], needs: Sequence[str]) -> tuple[int, int, list[str]]:
    """Line of the first text, line of the header (0: there is none), and the header's names.

    Without a header the names are those of the first line that is not empty.
    """
    first, names_of_first, seen = 0, [""], 0
    for line, cells in lines:
        names = [cell.strip("\ufeff \t\r\n\u00a0") for cell in cells]
        if not any(names):
            continue
        if not seen:
            first, names_of_first = line, names
        if all(name in names for name in needs):
            return first, line, names
        seen += 1
        if seen == _HEADER_WITHIN:
            break
    return first, 0, names_of_first


def read_table(
    path: str, lines: Iterator[Line], needs: Sequence[str], passed: PassedOver, ragged: bool = False
) -> Iterator[Row]:
    """The rows below the header; raises DataError, which names the line.

    A `ragged` table's lines end where their last cell ends: what they lack is empty.
    """
    first, at, header = find_header(lines, needs)
    if not at:
        raise DataError(no_header(path, first, header, needs))
    if first < at:
        above = f"line {first}" if first == at - 1 else f"lines {first}-{at - 1}"
        passed.told[f"{above} passed over, above the names of the columns in line {at}"] = None
    repeated = {name for name in header if name and header.count(name) > 1}
    if repeated:
        raise DataError(_twice(path, at, ", ".join(sorted(repeated))))
    unnamed = {index for index, name in enumerate(header) if not name}
    passed.columns = len(unnamed)
    number, named = 0, -1  # the column without a name that has content
    for line, cells in lines:
        if not any(cell and not cell.isspace() for cell in cells):
            if cells:
                passed.row(line)
            continue
        cells = _fitted(path, line, cells, header, ragged)
        filled = [
            index
            for index, cell in enumerate(cells)
            if (index in unnamed or index >= len(header)) and cell and not cell.isspace()
        ]
        if filled and named < 0:
            named = filled[0]
            passed.columns = len(unnamed - {named})
        if any(index != named for index in filled):
            raise DataError(_twice(path, at, "without a name"))
        number += 1
        columns = {
            name: cell
            for index, (name, cell) in enumerate(zip(header, cells, strict=False))
            if name or index == named
        }
        if named >= len(header) and len(cells) > named:
            columns[""] = cells[named]
        yield row_of(number, line, columns)


def _fitted(
    path: str, line: int, cells: Sequence[str], header: list[str], ragged: bool
) -> Sequence[str]:
    """As many cells as the header has; those beyond it only where the table is ragged."""
    lacking = len(header) - len(cells)
    if ragged:
        return [*cells, *[""] * lacking]
    beyond = cells[len(header) :]
    if lacking > 0 or any(cell.strip() for cell in beyond):
        raise DataError(
            f"{path}:{line}: {len(cells)} fields where the header has {len(header)}; "
            "text with a delimiter in it goes into double quotes"
        )
    return cells[: len(header)]


def no_header(path: str, line: int, names: Sequence[str], needs: Sequence[str]) -> str:
    """What is said of a table whose header is not found."""
    if not any(names):
        return f"{path}: is empty; its first line must name {','.join(needs)}"
    missing = " and ".join(name for name in needs if name not in names)
    return f"{path}:{line}: no column {missing}; it has {brief(', '.join(names))}"


def _twice(path: str, line: int, name: str) -> str:
    return f"{path}:{line}: the column {name} stands there twice; keep one"
