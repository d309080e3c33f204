"""What do the server, the clients, MLflow and the report look like? Pictures of a real run.

    make screenshots
    .venv/bin/python screenshots/make_screenshots.py --run RUN_ID

Needs the server that `make server` starts (its output is in .run/server.log), runs both clients
and the experiment, and writes the PNG files beside this script. --run takes the pictures of a run
that is there, instead of judging the shipped CSV anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import os
import re
import shlex
import subprocess
import tempfile
from io import BytesIO
from urllib.parse import quote

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow import MlflowClient
from PIL import Image
from playwright.sync_api import Browser, Page

from llm_client.settings import ROOT, Settings, load_settings, split_base_urls
from screenshots import terminal
from screenshots.browser import (
    BrowserMissing,
    browsing,
    mlflow_ui,
    new_context,
    open_page,
    settle,
    show_assessments,
)

FOLDER = Path(__file__).resolve().parent
# Of the server's hundred lines, those that are shown; what is left out is marked in the picture.
_TELLING = re.compile(
    r"^run_vllm_server|█|Resolved architecture|Using max model len|Loading weights|KV cache size"
    r"|Maximum concurrency|init engine|Starting vLLM server|server process|application startup"
    r"|Route: /(?:health|metrics|v1/models|v1/completions|v1/chat/completions),"
)
_READY = "Application startup complete"
_FILTER = quote('tags.experiment_type = "llm_judge_evaluation"')


def main() -> int:
    """Take all pictures; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", metavar="RUN_ID", help="a run of the shipped CSV that is there")
    parser.add_argument(
        "--server-log", type=Path, default=ROOT / ".run/server.log", help="the server's output"
    )
    arguments = parser.parse_args()
    settings = load_settings()
    try:
        with browsing() as browser:
            _terminals(browser, settings, arguments.server_log)
            run_id = arguments.run or _experiment()
            with mlflow_ui(settings.tracking_uri) as address:
                _mlflow(browser, settings, address, run_id)
                _grading(browser, address, run_id)
            _report(browser, settings, run_id)
    except (BrowserMissing, FileNotFoundError) as missing:
        sys.stderr.write(f"make_screenshots: {missing}\n")
        return 1
    except subprocess.CalledProcessError as failed:
        sys.stderr.write(f"make_screenshots: {' '.join(map(str, failed.cmd))} failed:\n")
        sys.stderr.write(failed.output or "")
        return 1
    return 0


def _terminals(browser: Browser, settings: Settings, server_log: Path) -> None:
    """The server's start, and what both clients print."""
    if not server_log.is_file():
        raise FileNotFoundError(f"{server_log}: the server's output is not there; make server")
    base_url = split_base_urls(settings.base_url)[0]
    root_url = base_url.removesuffix("/v1")
    log = terminal.plain(server_log.read_text(encoding="utf-8", errors="replace"))
    health = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\\n", f"{root_url}/health"]
    models = ["curl", "-s", base_url + "/models"]
    if settings.api_key:
        models[2:2] = ["-H", f"Authorization: Bearer {settings.api_key}"]
    sessions = [
        ("bash vllm_server/run_vllm_server.sh", terminal.excerpt(log, _TELLING, _READY)),
        (shlex.join(health), terminal.run(health, ROOT)),
        (f"curl -s {models[-1]}", terminal.run(models, ROOT)),
    ]
    _terminal(browser, sessions, "vLLM", "vllm_running.png", columns=150)
    for script, name in (
        ("llm_client/vllm_api_client.py", "vllm_response_requests.png"),
        ("llm_client/openai_client_example.py", "vllm_response_openai.png"),
    ):
        output = terminal.run([sys.executable, script], ROOT)
        _terminal(browser, [(f"python {script}", output)], script, name)


def _terminal(
    browser: Browser, sessions: list[tuple[str, str]], title: str, name: str, columns: int = 110
) -> None:
    page = new_context(browser).new_page()
    page.set_content(terminal.page(sessions, title, columns))
    _save(name, page.locator("body").screenshot())


def _experiment() -> str:
    """Judge the shipped CSV and return the run's id."""
    script = ROOT / "mlflow_tracking/run_experiment.py"
    output = terminal.run([sys.executable, str(script)], ROOT)
    found = re.search(r"^run +(\w+)$", output, re.M)
    assert found, f"run_experiment.py named no run: {output}"
    return found[1]


def _mlflow(browser: Browser, settings: Settings, address: str, run_id: str) -> None:
    """The experiment with the run, the run's page, its table and its traces."""
    run = MlflowClient(settings.tracking_uri).get_run(run_id)
    experiment = f"{address}/#/experiments/{run.info.experiment_id}"
    page = open_page(
        new_context(browser, 1700, 740),
        f"{experiment}/runs?searchFilter={_FILTER}",
        run.info.run_name,
    )
    _show_columns(page, "llm_judge_accuracy/v1/mean", "experiment_type")
    _save("mlflow_experiments_tab.png", page.screenshot())
    details = open_page(
        new_context(browser, 1600, 1560), f"{experiment}/runs/{run_id}", "Metrics ("
    )
    table = open_page(
        new_context(browser, 1600, 900),
        f"{experiment}/runs/{run_id}/artifacts/judge_results.json",
        "justification",
    )
    _save("mlflow_run_details.png", details.screenshot(), table.screenshot())
    traces = open_page(
        new_context(browser, 1600, 1000), f"{experiment}/runs/{run_id}/traces", "Assessments"
    )
    traces.get_by_text("Столица Германии?").first.wait_for()
    above = traces.screenshot()
    traces.get_by_text("Столица Германии?").first.click()
    show_assessments(traces)
    _save("mlflow_traces.png", above, traces.screenshot())


def _grading(browser: Browser, address: str, run_id: str) -> None:
    """A row of the run as a person grades it, in a queue that is opened for the picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "mlflow_tracking/grade_rows.py"), "open"]
        flags = ["--run", run_id, "--rows", "8", "--folder", folder]
        output = terminal.run([*command, *flags], ROOT)
    found = re.search(r"#(/experiments/\d+/review-queue\S+)", output)
    assert found, f"grade_rows.py named no queue: {output}"
    page = open_page(new_context(browser, 1500, 620), f"{address}/#{found[1]}", "Start review")
    page.get_by_role("button", name="Start review").click()
    page.get_by_role("combobox", name="human_score").wait_for()
    settle(page)
    _save("mlflow_grading.png", page.screenshot())


def _show_columns(page: Page, *names: str) -> None:
    """Have the table of runs show these metrics and tags, wide enough to be read."""
    page.get_by_role("button", name="Columns").click()
    search = page.get_by_placeholder("Search columns")
    for name in ("Source", "Models"):
        page.get_by_role("dialog").get_by_text(name, exact=True).click()
    for name in names:
        search.fill(name)
        page.get_by_role("dialog").get_by_text(name, exact=True).click()
    page.keyboard.press("Escape")
    for name in names:
        # A double click on a column's edge fits its width to its content.
        cell = page.locator(f'.ag-header-cell[col-id*="{name}"] .ag-header-cell-resize')
        cell.dblclick(force=True)
    settle(page)


def _report(browser: Browser, settings: Settings, run_id: str) -> None:
    """The first screens of the run's report."""
    with tempfile.TemporaryDirectory() as folder:
        client = MlflowClient(settings.tracking_uri)
        file = Path(client.download_artifacts(run_id, "report.html", folder))
        page = open_page(new_context(browser, 1280, 1500), file.as_uri(), "mean score")
        _save("report.png", page.screenshot())


def _save(name: str, *pictures: bytes) -> None:
    """Write the pictures below each other into one file."""
    images = [Image.open(BytesIO(picture)).convert("RGB") for picture in pictures]
    whole = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)))
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    whole.save(FOLDER / name, optimize=True)
    sys.stderr.write(f"screenshots/{name}\n")


if __name__ == "__main__":
    raise SystemExit(main())
