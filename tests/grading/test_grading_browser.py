"""What does a person see who grades in `mlflow ui`, and what comes back? A real browser clicks.

python -m pytest tests/grading/test_grading_browser.py
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Page, Response, expect

from mlflow_tracking.grading.review_queue import Answer, open_queues, read_answers
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.scale import ONE_TO_FIVE, choice
from screenshots.browser import (
    mlflow_ui,
    new_context,
    open_page,
    settle,
)
from tests.support.experiment_process import Recorded, Workspace, write_csv
from tests.support.hostile_rows import ANSWERS, MARK
from tests.support.judge_stub import JudgeStub, serving

expect.set_options(timeout=60_000)  # a busy machine

NAME = "graded"
CODE = "def f(a, b):\n    if a > b:\n        return a*b\n\n    return __b__  # http://x.org/a_b"
HOSTILE = "\n".join(ANSWERS[name] for name in ("script", "handler", "frame", "end", "link"))
ROWS = {
    7: Item("Write *f* of item-7.\nIt takes two numbers.", CODE, "def f(a, b):\n    return b"),
    3: Item("What is item-3?", HOSTILE + "\n" + ANSWERS["markdown"]),
    12: Item("Who wrote item-12?", "Leo Tolstoy", "Tolstoy"),
    5: Item("Where is item-5?", "Here"),
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A judged run, whose rows have scores and justifications."""
    workspace = Workspace(tmp_path_factory.mktemp("graded"))
    rows = [ROWS.get(number, Item(f"item-{number}", "no")) for number in range(1, 13)]
    columns = [
        {"inputs": r.question, "predictions": r.answer, "targets": r.reference} for r in rows
    ]
    data = write_csv(workspace.folder / "rows.csv", columns)
    with serving(JudgeStub()) as stub:
        flags = ("--data", str(data), "--experiment-name", NAME, "--run-name", "secret-run")
        done = workspace.run(*flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(workspace.uri)
    yield workspace
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def address(workspace: Workspace) -> Iterator[str]:
    with mlflow_ui(workspace.uri) as address:
        yield f"{address}/#/"


@pytest.fixture(scope="module")
def run(workspace: Workspace) -> Recorded:
    return workspace.last_run()


def start_review(browser: Browser, url: str, numbers: Sequence[int]) -> Page:
    """Begin once the list shows the rows: MLflow does not know their order before."""
    page = open_page(new_context(browser, 1500, 950), url, "Start review")
    for number in numbers:
        expect(page.get_by_text(f"item-{number}").first).to_be_visible()
    page.get_by_role("button", name="Start review").click()
    return page


def text_of(page: Page) -> str:
    """What is to be read on the page, with the blanks of the text that was shown."""
    lines = page.inner_text("body").replace("\u00a0", " ").splitlines()
    return "\n".join(line.rstrip() for line in lines)


def choose(page: Page, value: str) -> None:
    page.get_by_role("combobox", name="human_score").click()
    page.get_by_role("option", name=value, exact=True).click()


def save_changes(page: Page) -> None:
    """Click, and wait until MLflow has the grade: the button is soon as it was before."""
    with page.expect_response(is_grade) as saved:
        page.get_by_role("button", name="Save changes").click()
    assert saved.value.ok, saved.value.text()


def is_grade(response: Response) -> bool:
    return response.request.method == "POST" and response.url.endswith("/assessments")


def check_blind(page: Page, run: Recorded) -> None:
    """Nothing of the judge, whose justifications say 'because of'."""
    told = text_of(page)
    for word in ("because of", "llm_judge_accuracy", "secret-run", "stub-judge"):
        assert word not in told


def rows(numbers: Sequence[int]) -> list[tuple[int, Item]]:
    return [(number, ROWS[number]) for number in numbers]


def test_four_rows_are_graded_blind_and_one_is_changed(
    browser: Browser, address: str, run: Recorded, tmp_path: Path
) -> None:
    queues = open_queues(run.id, NAME, rows([7, 3, 12, 5]), scale=ONE_TO_FIVE)
    page = start_review(browser, address + queues.pages[0], [7, 3, 12, 5])
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    expect(page.get_by_text("0 of 4 reviewed")).to_be_visible()
    expect(page.get_by_text("Write *f* of item-7.")).to_be_visible()  # it comes after the form
    settle(page)
    page.screenshot(path=tmp_path / "review.png")
    seen = text_of(page)
    assert f"{CODE}\n" in seen and ROWS[7].question in seen
    assert f"Reference answer\n{ROWS[7].reference}\n" in seen
    check_blind(page, run)

    choose(page, "4")
    page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("1 of 4 reviewed")).to_be_visible()
    expect(page.get_by_text("What is item-3?")).to_be_visible()
    settle(page)
    assert ROWS[3].answer.replace("\n\n", "\n") in text_of(page).replace("\n\n", "\n")
    assert page.evaluate(MARK) is None and not [url for url in asked if "beacon" in url]

    choose(page, "2")
    page.get_by_placeholder("Rationale").fill("it says nothing")
    page.get_by_role("button", name="Submit").click()
    for place, (number, value) in enumerate({12: "5", 5: "1"}.items(), 2):
        expect(page.get_by_text(f"{place} of 4 reviewed")).to_be_visible()
        expect(page.get_by_text(ROWS[number].question)).to_be_visible()
        choose(page, value)
        page.get_by_role("button", name="Submit").click()
    expect(page.get_by_text("Completed (4)")).to_be_visible()

    page.get_by_text("Who wrote item-12?").click()
    expect(page.get_by_text("4 of 4 reviewed")).to_be_visible()
    expect(page.get_by_role("combobox", name="human_score")).to_have_text("5")
    choose(page, "3")
    save_changes(page)
    assert read_answers(run.id, NAME) == [
        Answer(3, "2", "default", "it says nothing"),
        Answer(5, "1", "default"),
        Answer(7, "4", "default"),
        Answer(12, "3", "default"),
    ]


def test_neither_the_full_trace_nor_the_list_shows_the_judges_score(
    browser: Browser, address: str, run: Recorded
) -> None:
    queues = open_queues(run.id, NAME, rows([7, 3]), scale=ONE_TO_FIVE, raters=["anna"])
    page = start_review(browser, address + queues.pages[0], [7, 3])
    page.get_by_text("View full trace").click()
    expect(page.get_by_text("Inputs / Outputs")).to_be_visible()
    page.get_by_role("button", name="Assess").click()
    settle(page)
    check_blind(page, run)
    listed = f"{address}experiments/{queues.experiment_id}/traces"
    page = open_page(new_context(browser, 1500, 950), listed, "What is item-3?")
    check_blind(page, run)


def test_a_decision_takes_one_click(browser: Browser, address: str, run: Recorded) -> None:
    name = "decided"
    queues = open_queues(run.id, name, rows([7, 3]), scale=choice("yes", "no"))
    page = start_review(browser, address + queues.pages[0], [7, 3])
    for place, word in enumerate(("Pass", "Fail")):
        expect(page.get_by_text(f"{place} of 2 reviewed")).to_be_visible()
        settle(page)  # a click before the row is loaded wants a Submit
        page.get_by_text(word, exact=True).click()
    expect(page.get_by_text("Completed (2)")).to_be_visible()
    expected = [Answer(3, "fail", "default"), Answer(7, "pass", "default")]
    assert read_answers(run.id, name) == expected


def test_a_server_gets_no_longer_previews_than_every_database_keeps(
    workspace: Workspace, address: str, run: Recorded
) -> None:
    lengths = {1: (10, 3000, 10), 2: (3000, 10, 3000), 3: (3000, 10, 10), 4: (10, 10, 3000)}
    items = [
        (row, Item("*" * asked, "*" * answered, "*" * known))
        for row, (asked, answered, known) in lengths.items()
    ]
    mlflow.set_tracking_uri(address.removesuffix("/#/"))
    try:
        name = "through-a-server"
        made = open_queues(run.id, name, items, scale=ONE_TO_FIVE)
        found = MlflowClient().search_traces(locations=[made.experiment_id], include_spans=False)
    finally:
        mlflow.set_tracking_uri(workspace.uri)
    previews = {
        t.info.tags["row"]: (t.info.request_preview, t.info.response_preview) for t in found
    }
    for number, (question, answer, reference) in lengths.items():
        request, response = previews[str(number)]
        assert 900 < max(len(request), len(response)) <= 1000
        assert ("View full trace" in response) == (answer == 3000)
        shown, _, known = request.partition("**Reference answer**")
        assert ("View full trace" in shown) == (question == 3000)
        assert ("View full trace" in known) == (reference == 3000)
