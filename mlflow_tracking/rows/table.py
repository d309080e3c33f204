"""Where are the rows in a table? Below the line that names the columns, and not where all is empty.

Cells from row_files.py and sheet_rows.py become rows here, for
`python mlflow_tracking/run_experiment.py --data my.xlsx`.
"""

import csv
import io
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow_tracking.rows.conversation import rendered
from mlflow_tracking.rows.item import (
    ANSWER,
    QUESTION,
    REFERENCE,
    DataError,
    Named,
    Row,
    nearest,
    row_of,
)

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


_PLACES = {"question": QUESTION, "answer": ANSWER, "reference": REFERENCE}
_PLACE_OF = {column: place for place, column in _PLACES.items()}


def read_names(text: str) -> Named:
    """What `--columns question=my_col,answer=other` says; raises ValueError, which tells why.

    A pair whose header has a comma stands in double quotes, as a CSV's field does.
    """
    pairs = [pair.partition("=") for pair in next(csv.reader([text], skipinitialspace=True), [])]
    found: dict[str, str] = {}
    for place, sign, header in ((a.strip(), sign, b.strip()) for a, sign, b in pairs):
        if not (sign and header and place.isidentifier()):
            raise ValueError(f"'{place}{sign}{header}' is not NAME=HEADER, such as question=my_col")
        name = _PLACES.get(place, place)
        if name in found:
            raise ValueError(f"{place} is named twice; keep one")
        if header in found.values():
            raise ValueError(f"'{header}' has two names; keep one")
        found[name] = header
    if not found:
        raise ValueError("names no column; write NAME=HEADER, such as question=my_col")
    return tuple(sorted(found.items()))


def as_flag(named: Named) -> str:
    """As --columns takes it."""
    text = io.StringIO()
    pairs = [f"{_PLACE_OF.get(name, name)}={header}" for name, header in named]
    csv.writer(text, lineterminator="").writerow(pairs)
    return text.getvalue()


@dataclass(frozen=True)
class Columns:
    """Which columns a file must have, and how its headers are called here."""

    needs: tuple[str, ...] = (QUESTION, ANSWER)
    named: Named = ()
    shows: tuple[str, ...] = ()  # further ones for the judge to see

    def header_of(self, name: str) -> str:
        """What the file calls the column."""
        return dict(self.named).get(name, name)

    def lacks(self, headers: Iterable[str], besides: str = "") -> list[str]:
        """Which needed columns are not there."""
        there = set(headers)
        needs = (name for name in self.needs if name != besides)
        return [name for name in needs if self.header_of(name) not in there]

    def no_column(self, lacking: Sequence[str], headers: Sequence[str]) -> str:
        """What is said of columns that are not there."""
        missing = " and ".join(self.header_of(name) for name in lacking)
        there = brief(", ".join(headers))
        return f"no column {missing}; it has {there}{self.remedy(lacking, headers)}"

    def remedy(self, lacking: Sequence[str], headers: Sequence[str]) -> str:
        """How the columns are named that have another header in the file."""
        found = {self.header_of(name) for name in self.needs} - {*map(self.header_of, lacking)}
        left = [name for name in headers if name and name == brief(name) and name not in found]
        meant = []
        for name in lacking:
            words = (self.header_of(name), _PLACE_OF.get(name, name))
            near = next(filter(None, (nearest(word, left) for word in words)), "HEADER")
            left = [header for header in left if header != near]
            meant.append((name, near))
        flag = as_flag(tuple((dict(self.named) | dict(meant)).items()))
        return f"; name it with --columns {shlex.quote(flag)}"

    def check_named(self, where: str, headers: Sequence[str]) -> None:
        """Raises DataError for a header that --columns has and the file has not."""
        lacking = [name for name, header in self.named if header not in headers]
        if lacking:
            raise DataError(f"{where}: {self.no_column(lacking, headers)}")

    def renamed(self, where: str, headers: Sequence[str], passed: PassedOver) -> list[str]:
        """The headers by their names here; a column whose name is taken is kept under another."""
        ours = {header: name for name, header in self.named if header in headers}
        wanted = set(ours.values()) - set(ours)
        taken = {name: f"file_{name}" for name in headers if name in wanted}
        for name, kept in taken.items():
            if kept in headers or kept in ours.values():
                raise DataError(f"{where}: has {name} and {kept}, too; rename one")
            flag = as_flag(((name, self.header_of(name)),))
            passed.told[f"--columns {flag}: the file's own {name} is kept as {kept}"] = None
        return [ours.get(header) or taken.get(header, header) for header in headers]

    def row(
        self, where: str, number: int, line: int, cells: Mapping[str, str], passed: PassedOver
    ) -> Row:
        """The row of these cells; raises DataError where it needs an answer and has none."""
        row, asked = row_of(number, line, cells), self.header_of(QUESTION)
        if ANSWER not in cells:
            if ANSWER not in row.columns and ANSWER in self.needs:
                if rendered(cells[QUESTION]) == cells[QUESTION]:
                    headers = [self.header_of(name) for name in cells]
                    raise DataError(f"{where}: {self.no_column([ANSWER], headers)}")
                row = replace(row, columns={**row.columns, ANSWER: ""})  # nobody answered there
            if ANSWER in row.columns:
                passed.told[f"no column {ANSWER}: the last answer in {asked} is judged"] = None
        return row.showing(self.shows, self.named)


def find_header(lines: Iterable[Line], columns: Columns) -> tuple[int, int, list[str]]:
    """Line of the first text, line of the header (0: there is none), and the header's names.

    Of conversations it may lack the answer. Without a header the names are those of the first line
    that is not empty.
    """
    first, seen, names_of_first = 0, 0, [""]
    without_answer: tuple[int, list[str]] | None = None
    for line, cells in lines:
        names = [cell.strip("\ufeff \t\r\n\u00a0") for cell in cells]
        if not any(names):
            continue
        if not seen:
            first, names_of_first = line, names
        if not columns.lacks(names):
            return first, line, names
        if not without_answer and not columns.lacks(names, besides=ANSWER):
            without_answer = line, names
        seen += 1
        if seen == _HEADER_WITHIN:
            break
    return first, *(without_answer or (0, names_of_first))


def read_table(
    path: str, lines: Iterator[Line], columns: Columns, passed: PassedOver, ragged: bool = False
) -> Iterator[Row]:
    """The rows below the header; raises DataError, which names the line.

    A `ragged` table's lines end where their last cell ends: what they lack is empty.
    """
    ahead: list[Line] = []
    first, at, header = find_header(_kept(lines, ahead), columns)
    if not at:
        raise DataError(no_header(path, first, header, columns))
    if first < at:
        above = f"line {first}" if first == at - 1 else f"lines {first}-{at - 1}"
        passed.told[f"{above} passed over, above the names of the columns in line {at}"] = None
    repeated = {name for name in header if name and header.count(name) > 1}
    if repeated:
        raise DataError(_twice(path, at, ", ".join(sorted(repeated))))
    columns.check_named(f"{path}:{at}", header)
    header = columns.renamed(f"{path}:{at}", header, passed)
    below = itertools.chain((line for line in ahead if line[0] > at), lines)
    number = 0
    for line, cells in _named(path, at, below, header, passed, ragged):
        number += 1
        where = f"{path}:{at if number == 1 else line}"
        yield columns.row(where, number, line, cells, passed)
    if not number and ANSWER in columns.needs and ANSWER not in header:
        raise DataError(f"{path}:{at}: {columns.no_column([ANSWER], header)}")


def _kept(lines: Iterator[Line], ahead: list[Line]) -> Iterator[Line]:
    for line in lines:
        ahead.append(line)
        yield line


def _named(
    path: str,
    at: int,
    lines: Iterable[Line],
    header: list[str],
    passed: PassedOver,
    ragged: bool,
) -> Iterator[tuple[int, dict[str, str]]]:
    """The cells of each line that is not empty, by their columns' names."""
    unnamed = {index for index, name in enumerate(header) if not name}
    passed.columns = len(unnamed)
    named = -1  # the column without a name that has content
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
        columns = {
            name: cell
            for index, (name, cell) in enumerate(zip(header, cells, strict=False))
            if name or index == named
        }
        if named >= len(header) and len(cells) > named:
            columns[""] = cells[named]
        yield line, columns


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


def no_header(path: str, line: int, names: Sequence[str], columns: Columns) -> str:
    """What is said of a table whose header is not found."""
    if not any(names):
        needed = ",".join(map(columns.header_of, columns.needs))
        return f"{path}: is empty; its first line must name {needed}"
    return f"{path}:{line}: {columns.no_column(columns.lacks(names), names)}"


def _twice(path: str, line: int, name: str) -> str:
    return f"{path}:{line}: the column {name} stands there twice; keep one"
