"""What does MLflow get of rows that do not fit into memory? Totals, a sample, and their place.

Recorded by `python mlflow_tracking/run_distributed.py`, under run_experiment.py's names.
"""

import hashlib
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import mlflow
import pandas as pd
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from llm_client.settings import Settings
from mlflow_tracking.cluster.driver import CheckedFiles, judge_files
from mlflow_tracking.cluster.verdict_files import FILE, VerdictFolder
from mlflow_tracking.cluster.worker import BlockJob
from mlflow_tracking.command.console import print_summary, say, warn
from mlflow_tracking.command.experiment import Experiment, check_judge, wanted_judge
from mlflow_tracking.command.flags import CallFlags, ClusterFlags, JudgeFlags, RunFlags
from mlflow_tracking.command.frame import judging, record_in_peace, same_command
from mlflow_tracking.command.recorded_run import RecordedRun, tracking_of
from mlflow_tracking.judge.preflight import language_notes
from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.publish import publish
from mlflow_tracking.recording.results import (
    RESULTS_AT,
    log_results,
    log_settings,
    remove_tables,
    stored_name,
)
from mlflow_tracking.recording.run import TrackingError, check_run, open_experiment, start_run
from mlflow_tracking.recording.sample import RowSample
from mlflow_tracking.recording.summary import summarise
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataSet, Row, item_of
from mlflow_tracking.rows.table import Columns

_JUDGED_BY = "judged_by"  # a tag of the run


def check_cluster_judge(
    checked: CheckedFiles,
    cluster: ClusterFlags,
    judge: JudgeFlags,
    calls: CallFlags,
    run: RunFlags,
    settings: Settings,
) -> Experiment:
    """Check the judge, and that it can be asked about the longest row."""
    data = DataSet(Path(cluster.data), checked.sha256, "", (), named=cluster.columns)
    items = [checked.longest]
    wanted = wanted_judge(judge, tuple(checked.columns))
    found = check_judge(data, items, cluster.limit, wanted, calls, run, settings)

    def placed(lines: tuple[str, ...]) -> tuple[str, ...]:
        # The preflight was shown the longest row alone and calls it row 1.
        place = checked.longest_at
        return tuple(re.sub(r"\brow 1(?=\)| has )", lambda _: place, line) for line in lines)

    told = found.judge
    others = language_notes(told.settings.prompt, checked.languages)
    warnings = (*placed(told.warnings), *others)
    told = replace(told, lines=placed(told.lines), warnings=warnings)
    params = {
        "workers": cluster.workers,
        "rows_per_block": cluster.rows_per_block,
        "data_files": len(checked.rows),
    }
    return replace(found, judge=told, more_params=params, same=("rows_per_block",))


def judge_files_into(
    checked: CheckedFiles, encoding: str, cluster: ClusterFlags, experiment: Experiment
) -> int:
    """Judge the blocks that are not finished, and record all; returns the exit code."""
    results = VerdictFolder(cluster.output)
    rows = min(checked.total, cluster.limit or checked.total)
    with results.locked():
        run = _begin(experiment, results)
        with run.recorded():
            _log_start(cluster, experiment, results)
            _judge(run, checked, encoding, cluster, results, rows)
            record_in_peace()
            _record(run, cluster, results, rows)
        return run.exit_code


def _begin(experiment: Experiment, results: VerdictFolder) -> RecordedRun:
    """The folder's run if MLflow still has it; a new one otherwise: the verdicts are there."""
    tracking, header = tracking_of(experiment), experiment.journal_header()
    known = results.open(header)
    experiment_id = open_experiment(tracking)
    try:
        if known:
            check_run(tracking, known, experiment_id)
    except TrackingError as gone:
        warn(f"note: {gone}; a new run is recorded")
        known = ""
    run_id = start_run(tracking, experiment.run.run_name, known or None)
    results.remember(header, run_id)
    place = experiment_id, run_id
    return RecordedRun("run_distributed", experiment, place, None, same_command())


def _log_start(cluster: ClusterFlags, experiment: Experiment, results: VerdictFolder) -> None:
    """Params, the prompt, the data set, and where the verdicts are going to be."""
    log_settings(experiment.params(), experiment.judge.settings.prompt)
    mlflow.set_tags({_JUDGED_BY: "ray", RESULTS_AT: results.path})
    digest = hashlib.sha256(experiment.data.sha256.encode()).hexdigest()[:8]
    source = CodeDatasetSource({"source": cluster.data})  # it is not read again, only named
    mlflow.log_input(MetaDataset(source, name=experiment.data.path.stem, digest=digest))


def _judge(
    run: RecordedRun,
    checked: CheckedFiles,
    encoding: str,
    cluster: ClusterFlags,
    results: VerdictFolder,
    rows: int,
) -> None:
    """Judge all blocks that have rows without a score."""
    blocks = list(results.rows_by_name())
    finished = frozenset(name for name, _, failed in blocks if not failed)
    done = sum(count for _, count, failed in blocks if not failed)
    with judging(rows) as found:
        found.progress.count(done, 0)
        if done < rows:
            judged = judge_files(
                checked.first(cluster.limit),
                encoding,
                cluster.rows_per_block,
                finished,
                _job(run.experiment, cluster, results),
                cluster.workers,
                Columns(named=cluster.columns, shows=run.experiment.judge.settings.prompt.columns),
            )
            reached: dict[str, tuple[int, int]] = {}
            for block in judged:
                found.progress.count(block.rows, block.failed)
                run.judged += block.judged
                reached[block.worker] = block.in_flight, block.most
                now, most = zip(*reached.values(), strict=True)
                run.in_flight = sum(now), sum(most)
    run.stopped, run.judged_s = found.stopped, found.seconds


def _job(experiment: Experiment, cluster: ClusterFlags, results: VerdictFolder) -> BlockJob:
    """What the workers are told."""
    calls = experiment.calls
    return BlockJob(
        calls.base_url,
        experiment.api_key,
        experiment.judge.settings,
        calls.policy,
        max(1, calls.concurrency // cluster.workers) if calls.concurrency else None,
        results,
        cluster.journal_dir or _journal_folder(results),
    )


def _journal_folder(results: VerdictFolder) -> Path:
    if results.is_local:
        return Path(results.path) / "_journals"
    place = hashlib.sha256(results.location.encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "llm-judge-journals" / place


def _record(run: RecordedRun, cluster: ClusterFlags, results: VerdictFolder, rows: int) -> None:
    """Read back what is written, block by block; record and print what it comes to."""
    judge = run.experiment.judge.settings
    scale = judge.prompt.format.scale
    totals = Totals(judge.prompt)
    sample = RowSample[tuple[dict[str, object], Verdict]](cluster.sample)
    counted = 0
    for name in results.names():
        block = results.read(name)
        totals.add(block.verdicts)
        counted += len(block.verdicts)
        for record, verdict in zip(block.records, block.verdicts, strict=True):
            place = str(record[FILE]), int(record["row"])
            sample.add(place, verdict, (record, verdict))
    totals.add([None] * (rows - counted))
    metrics, shown = run.cost(totals), sample.rows()
    remove_tables()
    log_results(pd.DataFrame([record for record, _ in shown]), metrics, None)
    pairs = [(_as_row(record, judge.prompt), verdict) for record, verdict in shown]
    summary, traces = summarise(totals.overall, metrics, scale), run.experiment.run.traces
    publish(run.run_id, judge, pairs, summary, traces, warn, RESULTS_AT)
    print_summary(metrics, scale)
    say(f"verdicts     {results.path}/*.parquet")
    run.count_missing(int(metrics["llm_judge/rows_failed"]), rows)


def _as_row(record: dict[str, object], prompt: JudgePrompt) -> Row:
    """The row as the report and the traces show it."""
    shown = {name: stored_name(name, record, prompt.format) for name in prompt.columns}
    names = {QUESTION: QUESTION, ANSWER: ANSWER, FILE: FILE} | shown
    columns = {name: str(record.get(stored) or "") for name, stored in names.items()}
    judged = item_of({**columns, REFERENCE: str(record.get(REFERENCE) or "")})
    return Row(int(str(record["row"])), 0, judged, columns).showing(prompt.columns)
