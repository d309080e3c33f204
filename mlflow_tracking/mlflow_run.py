"""What does a run record in MLflow, and where? Params, data set, metrics, tables, journal.

Written by `python mlflow_tracking/run_experiment.py`, looked at with `mlflow ui`.
"""

import fcntl
import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.models import EvaluationMetric
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

from mlflow_tracking.custom_metrics import (
    METRIC_NAME,
    METRIC_VERSION,
    JudgeConnection,
    make_judge_metrics,
    make_stock_metric,
    quiet_deprecations,
)
from mlflow_tracking.judge_prompt import JudgePrompt
from mlflow_tracking.rows import ANSWER, REFERENCE, DataSet
from mlflow_tracking.verdict import Score, Status, Verdict

RUN_TAGS = {"experiment_type": "llm_judge_evaluation"}
RESULTS_TABLE = "judge_results.json"
PAIRS_TABLE = "pair_results.json"
RESULTS_AT = "results_location"  # tag: where all rows are, if the table has not all
EVAL_TABLE = "eval_results_table.json"
_TABLES = (RESULTS_TABLE, PAIRS_TABLE, EVAL_TABLE, "genai_custom_metrics.json")


class TrackingError(Exception):
    """MLflow cannot record; the message is one line with the remedy."""


@dataclass(frozen=True)
class Tracking:
    """Where runs go."""

    uri: str
    experiment: str


@contextmanager
def mlflow_errors(tracking: Tracking) -> Iterator[None]:
    """Turn MLflow's exceptions into one line."""
    log = logging.getLogger("mlflow.store.db.utils")  # prints the traceback of what it raises
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        with quiet_deprecations():
            yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        cause = " ".join(str(error).split())[:300]
        raise TrackingError(f"MLFLOW_TRACKING_URI {tracking.uri}: {cause}") from None
    finally:
        log.setLevel(level)


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow asks a server that does not answer for minutes: at the start seconds are enough."""
    patience = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
    ours = {name: value for name, value in patience.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def _one_at_a_time(uri: str) -> Iterator[None]:
    """Two first runs at once would both make the tables of a new database, and one would fail."""
    folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
    if not uri.startswith("sqlite:///") or not folder.is_dir():
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def open_experiment(tracking: Tracking) -> str:
    """Make the experiment if it is new and return its id; raises TrackingError."""
    with mlflow_errors(tracking), _impatient(), _one_at_a_time(tracking.uri):
        mlflow.set_tracking_uri(tracking.uri)
        found = mlflow.get_experiment_by_name(tracking.experiment)
        if found is None:
            # MLflow would put a new experiment's artifacts below the working directory.
            folder = _artifact_folder(tracking.uri)
            experiment_id = _create_experiment(tracking.experiment, folder)
        elif found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"the experiment '{tracking.experiment}' was deleted; restore it "
                f"(mlflow experiments restore --experiment-id {found.experiment_id}) or give "
                "another --experiment-name"
            )
        else:
            experiment_id = found.experiment_id
        mlflow.set_experiment(experiment_id=experiment_id)
        return str(experiment_id)


def _create_experiment(name: str, artifact_folder: str | None) -> str:
    try:
        return str(mlflow.create_experiment(name, artifact_location=artifact_folder))
    except MlflowException:
        made = mlflow.get_experiment_by_name(name)  # by another run that started just now
        if made is None:
            raise
        return str(made.experiment_id)


def _artifact_folder(uri: str) -> str | None:
    """`mlruns` beside a database file; None lets MLflow choose, as a server or a folder does."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).absolute().parent / "mlruns").as_uri()


def check_run(tracking: Tracking, run_id: str, experiment_id: str) -> None:
    """Raises TrackingError unless the run is there to go on with."""
    with mlflow_errors(tracking):
        info = mlflow.get_run(run_id).info
        if info.lifecycle_stage == "deleted":
            raise TrackingError(
                f"run {run_id} was deleted; restore it: mlflow runs restore --run-id {run_id}"
            )
        if str(info.experiment_id) != experiment_id:
            name = mlflow.get_experiment(info.experiment_id).name
            raise TrackingError(
                f"run {run_id} is not of the experiment '{tracking.experiment}'; give "
                f"--experiment-name '{name}'"
            )


def start_run(
    tracking: Tracking,
    name: str | None,
    run_id: str | None,
    tags: Mapping[str, str] = RUN_TAGS,
) -> str:
    """Start a run, or go on with `run_id`, and return its id; raises TrackingError."""
    with mlflow_errors(tracking):
        # No system metrics: the run's page puts those eight above the judge's own.
        if run_id:
            run = mlflow.start_run(run_id=run_id)
        else:
            run = mlflow.start_run(run_name=name, tags=dict(tags))
    return str(run.info.run_id)


def frame(data: DataSet) -> pd.DataFrame:
    """All columns of the CSV as text, and `targets`, '' for none."""
    table = pd.DataFrame([dict(row.columns) for row in data.rows], dtype=object)
    table[REFERENCE] = [row.reference for row in data.rows]
    return table


def log_start(
    data: DataSet, params: Mapping[str, Any], judge: JudgeConnection, as_input: str = ""
) -> Any:
    """Params, the prompt, and the data set that mlflow.evaluate will log as the run's input.

    With a context `as_input` it is logged as such at once.
    """
    log_settings(params, judge.settings.prompt)
    table = frame(data)
    dataset = mlflow.data.from_pandas(
        table,
        source=str(data.path),
        name=data.path.stem,
        targets=REFERENCE,
        predictions=ANSWER if ANSWER in table else None,
        digest=hashlib.sha256(data.sha256.encode()).hexdigest()[:8],
    )
    if as_input:
        mlflow.log_input(dataset, context=as_input)
    return dataset


def log_settings(params: Mapping[str, Any], prompt: JudgePrompt) -> None:
    """Params and the prompt's file."""
    mlflow.log_params({name: value for name, value in params.items() if _is_new(name)})
    mlflow.log_text(prompt.text, f"prompt/{prompt.path.name}")


def _is_new(param: str) -> bool:
    """A resumed run has its params already, and MLflow lets none change."""
    run = mlflow.active_run()
    return run is None or param not in MlflowClient().get_run(run.info.run_id).data.params


def log_evaluation(dataset: Any, judge: JudgeConnection) -> None:
    """Run mlflow.evaluate in the active run, with the judge's metrics."""
    _evaluate(dataset, make_judge_metrics(judge))


def evaluate_stock(dataset: Any, judge: JudgeConnection, api_key: str) -> list[Verdict | None]:
    """Have MLflow's own scorer do it all, as the baseline; it knows no statuses."""
    os.environ["OPENAI_API_KEY"] = api_key or "EMPTY"  # the scorer takes it from nowhere else
    table = _evaluate(dataset, [make_stock_metric(judge)])
    name = f"{METRIC_NAME}/{METRIC_VERSION}"
    label = judge.settings.prompt.format.overall
    return [
        Verdict(Status.UNPARSABLE, str(text))
        if pd.isna(score)
        else Verdict(Status.OK, scores={label: Score(int(score))}, justification=str(text))
        for score, text in zip(table[f"{name}/score"], table[f"{name}/justification"], strict=True)
    ]


def _evaluate(dataset: Any, metrics: list[EvaluationMetric]) -> pd.DataFrame:
    remove_tables()
    with quiet_deprecations():
        result = mlflow.evaluate(data=dataset, extra_metrics=metrics, evaluators="default")
    table: pd.DataFrame = result.tables["eval_results_table"]
    return table


def remove_tables() -> None:
    """MLflow appends to a table that is there: a resumed run would show every row twice."""
    run = mlflow.active_run()
    assert run is not None, "no active run"
    repository = get_artifact_repository(run.info.artifact_uri)
    there = {artifact.path for artifact in repository.list_artifacts() or []}
    for name in there.intersection(_TABLES):
        repository.delete_artifacts(name)


def log_results(
    table: pd.DataFrame,
    metrics: Mapping[str, float],
    journal: Path | None,
    name: str = RESULTS_TABLE,
) -> None:
    """The run's metrics, its table and its journal."""
    mlflow.log_metrics(dict(metrics))
    mlflow.log_table(table, name)
    with tempfile.TemporaryDirectory() as folder:
        copy = (Path(folder) / name).with_suffix(".csv")
        table.to_csv(copy, index=False)
        mlflow.log_artifact(str(copy))
    if journal is not None:
        mlflow.log_artifact(str(journal), "journal")


def end_run(complete: bool) -> None:
    """FINISHED when every row was tried, KILLED when the run was stopped before."""
    mlflow.end_run(RunStatus.to_string(RunStatus.FINISHED if complete else RunStatus.KILLED))


def give_up_run(tracking: Tracking) -> None:
    """End the run as KILLED if MLflow can still be told; there is nobody else to tell."""
    with suppress(TrackingError), _impatient(), mlflow_errors(tracking):
        end_run(complete=False)
