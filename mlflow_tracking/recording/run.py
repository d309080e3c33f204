"""Where are runs recorded, and how do they begin and end? MLflow's experiment, its faults, its run.

Of `python mlflow_tracking/run_experiment.py` and all that record; look at them with `mlflow ui`.
"""

import logging
import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
from filelock import lock_descriptor
from mlflow.entities import RunStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from sqlalchemy.exc import SQLAlchemyError

from llm_client.settings import ROOT, UserMistake, anchor_uri, redacted
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
        raise TrackingError(
            redacted(f"MLFLOW_TRACKING_URI {tracking.uri}: {_cause(error)}")
        ) from None
    finally:
        log.setLevel(level)


def _cause(error: Exception) -> str:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    return f"no module {error.name}; pip install it" if isinstance(error, ImportError) else text


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
    """Make the experiment if it is new, have runs go there and return its id; raises TrackingError.

    Its artifacts are tried as well: what cannot be written would be found out when all is judged.
    """
    experiment_id = make_experiment(tracking)
    with mlflow_errors(tracking), _impatient():
        _check_artifacts(mlflow.set_experiment(experiment_id=experiment_id).artifact_location)
    return experiment_id


def make_experiment(tracking: Tracking) -> str:
    """Make the experiment if it is new and return its id; raises TrackingError."""
    with mlflow_errors(tracking), _impatient(), _one_at_a_time(tracking.uri):
        mlflow.set_tracking_uri(tracking.uri)
        found = mlflow.get_experiment_by_name(tracking.experiment)
        if found is None:
            # MLflow would put a new experiment's artifacts below the working directory.
            return _create_experiment(tracking.experiment, _artifact_folder(tracking.uri))
        if found.lifecycle_stage == "deleted":
            raise TrackingError(
                f"the experiment '{tracking.experiment}' was deleted; restore it "
                f"(mlflow experiments restore --experiment-id {found.experiment_id}) or give "
                "another --experiment-name"
            )
        return str(found.experiment_id)


def _check_artifacts(location: str) -> None:
    """Raises TrackingError unless a file can be written where the artifacts go."""
    try:
        repository = get_artifact_repository(location)
        with tempfile.NamedTemporaryFile(prefix="llm-judge-can-write-") as file:
            file.write(b"x")  # requests sends an empty file in chunks, which not every proxy takes
            file.flush()
            repository.log_artifact(file.name)
            with suppress(Exception):  # who may write need not be allowed to delete
                repository.delete_artifacts(Path(file.name).name)
    except Exception as error:  # each kind of store has faults of its own
        raise TrackingError(
            redacted(
                f"artifacts cannot be written to {location}: {_cause(error)}; put that right, or "
                "take another --experiment-name or MLFLOW_TRACKING_URI"
            )
        ) from None


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


def look_at_it(tracking: Tracking, page: str) -> tuple[str, ...]:
    """What to type and what to open for a page of MLflow's; `page` is its path after the #."""
    uri = anchor_uri(tracking.uri, Path.cwd())
    if uri.startswith(("http://", "https://")):
        return (f"{redacted(uri).rstrip('/')}/#/{page}",)
    if uri.startswith("databricks"):
        return (f"{uri}: {page}",)
    address = f"http://127.0.0.1:5000/#/{page}"
    if uri == f"sqlite:///{ROOT / 'mlflow.db'}":
        return "mlflow ui   (from the repo's root), then", address
    return f"mlflow ui --backend-store-uri {shlex.quote(redacted(uri))}", address


def experiment_name(experiment_id: str) -> str:
    """The name of an experiment that is there."""
    return str(mlflow.get_experiment(experiment_id).name)


def check_run(tracking: Tracking, run_id: str, experiment_id: str) -> None:
    """Raises TrackingError unless the run is there to go on with."""
    with mlflow_errors(tracking):
        info = mlflow.get_run(run_id).info
        if info.lifecycle_stage == "deleted":
            raise TrackingError(
                f"run {run_id} was deleted; restore it: mlflow runs restore --run-id {run_id}"
            )
        if str(info.experiment_id) != experiment_id:
            raise TrackingError(
                f"run {run_id} is not of the experiment '{tracking.experiment}'; give "
                f"--experiment-name '{experiment_name(info.experiment_id)}'"
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


@contextmanager
def first_writes(tracking: Tracking) -> Iterator[None]:
    """Write inside what a run begins with; where that fails it has ended. Raises TrackingError."""
    try:
        with mlflow_errors(tracking):
            yield
    except BaseException:
        give_up_run(tracking)
        raise
