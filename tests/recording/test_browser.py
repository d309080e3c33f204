"""What does a person see in `mlflow ui` and in the report? A real browser looks, at hostile rows.

python -m pytest tests/recording/test_browser.py
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from screenshots.browser import (
    mlflow_ui,
    new_context,
    open_page,
    show_assessments,
)
from tests.support.experiment_process import Recorded, Workspace, write_csv
from tests.support.hostile_rows import MARK, hostile_rows
from tests.support.judge_stub import JudgeStub, serving, true_score

expect.set_options(timeout=60_000)  # a busy machine

FAILED = "item-99"  # the row that the stub judges in prose
ROWS = [*hostile_rows(), {"inputs": f"What is {FAILED}?", "predictions": FAILED}]


@dataclass(frozen=True)
class Seen:
    """A browser, the address of the experiment in MLflow's UI, and the run to look at."""

    browser: Browser
    experiment: str
    run: Recorded

    def open(self, path: str, text: str, height: int = 1000) -> Page:
        """A page below the experiment's, once `text` is on it."""
        return open_page(new_context(self.browser, 1800, height), f"{self.experiment}/{path}", text)


@pytest.fixture(scope="module")
def seen(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A run over hostile rows, judged by a stub, in a real `mlflow ui`."""
    folder = tmp_path_factory.mktemp("seen")
    workspace = Workspace(folder)
    columns = {name: "" for fields in ROWS for name in fields}
    data = write_csv(folder / "rows.csv", [{**columns, **fields} for fields in ROWS])
    stub = JudgeStub(faults=lambda call: "prose" if call.row == FAILED else "")
    with serving(stub):
        flags = ("--data", str(data), "--traces", "500", "--no-claim")
        done = workspace.run(*flags, base_url=stub.base_url)
    assert done.code == 1 and "could not be recorded" not in done.err, done.err
    run = workspace.last_run()
    experiment = re.search(r"experiments/(\d+)/runs", done.out)
    assert experiment
    with mlflow_ui(workspace.uri) as address:
        yield Seen(browser, f"{address}/#/experiments/{experiment[1]}", run)


def test_the_experiment_shows_the_run_by_its_tag(seen: Seen) -> None:
    wanted = quote('tags.experiment_type = "llm_judge_evaluation"')
    page = seen.open(f"runs?searchFilter={wanted}", "1 matching run")
    expect(page.get_by_text(seen.run.tags["mlflow.runName"]).first).to_be_visible()
    nothing = quote('tags.experiment_type = "another"')
    seen.open(f"runs?searchFilter={nothing}", "0 matching runs")


def test_the_runs_page_shows_what_it_found_and_its_metric(seen: Seen) -> None:
    page = seen.open(f"runs/{seen.run.id}", "Metrics (")
    expect(page.get_by_text("llm_judge_accuracy/v1/mean")).to_be_visible()
    mean = seen.run.metrics["llm_judge_accuracy/v1/mean"]
    expect(page.get_by_text(f"mean score: {mean:.2f}")).to_be_visible()
    expect(page.get_by_text("experiment_type", exact=False).first).to_be_visible()
    expect(page.get_by_text("judge_prompt (v1)")).to_be_visible()


def test_the_table_has_a_score_and_a_justification_for_every_row(seen: Seen) -> None:
    page = seen.open(f"runs/{seen.run.id}/artifacts/judge_results.json", "justification")
    for number in range(len(ROWS) - 1):
        line = page.get_by_role("row").filter(has_text=f"because of 'item-{number}'")
        expect(line).to_have_count(1)
        expect(line).to_contain_text(str(true_score(f"item-{number}")))
    expect(page.get_by_role("row").filter(has_text=FAILED)).to_have_count(1)
    assert page.evaluate(MARK) is None


def test_the_traces_show_each_row_with_its_assessment(seen: Seen) -> None:
    page = seen.open(f"runs/{seen.run.id}/traces", "llm_judge_accuracy")
    expect(page.get_by_text(f"{len(ROWS)} of {len(ROWS)}")).to_be_visible()
    assert page.evaluate(MARK) is None
    page.get_by_text("item-10", exact=False).first.click()
    show_assessments(page)
    expect(page.get_by_text("because of 'item-10'").first).to_be_visible()
    expect(page.get_by_text("llm_judge_accuracy").last).to_be_visible()
    page.get_by_text("judge", exact=True).first.click()
    expect(page.get_by_text("Ты — ", exact=False).first).to_be_visible()
    assert page.evaluate(MARK) is None


def test_a_failed_rows_trace_shows_the_reason(seen: Seen) -> None:
    page = seen.open(f"runs/{seen.run.id}/traces", "llm_judge_accuracy")
    page.get_by_text(f"What is {FAILED}?").first.click()
    show_assessments(page)
    expect(page.get_by_text("UNPARSABLE", exact=False).first).to_be_visible()


def test_the_report_opens_inside_mlflow(seen: Seen) -> None:
    page = seen.open(f"runs/{seen.run.id}/artifacts/report.html", "report.html")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("rows with a verdict").first).to_be_visible()


@pytest.fixture
def report(seen: Seen) -> Iterator[Page]:
    """The report as a file, with what it asked the network for and what its scripts said."""
    context = new_context(seen.browser, 1300, 900)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a script of a row ran: {dialog.message}"))
    file: Path = seen.run.folder / "report.html"
    page.goto(file.as_uri())
    yield page
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert page.evaluate(MARK) is None
    context.close()


def test_the_report_shows_every_row_as_text_and_runs_none_of_it(report: Page) -> None:
    expect(report.locator("#all tbody tr")).to_have_count(len(ROWS))
    for fields in ROWS[:6]:
        shown = report.locator("#all").get_by_text(fields["predictions"][:60], exact=False)
        expect(shown.first).to_be_attached()
    assert report.evaluate("document.scripts.length") == 1
    assert report.evaluate("document.querySelectorAll('iframe, svg, a').length") == 0
    width = report.evaluate("document.documentElement.scrollWidth")
    assert width <= 1300, f"the page is {width} pixels wide"


def test_the_reports_table_is_sorted_and_searched(report: Page) -> None:
    scores = report.locator("#all tbody tr td:nth-child(2)")
    report.locator("#all").get_by_role("button", name="score").click()
    given = scores.all_inner_texts()
    assert given[0] == "–" and given[1:] == sorted(given[1:])
    report.locator("#all").get_by_role("button", name="score").click()
    assert scores.all_inner_texts() == given[::-1]
    report.get_by_label("Search").fill("because ITEM-3")
    expect(report.locator("#all tbody tr:not([hidden])")).to_have_count(1)
    expect(report.get_by_text(f"1 of {len(ROWS)}")).to_be_visible()


def test_the_report_is_legible_in_the_dark_and_on_paper(report: Page) -> None:
    def lightness(selector: str, name: str) -> float:
        color = report.eval_on_selector(selector, f"e => getComputedStyle(e).{name}")
        return sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3

    for scheme, media in (("light", "screen"), ("dark", "screen"), ("dark", "print")):
        report.emulate_media(color_scheme=scheme, media=media)  # type: ignore[arg-type]
        page, text = lightness("body", "backgroundColor"), lightness("body", "color")
        assert abs(page - text) > 180
        assert (page < 60) == ((scheme, media) == ("dark", "screen"))
