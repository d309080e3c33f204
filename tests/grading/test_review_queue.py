"""Do people's grades come back as they were given? Real MLflow on SQLite, no browser.

python -m pytest tests/grading/test_review_queue.py
"""

from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Assessment, AssessmentSource, Feedback, Trace
from mlflow.genai.label_schemas import list_label_schemas
from mlflow.genai.review_queues import list_review_queue_items
from mlflow.tracing.client import TracingClient

from mlflow_tracking.grading import review_queue
from mlflow_tracking.grading.markdown import as_markdown
from mlflow_tracking.grading.review_queue import Answer, NoQueues, Queues, open_queues, read_answers
from mlflow_tracking.recording.run import Tracking, TrackingError, make_experiment
from mlflow_tracking.recording.trace_store import queues_of
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, choice
from tests.support.experiment_process import Workspace

NAME = "llm_judge"
YES_NO = choice("yes", "no")


@pytest.fixture
def tracking(tmp_path: Path) -> Iterator[Tracking]:
    """MLflow with an experiment that has runs."""
    before = mlflow.get_tracking_uri()
    tracking = Tracking(Workspace(tmp_path).uri, NAME)
    make_experiment(tracking)
    yield tracking
    mlflow.set_tracking_uri(before)


@pytest.fixture
def run_id(tracking: Tracking) -> str:
    return new_run()


def new_run() -> str:
    experiment = mlflow.get_experiment_by_name(NAME)
    return str(MlflowClient().create_run(experiment.experiment_id, run_name="mean-4.2").info.run_id)


def rows(*numbers: int) -> list[tuple[int, Item]]:
    return [(n, Item(f"question {n}", f"answer {n}", f"reference {n}")) for n in numbers]


def opened(
    run_id: str, *numbers: int, raters: Sequence[str] = (), scale: Scale = ONE_TO_FIVE
) -> Queues:
    return open_queues(run_id, NAME, rows(*numbers), scale=scale, raters=raters)


def copies(run_id: str) -> list[Trace]:
    """As MLflow lists them."""
    grading = mlflow.get_experiment_by_name(f"{NAME}_grading").experiment_id
    having = f"tag.graded_run = '{run_id}'"
    return list(MlflowClient().search_traces([grading], filter_string=having, max_results=500))


def told_by(copy: Trace) -> str:
    """All that MLflow's pages can show of a trace; the artifacts' folder has the test's name."""
    whole = copy.to_dict()
    del whole["info"]["tags"]["mlflow.artifactLocation"]
    return str(whole)


def listed(run_id: str) -> list[str]:
    return [trace.info.tags["row"] for trace in copies(run_id)]


def queued(experiment_id: str) -> dict[str, list[str]]:
    """The rows in each queue, by its name."""
    client = TracingClient()
    return {
        queue.name: sorted(
            client.get_trace_info(item.item_id).tags["row"]
            for item in list_review_queue_items(queue.queue_id, max_results=500)
        )
        for queue in queues_of(experiment_id)
    }


def grade(
    run_id: str,
    row: int,
    value: object,
    *,
    name: str = "human_score",
    rater: str = "default",
    over: Assessment | None = None,
    at_ms: int | None = None,
    **changes: str,
) -> Assessment:
    """What MLflow's page writes when a person clicks."""
    [trace] = [trace for trace in copies(run_id) if trace.info.tags["row"] == str(row)]
    source = AssessmentSource(changes.get("source_type", "HUMAN"), rater)
    feedback = Feedback(
        name,
        value,
        source=source,
        rationale=changes.get("comment"),
        overrides=over.assessment_id if over else None,
        last_update_time_ms=at_ms,
    )
    return TracingClient().log_assessment(trace.info.trace_id, feedback)


# what is graded


def test_a_copy_has_the_row_and_nothing_of_the_judge(run_id: str) -> None:
    made = opened(run_id, 7)
    [copy] = copies(run_id)
    [span] = copy.data.spans
    assert span.inputs == {"question": "question 7", "reference": "reference 7"}
    assert span.outputs == "answer 7" and copy.info.assessments == []
    assert "question 7" in copy.info.request_preview and "reference 7" in copy.info.request_preview
    assert copy.info.response_preview == "answer 7"
    assert made.experiment_id == copy.info.experiment_id
    told = told_by(copy) + str(made)
    assert "mean-4.2" not in told and "score" not in told and "judge" not in told
    assert "mlflow.sourceRun" not in copy.info.trace_metadata


def test_a_row_without_a_reference_shows_none(run_id: str) -> None:
    open_queues(run_id, NAME, [(1, Item("question 1", "answer 1"))], scale=ONE_TO_FIVE)
    [copy] = copies(run_id)
    assert "question 1" in told_by(copy) and "reference" not in told_by(copy).lower()


def test_the_copies_artifacts_lie_beside_the_database(run_id: str, tmp_path: Path) -> None:
    opened(run_id, 1)
    made = mlflow.get_experiment_by_name(f"{NAME}_grading")
    assert made.artifact_location.startswith((tmp_path / "mlruns").as_uri())


def test_the_active_experiment_stays_the_runs_own(run_id: str) -> None:
    opened(run_id, 1)
    with mlflow.start_run(run_id=run_id) as run:  # refused in another experiment
        assert run.info.run_id == run_id


def test_rows_are_listed_in_the_order_in_which_they_are_to_be_graded(run_id: str) -> None:
    opened(run_id, 7, 3, 12)
    assert listed(run_id) == ["7", "3", "12"]
    opened(run_id, 7, 3, 12, 1, 5)
    assert listed(run_id) == ["7", "3", "12", "1", "5"]


def test_what_is_there_is_not_copied_or_queued_again(run_id: str) -> None:
    first = opened(run_id, 1, 2)
    before = [trace.info.trace_id for trace in copies(run_id)]
    grade(run_id, 1, "5")
    again = opened(run_id, 1, 2, 3)
    assert again == first
    assert [trace.info.trace_id for trace in copies(run_id)][:2] == before
    assert queued(first.experiment_id) == {first.names[0]: ["1", "2", "3"]}
    assert read_answers(run_id, NAME) == [Answer(1, "5", "default")]


@pytest.mark.parametrize("fault_in", ["add_items_to_review_queue", "write_traces", "log_spans"])
def test_what_a_killed_command_left_undone_is_done(
    run_id: str, fault_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    opened(run_id, 1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        holder = TracingClient if fault_in == "log_spans" else review_queue
        patch.setattr(holder, fault_in, killed)
        opened(run_id, 1, 2, 3)
    made = opened(run_id, 1, 2, 3)
    assert queued(made.experiment_id) == {made.names[0]: ["1", "2", "3"]}
    assert [len(trace.data.spans) for trace in copies(run_id)] == [1, 1, 1]


def test_more_rows_than_a_page_bears_make_further_queues(
    run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_queue, "MOST_ITEMS", 2)
    name = f"Grade run {run_id[:8]}"
    assert opened(run_id, 1, 2, 3).names == (name, f"{name}, part 2")
    made = opened(run_id, 1, 2, 3, 4, 5)
    assert made.names == (name, f"{name}, part 2", f"{name}, part 3")
    assert list(queued(made.experiment_id).values()) == [["5"], ["3", "4"], ["1", "2"]]


def test_each_rater_has_a_queue_and_a_question_of_their_own(run_id: str) -> None:
    made = opened(run_id, 1, raters=[" Anna", "boris", "anna"])
    assert [name.rpartition(" ")[2] for name in made.names] == ["anna", "boris"]
    asked = {s.name for s in list_label_schemas(made.experiment_id) if not s.is_default}
    assert asked == {"human_score_anna", "human_score_boris"}
    grade(run_id, 1, "5", name="human_score_boris")
    grade(run_id, 1, "2", name="human_score_anna", comment="no")
    expected = [Answer(1, "2", "anna", "no"), Answer(1, "5", "boris")]
    assert read_answers(run_id, NAME) == expected
    more = opened(run_id, 1, 2, raters=["carla"])
    assert len(copies(run_id)) == 2 and len(more.names) == 1


def test_a_score_and_a_decision_are_two_questions(run_id: str) -> None:
    made = opened(run_id, 1)
    opened(new_run(), 1, scale=YES_NO)
    schemas = {s.name: s for s in list_label_schemas(made.experiment_id) if not s.is_default}
    score, decision = schemas["human_score"], schemas["human_decision"]
    assert score.input.options == ["1", "2", "3", "4", "5"] and score.enable_comment
    assert decision.input.positive_label == "Pass" and not decision.enable_comment


def test_two_runs_of_an_experiment_are_told_apart(run_id: str) -> None:
    other = new_run()
    first, second = opened(run_id, 1, 2), opened(other, 1)
    assert first.experiment_id == second.experiment_id and first.names != second.names
    grade(run_id, 1, "1")
    grade(other, 1, "5")
    assert read_answers(run_id, NAME) == [Answer(1, "1", "default")]
    assert read_answers(other, NAME) == [Answer(1, "5", "default")]


# what comes back


def test_no_experiment_and_no_grade_are_no_answers(run_id: str) -> None:
    assert read_answers(run_id, NAME) == []
    opened(run_id, 1)
    assert read_answers(run_id, NAME) == []


def test_a_correction_takes_the_place_of_a_grade_and_gives_it_back(run_id: str) -> None:
    opened(run_id, 1)
    first = grade(run_id, 1, "2")
    second = grade(run_id, 1, "4", over=first)
    assert read_answers(run_id, NAME) == [Answer(1, "4", "default")]
    client = TracingClient()
    client.delete_assessment(second.trace_id, second.assessment_id)
    assert read_answers(run_id, NAME) == [Answer(1, "2", "default")]
    client.delete_assessment(first.trace_id, first.assessment_id)
    assert read_answers(run_id, NAME) == []


def test_of_two_windows_of_a_person_the_newest_grade_counts(run_id: str) -> None:
    opened(run_id, 1)
    grade(run_id, 1, "5", at_ms=2_000)
    grade(run_id, 1, "1", at_ms=1_000)
    grade(run_id, 1, "3", rater="anna", at_ms=500)
    expected = [Answer(1, "3", "anna"), Answer(1, "5", "default")]
    assert read_answers(run_id, NAME) == expected


@pytest.mark.parametrize(("clicked", "text"), [(True, "pass"), (False, "fail")])
def test_a_decision_comes_back_in_words(run_id: str, clicked: bool, text: str) -> None:
    opened(run_id, 1, scale=YES_NO)
    grade(run_id, 1, clicked, name="human_decision")
    assert read_answers(run_id, NAME) == [Answer(1, text, "default")]


def test_what_is_no_persons_grade_is_not_read(run_id: str) -> None:
    opened(run_id, 1)
    grade(run_id, 1, "5", source_type="LLM_JUDGE")
    grade(run_id, 1, "a remark", name="Feedback")
    assert read_answers(run_id, NAME) == []


def test_hundreds_of_grades_come_back(run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(run_id, *range(1, 131))
    for trace in copies(run_id):
        source = AssessmentSource("HUMAN")
        TracingClient().log_assessment(
            trace.info.trace_id, Feedback("human_score", "4", source=source)
        )
    monkeypatch.setattr("mlflow_tracking.recording.trace_store._FOUND_AT_ONCE", 100)
    assert [answer.row for answer in read_answers(run_id, NAME)] == list(range(1, 131))


# what cannot be


def test_files_keep_no_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    make_experiment(Tracking((tmp_path / "mlruns").as_uri(), NAME))
    try:
        with pytest.raises(NoQueues, match="keeps no review queues") as refused:
            opened(new_run(), 1)
        assert "\n" not in str(refused.value)
        assert mlflow.get_experiment_by_name(f"{NAME}_grading") is None
    finally:
        mlflow.set_tracking_uri(before)


class OldServer(BaseHTTPRequestHandler):
    """An MLflow that knows runs, and nothing of queues."""

    def do_GET(self) -> None:
        known = self.path.startswith("/api/2.0/mlflow/runs/get")
        text = '{"run": {"info": {"run_id": "r", "experiment_id": "1"}}}' if known else "<html>"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_without_queues_is_told_in_one_line() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OldServer)
    Thread(target=server.serve_forever, daemon=True).start()
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(NoQueues, match="server of MLflow 3.14 or newer") as refused:
            opened("r", 1)
        assert "\n" not in str(refused.value)
    finally:
        mlflow.set_tracking_uri(before)
        server.shutdown()
        server.server_close()


def test_a_run_that_is_not_there_is_told_in_one_line(tracking: Tracking) -> None:
    with pytest.raises(TrackingError, match="0123") as refused:
        opened("0123", 1)
    assert "\n" not in str(refused.value)


# how it is shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\r\ntwo\u2028three", "one  \ntwo  \nthree"),
        ("if a:\n    b\n\tc", "if a:  \n\u00a0\u00a0\u00a0\u00a0b  \n\u00a0\u00a0\u00a0\u00a0c"),
        ("a\n\n\nb", "a  \n\u00a0  \n\u00a0  \nb"),
        ("a  b", "a\u00a0\u00a0b"),
        ("*a* _b_ `c` ~~d~~", r"\*a\* \_b\_ \`c\` \~\~d\~\~"),
        ("<b> ![x](y) &amp; & 1 < 2", r"\<b> !\[x](y) \&amp; & 1 \< 2"),
        ("# a\n- b\n+ c\n> d\n===\n| e |", "\\# a  \n\\- b  \n\\+ c  \n\\> d  \n\\===  \n\\| e |"),
        ("1. a\n3.14\n12) b", "1\\. a  \n3.14  \n12\\) b"),
        ("a\\", "a\\\\"),
        ("", ""),
    ],
    ids=["lines", "code", "empty", "blanks", "marks", "html", "first", "numbers", "slash", "none"],
)
def test_a_text_is_markdown_that_shows_it_as_it_is(text: str, shown: str) -> None:
    assert as_markdown(text) == shown


def test_a_long_text_is_cut_where_the_database_would_cut_it() -> None:
    for length in range(980, 1010):
        shown = as_markdown("*" * length, 1000)
        assert len(shown) <= 1000 and "View full trace" in shown
        marks = shown.partition(" …")[0]
        assert marks == "\\*" * (len(marks) // 2)
    assert as_markdown("a" * 1000, 1000) == "a" * 1000
