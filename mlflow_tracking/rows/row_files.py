"""Which files hold the rows, and how are they read? CSV, workbook, JSON Lines, Parquet.

    python mlflow_tracking/run_experiment.py --data my.jsonl
    python mlflow_tracking/run_distributed.py --data 'answers/*.parquet' --output verdicts/

What is judged must be text: a number or an object in `inputs`, `predictions` or `targets` is a
mistake that is told, since nobody could say how it should be written out. JSON's null is ''.
Other columns are kept as text, JSON where they are no text. In a workbook and a CSV a cell is what
a person sees in it.
"""

import codecs
import hashlib
import io
import itertools
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq

from mlflow_tracking.rows.csv_rows import allow_long_fields, find_delimiter, read_csv_rows
from mlflow_tracking.rows.file_kinds import (
    FORMATS,
    HEAD_BYTES,
    PACKED,
    check_content,
    compression_of,
    format_of,
    other_format,
)
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataError, DataSet, Row, row_of
from mlflow_tracking.rows.sheet_rows import open_sheet
from mlflow_tracking.rows.table import PassedOver, brief
from mlflow_tracking.rows.text_encoding import decode

_HEAD_CHARS = 65_536  # of a CSV, to find its delimiter in
_WILD = re.compile(r"[*?\[]")


def load_rows(
    path: Path,
    encoding: str = "utf-8",
    limit: int | None = None,
    needs: Sequence[str] = (QUESTION, ANSWER),
    sheet: str = "",
) -> DataSet:
    """Read the file at `path`, a CSV unless its name says otherwise; raises DataError.

    `needs` are the columns that the file must have, `sheet` is one of a workbook, the first unless
    it is named. A mistake names the file and the line.
    """
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
        title, found = opened_sheet.title, opened_sheet.rows(needs, passed)
    elif kind in ("", "csv") and not packed:
        text = decode(path, data, encoding)
        allow_long_fields(len(text) + 1)
        delimiter = find_delimiter(str(path), text, needs)
        lines = io.StringIO(text, newline="")
        found = read_csv_rows(str(path), lines, delimiter, needs, passed)
    else:
        opened = pa.input_stream(io.BytesIO(data), compression=compression_of(path.name))
        found = read_rows(opened, str(path), check_encoding(encoding), needs, passed)
    rows = tuple(itertools.islice(found, limit))
    if not rows:
        raise DataError(
            f"{path}: has no rows" + (" below its header" if delimiter or title else "")
        )
    digest = hashlib.sha256(data).hexdigest()
    return DataSet(path, digest, delimiter, _of_one_header(rows), passed.notes(), title)


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


def read_blocks(source: Any, file: str, encoding: str, size: int) -> Iterator[RowBlock]:
    """The rows of an opened file, `size` at a time; raises DataError with the line."""
    rows = read_rows(source, file, encoding)
    while batch := tuple(itertools.islice(rows, size)):
        yield RowBlock(file, batch)


def read_rows(
    source: Any,
    file: str,
    encoding: str,
    needs: Sequence[str] = (QUESTION, ANSWER),
    passed: PassedOver | None = None,
) -> Iterator[Row]:
    """The rows of an opened file, one after another; raises DataError with the line."""
    kind = format_of(file) or "csv"
    readers = {"csv": _read_csv, "json": _read_json, "parquet": _read_parquet, "sheet": _read_sheet}
    passed = PassedOver() if passed is None else passed
    try:
        if kind in ("csv", "json"):
            source = io.BufferedReader(source)
            check_content(file, source.peek(HEAD_BYTES)[:HEAD_BYTES])
        yield from readers[kind](source, file, encoding, needs, passed)
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
    source: Any, file: str, encoding: str, needs: Sequence[str], passed: PassedOver
) -> Iterator[Row]:
    text = io.TextIOWrapper(source, encoding, newline="")
    head = text.read(_HEAD_CHARS) + text.readline()
    allow_long_fields(sys.maxsize)
    delimiter = find_delimiter(file, head, needs)
    lines: Iterable[str] = itertools.chain(io.StringIO(head, newline=""), text)
    yield from read_csv_rows(file, lines, delimiter, needs, passed)


def _read_sheet(
    source: Any, file: str, _: str, needs: Sequence[str], passed: PassedOver
) -> Iterator[Row]:
    content = source.read()
    check_content(file, content)
    yield from open_sheet(file, content).rows(needs, passed)


def _read_json(
    source: Any, file: str, _: str, needs: Sequence[str], passed: PassedOver
) -> Iterator[Row]:
    number = 0
    lines = io.TextIOWrapper(source, "utf-8-sig", newline="\n")
    for line, text in enumerate(lines, 1):
        text = text.lstrip("\ufeff")  # of a file that was put behind another
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except ValueError as error:
            raise DataError(f"{file}:{line}: is not JSON ({error})") from None
        if not isinstance(values, dict):
            raise DataError(f"{file}:{line}: is not an object; one {{...}} a line is read")
        row = _row(f"{file}:{line}", number + 1, line, values, needs)
        if any(text.strip() for text in row.columns.values()):
            number += 1
            yield row
        else:
            passed.row(line)


def _read_parquet(
    source: Any, file: str, _: str, needs: Sequence[str], passed: PassedOver
) -> Iterator[Row]:
    table = pq.ParquetFile(source)
    schema = table.schema_arrow
    for name in (QUESTION, ANSWER, REFERENCE):
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and not _is_text(kind):
            raise DataError(f"{file}: the column {name} is {kind}, not text; write it as text")
    _check_columns(file, schema.names, needs)
    number = 0
    batches = table.iter_batches(batch_size=1000)
    for line, values in enumerate(itertools.chain.from_iterable(map(_dicts, batches)), 1):
        row = _row(f"{file}, row {line}", number + 1, line, values, needs)
        if any(text.strip() for text in row.columns.values()):
            number += 1
            yield row
        else:
            passed.row(line)


def _dicts(batch: Any) -> list[dict[str, Any]]:
    return list(batch.to_pylist())


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    known = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_null,
    )
    return any(check(kind) for check in known)


def _check_columns(where: str, names: Iterable[str], needs: Sequence[str]) -> None:
    there = list(names)
    missing = " and ".join(name for name in needs if name not in there)
    if missing:
        raise DataError(f"{where}: no column {missing}; it has {brief(', '.join(there))}")


def _row(
    where: str, number: int, line: int, values: Mapping[str, Any], needs: Sequence[str]
) -> Row:
    _check_columns(where, values, needs)
    columns = {name: _as_text(where, name, value) for name, value in values.items()}
    return row_of(number, line, columns)


def _as_text(where: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        if name in (QUESTION, ANSWER, REFERENCE):
            raise DataError(
                f"{where}: {name} is {type(value).__name__}, not text; write it as text"
            )
        value = json.dumps(value, ensure_ascii=False, default=str)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise DataError(f"{where}: {name} has half of a character (a lone surrogate)") from None
    return str(value)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
