"""Where are runs recorded, and how do they begin and end? MLflow's experiment, its faults, its run.

Of `python mlflow_tracking/run_experiment.py` and all that record; look at them with `mlflow ui`.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
from filelock import lock_descriptor
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from llm_client.settings import UserMistake
from mlflow_tracking.custom_metrics import quiet_deprecations

RUN_TAGS = {"experiment_type": "llm_judge_evaluation"}


class TrackingError(UserMistake):
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
    handle = os.open(folder, os.O_RDONLY)  # a lock file would be one more to leave behind
    try:
        lock_descriptor(handle)
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


def end_run(complete: bool) -> None:
    """FINISHED when every row was tried, KILLED when the run was stopped before."""
    mlflow.end_run(RunStatus.to_string(RunStatus.FINISHED if complete else RunStatus.KILLED))


def give_up_run(tracking: Tracking) -> None:
    """End the run as KILLED if MLflow can still be told; there is nobody else to tell."""
    with suppress(TrackingError), _impatient(), mlflow_errors(tracking):
        end_run(complete=False)
