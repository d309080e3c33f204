"""How is a CSV read? Strictly: its delimiter, and a place for every mistake.

python mlflow_tracking/run_experiment.py --data my.csv --encoding cp1251
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator

from mlflow_tracking.rows.item import DataError, Row
from mlflow_tracking.rows.table import Columns, Line, PassedOver, find_header, no_header, read_table

# Excel writes semicolons where the comma is the decimal sign, Russia included.
_DELIMITERS = (",", ";", "\t", "|")
# Excel's own first line of a CSV: it says which delimiter follows, and is no row.
_SEP = re.compile(r'\ufeff?"?sep=(\\t|\t|[^\w\s"])"?[ ,;\t]*(?=[\r\n]|$)', re.IGNORECASE)


def allow_long_fields(characters: int) -> None:
    """Let CSV fields be as long as that; the default refuses those of more than 131,072."""
    # The limit is the whole process's: a lower one breaks imports, which read their packages' file
    # lists as CSV.
    csv.field_size_limit(max(csv.field_size_limit(), characters))


def find_delimiter(path: str, text: str, columns: Columns) -> str:
    """The sign between the fields of a CSV that begins with `text`; raises DataError."""
    told = _SEP.match(text)
    named = [told[1].replace("\\t", "\t")] if told else []
    delimiters = list(dict.fromkeys((*named, *_DELIMITERS)))
    found = []
    for delimiter in delimiters:
        first, at, names = find_header(_loose(text, delimiter), columns)
        if at:
            return delimiter
        found.append((-len(columns.lacks(names)), len(names), first, names))
    *_, first, names = max(found, key=lambda one: one[:2])
    raise DataError(no_header(path, first, names, columns))


def _loose(text: str, delimiter: str) -> Iterator[Line]:
    """The lines as they would be read with that delimiter, as far as they can be."""
    start = _SEP.match(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    line = 1
    try:
        for fields in reader:
            if line > 1 or not start:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error:
        return


def read_csv_rows(
    path: str, lines: Iterable[str], delimiter: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    """The rows of a CSV, one after another; raises DataError, which names the line.

    The lines keep their ends, as they are in the file: those inside a field are the answer's.
    """
    yield from read_table(path, _strict(path, lines, delimiter), columns, passed)


def _strict(path: str, lines: Iterable[str], delimiter: str) -> Iterator[Line]:
    line = 1
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if line > 1 or not _SEP.fullmatch(delimiter.join(fields)):
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: the row that starts here is not CSV ({error}); is a quote unclosed?"
        ) from None
