"""How do Ray's tasks read the rows? As blocks, one row of a Ray Dataset each.

Used by `python mlflow_tracking/run_distributed.py`. Ray Data lists, splits, schedules and retries;
row_files.py reads, because Ray's own readers guess types ('007' becomes 7, 'NA' nothing) and tell
no line of a mistake. A block is one value of a Dataset's row, so that Ray's joining and splitting
of its own blocks never changes what is judged, written and kept together.
"""

import pickle
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from ray.data.datasource import FileBasedDatasource

from mlflow_tracking.rows.file_kinds import is_parquet
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.row_files import RowBlock, read_blocks
from mlflow_tracking.rows.table import Columns


class RowFiles(FileBasedDatasource):  # type: ignore[misc]  # Ray is untyped to mypy
    """Blocks of the files' rows, as `block` (a pickled RowBlock) and `error` ('' for none)."""

    def __init__(
        self,
        files: Mapping[str, int | None],
        encoding: str,
        rows_per_block: int,
        columns: Columns,
        finished: frozenset[str] = frozenset(),
    ) -> None:
        """`files`: how many rows of each are wanted, None for all; `finished` blocks are not."""
        super().__init__(list(files))
        self._rows = {path.partition("://")[2] or path: limit for path, limit in files.items()}
        self._encoding, self._rows_per_block, self._finished = encoding, rows_per_block, finished
        self._columns = columns

    def _open_input_source(self, filesystem: Any, path: str, **open_args: Any) -> Any:
        if is_parquet(path):
            return filesystem.open_input_file(path)
        return super()._open_input_source(filesystem, path, **open_args)

    def _read_stream(self, f: Any, path: str) -> Iterator[pa.Table]:
        left = self._rows.get(path)
        blocks = read_blocks(f, path, self._encoding, self._rows_per_block, self._columns)
        try:
            for block in blocks:
                if left is not None:
                    block = RowBlock(block.file, block.rows[:left])
                    left -= len(block.rows)
                if block.rows and block.name not in self._finished:
                    yield _as_row(pickle.dumps(block), "")
                if left == 0:
                    return
        except DataError as mistake:
            yield _as_row(b"", str(mistake))


def _as_row(block: bytes, error: str) -> pa.Table:
    return pa.table({"block": pa.array([block], pa.large_binary()), "error": [error]})
