"""Which files hold the rows, and how are they read? CSV, workbook, JSON Lines, Parquet.

    python mlflow_tracking/run_experiment.py --data my.jsonl
    python mlflow_tracking/run_distributed.py --data 'answers/*.parquet' --output verdicts/

In a workbook and a CSV a cell is what a person sees in it; object_rows.py says what is made of
values that are no text.
"""

import codecs
import csv
import hashlib
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs

from mlflow_tracking.rows.file_kinds import (
    FORMATS,
    HEAD_BYTES,
    PACKED,
    check_content,
    compression_of,
    format_of,
    other_format,
)
from mlflow_tracking.rows.item import ANSWER, QUESTION, DataError, DataSet, Named, Row
from mlflow_tracking.rows.object_rows import read_json, read_parquet
from mlflow_tracking.rows.sheet_rows import open_sheet
from mlflow_tracking.rows.table import (
    Columns,
    Line,
    PassedOver,
    find_header,
    no_header,
    read_table,
)
from mlflow_tracking.rows.text_encoding import decode

# Excel writes semicolons where the comma is the decimal sign, Russia included.
_DELIMITERS = (",", ";", "\t", "|")
# Excel's own first line of a CSV: it says which delimiter follows, and is no row.
_SEP = re.compile(r'\ufeff?"?sep=(\\t|\t|[^\w\s"])"?[ ,;\t]*(?=[\r\n]|$)', re.IGNORECASE)
_HEAD_CHARS = 65_536  # of a CSV, to find its delimiter in
_JUDGED = Columns()
_WILD = re.compile(r"[*?\[]")


def load_rows(
    path: Path,
    encoding: str = "utf-8",
    limit: int | None = None,
    needs: Sequence[str] = (QUESTION, ANSWER),
    sheet: str = "",
    named: Named = (),
) -> DataSet:
    """Read the file at `path`, a CSV unless its name says otherwise; raises DataError.

    `needs` are the columns that the file must have, `sheet` is one of a workbook, the first unless
    it is chosen, `named` are columns with other headers. A mistake names the file and the line.
    """
    columns = Columns(tuple(needs), named)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; give one with --data") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None
    kind, packed = format_of(path.name), path.name.lower().endswith(PACKED)
    if sheet and kind != "sheet":
        raise DataError(f"{path}: has no sheets; --sheet is for .xlsx")
    if not packed:
        check_content(str(path), data)
    passed, delimiter, title = PassedOver(), "", ""
    if kind == "sheet":
        opened_sheet = open_sheet(str(path), data, sheet)
        title, found = opened_sheet.title, opened_sheet.rows(columns, passed)
    elif kind in ("", "csv") and not packed:
        text = decode(path, data, encoding)
        allow_long_fields(len(text) + 1)
        delimiter = find_delimiter(str(path), text, columns)
        lines = io.StringIO(text, newline="")
        found = read_csv_rows(str(path), lines, delimiter, columns, passed)
    else:
        opened = pa.input_stream(io.BytesIO(data), compression=compression_of(path.name))
        found = read_rows(opened, str(path), check_encoding(encoding), columns, passed)
    rows = tuple(itertools.islice(found, limit))
    if not rows:
        raise DataError(
            f"{path}: has no rows" + (" below its header" if delimiter or title else "")
        )
    digest, rows = hashlib.sha256(data).hexdigest(), _of_one_header(rows)
    columns.check_named(str(path), [columns.header_of(name) for name in rows[0].columns])
    return DataSet(path, digest, delimiter, rows, passed.notes(), title, named)


def _of_one_header(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """JSON's objects need not have the same names: what one lacks is ''."""
    names = dict.fromkeys(name for row in rows for name in row.columns)
    if all(len(row.columns) == len(names) for row in rows):
        return rows
    none = dict.fromkeys(names, "")
    return tuple(replace(row, columns={**none, **row.columns}) for row in rows)


@dataclass(frozen=True)
class RowBlock:
    """Consecutive rows of one file; the unit that is judged, written and not judged again."""

    file: str
    rows: tuple[Row, ...]

    @cached_property
    def digest(self) -> str:
        """A sha256 of everything in the rows."""
        parts = [[row.number, row.item.reference, dict(row.columns)] for row in self.rows]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What the block's verdicts are kept under: file, first row, what is in the rows."""
        stem = re.sub(r"[^\w.-]", "_", self.file.rsplit("/", 1)[-1])[:60]
        place = zlib.crc32(self.file.encode())
        return f"{stem}-{place:08x}-{self.rows[0].number:010d}-{self.digest[:12]}"


def find_files(data: str) -> list[str]:
    """The files that `data` names, sorted: a file, a folder or a pattern, here or as a URI.

    `*` and `?` stand for signs within a name, `**` for any folders. In a folder, and for a
    pattern, files of other kinds and those whose name begins with '.', '_' or '~'
    (Excel's locks) are passed over.
    Local paths come back absolute. Raises DataError if there is none.
    """
    at = _WILD.search(data)
    fixed = data[: data.rfind("/", 0, at.start()) + 1] if at else data
    scheme, filesystem, root = _open_location(data, fixed)
    try:
        info = filesystem.get_file_info(root.rstrip("/") or root)
        if info.type == pa.fs.FileType.File:
            if not format_of(info.path):
                if other := other_format(info.path):
                    raise DataError(f"{data}: {other}")
                raise DataError(f"{data}: is none of {', '.join(FORMATS)} by its name")
            return [scheme + info.path]
        if info.type == pa.fs.FileType.NotFound:
            raise DataError(f"{data}: no such file or folder; give one with --data")
        found = filesystem.get_file_info(pa.fs.FileSelector(root, recursive=True))
    except OSError as error:
        raise DataError(f"{data}: cannot be listed: {_one_line(error)}") from None
    pattern = _pattern(root, data[len(fixed) :] if at else "**/*")
    files = [item.path for item in found if item.is_file and pattern.fullmatch(item.path)]
    shown = [path for path in files if format_of(path) and path.rsplit("/", 1)[-1][0] not in "._~"]
    if not shown:
        raise DataError(f"{data}: no files there that end in {', '.join(FORMATS)}")
    return [scheme + path for path in sorted(shown)]


def _open_location(data: str, fixed: str) -> tuple[str, pa.fs.FileSystem, str]:
    """The scheme ('' for a local path), its file system, and where to look in it."""
    if "://" not in data:
        return "", pa.fs.LocalFileSystem(), str(Path(fixed or ".").expanduser().absolute())
    try:
        filesystem, root = pa.fs.FileSystem.from_uri(fixed)
    except (OSError, ValueError) as error:
        raise DataError(f"{data}: cannot be opened: {_one_line(error)}") from None
    scheme = data[: data.index("://") + 3]
    return "" if scheme == "file://" else scheme, filesystem, root


def _pattern(root: str, pattern: str) -> re.Pattern[str]:
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    body = "".join(p if p.startswith("[") else parts.get(p, re.escape(p)) for p in pieces)
    return re.compile(re.escape(root.rstrip("/")) + "/" + body)


def check_encoding(encoding: str) -> str:
    """The encoding as Python names it; raises DataError."""
    try:
        name = codecs.lookup(encoding).name
        b"".decode(name)
    except (LookupError, ValueError):
        raise DataError(f"--encoding: '{encoding}' is not a known encoding of text") from None
    return "utf-8-sig" if name == "utf-8" else name


def read_blocks(
    source: Any, file: str, encoding: str, size: int, columns: Columns = _JUDGED
) -> Iterator[RowBlock]:
    """The rows of an opened file, `size` at a time; raises DataError with the line."""
    rows = read_rows(source, file, encoding, columns, PassedOver())
    while batch := tuple(itertools.islice(rows, size)):
        yield RowBlock(file, batch)


def read_rows(
    source: Any, file: str, encoding: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    """The rows of an opened file, one after another; raises DataError with the line."""
    kind = format_of(file) or "csv"
    readers = {"csv": _read_csv, "json": read_json, "parquet": read_parquet, "sheet": _read_sheet}
    try:
        if kind in ("csv", "json"):
            source = io.BufferedReader(source)
            check_content(file, source.peek(HEAD_BYTES)[:HEAD_BYTES])
        yield from readers[kind](source, file, encoding, columns, passed)
    except (UnicodeError, pa.ArrowInvalid) as error:
        cause = f"is not {encoding.removesuffix('-sig')}" if isinstance(error, UnicodeError) else ""
        raise DataError(f"{file}: {cause or _one_line(error)}; {_REMEDY[kind]}") from None


_REMEDY = {
    "csv": "name its encoding with --encoding",
    "json": "JSON Lines are UTF-8",
    "parquet": "write it anew",
    "sheet": "save it anew",
}


def _read_csv(
    source: Any, file: str, encoding: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    text = io.TextIOWrapper(source, encoding, newline="")
    head = text.read(_HEAD_CHARS) + text.readline()
    allow_long_fields(sys.maxsize)
    delimiter = find_delimiter(file, head, columns)
    lines: Iterable[str] = itertools.chain(io.StringIO(head, newline=""), text)
    yield from read_csv_rows(file, lines, delimiter, columns, passed)


def _read_sheet(
    source: Any, file: str, _: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    content = source.read()
    check_content(file, content)
    yield from open_sheet(file, content).rows(columns, passed)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


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
