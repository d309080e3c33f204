"""Does what people said about a run's traces survive when the run goes on? Real MLflow on SQLite.

python -m pytest tests/recording/test_grades_survive.py
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Assessment, AssessmentSource, Expectation, Feedback, Trace
from mlflow.genai.review_queues import (
    add_items_to_review_queue,
    create_review_queue,
    list_review_queue_items,
)
from mlflow.tracing.client import TracingClient

from tests.support.experiment_process import Done, Workspace, call, numbered_rows, write_csv
from tests.support.judge_stub import JudgeStub, serving, true_score

PERSON = AssessmentSource("HUMAN", "default")
FAILED = "item-1"  # the row that the stub judges in prose at first


@dataclass
class Judged:
    """A run over five rows, of which the second failed."""

    workspace: Workspace
    stub: JudgeStub
    data: Path
    capfd: pytest.CaptureFixture[str]

    def run(self, *flags: str) -> Done:
        words = ("--data", str(self.data), "--traces", "500", *flags)
        return call(self.workspace, self.capfd, *words, base_url=self.stub.base_url)

    def resume(self) -> Done:
        self.stub.faults = lambda call: ""
        return self.run("--resume", "last")

    def traces(self) -> dict[str, Trace]:
        """By the row's number; each row has one."""
        client = MlflowClient(self.workspace.uri)
        run = client.get_run(self.workspace.last_run().id)
        found = client.search_traces(locations=[run.info.experiment_id], run_id=run.info.run_id)
        by_row = {trace.info.tags["row"]: trace for trace in found}
        assert len(by_row) == len(found), "a row shows twice"
        return by_row

    def ids(self) -> dict[str, str]:
        return {row: trace.info.trace_id for row, trace in self.traces().items()}


@pytest.fixture
def judged(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Judged]:
    with serving(JudgeStub(faults=lambda call: "prose" if call.row == FAILED else "")) as stub:
        data = write_csv(tmp_path / "rows.csv", numbered_rows(5))
        judged = Judged(Workspace(tmp_path), stub, data, capfd)
        assert judged.run().code == 1
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(judged.workspace.uri)
        yield judged
        mlflow.set_tracking_uri(before)


def say(trace_id: str, assessment: Assessment) -> None:
    TracingClient().log_assessment(trace_id, assessment)


def said(trace: Trace, kind: str) -> list[tuple[str, object]]:
    """Name and value of what people (HUMAN) or the judge (LLM_JUDGE) said."""
    return sorted(
        (a.name, (a.feedback or a.expectation).value)
        for a in trace.info.assessments
        if a.source.source_type == kind
    )


def enqueue(trace: Trace) -> str:
    """Put a trace into a new queue of its experiment; the queue's id."""
    experiment_id = trace.info.experiment_id
    queue = create_review_queue("look at it", queue_type="custom", experiment_id=experiment_id)
    add_items_to_review_queue(queue.queue_id, item_ids=[trace.info.trace_id])
    return str(queue.queue_id)


def test_grades_expectations_and_queues_are_there_after_a_resume(judged: Judged) -> None:
    before = judged.traces()
    ids = {row: trace.info.trace_id for row, trace in before.items()}
    say(ids["1"], Feedback("right", True, source=PERSON, rationale="I know it"))
    say(ids["3"], Expectation("expected_response", "three", source=PERSON))
    queue_id = enqueue(before["4"])
    assert judged.resume().code == 0
    after = judged.traces()
    now = {row: trace.info.trace_id for row, trace in after.items()}
    assert {row for row in ids if ids[row] == now[row]} == {"1", "3", "4"}
    assert said(after["1"], "HUMAN") == [("right", True)]
    assert said(after["3"], "HUMAN") == [("expected_response", "three")]
    assert [item.item_id for item in list_review_queue_items(queue_id)] == [ids["4"]]
    for number, trace in after.items():
        score = true_score(f"item-{int(number) - 1}")
        assert said(trace, "LLM_JUDGE") == [("llm_judge_accuracy", score)]


def test_a_graded_row_that_had_failed_shows_its_verdict_beside_the_grade(judged: Judged) -> None:
    before = judged.traces()["2"]
    assert before.info.state == "ERROR" and said(before, "LLM_JUDGE")[0][1] is None
    say(before.info.trace_id, Feedback("human_score", "4", source=PERSON))
    assert judged.resume().code == 0
    after = judged.traces()
    assert after["2"].info.trace_id == before.info.trace_id
    assert said(after["2"], "HUMAN") == [("human_score", "4")]
    assert said(after["2"], "LLM_JUDGE") == [("llm_judge_accuracy", true_score(FAILED))]
    assert after["2"].info.state == "OK" and after["2"].info.tags["status"] == "ok"
    shapes = [[span.name for span in after[row].data.spans[1:]] for row in ("1", "2")]
    assert shapes[0] == shapes[1] and after["2"].data.spans[0].parent_id is None
    used = [after[row].info.token_usage["total_tokens"] for row in ("1", "2")]
    table = judged.workspace.last_run().table("judge_results.json")
    assert used == [r["prompt_tokens"] + r["completion_tokens"] for r in table[:2]]


def test_a_persons_correction_of_the_judge_stays_in_its_place(judged: Judged) -> None:
    trace = judged.traces()["1"]
    [judges] = trace.info.assessments
    correction = Feedback("llm_judge_accuracy", 3, source=PERSON, overrides=judges.assessment_id)
    say(trace.info.trace_id, correction)
    assert judged.resume().code == 0
    valid = [a for a in judged.traces()["1"].info.assessments if a.valid]
    assert [(a.source.source_type, a.value) for a in valid] == [("HUMAN", 3)]


@pytest.mark.parametrize("fault_in", ["start_trace", "log_spans", "delete_assessment"])
def test_a_stop_in_the_middle_loses_no_grade(
    judged: Judged, fault_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise OSError("no space left")

    ids = judged.ids()
    for row in ("2", "5"):
        say(ids[row], Feedback("human_score", row, source=PERSON))
    with monkeypatch.context() as patch:
        patch.setattr(TracingClient, fault_in, killed)
        assert "the traces could not be recorded" in judged.resume().err
    assert judged.resume().code == 0
    after = judged.traces()
    assert set(after) == {"1", "2", "3", "4", "5"}
    for row in ("2", "5"):
        assert after[row].info.trace_id == ids[row]
        assert said(after[row], "HUMAN") == [("human_score", row)]
        assert len(said(after[row], "LLM_JUDGE")) == 1
    assert said(after["2"], "LLM_JUDGE") == [("llm_judge_accuracy", true_score(FAILED))]


def test_more_traces_than_are_found_at_once_are_all_seen(
    judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = judged.ids()
    for trace_id in ids.values():
        say(trace_id, Feedback("human_score", "4", source=PERSON))
    monkeypatch.setattr("mlflow_tracking.recording.trace_store._FOUND_AT_ONCE", 2)
    assert judged.resume().code == 0
    assert judged.ids() == ids
