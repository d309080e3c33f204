"""Which Ray does the judging? One of its own on this machine, or a cluster that is there already.

    python mlflow_tracking/run_distributed.py --data answers/ --output verdicts/
    python mlflow_tracking/run_distributed.py --data … --output … --ray-address 10.0.0.5:6379

Quiet: what Ray tells of itself is in its own logs (/tmp/ray/session_latest/logs).
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray
import ray.data

from llm_client.settings import ROOT, UserMistake

# Before Ray is imported: it reads these once.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


_READERS = 2  # tasks that read while the workers judge


class RayUnavailable(UserMistake):
    """A Ray that cannot be used; the message is one line with the remedy."""


@contextmanager
def running_ray(address: str | None, workers: int, object_store_mb: int) -> Iterator[None]:
    """Have a Ray while the block runs, this process's own if it has one; raises RayUnavailable."""
    if ray.is_initialized():
        yield
        return
    try:
        with _nothing_on_stderr():
            _start(address, workers, object_store_mb)
    except Exception as error:  # Ray raises whatever its parts raise
        cause = " ".join(str(error).split())[:200] or type(error).__name__
        where = f"--ray-address {address}" if address else "Ray on this machine"
        raise RayUnavailable(f"{where}: {cause}") from None
    try:
        _be_quiet()
        yield
    finally:
        ray.shutdown()


def _be_quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _start(address: str | None, workers: int, object_store_mb: int) -> None:
    if address:
        code = [str(ROOT / name) for name in ("llm_client", "mlflow_tracking")]
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"py_modules": code},
        )
        return
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # where its workers find the project
    ray.init(
        address="local",  # not one that happens to run here
        num_cpus=max(os.cpu_count() or 1, workers + _READERS),  # judging waits, mostly
        object_store_memory=object_store_mb * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.CRITICAL,
    )


@contextmanager
def _nothing_on_stderr() -> Iterator[None]:
    """Ray's C++ part tells that it is told to be quiet."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
