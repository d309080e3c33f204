"""What do people look at in a run? Its description, traces, plots, report and registered prompt.

    python mlflow_tracking/run_experiment.py --traces 100
    mlflow ui

Made when all is judged and the numbers are recorded: a view that cannot be made is told, and
changes nothing about the run.
"""

import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

from llm_client.settings import redacted
from mlflow_tracking.answering.answers import Exchange
from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.people import PEOPLE, human_metrics
from mlflow_tracking.recording.plots import make_plots, png
from mlflow_tracking.recording.report import Report, render_report
from mlflow_tracking.recording.report import with_people as report_with_people
from mlflow_tracking.recording.results import recorded_name
from mlflow_tracking.recording.sample import choose_rows
from mlflow_tracking.recording.summary import Summary, describe
from mlflow_tracking.recording.summary import with_people as summary_with_people
from mlflow_tracking.recording.traces import log_traces
from mlflow_tracking.rows.item import Row
from mlflow_tracking.stats.prediction_powered import HumanMean

REPORT = "report.html"
DESCRIPTION_TAG = "mlflow.note.content"  # what the run's page shows as its description


def publish(
    run_id: str,
    judge: JudgeSettings,
    rows: Sequence[tuple[Row, Verdict | None]],
    summary: Summary,
    traces: int,
    warn: Callable[[str], None],
    results_at: str = "",
    others: Mapping[int, JudgeSettings] | None = None,
    answers: Mapping[int, Exchange] | None = None,
) -> None:
    """Record every view of the run `run_id`; at most `traces` rows get a trace.

    `rows` may be a sample of those that `summary` is of: `results_at` says where all of them are.
    `others` judged the rows of these numbers in place of `judge`, `answers` were asked for there.
    """
    chosen = choose_rows([verdict for _, verdict in rows], traces)
    traced = [(row, verdict) for row, verdict in (rows[i] for i in chosen) if verdict]
    prompt: dict[str, str] = {}
    with _told("the prompt's version", warn):
        prompt = register_prompt(judge.prompt, run_id)
    with _told("the description", warn):
        params = MlflowClient().get_run(run_id).data.params
        text = describe(summary, params, len(traced), results_at, len(rows))
        mlflow.set_tag(DESCRIPTION_TAG, text)
    with _told("plots and report", warn):
        _log_report(run_id, rows, summary, with_plots=not results_at)
    with _told("the traces", warn):
        log_traces(run_id, traced, judge, prompt, others, answers)


def show_people(run_id: str, human: HumanMean, warn: Callable[[str], None]) -> None:
    """Tell in a finished run what people would give: metrics, description, report."""
    client = MlflowClient()
    now, new = int(time.time() * 1000), human_metrics(human)
    # MLflow deletes no metric: an interval that is gone is no number.
    gone = [n for n in client.get_run(run_id).data.metrics if n.startswith(PEOPLE) and n not in new]
    metrics = [Metric(name, value, now, 0) for name, value in new.items()]
    metrics += [Metric(name, float("nan"), now, 0) for name in gone]
    client.log_batch(run_id, metrics=metrics)
    with _told("the description", warn):
        text = client.get_run(run_id).data.tags.get(DESCRIPTION_TAG, "")
        client.set_tag(run_id, DESCRIPTION_TAG, summary_with_people(text, human))
    with _told("the report", warn):
        page = mlflow.artifacts.load_text(f"runs:/{run_id}/{REPORT}")
        client.log_text(run_id, report_with_people(page, human), REPORT)


@contextmanager
def _told(what: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Tell of any fault in one line: what is judged is recorded already and must not be lost."""
    try:
        yield
    except Exception as fault:
        cause = redacted(" ".join(str(fault).split()))[:200] or type(fault).__name__
        warn(f"note: {what} could not be recorded: {cause}")


def _log_report(
    run_id: str,
    rows: Sequence[tuple[Row, Verdict | None]],
    summary: Summary,
    with_plots: bool,
) -> None:
    scored = [(row, verdict) for row, verdict in rows if verdict and not verdict.failed]
    figures = (
        make_plots(scored, summary.scale) if with_plots else {}
    )  # of a sample with the worst they mislead
    pictures = {name: png(figure) for name, figure in figures.items()}
    run = MlflowClient().get_run(run_id)
    title = f"{run.info.run_name}: {run.data.params.get('data_file', '')}"
    if len(rows) < summary.rows:
        title += f" ({len(rows)} of {summary.rows} rows, the worst and a sample of all)"
    page = render_report(Report(title, run_id, run.data.params, summary, rows, pictures))
    log_page(REPORT, page, pictures)


def log_page(
    name: str, page: str, pictures: Mapping[str, bytes], files: Mapping[str, str] | None = None
) -> None:
    """A page, its pictures as `plots/`, and other text files, as artifacts of the active run."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "plots").mkdir()
        for file, content in pictures.items():
            (folder / "plots" / file).write_bytes(content)
        for file, text in {name: page, **(files or {})}.items():
            (folder / file).write_text(text, encoding="utf-8")
        mlflow.log_artifacts(temporary)


def register_prompt(prompt: JudgePrompt, run_id: str) -> dict[str, str]:
    """Link the prompt's version to the run; makes one if the registry has none of this text.

    The versions carry an alias made of the text's sha256, so a text that comes back is the version
    that it was. Returns {'name', 'version'}; raises MlflowException where there is no registry.
    """
    client = MlflowClient()
    name = recorded_name(prompt)
    alias = f"sha256-{prompt.sha256[:12]}"
    found = client.load_prompt(f"prompts:/{name}@{alias}", allow_missing=True)
    if found is None:
        found = mlflow.genai.register_prompt(
            name=name,
            template=_template(prompt),
            commit_message=f"{prompt.path.name}, {alias}",
            tags={"sha256": prompt.sha256},
        )
        client.set_prompt_alias(name, alias, found.version)
    client.link_prompt_version_to_run(run_id, found)
    return {"name": name, "version": str(found.version)}


def _template(prompt: JudgePrompt) -> list[dict[str, Any]]:
    """The chat messages with the placeholders as MLflow writes them, {{question}}."""
    messages = (("system", prompt.system), ("user", prompt.user))
    place = re.compile(rf"\{{({'|'.join(prompt.places)})\}}")
    return [
        {"role": role, "content": place.sub(r"{{\1}}", text)} for role, text in messages if text
    ]
