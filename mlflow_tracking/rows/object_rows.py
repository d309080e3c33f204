"""How are rows read that are objects? JSON Lines and Parquet, whose values may be more than text.

    python mlflow_tracking/run_experiment.py --data chats.jsonl --columns question=messages

A list or an object is kept as JSON, as it would stand in a CSV's cell, and a list of messages is
read as one (conversation.py). Where text is judged, in `inputs`, `predictions` and `targets`, a
number is a mistake that is told: nobody could say how it should be written out. JSON's null is ''.
"""

import io
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataError, Row
from mlflow_tracking.rows.table import Columns, PassedOver

_JUDGED = (QUESTION, ANSWER, REFERENCE)


def read_json(
    source: Any, file: str, _: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    """The rows of opened JSON Lines; raises DataError, which names the line."""
    number, there = 0, dict[str, None]()
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
        there |= dict.fromkeys(values)
        row = _row(f"{file}:{line}", number + 1, line, values, columns, passed)
        if any(text.strip() for text in row.columns.values()):
            number += 1
            yield row
        else:
            passed.row(line)
    if number:  # one object may lack what another has
        columns.check_named(file, list(there))


def read_parquet(
    source: Any, file: str, _: str, columns: Columns, passed: PassedOver
) -> Iterator[Row]:
    """The rows of an opened Parquet file; raises DataError, which names the row."""
    table = pq.ParquetFile(source)
    schema = table.schema_arrow
    for name in map(columns.header_of, _JUDGED):
        kind = schema.field(name).type if name in schema.names else None
        if kind is not None and not (_is_text(kind) or pa.types.is_nested(kind)):
            raise DataError(f"{file}: the column {name} is {kind}, not text; write it as text")
    columns.check_named(file, schema.names)
    if lacking := columns.lacks(schema.names, besides=ANSWER):
        raise DataError(f"{file}: {columns.no_column(lacking, schema.names)}")
    number = 0
    batches = table.iter_batches(batch_size=1000)
    for line, values in enumerate(itertools.chain.from_iterable(map(_dicts, batches)), 1):
        row = _row(f"{file}, row {line}", number + 1, line, values, columns, passed)
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


def _row(
    where: str,
    number: int,
    line: int,
    values: Mapping[str, Any],
    columns: Columns,
    passed: PassedOver,
) -> Row:
    headers = list(values)
    if lacking := columns.lacks(headers, besides=ANSWER):
        raise DataError(f"{where}: {columns.no_column(lacking, headers)}")
    names = columns.renamed(where, headers, passed)
    cells = {
        name: _as_text(where, name, value)
        for name, value in zip(names, values.values(), strict=True)
    }
    return columns.row(where, number, line, cells, passed)


def _as_text(where: str, name: str, value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        if name in _JUDGED and not isinstance(value, list | dict):
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
