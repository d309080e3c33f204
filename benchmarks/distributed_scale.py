"""Does run_distributed.py hold what it promises at 100,000 rows? Kills a worker, kills the driver.

    python benchmarks/distributed_scale.py
    python benchmarks/distributed_scale.py --rows 2000 --rows-per-block 100 --folder /tmp/scale

Judges rows of ten Parquet files on two Ray workers, through a server that only scores and counts
(parts/instant_server.py). At a quarter of the rows a worker is killed, at half of them the driver;
then the same command goes on. Prints rows/s, peak memory (PSS: what is shared is counted once, by
shares) and how many rows were judged twice. Exit code 1 if a row is missing, wrong, or was judged
again though its block was finished.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import requests

from benchmarks.parts.instant_server import instant_server, score_of
from llm_client.settings import ROOT

_FILES = 10
_JUDGING_WORKER = "ray::MapWorker"  # how Ray titles the processes of its actors


@dataclass(frozen=True)
class ScaleFlags:
    """The command line."""

    rows: int
    rows_per_block: int
    concurrency: int
    latency: float
    folder: Path | None


def main() -> int:
    """Generate, judge, kill, go on, check, print; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rows-per-block", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.02, help="of the server, in seconds")
    parser.add_argument("--folder", type=Path, help="where data and results stay")
    flags = ScaleFlags(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as temporary, instant_server(flags.latency) as base_url:
        folder = flags.folder or Path(temporary)
        _write_rows(folder / "answers", flags.rows)
        return _measure(base_url, folder, flags)


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
            if rows is not None:
                written = _written(results)
                if written:
                    self._times.append((time.monotonic(), written))
                if written >= rows:
                    return
            time.sleep(0.3)


def _measure(base_url: str, folder: Path, flags: ScaleFlags) -> int:
    command = [
        *(sys.executable, str(ROOT / "mlflow_tracking/run_distributed.py")),
        *("--data", str(folder / "answers"), "--output", str(folder / "verdicts")),
        *("--base-url", base_url, "--traces", "0", "--no-claim"),
        *("--rows-per-block", str(flags.rows_per_block)),
        *("--concurrency", str(flags.concurrency)),
    ]
    results, rows, pace = folder / "verdicts", flags.rows, Pace()
    outlived_s = _run_and_kill(command, folder, rows, pace)
    before = {path.name: path.stat().st_mtime_ns for path in results.glob("*.parquet")}
    written, asked, again_at = _written(results), _counts(base_url), time.monotonic()
    second = _start(command, folder, "second")
    pace.watch(second, results, None)
    again_s, counts = time.monotonic() - again_at, _counts(base_url)
    touched = [name for name, at in before.items() if (results / name).stat().st_mtime_ns != at]
    wrong = _wrong_rows(results, rows)
    lines = {
        "rows": f"{rows} in {_FILES} files, blocks of {flags.rows_per_block}",
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
    most = 2 * flags.concurrency  # what was in flight when each of the two was killed
    return int(bool(second.returncode or touched or wrong) or counts["repeated"] > most)


def _run_and_kill(command: list[str], folder: Path, rows: int, pace: Pace) -> float:
    """A run whose worker is killed and then its driver; seconds that the workers outlive it."""
    results, first = folder / "verdicts", _start(command, folder, "first")
    pace.watch(first, results, rows // 4)
    os.kill(_judging_workers(first.pid)[0], signal.SIGKILL)
    pace.watch(first, results, rows // 2)
    workers = _judging_workers(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    return _wait_for_the_end_of(workers)


def _start(command: list[str], folder: Path, name: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}"}
    with (folder / f"{name}.out").open("wb") as out, (folder / f"{name}.err").open("wb") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, env=environment)


def _written(results: Path) -> int:
    paths = results.glob("*.parquet") if results.is_dir() else ()
    return sum(pq.read_metadata(path).num_rows for path in paths)


def _counts(base_url: str) -> dict[str, int]:
    page = requests.get(f"{base_url.removesuffix('/v1')}/counts", timeout=30)
    return dict(page.json())


def _wrong_rows(results: Path, rows: int) -> int:
    """Rows that are not there exactly once, or have another score than the server gives."""
    seen: set[tuple[str, int]] = set()
    wrong = 0
    for path in sorted(results.glob("*.parquet")):
        table = pq.read_table(path, columns=["file", "row", "inputs", "score"]).to_pydict()
        for file, row, question, score in zip(*table.values(), strict=True):
            item = question.removeprefix("What is ").partition(",")[0]
            wrong += (file, row) in seen or score != score_of(item.encode())
            seen.add((file, row))
    return wrong + rows - len(seen)


def memory_by_role(pid: int) -> dict[str, float]:
    """MiB of PSS: of the driver, of the largest judging worker, of all processes together."""
    family = _family(pid)
    pss = {process.pid: _pss_mib(process) for process in family}
    workers = [pss[p.pid] for p in family if _title(p).startswith(_JUDGING_WORKER)]
    return {
        "driver": pss.get(pid, 0.0),
        "a worker": max(workers, default=0.0),
        "all of Ray and the driver": sum(pss.values()),
    }


def _judging_workers(pid: int) -> list[int]:
    """The processes below `pid` that judge."""
    return [process.pid for process in _family(pid) if _title(process).startswith(_JUDGING_WORKER)]


def _family(pid: int) -> list[psutil.Process]:
    """The process and all below it."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it is gone, or another user's
        return ""


def _pss_mib(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def _wait_for_the_end_of(workers: list[int]) -> float:
    started = time.monotonic()
    while any(_is_alive(pid) for pid in workers):
        if time.monotonic() - started > 120:
            raise TimeoutError(f"of {workers} some outlive their driver")
        time.sleep(0.1)
    return time.monotonic() - started


def _is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not waited for yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
