"""What was judged, or answered, already? All of it is on disk before it counts; no fault loses it.

    python mlflow_tracking/run_experiment.py --journal-dir /data/journals
    python mlflow_tracking/run_experiment.py --resume last

One file a run, `<run id>.jsonl`: a header that says what is judged by whom, then a verdict a line.
A line is appended and synced to the disk, many at a time where many are waiting. What a model under
test answers is kept the same way (answering/answers.py).
"""

import asyncio
import fcntl
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from llm_client.settings import UserMistake
from mlflow_tracking.judge.verdict import Verdict


class JournalError(UserMistake):
    """A journal that cannot be used; the message is one line with the file and the remedy."""


class JournalInUse(JournalError):
    """Another process has the journal open."""


class Record(Protocol):
    """What came of one call or a few, and is worth keeping."""

    @property
    def failed(self) -> bool:
        """Whether it is to be asked for again."""
        ...

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        ...

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """Read back `to_json`; raises KeyError, TypeError or ValueError for other data."""
        ...


_Record = TypeVar("_Record", bound=Record)


class RecordJournal(Generic[_Record]):
    """The records of one kind in one file, by key; the last line of a key counts."""

    kind: ClassVar[type[Any]]  # of the records
    doing: ClassVar[str]  # what another process is at that has the file open

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        """Open or create the file; raises JournalError if it is in use or not this run's."""
        self.path = path
        self.header = dict(header)
        self.records: dict[str, _Record] = {}
        self.fresh: set[str] = set()  # keys of this process's own, failed ones included
        self._waiting: list[tuple[str, _Record, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)  # a buffer would keep what the disk refused
            try:
                self._lock()
                self._load()
            except BaseException:
                self.close()  # or the lock would live as long as the traceback
                raise
        except OSError as error:
            raise JournalError(
                f"{path}: {error.strerror}; name a folder with --journal-dir"
            ) from None

    def settled(self, key: str) -> _Record | None:
        """What is on disk, unless it is a failure of an earlier process."""
        record = self.records.get(key)
        return None if record and record.failed and key not in self.fresh else record

    async def add(self, key: str, record: _Record) -> None:
        """Put the record on disk; it is there when this returns. Raises JournalError."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((key, record, done))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_waiting())
        await asyncio.shield(done)

    def take_over(self, path: Path, keys: Collection[str]) -> None:
        """Copy the records with these keys that are in another journal, and not settled here.

        That one may be in use. Raises JournalError.
        """
        try:
            found = self.read(path)
            missing = [key for key in keys if key in found and self.settled(key) is None]
            taken = {key: found[key] for key in missing if not found[key].failed}
            self._append(_lines(taken.items()))
        except OSError as error:
            raise JournalError(f"{error.filename or self.path}: {error.strerror}") from None
        self.records.update(taken)

    @classmethod
    def read(cls, path: Path) -> dict[str, _Record]:
        """The records of a file that may be in use, by key; raises OSError."""
        return dict(cls._records(read_lines(path.read_bytes())))

    @classmethod
    def _records(cls, lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, _Record]]:
        """The records of a journal's lines, with their keys; the header is none."""
        for line in lines:
            try:
                yield line.pop("key"), cls.kind.from_json(line)
            except (KeyError, TypeError, ValueError):
                continue  # asked for again, which loses nothing

    async def flush(self) -> None:
        """Wait until what was added is on disk, for a run that is being stopped."""
        if self._writer is not None:
            await self._writer

    async def _write_waiting(self) -> None:
        """Write all that waits with one fsync, again and again until nothing waits."""
        while self._waiting:
            batch, self._waiting = self._waiting, []
            fault: Exception | None = None
            try:
                data = _lines((key, record) for key, record, _ in batch)
                await asyncio.to_thread(self._append, data)
            except OSError as error:
                fault = JournalError(
                    f"{self.path}: {error.strerror}; what is judged so far is kept"
                )
            except Exception as error:  # or those who wait would wait for ever
                fault = error
            for key, record, done in batch:
                if fault is None:
                    self.records[key] = record
                    self.fresh.add(key)
                if done.cancelled():
                    continue
                if fault is None:
                    done.set_result(None)
                    continue
                done.set_exception(fault)
                done.exception()  # seen: nobody asks for a cancelled task's

    def close(self) -> None:
        """Let the file go, for another process to use."""
        self._file.close()

    def _append(self, data: bytes) -> None:
        size = os.fstat(self._file.fileno()).st_size
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError:
            os.ftruncate(self._file.fileno(), size)  # no half lines from a full disk
            raise

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalInUse(f"{self.path}: another process is {self.doing}") from None

    def _load(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a torn last line: the process died while it wrote
            os.ftruncate(self._file.fileno(), whole)
        lines = list(read_lines(data[:whole]))
        if not lines:
            header = json.dumps({"header": self.header}, ensure_ascii=False) + "\n"
            os.ftruncate(self._file.fileno(), 0)
            self._append(header.encode())
            return
        old = lines[0].get("header")
        self._check_header(old if isinstance(old, dict) else {})
        self.records.update(self._records(lines))

    def _check_header(self, old: Mapping[str, Any]) -> None:
        if changed := changed_names(old, self.header):
            raise JournalError(
                f"{self.path}: cannot resume, changed since: {changed}; restore it, or start a "
                "new run without --resume"
            )


class Journal(RecordJournal[Verdict]):
    """The verdicts of one run."""

    kind, doing = Verdict, "judging this run"


def changed_names(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """What of a header is not as it was, with its old values; '' if all is the same."""
    changed = [name for name, value in new.items() if old.get(name) != value]
    # 'judge' is a hash of everything: it is worth a word only if nothing else says what.
    changed = [name for name in changed if name != "judge"] or changed
    return ", ".join(f"{name} (was {old.get(name)!r})" for name in changed)


def record_line(key: str, record: Record) -> str:
    """One line of a journal."""
    return json.dumps({"key": key, **record.to_json()}, ensure_ascii=False)


def _lines(records: Iterable[tuple[str, Record]]) -> bytes:
    lines = (record_line(key, record) + "\n" for key, record in records)
    return "".join(lines).encode("utf-8", "backslashreplace")


def read_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """The JSON objects of a journal's bytes; lines that are none are passed over."""
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value
