"""How are files of rows checked and judged by Ray's workers? Two passes, neither holds the rows.

Used by `python mlflow_tracking/run_distributed.py`. The first pass reads every row, so that a
mistake in the last file is told before the first row is judged; the second judges block by block.
"""

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
import ray.data
import ray.exceptions

from llm_client.caller import JudgingStopped
from mlflow_tracking.cluster.ray_rows import RowFiles
from mlflow_tracking.cluster.worker import BlockJob, BlockJudge
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.rows.language import Language, count_languages
from mlflow_tracking.rows.row_files import RowBlock
from mlflow_tracking.rows.table import Columns

_BLOCKS_AT_ONCE = 2  # of a worker: one comes to its end while the next is begun


class BlockCounts(NamedTuple):
    """What came of a block, and what its worker has reached."""

    rows: int
    failed: int  # have no score
    judged: int  # different ones that were judged now
    worker: str
    in_flight: int  # rows of the worker at once, and the most so far
    most: int


@dataclass
class CheckedFiles:
    """What the first pass found: rows of each file and language, a digest, the longest row."""

    rows: dict[str, int] = field(default_factory=dict)
    sha256: str = ""
    longest: Item = Item("", "")
    columns: dict[str, None] = field(default_factory=dict)  # of all rows
    longest_at: str = ""  # file and row
    languages: Counter[Language | None] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Rows in all files."""
        return sum(self.rows.values())

    def first(self, limit: int | None) -> dict[str, int | None]:
        """How many rows of each file are wanted for the first `limit` of all; None for all."""
        if limit is None:
            return dict.fromkeys(self.rows)
        left, wanted = limit, {}
        for path, rows in self.rows.items():
            if left > 0:
                wanted[path] = min(rows, left)
                left -= rows
        return dict(wanted)


def check_files(
    files: Sequence[str], encoding: str, rows_per_block: int, columns: Columns
) -> CheckedFiles:
    """Read every row of the files; raises DataError for the first mistake in their order."""
    source = RowFiles(dict.fromkeys(files), encoding, rows_per_block, columns)
    found = ray.data.read_datasource(source).map(_describe)
    digests: dict[str, dict[int, str]] = {}
    names = {path.partition("://")[2] or path: path for path in files}
    checked = CheckedFiles({path: 0 for path in files})
    errors: list[str] = []
    most = -1
    for block in found.iter_rows():
        if block["error"]:
            errors.append(str(block["error"]))
            continue
        path = names[block["file"]]
        checked.columns |= dict.fromkeys(json.loads(block["columns"]))
        checked.rows[path] += int(block["rows"])
        checked.languages += pickle.loads(block["languages"])
        digests.setdefault(path, {})[int(block["first"])] = str(block["digest"])
        if (size := int(block["longest_bytes"])) > most:
            most, checked.longest = size, pickle.loads(block["longest"])
            checked.longest_at = f"{path}, row {block['longest_row']}"
    if errors:
        raise DataError(min(errors, key=lambda line: _position(line, files)))
    if empty := [path for path, rows in checked.rows.items() if not rows]:
        raise DataError(f"{empty[0]}: has no rows")
    ordered = [[path, [d for _, d in sorted(digests[path].items())]] for path in files]
    checked.sha256 = hashlib.sha256(repr(ordered).encode()).hexdigest()
    return checked


def _position(line: str, files: Sequence[str]) -> tuple[int, str]:
    """Where a mistake stands in the order of the files."""
    at = [i for i, path in enumerate(files) if line.startswith(path.partition("://")[2] or path)]
    return (max(at) if at else len(files)), line


def _describe(row: dict[str, Any]) -> dict[str, Any]:
    """What the driver must know of a block; runs in a task that reads."""
    if row["error"]:
        return {"error": row["error"], "rows": 0}
    block: RowBlock = pickle.loads(row["block"])
    sizes = [len("".join(row.item.texts.values()).encode()) for row in block.rows]
    longest = block.rows[sizes.index(max(sizes))]
    return {
        "error": "",
        "file": block.file,
        "first": block.rows[0].number,
        "rows": len(block.rows),
        "digest": block.digest,
        "longest_bytes": max(sizes),
        "longest_row": longest.number,
        "longest": pickle.dumps(longest.item),
        "columns": json.dumps(list(dict.fromkeys(n for row in block.rows for n in row.columns))),
        "languages": pickle.dumps(count_languages(row.item for row in block.rows)),
    }


def judge_files(
    wanted: Mapping[str, int | None],
    encoding: str,
    rows_per_block: int,
    finished: frozenset[str],
    job: BlockJob,
    workers: int,
    columns: Columns,
) -> Iterator[BlockCounts]:
    """Judge the blocks that are not finished; gives what came of each, once it is written.

    Raises JudgingStopped when a worker cannot go on; a worker that dies is Ray's to start again.
    """
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1  # bytes: a block of rows is handed on alone, and at once
    source = RowFiles(wanted, encoding, rows_per_block, columns, finished)
    pool = ray.data.ActorPoolStrategy(size=workers, max_concurrent_calls_per_actor=_BLOCKS_AT_ONCE)
    judged = ray.data.read_datasource(source).map_batches(
        BlockJudge, fn_constructor_args=(job,), batch_size=1, compute=pool, num_cpus=1
    )
    try:
        for counts in judged.iter_rows():
            if counts["stopped"]:
                raise JudgingStopped(str(counts["stopped"]))
            yield BlockCounts(**{name: counts[name] for name in BlockCounts._fields})
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise JudgingStopped(f"Ray: {lines[-1][:300] if lines else type(error).__name__}") from None
