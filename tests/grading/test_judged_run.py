"""Are a run's rows read back as they were judged, each once?

python -m pytest tests/grading/test_judged_run.py
"""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from mlflow_tracking.grading.judged_run import last_run, read_run, rows_digest
from mlflow_tracking.recording.results import RESULTS_AT, RESULTS_TABLE
from mlflow_tracking.recording.run import TrackingError
from mlflow_tracking.rows.item import Item
from tests.support.experiment_process import Workspace


@pytest.fixture
def tracked(tmp_path: Path) -> Iterator[None]:
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(Workspace(tmp_path).uri)
    mlflow.create_experiment("e", artifact_location=(tmp_path / "mlruns").as_uri())
    mlflow.set_experiment("e")
    yield
    mlflow.set_tracking_uri(before)


def recorded(table: pd.DataFrame, **tags: str) -> str:
    with mlflow.start_run(tags={"experiment_type": "llm_judge_evaluation", **tags}) as run:
        mlflow.log_table(table, RESULTS_TABLE)
    return str(run.info.run_id)


def test_rows_of_several_files_are_counted_through(tracked: None) -> None:
    """Each file of run_distributed.py has a row 1; a draw by these would mix them up."""
    rows = [(file, row, f"q {file}{row}", "a", 3) for row in (1, 2, 3) for file in "ba"]
    columns = ["file", "row", "inputs", "predictions", "score"]
    run = read_run(recorded(pd.DataFrame(rows, columns=columns), **{RESULTS_AT: "/somewhere"}))
    assert run.rows["row"].tolist() == [1, 2, 3, 4, 5, 6]
    assert [item.question for item in run.items] == ["q a1", "q a2", "q a3", "q b1", "q b2", "q b3"]


def test_the_finest_score_is_the_expected_one_where_there_is_one(tracked: None) -> None:
    rows = [(1, "q", "a", 4, 3.6), (2, "q", "b", 2, None), (3, "q", "c", None, None)]
    columns = ["row", "inputs", "predictions", "score", "expected_score"]
    finest = read_run(recorded(pd.DataFrame(rows, columns=columns))).finest
    assert finest[:2].tolist() == [3.6, 2.0] and pd.isna(finest[2])


def test_the_last_run_is_the_newest_that_judged(tracked: None) -> None:
    table = pd.DataFrame([(1, "q", "a", 4)], columns=["row", "inputs", "predictions", "score"])
    with pytest.raises(TrackingError, match="has no judged run"):
        last_run("e")
    newest = [recorded(table), recorded(table)][-1]
    with mlflow.start_run():
        pass  # not of a judge
    assert last_run("e") == newest


def test_a_run_without_a_prompt_says_so(tracked: None) -> None:
    table = pd.DataFrame([(1, "q", "a", 4)], columns=["row", "inputs", "predictions", "score"])
    with pytest.raises(TrackingError, match="has no prompt"):
        read_run(recorded(table)).read_prompt()


def test_other_rows_have_another_digest() -> None:
    rows = [Item("q", "a", "r"), Item("q", "b")]
    others = [rows[:1], rows[::-1], [Item("qa", "", "r"), rows[1]], [Item("q", "a"), rows[1]]]
    assert len({rows_digest(each) for each in (rows, *others)}) == 5
