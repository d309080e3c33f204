"""What did a run find? Its rows, read back from MLflow for those who compare or grade them.

python mlflow_tracking/compare_runs.py RUN_A RUN_B
python mlflow_tracking/grade_rows.py open --run last --rows 100
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_tracking.cluster.verdict_files import FILE, OutputError, VerdictFolder
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.recording.results import RESULTS_AT, RESULTS_TABLE, stored_name
from mlflow_tracking.recording.run import RUN_TAGS, TrackingError
from mlflow_tracking.rows.conversation import rendered
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, Item, item_of
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, read_scale
from mlflow_tracking.stats.estimate import Array

LAST = "last"


@dataclass(frozen=True)
class JudgedRun:
    """A finished run; `rows` has the columns row, inputs, predictions, score and others."""

    run_id: str
    experiment_id: str
    name: str
    judge: str
    prompt: str
    data: str
    rows: pd.DataFrame  # every row, in the file's order, `score` NaN without a verdict
    scale: Scale = ONE_TO_FIVE  # of the scores; that of older runs, which recorded none
    prompt_sha256: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.judge}, {self.prompt}, {self.data})"

    @property
    def finest(self) -> Array:
        """Expected scores, or whole ones where there are none; NaN without a verdict."""
        whole = pd.to_numeric(self.rows["score"])
        if "expected_score" not in self.rows:
            return np.asarray(whole, dtype=float)
        return np.asarray(pd.to_numeric(self.rows["expected_score"]).fillna(whole), dtype=float)

    @cached_property
    def items(self) -> list[Item]:
        """What was judged, row by row."""
        references = self.rows[REFERENCE] if REFERENCE in self.rows else [""] * len(self.rows)
        texts = zip(self.rows[QUESTION], self.rows[ANSWER], references, strict=True)
        return [
            item_of({QUESTION: str(q), ANSWER: str(a), REFERENCE: str(r or "")})
            for q, a, r in texts
        ]

    @cached_property
    def shown(self) -> list[Item]:
        """What was judged with the further columns that the judge was shown; reads the prompt."""
        prompt, table = self.read_prompt(), self.rows
        if not prompt.columns:
            return self.items
        stored = {name: stored_name(name, table.columns, prompt.format) for name in prompt.columns}
        cells = {name: table[column] for name, column in stored.items() if column in table}
        texts = pd.DataFrame(cells, index=table.index).fillna("").astype(str).map(rendered)
        rows = texts.itertuples(index=False, name=None)
        return [
            replace(item, more=tuple(zip(cells, row, strict=True)))
            for item, row in zip(self.items, rows, strict=True)
        ]

    def read_prompt(self) -> JudgePrompt:
        """The prompt as the run recorded it; raises TrackingError if it recorded none."""
        there = MlflowClient().list_artifacts(self.run_id, "prompt")
        if not there:
            raise TrackingError(f"run {self.run_id}: has no prompt; judge the rows anew")
        with TemporaryDirectory() as folder:
            uri = f"runs:/{self.run_id}/{there[0].path}"
            return load_prompt(Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)))


def rows_digest(items: Iterable[Item]) -> str:
    """What tells these rows from all others: 16 hexadecimal digits.

    Without further columns: a prompt that shows them and one that does not judge the same rows.
    """
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([item.question, item.answer, item.reference]).encode())
    return digest.hexdigest()[:16]


def last_run(experiment: str) -> str:
    """The id of the experiment's newest run of a judge; raises TrackingError if it has none."""
    tag, value = next(iter(RUN_TAGS.items()))
    found = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string=f"tags.{tag} = '{value}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
        output_format="list",
    )
    if not found:
        raise TrackingError(
            f"the experiment '{experiment}' has no judged run in {mlflow.get_tracking_uri()}; "
            "run_experiment.py makes one"
        )
    return str(found[0].info.run_id)


def read_run(run_id: str) -> JudgedRun:
    """The run's rows; raises TrackingError if there are none."""
    try:
        run = MlflowClient().get_run(run_id)
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise  # a login that is refused, a server that is away
        raise TrackingError(
            f"run {run_id}: not in {mlflow.get_tracking_uri()}; run_experiment.py prints the ids"
        ) from None
    params = run.data.params
    return JudgedRun(
        run_id,
        str(run.info.experiment_id),
        run.info.run_name,
        params.get("judge_model", "?"),
        params.get("prompt_file", "?"),
        params.get("data_file", "?"),
        _read_rows(run),
        read_scale(params.get("scale", "")) or ONE_TO_FIVE,
        params.get("prompt_sha256", ""),
    )


def _read_rows(run: Run) -> pd.DataFrame:
    run_id = run.info.run_id
    try:
        content = mlflow.artifacts.load_dict(f"runs:/{run_id}/{RESULTS_TABLE}")
    except (mlflow.MlflowException, OSError):
        raise TrackingError(
            f"run {run_id}: has no {RESULTS_TABLE}; it is not finished, or not of run_experiment.py"
        ) from None
    table = pd.DataFrame(content["data"], columns=content["columns"])
    if len(table) < run.data.metrics.get("llm_judge/rows_total", 0):
        table = _read_files(run_id, run.data.tags.get(RESULTS_AT, ""))
    if RESULTS_AT in run.data.tags:  # of several files, each of which has a row 1
        table = table.sort_values([FILE, "row"], ignore_index=True)
        table["row"] = range(1, len(table) + 1)
    return table


def _read_files(run_id: str, location: str) -> pd.DataFrame:
    """All rows of a run of run_distributed.py, whose table has a sample, the worst rows above all.

    Raises TrackingError where the files are not within reach.
    """
    try:
        return VerdictFolder(location).scores()
    except (OSError, OutputError):
        raise TrackingError(
            f"run {run_id}: its rows are in {location or 'another place'}, which cannot be read "
            "here; its table has a sample that would mislead"
        ) from None
