"""How is a CSV read? Strictly: its encoding, its delimiter, and a place for every mistake.

python mlflow_tracking/run_experiment.py --data my.csv --encoding cp1251
"""

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mlflow_tracking.rows.item import ANSWER, QUESTION, DataError, Row, row_of

# Excel writes semicolons where the comma is the decimal sign, Russia included.
_DELIMITERS = (",", ";", "\t")


def allow_long_fields(characters: int) -> None:
    """Let CSV fields be as long as that; the default refuses those of more than 131,072."""
    # The limit is the whole process's: a lower one breaks imports, which read their packages' file
    # lists as CSV.
    csv.field_size_limit(max(csv.field_size_limit(), characters))


def decode(path: Path, data: bytes, encoding: str) -> str:
    """The text of a file's bytes; raises DataError, with a guess at what else they may be."""
    try:
        is_utf8 = codecs.lookup(encoding).name == "utf-8"  # 'UTF8' and the like, too
    except (LookupError, ValueError):
        raise DataError(f"--encoding: '{encoding}' is not a known encoding") from None
    if is_utf8 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path}: is UTF-16, not UTF-8; read it with --encoding utf-16")
    try:
        return data.decode("utf-8-sig" if is_utf8 else encoding)
    except LookupError:
        raise DataError(f"--encoding: '{encoding}' is not an encoding of text") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = _hint(data) if is_utf8 else "; try another --encoding"
        raise DataError(f"{path}:{line}: is not {encoding}{hint}") from None
    except UnicodeError:
        raise DataError(f"{path}: is not {encoding}; try another --encoding") from None


def _hint(data: bytes) -> str:
    """Name cp1251 where the bytes read as Russian in it."""
    high = [byte for byte in data if byte >= 0x80]
    # In cp1251 the letters are 0xC0-0xFF; other encodings spread over the lower half too. Letters
    # of a Western encoding (latin-1) stand there as well, but not three of them in a row.
    russian = re.search(rb"[\xc0-\xff]{3}", data)
    if russian and sum(byte >= 0xC0 for byte in high) > 0.9 * len(high):
        return ", it looks like cp1251 (Windows); read it with --encoding cp1251"
    return "; save it as UTF-8 or name its encoding with --encoding"


def find_delimiter(path: Path | str, text: str, needs: Sequence[str] = (QUESTION, ANSWER)) -> str:
    """The sign between the fields of a CSV that begins with `text`; raises DataError."""
    for delimiter in _DELIMITERS:
        header = _header(text, delimiter)
        if all(name in header for name in needs):
            return delimiter
    header = _header(text, ",")
    if not any(header):
        raise DataError(f"{path}: is empty; its first line must name {','.join(needs)}")
    missing = " and ".join(name for name in needs if name not in header)
    found = ", ".join(header)
    raise DataError(f"{path}:1: no column {missing}; it has {brief(found)}")


def brief(text: str) -> str:
    """On one line, of a file that may be anything."""
    shown = " ".join(text.split())
    return f"{shown[:200]}…" if len(shown) > 200 else shown


def _header(text: str, delimiter: str) -> list[str]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [name.strip() for name in next(reader, [])]
    except csv.Error:
        return []


def read_csv_rows(path: Path | str, lines: Iterable[str], delimiter: str) -> Iterator[Row]:
    """The rows of a CSV, one after another; raises DataError, which names the line.

    The lines keep their ends, as they are in the file: those inside a field are the answer's.
    """
    number, line = 0, 1
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader)]
        repeated = {name for name in header if header.count(name) > 1}
        if repeated:
            names = ", ".join(name or "without a name" for name in sorted(repeated))
            raise DataError(f"{path}:1: the column {names} stands there twice; keep one")
        line = reader.line_num + 1
        for fields in reader:
            if fields:
                number += 1
                yield _row(path, number, line, header, fields)
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{path}:{line}: the row that starts here is not CSV ({error}); is a quote unclosed?"
        ) from None


def _row(path: Path | str, number: int, line: int, header: list[str], fields: list[str]) -> Row:
    if len(fields) != len(header):
        raise DataError(
            f"{path}:{line}: {len(fields)} fields where the header has {len(header)}; "
            "text with a delimiter in it goes into double quotes"
        )
    return row_of(number, line, dict(zip(header, fields, strict=True)))
