"""What does MLflow get of rows that do not fit into memory? Totals, a sample, and their place.

Recorded by `python mlflow_tracking/run_distributed.py`, under run_experiment.py's names.
"""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.code_dataset_source import CodeDatasetSource
from mlflow.data.meta_dataset import MetaDataset

from llm_client.judge_client import JudgeClient
from mlflow_tracking import mlflow_run
from mlflow_tracking.block_results import FILE
from mlflow_tracking.experiment_plan import Plan
from mlflow_tracking.headline import describe, headline_of_totals
from mlflow_tracking.judge import Judge
from mlflow_tracking.prompt_registry import register_prompt
from mlflow_tracking.report import Report, render_report
from mlflow_tracking.row_sample import choose_rows
from mlflow_tracking.rows import ANSWER, QUESTION, REFERENCE, Row
from mlflow_tracking.run_views import DESCRIPTION_TAG, told
from mlflow_tracking.streamed_sample import SampledRow
from mlflow_tracking.traces import log_traces

JUDGED_BY = "judged_by"


@dataclass(frozen=True)
class Outcome:
    """What came of a run: its metrics, how often each score was given, and the sampled rows."""

    metrics: Mapping[str, float]
    scores: Mapping[int, int]
    sample: Sequence[SampledRow]


def log_start(plan: Plan, data: str, params: Mapping[str, Any], results_at: str) -> None:
    """Params, the prompt, the data set, and where the verdicts are going to be."""
    mlflow_run.log_settings(params, plan.findings.settings.prompt)
    mlflow.set_tags({JUDGED_BY: "ray", mlflow_run.RESULTS_AT: results_at})
    digest = hashlib.sha256(plan.data.sha256.encode()).hexdigest()[:8]
    source = CodeDatasetSource({"source": data})  # it is not read again, only named
    mlflow.log_input(MetaDataset(source, name=plan.data.path.stem, digest=digest))


def log_outcome(run_id: str, plan: Plan, outcome: Outcome, warn: Callable[[str], None]) -> None:
    """Metrics, the table of the sampled rows, and what people look at."""
    mlflow_run.remove_tables()
    table = pd.DataFrame([row.record for row in outcome.sample])
    mlflow_run.log_results(table, outcome.metrics, None)
    traces = plan.arguments.traces
    verdicts = [row.verdict for row in outcome.sample]
    traced = [outcome.sample[index] for index in choose_rows(verdicts, traces)]
    prompt: dict[str, str] = {}
    with told("the prompt's version", warn):
        prompt = register_prompt(plan.findings.settings.prompt, run_id)
    with told("the description", warn):
        params = MlflowClient().get_run(run_id).data.params
        headline = headline_of_totals(outcome.scores, outcome.metrics)
        elsewhere = _of_how_many(outcome, headline.rows)
        mlflow.set_tag(DESCRIPTION_TAG, describe(headline, params, len(traced), elsewhere))
    with told("the report", warn):
        _log_report(run_id, outcome)
    with told("the traces", warn):
        judge = Judge(JudgeClient(plan.judge_at, plan.api_key, plan.policy), plan.findings.settings)
        log_traces(run_id, [(as_row(row), row.verdict) for row in traced], judge, prompt)


def _of_how_many(outcome: Outcome, rows: int) -> str:
    shown = len(outcome.sample)
    part = f"{shown} of {rows} rows, the worst and a sample of all"
    return (
        "Every row with its score and justification: the Parquet files that the tag "
        f"`{mlflow_run.RESULTS_AT}` names. **Artifacts** → `report.html`, `judge_results.json`: "
        f"{'every row too' if shown == rows else part}."
    )


def as_row(sampled: SampledRow) -> Row:
    """The row as the report and the traces show it."""
    record = sampled.record
    reference = str(record.get(REFERENCE) or "").strip()
    columns = {name: str(record[name]) for name in (QUESTION, ANSWER, FILE)}
    return Row(int(record["row"]), 0, columns[QUESTION], columns[ANSWER], reference, columns)


def _log_report(run_id: str, outcome: Outcome) -> None:
    run = MlflowClient().get_run(run_id)
    headline = headline_of_totals(outcome.scores, outcome.metrics)
    title = f"{run.info.run_name}: {run.data.params.get('data_file', '')}"
    rows = [(as_row(row), row.verdict) for row in outcome.sample]
    if len(rows) < headline.rows:
        title += f" ({len(rows)} of {headline.rows} rows, the worst and a sample of all)"
    page = render_report(Report(title, run_id, run.data.params, headline, rows, {}))
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "report.html").write_text(page, encoding="utf-8")
        mlflow.log_artifacts(name)
