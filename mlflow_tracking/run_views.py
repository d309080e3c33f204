"""What do people look at in a run? Its description, traces, plots, report and registered prompt.

    python mlflow_tracking/run_experiment.py --traces 100
    mlflow ui

Made when all is judged and the numbers are recorded: a view that cannot be made is told, and
changes nothing about the run.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient

from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.headline import Headline, describe, make_headline
from mlflow_tracking.judge import Judge
from mlflow_tracking.plots import make_plots, png
from mlflow_tracking.prompt_registry import register_prompt
from mlflow_tracking.report import Report, render_report
from mlflow_tracking.row_sample import choose_rows
from mlflow_tracking.rows import DataSet
from mlflow_tracking.traces import log_traces
from mlflow_tracking.verdict import Verdict

DESCRIPTION_TAG = "mlflow.note.content"  # what the run's page shows as its description


def log_views(
    run_id: str,
    data: DataSet,
    verdicts: Sequence[Verdict | None],
    metrics: Mapping[str, float],
    connection: JudgeConnection,
    traces: int,
    warn: Callable[[str], None],
) -> None:
    """Record every view of the run `run_id`; at most `traces` rows get a trace."""
    judge = Judge(connection.client(), connection.settings)
    headline = make_headline(verdicts, metrics)
    traced = [(data.rows[i], v) for i in choose_rows(verdicts, traces) if (v := verdicts[i])]
    prompt: dict[str, str] = {}
    with told("the prompt's version", warn):
        prompt = register_prompt(connection.settings.prompt, run_id)
    with told("the description", warn):
        params = MlflowClient().get_run(run_id).data.params
        mlflow.set_tag(DESCRIPTION_TAG, describe(headline, params, len(traced)))
    with told("plots and report", warn):
        _log_report(run_id, data, verdicts, headline)
    with told("the traces", warn):
        log_traces(run_id, traced, judge, prompt)


@contextmanager
def told(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Tell of any fault in one line: what is judged is recorded already and must not be lost."""
    try:
        yield
    except Exception as fault:
        cause = " ".join(str(fault).split())[:200] or type(fault).__name__
        warn(f"note: {what} could not be recorded: {cause}")


def _log_report(
    run_id: str, data: DataSet, verdicts: Sequence[Verdict | None], headline: Headline
) -> None:
    judged = list(zip(data.rows, verdicts, strict=True))
    scored = [(row, verdict) for row, verdict in judged if verdict and not verdict.failed]
    pictures = {name: png(figure) for name, figure in make_plots(scored).items()}
    run = MlflowClient().get_run(run_id)
    title = f"{run.info.run_name}: {data.path.name}"
    page = render_report(Report(title, run_id, run.data.params, headline, judged, pictures))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "plots").mkdir()
        for file, content in pictures.items():
            (folder / "plots" / file).write_bytes(content)
        (folder / "report.html").write_text(page, encoding="utf-8")
        mlflow.log_artifacts(name)
