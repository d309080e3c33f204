"""Do people grade on the prompt's own scale, and see what the judge saw? Queue, sheet, answers.

python -m pytest tests/grading/test_grading_scales.py
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Trace
from mlflow.genai.label_schemas import InputText, list_label_schemas
from openpyxl import load_workbook

from mlflow_tracking.grading.answers import sort_answers
from mlflow_tracking.grading.draw import Candidate, Design, Draw, draw_rows
from mlflow_tracking.grading.human_mean import human_mean, read_drawn_grades
from mlflow_tracking.grading.judged_run import JudgedRun, read_run, rows_digest
from mlflow_tracking.grading.review_queue import Answer, open_queues, read_answers
from mlflow_tracking.grading.sheet import grading_lines, write_csv, write_sheets
from mlflow_tracking.recording.results import RESULTS_TABLE
from mlflow_tracking.recording.run import Tracking, make_experiment
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, choice, level_scale, number_scale
from tests.support.experiment_process import Workspace
from tests.support.scale_stub import prompt_of

NAME = "llm_judge"
TEN, LEVELS = number_scale(0, 10), level_scale(["poor", "fair", "good"])
YES_NO = choice("yes", "no")
TENTHS = [str(n) for n in range(1, 11)]
LONG = level_scale([f"level {'x' * 22} {n}" for n in "abcdefghij"])
ITEMS = [
    Item(f"question {n}", f"answer {n}", more=(("context", f"passage {n}"),)) for n in range(6)
]


@pytest.fixture
def run_id(tmp_path: Path) -> Iterator[str]:
    before = mlflow.get_tracking_uri()
    experiment = make_experiment(Tracking(Workspace(tmp_path).uri, NAME))
    yield str(MlflowClient().create_run(experiment).info.run_id)
    mlflow.set_tracking_uri(before)


def copies() -> list[Trace]:
    grading = mlflow.get_experiment_by_name(f"{NAME}_grading").experiment_id
    return list(MlflowClient().search_traces([grading], max_results=50))


def click(trace: Trace, name: str, value: str) -> None:
    person = AssessmentSource("HUMAN", "default")
    mlflow.log_feedback(trace_id=trace.info.trace_id, name=name, value=value, source=person)


def draw_of(items: Sequence[Item]) -> Draw:
    rows = [Candidate(n, str(n)) for n in range(1, len(items) + 1)]
    return draw_rows(rows, rows_digest(items), Design(), len(items))


@pytest.mark.parametrize(
    ("scale", "name", "options", "asked"),
    [
        (ONE_TO_FIVE, "human_score", list("12345"), "answer, from 1 (worst) to 5 (best)?"),
        (number_scale(1, 10), "human_score [1-10]", TENTHS, "from 1 (worst) to 10 (best)?"),
        (LONG, f"human_score [{str(LONG)[:150]}]", list(LONG.words), "or level"),
        (LEVELS, "human_score [poor/fair/good]", ["poor", "fair", "good"], "poor, fair or good?"),
    ],
    ids=str,
)
def test_a_queue_asks_for_the_words_of_the_scale(
    run_id: str, scale: Scale, name: str, options: list[str], asked: str
) -> None:
    made = open_queues(run_id, NAME, [(1, ITEMS[0])], scale=scale, raters=["an_na"])
    [schema] = [s for s in list_label_schemas(made.experiment_id) if not s.is_default]
    assert (schema.name, schema.input.options) == (f"{name}_an_na", options)
    assert asked in schema.instruction
    click(copies()[0], schema.name, options[-1])
    assert read_answers(run_id, NAME) == [Answer(1, options[-1], "an_na")]


def test_the_eleven_scores_of_0_10_are_written(run_id: str) -> None:
    """MLflow offers ten choices at most."""
    made = open_queues(run_id, NAME, [(1, ITEMS[0])], scale=TEN)
    [schema] = [s for s in list_label_schemas(made.experiment_id) if not s.is_default]
    assert schema.name == "human_score [0-10]" and isinstance(schema.input, InputText)
    assert "from 0 (worst) to 10 (best)?" in schema.instruction
    click(copies()[0], schema.name, "10")
    assert read_answers(run_id, NAME) == [Answer(1, "10", "default")]


def test_runs_of_other_scales_have_other_questions(run_id: str) -> None:
    experiment = MlflowClient().get_run(run_id).info.experiment_id
    for scale in (ONE_TO_FIVE, TEN, LEVELS, YES_NO):
        run = MlflowClient().create_run(experiment).info.run_id
        made = open_queues(run, NAME, [(1, ITEMS[0])], scale=scale)
    names = {s.name for s in list_label_schemas(made.experiment_id) if not s.is_default}
    others = {"human_score [0-10]", "human_score [poor/fair/good]"}
    assert names == {"human_score", "human_decision", *others}


def test_a_grader_sees_the_columns_that_the_judge_saw(run_id: str) -> None:
    item = Item("why?", "because", "so", more=(("context", "a **passage**"), ("empty", " ")))
    open_queues(run_id, NAME, [(1, item)], scale=ONE_TO_FIVE)
    [copy] = copies()
    shown = copy.info.request_preview
    places = [shown.index(text) for text in ("why?", "**context**", r"a \*\*passage", "so")]
    assert places == sorted(places)
    assert "**empty**" not in shown
    assert copy.data.spans[0].inputs["context"] == "a **passage**"


@pytest.mark.parametrize(
    ("scale", "texts", "points"),
    [
        (TEN, {1: "0", 2: "10", 3: "11"}, {1: "0", 2: "10"}),
        (LEVELS, {1: "fair", 2: "Good", 3: "4"}, {1: "fair", 2: "Good"}),
        (YES_NO, {1: "pass", 2: "3", 3: "0"}, {1: "pass", 2: "3"}),
    ],
    ids=str,
)
def test_answers_off_the_scale_are_not_used(
    scale: Scale, texts: dict[int, str], points: dict[int, str]
) -> None:
    given = [Answer(row, text, "anna") for row, text in texts.items()]
    answers = sort_answers(given, draw_of(ITEMS), scale)
    assert [one.row for one in answers.unusable] == [3]
    assert {row: cells["human_score"] for row, cells in answers.cells().items()} == points


def test_words_of_several_raters_have_a_mean() -> None:
    given = [Answer(n, word, name) for n in (1, 2) for name, word in (("a", "poor"), ("b", "good"))]
    answers = sort_answers(given, draw_of(ITEMS), LEVELS)
    graded = answers.graded(draw_of(ITEMS), ITEMS)
    assert (graded.kind, graded.human, graded.scale) == ("scale", [2, 2], LEVELS)


@pytest.mark.parametrize(
    ("scale", "choices"),
    [
        (TEN, "0,1,2,3,4,5,6,7,8,9,10"),
        (LEVELS, "poor,fair,good"),
        (YES_NO, "pass,fail"),
        (LONG, ",".join(TENTHS)),
    ],
    ids=["0-10", "levels", "yes-no", "too-long-for-a-list"],
)
def test_a_workbook_offers_the_scale(tmp_path: Path, scale: Scale, choices: str) -> None:
    _, book = write_sheets(tmp_path, grading_lines(draw_of(ITEMS), ITEMS, scale), scale)
    sheet = load_workbook(book).active
    [list_] = sheet.data_validations.dataValidation
    assert list_.formula1 == f'"{choices}"'
    header = [cell.value for cell in sheet[1]]
    place = header.index("context")
    assert sheet[2][place].value.startswith("passage") and sheet[2][place].alignment.wrap_text


def sheet_on(folder: Path, scale: Scale, *grades: str) -> Path:
    lines = grading_lines(draw_of(ITEMS), ITEMS, scale)
    path = folder / "graded.csv"
    write_csv(path, [dict(one, human_score=g) for one, g in zip(lines, grades, strict=True)])
    return path


def test_people_mean_is_on_the_scale(tmp_path: Path) -> None:
    grades = ["10", "9", "10", "8", "10", "10"]
    graded = read_drawn_grades(sheet_on(tmp_path, TEN, *grades), ITEMS, TEN)
    judged = np.array([10.0, 8, 9, 10, 7, 10])
    found = human_mean(judged, graded)
    assert found.scale == TEN and found.people.value == pytest.approx(9.5)


def test_grades_of_another_scale_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    path = sheet_on(tmp_path, ONE_TO_FIVE, "5", "4", "5", "4", "5", "4")
    with pytest.raises(DataError, match="was graded on 1 to 5, and this run's prompt scores on 0-"):
        read_drawn_grades(path, ITEMS, TEN)
    assert read_drawn_grades(path, ITEMS, YES_NO).kind == "scale", "yes is a 5 and no a 1"
    other = sheet_on(tmp_path, TEN, "5", "4", "5", "4", "5", "4")
    with pytest.raises(DataError, match="was graded on 0 to 10, and this run's prompt scores on 1"):
        read_drawn_grades(other, ITEMS, ONE_TO_FIVE)
    labels = sheet_on(tmp_path, ONE_TO_FIVE, *["pass", "fail"] * 3)
    assert read_drawn_grades(labels, ITEMS, TEN).points == [10, 0] * 3


# a run that is read back


def recorded(folder: Path, table: pd.DataFrame, prompt: Path | None, **params: str) -> JudgedRun:
    with mlflow.start_run(experiment_id=make_experiment(Tracking(mlflow.get_tracking_uri(), NAME))):
        run = mlflow.active_run()
        mlflow.log_params(params)
        mlflow.log_table(table, RESULTS_TABLE)
        if prompt:
            mlflow.log_artifact(str(prompt), "prompt")
    return read_run(str(run.info.run_id))


def test_a_run_is_read_with_its_scale_and_an_older_one_with_1_5(
    run_id: str, tmp_path: Path
) -> None:
    rows = pd.DataFrame([(1, "q", "a", 4)], columns=["row", "inputs", "predictions", "score"])
    for scale in (TEN, LEVELS, YES_NO, ONE_TO_FIVE):
        assert recorded(tmp_path, rows, None, scale=str(scale)).scale == scale
    assert recorded(tmp_path, rows, None).scale == ONE_TO_FIVE


def test_what_graders_are_shown_is_what_the_runs_prompt_shows(run_id: str, tmp_path: Path) -> None:
    columns = ["row", "inputs", "predictions", "score", "csv_reason", "other"]
    rows = pd.DataFrame([(1, "q", "a", 4, "mine", "x"), (2, "q", "b", 4, None, "y")])
    rows.columns = pd.Index(columns)
    prompt = prompt_of(tmp_path, "1-5", "{reason} {lacking}")
    run = recorded(tmp_path, rows, prompt)
    assert [item.more for item in run.shown] == [(("reason", "mine"),), (("reason", ""),)]
    assert rows_digest(run.shown) == rows_digest(run.items), "a draw is of rows, not of a prompt"
    plain = recorded(tmp_path, rows, prompt_of(tmp_path, "0-10"))
    assert plain.shown == plain.items
