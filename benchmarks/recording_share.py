"""What share of a run is spent on recording it in MLflow? Each step of it, timed.

    python benchmarks/recording_share.py
    python benchmarks/recording_share.py --rows 1000 --traces 500 --rates 0.6 20

The rows are judged by parts/instant_server.py, which takes next to nothing, and recorded as
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
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow

from benchmarks.parts.client_pass import own_folder, rows
from benchmarks.parts.instant_server import instant_server
from llm_client.settings import load_settings
from mlflow_tracking.command.console import warn
from mlflow_tracking.command.experiment import Experiment, read_experiment
from mlflow_tracking.command.flags import CallFlags, JudgeFlags, RowFlags, RunFlags
from mlflow_tracking.custom_metrics import evaluate_with_llm_judge, make_judge_metrics
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.recording import run as mlflow_run
from mlflow_tracking.recording.publish import publish
from mlflow_tracking.recording.results import (
    log_dataset,
    log_results,
    log_settings,
    results_table,
)
from mlflow_tracking.recording.summary import summarise
from mlflow_tracking.recording.totals import Totals


def main() -> int:
    """Judge, record and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--rows", type=int, default=1000, metavar="N", help="default: 1000")
    add("--traces", type=int, default=500, metavar="N", help="default: 500")
    add("--rates", type=float, nargs="+", default=[0.6, 20.0], metavar="ROWS_PER_S")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=own_folder()) as folder, instant_server() as base_url:
        sync_ms = _sync_ms(Path(folder))
        experiment = _experiment(Path(folder), base_url, given.rows, given.traces)
        steps = record(experiment, Path(folder))
    total, cpu = (sum(column) for column in zip(*steps.values(), strict=True))
    lines = [f"the disk syncs a small file in {sync_ms:.1f} ms", ""]
    lines += ["| step | seconds | CPU seconds |", "| --- | ---: | ---: |"]
    lines += [f"| {name} | {both[0]:.2f} | {both[1]:.2f} |" for name, both in steps.items()]
    lines += [f"| together | {total:.2f} | {cpu:.2f} |", ""]
    for rate in given.rates:
        judging_s = given.rows / rate
        lines.append(
            f"at {rate:g} rows/s {given.rows} rows take {judging_s:.0f} s to judge: "
            f"{total / (total + judging_s):.1%} of the run is recording"
        )
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _experiment(folder: Path, base_url: str, count: int, traces: int) -> Experiment:
    """What run_experiment.py would judge, of `count` rows."""
    path = folder / "rows.csv"
    lines = (f'"{q}","{a}"' for q, a in zip(*rows(count), strict=True))
    path.write_text("inputs,predictions\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return read_experiment(
        RowFlags(path, "utf-8", limit=None),
        JudgeFlags(model="", max_tokens=256, seed=0),
        CallFlags(base_url, concurrency=64),
        RunFlags(traces=traces),
        load_settings(),
    )


def record(experiment: Experiment, folder: Path) -> dict[str, tuple[float, float]]:
    """Judge, and give seconds and CPU seconds of each step of recording it."""
    tracking = mlflow_run.Tracking(f"sqlite:///{folder / 'mlflow.db'}", "recording_share")
    mlflow_run.open_experiment(tracking)  # makes the database: once, not a run
    data, settings = experiment.data, experiment.judge.settings
    journal = Journal(folder / "journal.jsonl", {})
    judge = experiment.connection(journal)
    verdicts = evaluate_with_llm_judge(
        [item.answer for item in data.items], [item.question for item in data.items], judge=judge
    )
    totals = Totals(settings.prompt)
    totals.add(verdicts)
    metrics = totals.metrics(len(verdicts), judged_s=1.0)
    steps: dict[str, tuple[float, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        started, cpu = time.perf_counter(), time.process_time()
        yield
        steps[name] = time.perf_counter() - started, time.process_time() - cpu

    with mlflow_run.mlflow_errors(tracking):
        with timed("start of the run"):
            run_id = mlflow_run.start_run(tracking, None, None)
        with timed("params, data set"):
            log_settings(experiment.params(), settings.prompt)
            dataset = log_dataset(data)
        with timed("mlflow.evaluate"):
            metric = make_judge_metrics(judge)
            mlflow.evaluate(data=dataset, extra_metrics=metric, evaluators="default")
        with timed("table made"):
            table = results_table(data, verdicts)
        with timed("metrics, tables, journal"):
            log_results(table, metrics, journal.path)
        traces = experiment.run.traces
        with timed(f"{traces} traces, report, plots"):
            judged = list(zip(data.rows, verdicts, strict=True))
            summary = summarise(totals.overall, metrics, settings.prompt.format.scale)
            publish(run_id, settings, judged, summary, traces, warn)
        with timed("end of the run"):
            mlflow_run.end_run(complete=True)
    journal.close()
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


if __name__ == "__main__":
    raise SystemExit(main())
