"""What was judged already? Every verdict on disk before it counts, and no fault loses one.

python -m pytest tests/judge/test_journal.py
"""

import asyncio
import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.judge.journal import Journal, JournalError, read_lines, record_line
from mlflow_tracking.judge.verdict import Score, Status, Verdict

HEADER = {"data_sha256": "d1", "judge_model": "qwen", "temperature": 0.0, "limit": "none"}


def scored(value: int, text: str = "Потому что.\nТак.") -> Verdict:
    scores = {"Оценка": Score(value, (0.0, 0.1, 0.2, 0.3, 0.4))}
    return Verdict(Status.OK, scores=scores, justification=text, raw_reply='a "reply"\r\n')


FAILED = Verdict(Status.TIMEOUT, "no answer in 300 s", attempts=6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journals" / "run.jsonl"


def write(path: Path, *entries: tuple[str, Verdict]) -> None:
    """A journal that an earlier process left behind."""

    async def add_all(journal: Journal) -> None:
        for key, verdict in entries:
            await journal.add(key, verdict)

    journal = Journal(path, HEADER)
    asyncio.run(add_all(journal))
    journal.close()


@contextmanager
def opened(path: Path, **changes: object) -> Iterator[Journal]:
    journal = Journal(path, HEADER | changes)
    try:
        yield journal
    finally:
        journal.close()


def keys_on_disk(path: Path) -> list[str]:
    return [line["key"] for line in read_lines(path.read_bytes()) if "key" in line]


# --- round trip -----------------------------------------------------------------------------


def test_what_was_judged_is_there_for_the_next_process(path: Path) -> None:
    odd = scored(3, "\u2028 \x00 \ud83d lone \\ud83d «ё» 😀")
    write(path, ("a", scored(5)), ("b", FAILED), ("c", odd))
    with opened(path) as journal:
        assert journal.records == {"a": scored(5), "b": FAILED, "c": odd}
        assert journal.settled("a") == scored(5)
        assert journal.settled("none") is None
        assert journal.fresh == set()


def test_a_verdict_is_on_disk_when_add_returns(path: Path) -> None:
    async def check(journal: Journal) -> None:
        for number in range(3):
            await journal.add(f"key {number}", scored(number + 1))
            assert keys_on_disk(path) == [f"key {n}" for n in range(number + 1)]

    with opened(path) as journal:
        asyncio.run(check(journal))


def test_the_file_is_a_header_and_a_line_for_each_verdict(path: Path) -> None:
    write(path, ("a", scored(5)), ("b", FAILED))
    lines = path.read_text(encoding="utf-8").split("\n")
    assert json.loads(lines[0]) == {"header": HEADER}
    assert [json.loads(line)["key"] for line in lines[1:3]] == ["a", "b"]
    assert lines[3:] == [""]
    assert "Потому что" in lines[1], "people read it, too"


def test_the_last_line_of_a_key_wins(path: Path) -> None:
    write(path, ("a", FAILED), ("b", scored(1)))
    write(path, ("a", scored(4)), ("b", scored(2)))
    with opened(path) as journal:
        assert journal.records == {"a": scored(4), "b": scored(2)}


def test_a_failure_is_tried_again_by_the_next_process_and_not_by_this_one(path: Path) -> None:
    write(path, ("a", FAILED), ("b", scored(2)))
    with opened(path) as journal:
        assert journal.settled("a") is None
        assert journal.settled("b") == scored(2)
        asyncio.run(journal.add("a", FAILED))
        assert journal.settled("a") == FAILED
        asyncio.run(journal.add("c", FAILED))
        assert journal.settled("c") == FAILED
        assert journal.fresh == {"a", "c"}


# --- what a crash leaves behind -------------------------------------------------------------


def test_a_journal_cut_anywhere_keeps_every_whole_line(path: Path) -> None:
    write(path, ("a", scored(5)), ("b", scored(3)))
    data = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(data) if byte == ord("\n")]
    near = {end + step for end in ends for step in (-2, -1, 0, 1, 2)}
    for size in sorted({*range(0, len(data), 13), *near} & {*range(len(data) + 1)}):
        path.write_bytes(data[:size])
        with opened(path) as journal:
            whole = sum(end <= size for end in ends)
            assert list(journal.records) == ["a", "b"][: max(0, whole - 1)], size
            asyncio.run(journal.add("c", scored(1)))
        with opened(path) as journal:
            assert journal.settled("c") == scored(1), size
            assert len(journal.records) == max(0, whole - 1) + 1, size


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json\n",
        b"\xff\xfe\x00\n",
        b"\x00" * 100 + b"\n",
        b"[1, 2]\n",
        b"{}\n",
        b'{"key": "x"}\n',
        b'{"key": ["x"], "status": "ok", "scores": {}}\n',
        b'{"key": "x", "status": "ok", "scores": []}\n',
        b'{"key": "x", "status": "ok", "scores": {"S": {"value": 9, "probabilities": null}}}\n',
        b"\n\n",
        b'{"key": "x", "sta{"key": "y"}\n',
    ],
    ids=range(11),
)
def test_a_line_that_is_no_verdict_is_passed_over(path: Path, garbage: bytes) -> None:
    write(path, ("a", scored(5)), ("b", scored(3)))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], garbage, *lines[2:]]))
    with opened(path) as journal:
        assert journal.records == {"a": scored(5), "b": scored(3)}


# --- whose journal it is --------------------------------------------------------------------


def test_another_judge_or_other_data_are_refused_with_what_changed(path: Path) -> None:
    write(path, ("a", scored(5)))
    before = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        Journal(path, HEADER | {"data_sha256": "d2", "temperature": 0.7})
    message = str(caught.value)
    assert message.startswith(f"{path}: cannot resume, changed since: ")
    assert "data_sha256 (was 'd1'), temperature (was 0.0)" in message
    assert "judge_model" not in message
    assert "\n" not in message
    assert path.read_bytes() == before, "a refused journal is left as it is"
    with opened(path) as journal:
        assert journal.settled("a") == scored(5)


@pytest.mark.parametrize(
    "first",
    [b"", b"garbage\n", b'{"header": null}\n', b'{"header": ["x"]}\n', b'{"header": {}}\n'],
    ids=["none", "garbage", "null", "list", "empty"],
)
def test_verdicts_without_their_header_are_not_this_runs(path: Path, first: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(first + record_line("a", scored(5)).encode() + b"\n")
    with pytest.raises(JournalError, match="cannot resume, changed since: data_sha256 "):
        Journal(path, HEADER)


def test_a_journal_that_another_process_uses_is_refused(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mlflow_tracking.judge.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]), {}); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(JournalError, match=f"{path}: another process is judging this run"):
            Journal(path, {})
        other.stdin.close()
        other.wait()
    Journal(path, {}).close()


def test_a_refused_journal_is_let_go(path: Path) -> None:
    write(path)
    with pytest.raises(JournalError) as caught:
        Journal(path, HEADER | {"limit": 5})
    with opened(path):  # while the exception, and its traceback, are alive
        assert caught.value is not None


def test_a_folder_that_cannot_be_made_is_told_with_its_flag(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path in (tmp_path / "file" / "run.jsonl", tmp_path):
        with pytest.raises(JournalError, match="name a folder with --journal-dir") as caught:
            Journal(path, HEADER)
        assert "\n" not in str(caught.value)


# --- a disk that is full --------------------------------------------------------------------


def test_a_full_disk_is_told_and_leaves_no_half_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(path, ("a", scored(5)))
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with opened(path) as journal:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(JournalError, match="No space left on device; what is judged so far"):
            asyncio.run(journal.add("b", scored(3)))
        assert "b" not in journal.records
        assert "b" not in journal.fresh
        assert path.read_bytes() == before
        monkeypatch.undo()
        asyncio.run(journal.add("c", scored(2)))
    with opened(path) as journal:
        assert list(journal.records) == ["a", "c"]
    assert len(list(read_lines(path.read_bytes()))) == len(path.read_bytes().splitlines()) == 3


def test_a_line_that_is_written_in_part_is_taken_back(path: Path) -> None:
    """The operating system's own limit on a file's size: the first part of the line fits."""
    write(path, ("a", scored(5)))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as journal:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))
        try:
            with pytest.raises(JournalError, match="File too large; what is judged so far"):
                asyncio.run(journal.add("b", scored(3, "x" * 1_000)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert path.read_bytes() == before
        asyncio.run(journal.add("c", scored(2)))
    with opened(path) as journal:
        assert list(journal.records) == ["a", "c"]


def test_all_that_wait_are_told_of_a_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def add_many(journal: Journal) -> list[Any]:
        adds = (journal.add(str(number), scored(1)) for number in range(20))
        return await asyncio.wait_for(asyncio.gather(*adds, return_exceptions=True), 10)

    def broken(*arguments: object) -> None:
        raise RuntimeError("nobody expects this")

    with opened(path) as journal:
        monkeypatch.setattr(journal, "_append", broken)
        results = asyncio.run(add_many(journal))
    assert [str(result) for result in results] == ["nobody expects this"] * 20


# --- many at once ---------------------------------------------------------------------------


def test_many_verdicts_at_once_share_a_sync(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = 0
    real = os.fsync

    def counted(descriptor: int) -> None:
        nonlocal syncs
        syncs += 1
        real(descriptor)

    async def add_many(journal: Journal) -> None:
        await asyncio.gather(*(journal.add(str(n), scored(n % 5 + 1)) for n in range(500)))

    with opened(path) as journal:
        monkeypatch.setattr(os, "fsync", counted)
        asyncio.run(add_many(journal))
    assert 1 <= syncs <= 3
    with opened(path) as journal:
        assert len(journal.records) == 500
        assert journal.settled("499") == scored(5)


def test_a_verdict_whose_caller_was_stopped_is_written_all_the_same(path: Path) -> None:
    async def stop(journal: Journal) -> None:
        task = asyncio.create_task(journal.add("a", scored(5)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await journal.flush()

    with opened(path) as journal:
        asyncio.run(stop(journal))
        assert journal.settled("a") == scored(5)
    with opened(path) as journal:
        assert journal.settled("a") == scored(5)
