"""How do tests run the commands that judge, and read what they left in MLflow?

    workspace = Workspace(tmp_path)
    done = workspace.run("--data", str(csv), base_url=stub.base_url)
    assert done.code == 0 and workspace.last_run().metrics["llm_judge/rows_scored"] == 3

`run` is the command as a user types it, a process of its own. `call` is its `main` in this process,
which spares the seconds of importing MLflow where a test needs no process.
"""

import atexit
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from llm_client.settings import NAMES, ROOT

SCRIPT = ROOT / "mlflow_tracking/run_experiment.py"
JUDGES_NOTHING = ("grade_rows", "compare_runs")


@dataclass(frozen=True)
class Done:
    """What a run of the command said and how it ended."""

    code: int
    out: str
    err: str

    @property
    def problems(self) -> list[str]:
        """The lines on stderr without the progress bar and the notes."""
        lines = [line.rpartition("\r")[2] for line in self.err.splitlines()]
        return [
            line for line in lines if line.strip() and not line.startswith(("judging:", "note:"))
        ]

    @property
    def resume_command(self) -> list[str]:
        """The words of the command that the last line gives."""
        assert ": python " in self.problems[-1], self.err
        words = shlex.split(self.problems[-1].partition(": python ")[2])
        return words[1:]


@dataclass(frozen=True)
class Recorded:
    """A run as MLflow has it."""

    id: str
    status: str
    metrics: Mapping[str, float]
    params: Mapping[str, str]
    tags: Mapping[str, str]
    datasets: Sequence[Any]
    artifacts: Sequence[str]
    folder: Path  # of the artifacts

    def table(self, name: str) -> list[dict[str, Any]]:
        """The rows of one of MLflow's JSON tables."""
        data = json.loads((self.folder / name).read_text(encoding="utf-8"))
        return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]


class Workspace:
    """A folder with a database, artifacts and journals of its own."""

    def __init__(self, folder: Path, with_database: bool = True, script: Path = SCRIPT) -> None:
        self.folder, self.journals, self.script = folder, folder / "journals", script
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        if with_database:
            shutil.copy(_empty_database(), folder / "mlflow.db")

    def environment(self, **settings: str) -> dict[str, str]:
        """Ours, without the settings of the machine that the tests run on."""
        kept = {name: value for name, value in os.environ.items() if name not in NAMES.values()}
        return kept | {"MLFLOW_TRACKING_URI": self.uri, "TERM": "dumb"} | settings

    def words(self, flags: Sequence[str], base_url: str) -> list[str]:
        if self.script.stem in JUDGES_NOTHING:
            return [*flags]
        given = ["--base-url", base_url] if base_url else []
        folder = [] if "--journal-dir" in flags else ["--journal-dir", str(self.journals)]
        # Traces take 0.03 s each.
        traces = ["--traces", "0"] if self.script == SCRIPT and "--traces" not in flags else []
        return [*flags, *given, *folder, *traces]

    def start(
        self,
        *flags: str,
        base_url: str = "",
        cwd: Path = ROOT,
        before: Callable[[], object] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """The command as a process, running; `before` is done in it first."""
        inside = cwd.is_relative_to(ROOT)
        script = os.path.relpath(self.script, cwd) if inside else str(self.script)
        return subprocess.Popen(
            [sys.executable, script, *self.words(flags, base_url)],
            cwd=cwd,
            env=self.environment(**settings or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            preexec_fn=before,
        )

    def run(self, *flags: str, base_url: str = "", cwd: Path = ROOT, **settings: str) -> Done:
        """The command as a process, to its end."""
        return finish(self.start(*flags, base_url=base_url, cwd=cwd, settings=settings))

    def resume(self, done: Done, **settings: str) -> Done:
        """Run the command that the last line of `done` gives, word for word."""
        process = subprocess.run(
            [sys.executable, str(self.script), *done.resume_command],
            cwd=ROOT,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Done(process.returncode, process.stdout, process.stderr)

    def runs(self) -> list[Recorded]:
        """All runs there are, the newest first; none if there is no database."""
        if not (self.folder / "mlflow.db").exists():
            return []
        client = MlflowClient(self.uri)
        ids = [experiment.experiment_id for experiment in client.search_experiments()]
        return [_recorded(client, run.info.run_id) for run in client.search_runs(ids)]

    def last_run(self) -> Recorded:
        return self.runs()[0]

    def journal(self, run_id: str) -> list[dict[str, Any]]:
        """The verdicts of a run's journal, line by line; a torn last line is left out."""
        [path] = self.journals.rglob(f"{run_id}.jsonl")
        data = path.read_bytes()
        lines = data[: data.rfind(b"\n") + 1].splitlines()
        return [json.loads(line) for line in lines[1:]]


def finish(process: subprocess.Popen[str], timeout_s: float = 120) -> Done:
    """Wait for a started command."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return Done(process.returncode, out, err)


@cache
def _empty_database() -> Path:
    """MLflow needs seconds to make one, so that the tests share a copy of the first."""
    folder = tempfile.mkdtemp(prefix="empty-mlflow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@contextmanager
def called_from(workspace: Workspace, flags: Sequence[str], **settings: str) -> Iterator[None]:
    """This process as if it were the command: its arguments, environment and signal handlers."""
    handlers = {sign: signal.getsignal(sign) for sign in (signal.SIGINT, signal.SIGTERM)}
    uri = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES.values():
            patch.delenv(name, raising=False)
        for name, value in workspace.environment(**settings).items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", [str(workspace.script), *flags])
        try:
            yield
        finally:
            while mlflow.active_run():
                mlflow.end_run("FAILED")
            mlflow.set_tracking_uri(uri)
            for sign, handler in handlers.items():
                signal.signal(sign, handler)


def call(
    workspace: Workspace,
    capfd: pytest.CaptureFixture[str],
    *flags: str,
    base_url: str = "",
    **settings: str,
) -> Done:
    """The command's `main` in this process."""
    main = import_module(f"mlflow_tracking.{workspace.script.stem}").main
    capfd.readouterr()
    with called_from(workspace, workspace.words(flags, base_url), **settings):
        try:
            code = main()
        except SystemExit as end:  # argparse's
            code = int(end.code or 0)
    captured = capfd.readouterr()
    return Done(code, captured.out, captured.err)


def write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    """A CSV as a spreadsheet writes it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def numbered_rows(count: int) -> list[dict[str, str]]:
    """Rows that the stub tells apart, each with a score that follows from its number."""
    return [
        {"inputs": f"What is item-{n}?", "predictions": f"It is item-{n}, of course."}
        for n in range(count)
    ]


def _recorded(client: MlflowClient, run_id: str) -> Recorded:
    run = client.get_run(run_id)
    folder = Path(run.info.artifact_uri.removeprefix("file://"))
    files = [str(p.relative_to(folder)) for p in sorted(folder.rglob("*")) if p.is_file()]
    return Recorded(
        run_id,
        run.info.status,
        run.data.metrics,
        run.data.params,
        run.data.tags,
        run.inputs.dataset_inputs,
        files,
        folder,
    )
