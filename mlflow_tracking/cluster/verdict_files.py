"""Which blocks are finished, and where are their verdicts? One Parquet file a block, whole or none.

    python mlflow_tracking/run_distributed.py --output verdicts/
    python mlflow_tracking/run_distributed.py --output s3://bucket/verdicts

`_judge.json` beside the files says what is judged by whom: another judge is refused. A file is
renamed into place (object storage shows it only once it is whole), so what can be read is finished.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from llm_client.settings import UserMistake
from mlflow_tracking.judge.journal import changed_names
from mlflow_tracking.judge.reply_form import ReplyForm
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.recording.results import result_records, verdict_columns
from mlflow_tracking.rows.item import ANSWER, QUESTION
from mlflow_tracking.rows.row_files import RowBlock

FILE, KEY, VERDICT = "file", "judge_key", "judge_verdict"
_HEADER, _LOCK = "_judge.json", "_lock"
_INTEGERS = {"score", "prompt_tokens", "completion_tokens", "row"}
_NUMBERS = {"expected_score", "entropy_bits", "latency_s", "claim_score", "answer_score"}
_FLAGS = {"claim_not_in_answer", "suspected_manipulation"}


class OutputError(UserMistake):
    """A place for results that cannot be used; the message is one line with the remedy."""


@dataclass(frozen=True)
class JudgedBlock:
    """A finished block as it was written; equal rows have the same key and share a verdict."""

    records: tuple[dict[str, Any], ...]  # the columns of each row and of what came of it
    keys: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class VerdictFolder:
    """The folder at `location`, a local path or a URI such as s3://bucket/verdicts."""

    location: str

    @cached_property
    def _place(self) -> tuple[pa.fs.FileSystem, str]:
        try:
            if "://" in self.location:
                filesystem, root = pa.fs.FileSystem.from_uri(self.location)
                return filesystem, root.rstrip("/")
            return pa.fs.LocalFileSystem(), str(Path(self.location).expanduser().absolute())
        except (OSError, ValueError) as error:
            raise OutputError(f"--output {self.location}: {_one_line(error)}") from None

    def __getstate__(self) -> dict[str, str]:
        return {"location": self.location}  # a file system is opened where it is used

    @property
    def is_local(self) -> bool:
        """Whether the folder is on this machine, or mounted there."""
        return isinstance(self._place[0], pa.fs.LocalFileSystem)

    @property
    def path(self) -> str:
        """The absolute path, or the bucket and what comes after."""
        return self._place[1]

    def open(self, header: Mapping[str, Any]) -> str:
        """Begin, or go on with what was begun; returns the MLflow run's id, '' for none yet.

        Raises OutputError if another process writes here, something else is in the folder, or
        what is judged by whom is not what the `header` says.
        """
        filesystem, root = self._place
        try:
            filesystem.create_dir(root, recursive=True)
            text = self._read_text(_HEADER)
            if text is not None:
                found = json.loads(text)
                old, run_id = dict(found["header"]), str(found["run_id"])
            elif self._holds_other_files():
                raise OutputError(f"--output {self.location}: holds other files; name a new folder")
            else:
                old, run_id = dict(header), ""
                self.remember(header, run_id)
        except OSError as error:
            raise OutputError(f"--output {self.location}: {_one_line(error)}") from None
        except (ValueError, KeyError, TypeError):
            raise OutputError(
                f"--output {self.location}: {_HEADER} is damaged; name a new folder"
            ) from None
        if changed := changed_names(old, header):
            raise OutputError(
                f"--output {self.location}: cannot go on, changed since: {changed}; restore it, "
                "or name another --output"
            )
        return run_id

    def remember(self, header: Mapping[str, Any], run_id: str) -> None:
        """Keep what a second start is told by `open`."""
        content = {"header": dict(header), "run_id": run_id}
        self._write(_HEADER, json.dumps(content, ensure_ascii=False, indent=1).encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; raises OutputError. Object storage knows no locks."""
        if not self.is_local:
            yield
            return
        file = FileLock(Path(self.path) / _LOCK, preserve_lock_file=True)
        try:
            held = file.acquire(blocking=False)
        except Timeout:  # which is an OSError, too
            raise OutputError(f"--output {self.location}: another process judges into it") from None
        except OSError as error:
            raise OutputError(f"--output {self.location}: {error.strerror}") from None
        with held:
            yield

    def _holds_other_files(self) -> bool:
        filesystem, root = self._place
        there = filesystem.get_file_info(pa.fs.FileSelector(root))
        return any(info.base_name != _LOCK for info in there)

    def names(self) -> list[str]:
        """The blocks that were written, in the order of their names."""
        filesystem, root = self._place
        infos = filesystem.get_file_info(pa.fs.FileSelector(root))
        names = [info.base_name for info in infos if info.is_file]
        return sorted(n.removesuffix(".parquet") for n in names if n.endswith(".parquet"))

    def has(self, name: str) -> bool:
        """Whether the block was written."""
        filesystem, root = self._place
        return bool(filesystem.get_file_info(f"{root}/{name}.parquet").is_file)

    def write(
        self,
        block: RowBlock,
        keys: Sequence[str],
        verdicts: Sequence[Verdict],
        form: ReplyForm,
    ) -> None:
        """Put the block's verdicts in place, all or nothing."""
        sink = pa.BufferOutputStream()
        pq.write_table(_as_table(block, keys, verdicts, form), sink, compression="zstd")
        self._write(f"{block.name}.parquet", sink.getvalue().to_pybytes())

    def read(self, name: str) -> JudgedBlock:
        """A block that was written."""
        filesystem, root = self._place
        with filesystem.open_input_file(f"{root}/{name}.parquet") as source:
            records = pq.read_table(source).to_pylist()
        keys = [str(record.pop(KEY)) for record in records]
        shared: dict[str, Verdict] = {}
        for key, record in zip(keys, records, strict=True):
            text = record.pop(VERDICT)
            if key not in shared:
                shared[key] = Verdict.from_json(json.loads(text))
        return JudgedBlock(tuple(records), tuple(keys), tuple(shared[key] for key in keys))

    def scores(self) -> pd.DataFrame:
        """All rows, with their columns and what came of them, but for the verdicts' JSON."""
        filesystem, root = self._place
        files = [f"{root}/{name}.parquet" for name in self.names()]
        if not files:
            raise OutputError(f"{self.location}: holds no verdicts")
        found = pyarrow.dataset.dataset(files, filesystem=filesystem, format="parquet")
        columns = [name for name in found.schema.names if name not in (KEY, VERDICT)]
        table: pd.DataFrame = found.to_table(columns=columns).to_pandas()
        return table

    def rows_by_name(self) -> Iterator[tuple[str, int, int]]:
        """Each written block with its rows and how many of them have no score; reads no rows."""
        filesystem, root = self._place
        for name in self.names():
            with filesystem.open_input_file(f"{root}/{name}.parquet") as source:
                scores = pq.read_table(source, columns=["score"])["score"]
            yield name, len(scores), scores.null_count

    def _read_text(self, name: str) -> str | None:
        filesystem, root = self._place
        if filesystem.get_file_info(f"{root}/{name}").type == pa.fs.FileType.NotFound:
            return None
        with filesystem.open_input_stream(f"{root}/{name}") as source:
            return str(source.read().decode())

    def _write(self, name: str, data: bytes) -> None:
        filesystem, root = self._place
        if not self.is_local:
            with filesystem.open_output_stream(f"{root}/{name}") as sink:
                sink.write(data)
            return
        half = Path(root) / f".{name}.{os.getpid()}"
        with half.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        half.replace(Path(root) / name)


def _as_table(
    block: RowBlock, keys: Sequence[str], verdicts: Sequence[Verdict], form: ReplyForm
) -> pa.Table:
    """Typed alike for every block, whatever its verdicts are."""
    ours = list(
        verdict_columns(Verdict(Status.OK, scores={name: Score(1) for name in form.scores}))
    )
    criteria = set(ours) - set(verdict_columns(Verdict(Status.OK)))
    records = result_records(block.rows, verdicts, (FILE, KEY, VERDICT, *ours))
    order = [FILE, "row", QUESTION, ANSWER, *ours]
    names = dict.fromkeys([*order, *(name for record in records for name in record)])
    columns = {name: [record.get(name) for record in records] for name in names}
    columns[FILE] = [block.file] * len(records)
    columns[KEY] = list(keys)
    columns[VERDICT] = [json.dumps(v.to_json(), ensure_ascii=False) for v in verdicts]
    kinds = {name: pa.int64() for name in _INTEGERS | criteria}
    if form.weights:  # the score is a mean
        kinds["score"] = pa.float64()
    kinds |= {name: pa.float64() for name in _NUMBERS} | {name: pa.bool_() for name in _FLAGS}
    return pa.table(
        {name: pa.array(values, kinds.get(name, pa.string())) for name, values in columns.items()}
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
