"""Does run_distributed.py hold what it promises at 100,000 rows? Kills a worker, kills the driver.

    python benchmarks/distributed_scale.py
    python benchmarks/distributed_scale.py --rows 2000 --rows-per-block 100 --folder /tmp/scale

Judges rows of ten Parquet files through a stub on two Ray workers. At a quarter of the rows a
worker is killed, at half of them the driver; then the same command goes on. Prints rows/s, peak
memory and how many rows were judged twice. Exit code 1 if a row is missing, wrong, or was judged
again though its block was finished.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.process_memory import is_alive, judging_workers, memory_by_role
from llm_client.settings import ROOT
from tests.support.judge_stub import true_score

_FILES = 10


def main() -> int:
    """Generate, judge, kill, go on, check, print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rows-per-block", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.02, help="of the stub, in seconds")
    parser.add_argument("--folder", type=Path, help="where data and results stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, _stub(arguments.latency) as stub:
        folder = arguments.folder or Path(temporary)
        _write_rows(folder / "answers", arguments.rows)
        return _measure(stub, folder, arguments)


@contextmanager
def _stub(latency_s: float) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "benchmarks/counting_stub.py"), "--latency", str(latency_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _write_rows(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True)
    for number in range(_FILES):
        part = range(number * rows // _FILES, (number + 1) * rows // _FILES)
        questions = [f"What is item-{n}, and what is it good for?" for n in part]
        answers = [f"It is item-{n}. " + "It is good for many things. " * 10 for n in part]
        table = pa.table({"inputs": questions, "predictions": answers})
        pq.write_table(table, folder / f"{number:02d}.parquet")


class Pace:
    """Watches a run: its memory, and how fast the rows are written."""

    def __init__(self) -> None:
        self.peaks: dict[str, float] = {}
        self._times: list[tuple[float, int]] = []

    @property
    def rows_per_second(self) -> float:
        """From the first rows that were seen written to the last."""
        (began, first), (ended, last) = self._times[0], self._times[-1]
        return (last - first) / (ended - began)

    def watch(self, process: subprocess.Popen[bytes], results: Path, rows: int | None) -> None:
        """Until that many rows are written; None: until the process ends."""
        while process.poll() is None:
            for role, size in memory_by_role(process.pid).items():
                self.peaks[role] = max(self.peaks.get(role, 0.0), size)
            written = _written(results)
            if rows is None:
                time.sleep(0.3)
                continue
            if written:
                self._times.append((time.monotonic(), written))
            if written >= rows:
                return
            time.sleep(0.3)


def _measure(stub: subprocess.Popen[str], folder: Path, arguments: argparse.Namespace) -> int:
    assert stub.stdout is not None
    command = [
        *(sys.executable, str(ROOT / "mlflow_tracking/run_distributed.py")),
        *("--data", str(folder / "answers"), "--output", str(folder / "verdicts")),
        *("--base-url", stub.stdout.readline().strip(), "--traces", "0"),
        *("--rows-per-block", str(arguments.rows_per_block)),
        *("--concurrency", str(arguments.concurrency)),
    ]
    results, rows, pace = folder / "verdicts", arguments.rows, Pace()
    outlived_s = _run_and_kill(command, folder, rows, pace)
    before = {path.name: path.stat().st_mtime_ns for path in results.glob("*.parquet")}
    written, asked, again_at = _written(results), _counts(stub), time.monotonic()
    second = _start(command, folder, "second")
    pace.watch(second, results, None)
    again_s, counts = time.monotonic() - again_at, _counts(stub)
    touched = [name for name, at in before.items() if (results / name).stat().st_mtime_ns != at]
    wrong = _wrong_rows(results, rows)
    lines = {
        "rows": f"{rows} in {_FILES} files, blocks of {arguments.rows_per_block}",
        "killed": f"a worker from {rows // 4} rows on, the driver from {rows // 2} on",
        "workers without a driver": f"gone in {outlived_s:.0f} s",
        "first run": f"{pace.rows_per_second:.0f} rows/s, the worker's death included",
        "calls": f"{asked['calls']}, and {counts['calls'] - asked['calls']} in the second run",
        "rows judged twice": f"{counts['repeated']}",
        "written by the first run": f"{written} rows in {len(before)} blocks",
        "of them written again": f"{len(touched)} blocks",
        "missing or wrong": f"{wrong} rows",
        "second run": f"exit code {second.returncode}, {again_s:.0f} s, recording included",
        "peak memory (PSS)": ", ".join(f"{n} {mib:.0f} MiB" for n, mib in pace.peaks.items()),
    }
    sys.stdout.write("".join(f"{name:<26}{text}\n" for name, text in lines.items()))
    sys.stdout.write((folder / "second.out").read_text("utf-8"))
    most = 2 * arguments.concurrency  # what was in flight when each of the two was killed
    return int(bool(second.returncode or touched or wrong) or counts["repeated"] > most)


def _run_and_kill(command: list[str], folder: Path, rows: int, pace: Pace) -> float:
    """A run whose worker is killed and then its driver; seconds that the workers outlive it."""
    results, first = folder / "verdicts", _start(command, folder, "first")
    pace.watch(first, results, rows // 4)
    os.kill(judging_workers(first.pid)[0], signal.SIGKILL)
    pace.watch(first, results, rows // 2)
    workers = judging_workers(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    return _wait_for_the_end_of(workers)


def _start(command: list[str], folder: Path, name: str) -> subprocess.Popen[bytes]:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(
            command,
            stdout=out,
            stderr=err,
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        )


def _written(results: Path) -> int:
    paths = results.glob("*.parquet") if results.is_dir() else ()
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _wait_for_the_end_of(workers: list[int]) -> float:
    started = time.monotonic()
    while any(is_alive(pid) for pid in workers):
        if time.monotonic() - started > 120:
            raise TimeoutError(f"of {workers} some outlive their driver")
        time.sleep(0.1)
    return time.monotonic() - started


def _counts(stub: subprocess.Popen[str]) -> dict[str, int]:
    assert stub.stdin is not None and stub.stdout is not None
    stub.stdin.write("\n")
    stub.stdin.flush()
    return dict(json.loads(stub.stdout.readline()))


def _wrong_rows(results: Path, rows: int) -> int:
    """Rows that are not there exactly once, or have another score than the stub gives."""
    seen: set[tuple[str, int]] = set()
    wrong = 0
    for path in sorted(results.glob("*.parquet")):
        table = pq.read_table(path, columns=["file", "row", "inputs", "score"]).to_pydict()
        for file, row, question, score in zip(*table.values(), strict=True):
            wrong += (file, row) in seen or score != true_score(question)
            seen.add((file, row))
    return wrong + rows - len(seen)


if __name__ == "__main__":
    raise SystemExit(main())
