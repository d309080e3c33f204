"""What share of a run is spent on recording it in MLflow? Each step of it, timed.

    python benchmarks/recording_share.py
    python benchmarks/recording_share.py --rows 1000 --traces 500 --rates 0.6 20 --json share.json

The rows are judged by benchmarks/instant_server.py, which takes next to nothing, and recorded as
run_experiment.py does, into a new SQLite database: params and data set, mlflow.evaluate, metrics
and tables, traces, report and plots. A run's share is recording / (recording + rows / rate), for
each rate of judging that is named: a 1.5B judge on two CPU cores did 0.6 rows/s, a GPU does tens.

CPU seconds are told beside the seconds, and how long a sync of this disk takes: each trace is a
transaction of MLflow's store, and where the two differ the machine was busy or the disk slow.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from benchmarks.client_pass import own_folder, rows
from benchmarks.client_speed import instant_server
from llm_client.caller import RetryPolicy
from llm_client.settings import ROOT
from mlflow_tracking.command.console import warn
from mlflow_tracking.custom_metrics import evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.recording import run as mlflow_run
from mlflow_tracking.recording.publish import log_views
from mlflow_tracking.recording.results import results_table
from mlflow_tracking.recording.totals import run_metrics, score_metrics
from mlflow_tracking.rows.item import DataSet
from mlflow_tracking.rows.row_files import load_rows


def main() -> int:
    """Judge, record and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--traces", type=int, default=500, metavar="N", help="default: 500")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.6, 20.0], metavar="ROWS_PER_S")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=own_folder()) as folder, instant_server() as base_url:
        sync_ms = _sync_ms(Path(folder))
        steps = measure(Path(folder), base_url, arguments.rows, arguments.traces)
    total, cpu = (sum(column) for column in zip(*steps.values(), strict=True))
    shares = {rate: total / (total + arguments.rows / rate) for rate in arguments.rates}
    lines = [f"the disk syncs a small file in {sync_ms:.1f} ms", ""]
    lines += ["| step | seconds | CPU seconds |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {both[0]:.2f} | {both[1]:.2f} |" for name, both in steps.items()]
    lines += [f"| together | {total:.2f} | {cpu:.2f} |", ""]
    lines += [
        f"at {rate:g} rows/s {arguments.rows} rows take {arguments.rows / rate:.0f} s to judge: "
        f"{share:.1%} of the run is recording"
        for rate, share in shares.items()
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.json:
        found = {"rows": arguments.rows, "traces": arguments.traces, "sync_ms": sync_ms}
        found |= {"seconds_and_cpu": steps, "shares": shares}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


def measure(folder: Path, base_url: str, count: int, traces: int) -> dict[str, tuple[float, float]]:
    """Seconds and CPU seconds of each step of recording `count` rows."""
    data = _data(folder, count)
    tracking = mlflow_run.Tracking(f"sqlite:///{folder / 'mlflow.db'}", "recording_share")
    experiment_id = mlflow_run.open_experiment(tracking)  # makes the database: once, not a run
    prompt = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt.txt")
    settings = JudgeSettings("instant-judge", prompt, context_length=8192)
    journal = Journal(folder / "journal.jsonl", {})
    judge = JudgeConnection(base_url, "", settings, journal, 64, RetryPolicy())
    verdicts = evaluate_with_llm_judge(
        [row.item.answer for row in data.rows],
        [row.item.question for row in data.rows],
        [row.item.reference for row in data.rows],
        judge=judge,
    )
    metrics = run_metrics(verdicts, 1.0, count) | score_metrics(verdicts, prompt)
    steps: dict[str, tuple[float, float]] = {}

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started, cpu = time.perf_counter(), time.process_time()
        made = step()
        steps[name] = time.perf_counter() - started, time.process_time() - cpu
        return made

    with mlflow_run.mlflow_errors(tracking):
        run_id = timed("start of the run", lambda: mlflow_run.start_run(tracking, None, None))
        logged = timed("params, data set", lambda: mlflow_run.log_start(data, {}, judge))
        timed("mlflow.evaluate", lambda: mlflow_run.log_evaluation(logged, judge))
        table = timed("table made", lambda: results_table(data, verdicts))
        timed(
            "metrics, tables, journal",
            lambda: mlflow_run.log_results(table, metrics, journal.path),
        )
        timed(
            f"{traces} traces, report, plots",
            lambda: log_views(run_id, data, verdicts, metrics, judge, traces, warn),
        )
        timed("end of the run", lambda: mlflow_run.end_run(complete=True))
    journal.close()
    assert experiment_id, "no experiment"
    return steps


def _sync_ms(folder: Path) -> float:
    """The median of twenty."""
    times = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(20):
            started = time.perf_counter()
            file.write(bytes(4096))
            os.fsync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


def _data(folder: Path, count: int) -> DataSet:
    questions, answers = rows(count)
    path = folder / "rows.csv"
    lines = (f'"{q}","{a}"' for q, a in zip(questions, answers, strict=True))
    path.write_text("inputs,predictions\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return load_rows(path)


if __name__ == "__main__":
    raise SystemExit(main())
