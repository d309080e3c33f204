"""Are questions answered by a model under test and then judged, and is nothing asked for twice?

python -m pytest tests/commands/test_answers_from.py
JUDGE_TEST_BASE_URL=http://127.0.0.1:8000/v1 python -m pytest tests/commands/test_answers_from.py
"""

import csv
import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from llm_client.settings import ROOT
from tests.support.answer_stub import AnswerStub
from tests.support.experiment_process import Done, Workspace, call, finish, write_csv
from tests.support.judge_stub import JudgeStub, serving
from tests.support.vllm_process import JudgeServer

PROMPT = ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt"
OTHER_PROMPT = ROOT / "mlflow_tracking/prompts/judge_prompt.txt"
ASKED = ("--prompt", str(PROMPT), "--no-claim", "--retries", "0", "--wait-for-server", "0")
DATA = ROOT / "mlflow_tracking/data"

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def judge() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def model() -> Iterator[AnswerStub]:
    stub = AnswerStub()
    with serving(stub):
        yield stub


def questions(folder: Path, count: int = 6, **more: str) -> Path:
    rows = [{"inputs": f"What is item-{n}?", **more} for n in range(count)]
    return write_csv(folder / "questions.csv", rows)


class Asking:
    """The command over a file of questions, with a judge and a model under test."""

    def __init__(self, folder: Path, judge: JudgeStub, model: AnswerStub, capfd: Capture) -> None:
        self.workspace, self.judge, self.model, self.capfd = Workspace(folder), judge, model, capfd
        self.data = questions(folder)

    def flags(self, *more: str) -> list[str]:
        return ["--data", str(self.data), "--answers-from", self.model.base_url, *ASKED, *more]

    def run(self, *more: str, **settings: str) -> Done:
        base_url = self.judge.base_url
        return call(self.workspace, self.capfd, *self.flags(*more), base_url=base_url, **settings)

    def results(self) -> list[dict[str, object]]:
        return self.workspace.last_run().table("judge_results.json")


@pytest.fixture
def asking(tmp_path: Path, judge: JudgeStub, model: AnswerStub, capfd: Capture) -> Asking:
    return Asking(tmp_path, judge, model, capfd)


def once_each(model: AnswerStub) -> bool:
    return set(Counter(one.row for one in model.asked()).values()) == {1}


# ---------------------------------------------------------------- answered, then judged


def test_rows_without_an_answer_are_answered_first_and_then_judged(asking: Asking) -> None:
    done = asking.run()
    assert done.code == 0, done.err
    last_answer = max(one.at for one in asking.model.asked())
    first_verdict = min(one.at for one in asking.judge.calls if one.row.startswith("item-"))
    assert len(asking.model.asked()) == 6 and last_answer < first_verdict
    answers = [row["predictions"] for row in asking.results()]
    assert answers == [f"It is item-{n}, by sample 0." for n in range(6)]
    assert {one.answer for one in asking.judge.calls} > set(answers)
    run = asking.workspace.last_run()
    assert run.metrics["llm_judge/rows_scored"] == run.metrics["llm_judge/answers_given"] == 6
    assert run.metrics["llm_judge/answer_completion_tokens"] > 0
    assert run.metrics["llm_judge/answers_per_second"] > 0
    assert run.params["answer_model"] == "stub-model"
    assert run.params["answers_from"] == asking.model.base_url
    assert (run.params["answer_max_tokens"], run.params["answer_temperature"]) == ("512", "0.0")
    assert re.search(r"^answers      6 of 6 given by stub-model at http", done.out, re.M), done.out
    assert any(name.startswith("answers/") for name in run.artifacts)


def test_another_prompt_of_the_judges_is_shown_the_same_answers(asking: Asking) -> None:
    asking.run()
    asking.model.forget()
    done = asking.run("--prompt", str(OTHER_PROMPT))
    assert done.code == 0 and asking.model.calls == []
    assert [row["predictions"] for row in asking.results()][0] == "It is item-0, by sample 0."


def test_equal_questions_are_asked_once(asking: Asking) -> None:
    write_csv(asking.data, [{"inputs": "What is item-1?"}] * 3)
    done = asking.run("--answers-only")
    assert done.code == 0 and "answers      3 of 3 given" in done.out
    assert len(asking.model.asked()) == 1


def test_a_row_without_a_question_is_not_asked_about(asking: Asking) -> None:
    rows = [{"inputs": "What is item-0?", "id": "a"}, {"inputs": " ", "id": "b"}]
    asking.data = write_csv(asking.data, rows)
    done = asking.run("--answers-per-row", "2", "--answer-temperature", "1")
    assert done.code == 1 and "2 of 2 given by" in done.out
    assert "already" not in done.err  # that row has no answer of its own either
    assert {one.body["messages"][-1]["content"] for one in asking.model.calls} == {
        "What is 2 + 2?",  # before any row
        "What is item-0?",
    }
    assert [row["status"] for row in asking.results()] == ["ok", "ok", "empty_input"]


def test_a_row_that_has_an_answer_keeps_it(asking: Asking) -> None:
    rows = [{"inputs": f"What is item-{n}?", "predictions": "Mine." * (n < 2)} for n in range(4)]
    write_csv(asking.data, rows)
    done = asking.run()
    assert "note: 2 of 4 rows have an answer already" in done.err
    assert [row["predictions"] for row in asking.results()][:2] == ["Mine.", "Mine."]
    assert len(asking.model.asked()) == 2


def test_a_file_of_answers_leaves_nothing_to_ask(asking: Asking) -> None:
    write_csv(asking.data, [{"inputs": "What is item-1?", "predictions": "It is."}])
    done = asking.run()
    assert done.code == 2 and "leave --answers-from out" in done.problems[0]
    assert len(done.problems) == 1 and asking.workspace.runs() == []


# ---------------------------------------------------------------- what goes wrong


def refuses_two(asking: Asking) -> None:
    asking.model.faults = lambda one: "http_500" if one.row == "item-1" else ""
    asking.model.answers = lambda one: " \n" if one.row == "item-2" else f"It is {one.row}."


def test_a_row_whose_answer_failed_is_no_empty_answer(asking: Asking) -> None:
    refuses_two(asking)
    done = asking.run()
    assert done.code == 1 and "--resume" in done.problems[-1]
    run, rows = asking.workspace.last_run(), asking.results()
    assert run.metrics["llm_judge/rows_no_answer"] == run.metrics["llm_judge/rows_failed"] == 2
    assert run.metrics["llm_judge/rows_empty_input"] == 0
    failed = {row["row"]: row["reason"] for row in rows if row["status"] == "no_answer"}
    assert set(failed) == {2, 3} and "HTTP 500" in str(failed[2])
    assert failed[3] == "the model wrote nothing (finish_reason stop)"
    assert not {"item-1", "item-2"} & set(asking.judge.calls_by_row())
    table = run.table("eval_results_table.json")
    told = [str(row["llm_judge_accuracy/v1/justification"]) for row in table]
    assert [text.startswith("[no_answer]") for text in told] == [n in (1, 2) for n in range(6)]
    assert run.metrics["llm_judge_accuracy/v1/mean"] == pytest.approx(
        sum(float(str(row["score"])) for row in rows if row["score"] is not None) / 4
    )


def test_resume_asks_again_for_failed_answers_alone(asking: Asking) -> None:
    refuses_two(asking)
    asking.run()
    asking.model.faults, asking.model.answers = (lambda one: ""), (lambda one: "Now I know.")
    asking.model.forget()
    asking.judge.forget()
    done = asking.run("--resume", "last")
    assert done.code == 0, done.err
    assert {one.row for one in asking.model.asked()} == {"item-1", "item-2"}
    assert set(asking.judge.calls_by_row()) == {"item-1", "item-2"}
    assert len(asking.workspace.runs()) == 1


def test_an_answer_that_was_cut_counts_and_is_marked(asking: Asking) -> None:
    asking.model.cut = lambda one: one.row == "item-3"
    done = asking.run()
    assert done.code == 0 and ", 1 cut at 512 tokens" in done.out
    assert [row["answer_cut"] for row in asking.results()] == [n == 3 for n in range(6)]
    assert asking.workspace.last_run().metrics["llm_judge/answers_cut"] == 1


def test_without_the_models_server_there_is_no_run(asking: Asking) -> None:
    asking.model.stop()
    done = asking.run()
    assert done.code == 2 and len(done.problems) == 1
    assert asking.model.base_url in done.problems[0] and asking.workspace.runs() == []


def test_kept_answers_serve_when_the_models_server_is_gone(asking: Asking) -> None:
    asking.run("--answers-only")
    asking.model.stop()
    done = asking.run()
    assert done.code == 0, done.err
    assert "note: stub-model is not reached; its answers are the ones that are kept" in done.err
    assert asking.workspace.last_run().params["answer_model"] == "stub-model"


def test_another_model_at_the_same_address_is_asked_anew(asking: Asking) -> None:
    asking.run("--answers-only")
    asking.model.forget()
    asking.model.model = "newer-model"
    assert asking.run("--answers-only").code == 0 and len(asking.model.asked()) == 6
    asking.model.forget()
    done = asking.run("--answer-model", "stub-model")  # whose answers are kept
    assert done.code == 0 and asking.model.calls == []
    assert asking.workspace.last_run().params["answer_model"] == "stub-model"


# ---------------------------------------------------------------- killed, and gone on with


def lines_of(folder: Path, pattern: str) -> int:
    found = [path.read_bytes().count(b"\n") - 1 for path in folder.glob(pattern)]
    return max(0, sum(found))


@pytest.mark.parametrize(
    ("phase", "sign"),
    [("answers/*.jsonl", signal.SIGINT), ("*.jsonl", signal.SIGKILL)],
    ids=["interrupted while answering", "killed while judging"],
)
def test_no_call_is_made_twice_after_a_kill(
    asking: Asking, phase: str, sign: signal.Signals
) -> None:
    asking.data = questions(asking.workspace.folder, 30)
    asking.model.latency_s = asking.judge.latency_s = 0.03
    flags = asking.flags("--concurrency", "2")
    process = asking.workspace.start(*flags, base_url=asking.judge.base_url)
    folder, until = asking.workspace.journals, time.monotonic() + 60
    while lines_of(folder, phase) < 8 and process.poll() is None:
        assert time.monotonic() < until, "nothing is kept"
        time.sleep(0.01)
    process.send_signal(sign)
    stopped = finish(process)
    assert stopped.code == (1 if sign == signal.SIGINT else -9), stopped.err
    answered, judged = lines_of(folder, "answers/*.jsonl"), lines_of(folder, "*.jsonl")
    assert (judged == 0) == (phase != "*.jsonl") and (answered < 30) == (judged == 0)
    kept = {line["predictions"] for line in asking.results()} if sign == signal.SIGINT else set()
    asking.model.forget()
    asking.judge.forget()
    done = asking.run("--resume", "last")
    assert done.code == 0, done.err
    assert len(asking.model.asked()) == 30 - answered
    assert sum(asking.judge.calls_by_row().values()) == 30 - judged
    assert len(kept - {""}) == (answered if kept else 0)
    assert len(asking.workspace.runs()) == 1
    assert asking.workspace.last_run().metrics["llm_judge/rows_scored"] == 30


# ---------------------------------------------------------------- answers alone


def test_answers_only_asks_no_judge_and_says_how_to_go_on(asking: Asking) -> None:
    asking.judge.stop()
    done = asking.run("--answers-only")
    assert done.code == 0 and asking.workspace.runs() == [], done.err
    last = done.out.splitlines()[-1]
    assert last.startswith("judge them   python ") and "--answer-model stub-model" in last
    assert "--answers-only" not in last
    asking.judge.start()
    asking.model.stop()
    assert asking.run("--answer-model", "stub-model").code == 0
    assert asking.workspace.last_run().metrics["llm_judge/rows_scored"] == 6


def test_the_flags_of_the_run_that_judges_may_stand_beside_answers_only(asking: Asking) -> None:
    gate = ("--min-score", "3")
    done = asking.run("--answers-only", *gate)  # as `make answers ARGS='--min-score 3'` has it
    assert done.code == 0 and " ".join(gate) in done.out.splitlines()[-1]


def test_answers_that_cannot_be_kept_are_not_asked_for(asking: Asking) -> None:
    done = asking.run("--answers-only", "--journal-dir", str(asking.data))
    assert done.code == 2 and "name another folder" in done.problems[0] and len(done.problems) == 1
    assert asking.model.asked() == []


def test_answers_only_that_lacks_some_says_so(asking: Asking) -> None:
    refuses_two(asking)
    done = asking.run("--answers-only")
    assert done.code == 1
    assert "1 without an answer: the model wrote nothing" in done.out
    assert "go on with the 2 rows that have no answer: python " in done.err
    assert asking.run("--answers-only", "--min-scored", "0.6").code == 0


def test_answers_outlive_the_first_line_of_their_file(asking: Asking) -> None:
    asking.run("--answers-only")
    [path] = (asking.workspace.journals / "answers").iterdir()
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:4]))
    asking.model.forget()
    assert asking.run("--answers-only").code == 0 and len(asking.model.asked()) == 3


def test_a_check_tells_of_both_servers_and_makes_nothing(asking: Asking) -> None:
    done = asking.run("--check")
    assert done.code == 0 and "answered by  stub-model (root /models/stub-model)" in done.out
    assert "judge        stub-judge" in done.out
    assert asking.model.asked() == [] and not (asking.workspace.journals / "answers").exists()


# ---------------------------------------------------------------- what is sent


def test_the_key_of_the_judge_goes_to_no_other_host(asking: Asking) -> None:
    asking.run("--answers-only", VLLM_API_KEY="judge-secret")
    keys = {one.headers.get("Authorization") for one in asking.model.calls}
    assert keys == {None}
    asking.model.forget()
    asking.data = questions(asking.workspace.folder, 2, note="x")
    asking.run(VLLM_API_KEY="judge-secret", ANSWER_API_KEY="answer-secret")
    keys = {one.headers.get("Authorization") for one in asking.model.calls}
    assert keys == {"Bearer answer-secret"}
    assert {one.headers.get("Authorization") for one in asking.judge.calls} == {
        "Bearer judge-secret"
    }


def test_a_server_that_is_both_gets_the_judges_key(asking: Asking) -> None:
    asking.model.api_key = "judge-secret"
    asking.judge = asking.model
    done = asking.run("--limit", "2", VLLM_API_KEY="judge-secret")
    assert done.code == 0, done.err
    assert "judge-secret" not in done.out + done.err


def test_a_key_that_is_refused_names_the_one_to_set(asking: Asking) -> None:
    asking.model.api_key = "another"
    done = asking.run(VLLM_API_KEY="judge-secret")
    assert done.code == 2 and "ANSWER_API_KEY" in done.problems[0] and len(done.problems) == 1


def test_a_conversation_is_sent_as_the_messages_that_it_is(asking: Asking, tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "What is item-1?"},
        {"role": "assistant", "content": "A thing."},
        {"role": "user", "content": "Tell me {context} of item-1."},
    ]
    asking.data = tmp_path / "chats.jsonl"
    line = {"inputs": chat, "context": "the {question}"}
    asking.data.write_text(json.dumps(line) + "\n", encoding="utf-8")
    prompt = tmp_path / "answer_prompt.txt"
    prompt.write_text("Be brief: {context}.\n---\nQ: {question} ({context})\n", encoding="utf-8")
    done = asking.run("--answer-prompt", str(prompt))
    assert done.code == 0, done.err
    [sent] = asking.model.asked()
    assert sent.body["messages"] == [
        {"role": "system", "content": "Be brief: the {question}."},
        *chat[:2],
        {"role": "user", "content": "Q: Tell me {context} of item-1. (the {question})"},
    ]
    assert str(asking.results()[0]["inputs"]).startswith("User: What is item-1?")
    assert asking.workspace.last_run().params["answer_prompt"] == "answer_prompt.txt"


def test_a_conversation_that_ends_with_an_answer_is_judged_by_it(
    asking: Asking, tmp_path: Path
) -> None:
    ends = {"role": "assistant", "content": "It is item-1."}
    chats = [
        [{"role": "user", "content": f"What is item-{n}?"}] + [ends] * (n == 1) for n in (1, 2)
    ]
    asking.data = tmp_path / "chats.jsonl"
    asking.data.write_text("".join(json.dumps({"inputs": chat}) + "\n" for chat in chats))
    assert asking.run().code == 0
    assert [one.row for one in asking.model.asked()] == ["item-2"]
    assert asking.results()[0]["predictions"] == "It is item-1."


# ---------------------------------------------------------------- several answers a row


def several(asking: Asking, *more: str, rows: int = 12, samples: int = 3) -> Done:
    asking.data = questions(asking.workspace.folder, rows)
    asking.judge.judge = lambda one: 1 + int((re.findall(r"sample (\d)", one.text) or "2")[0])
    many = ("--answers-per-row", str(samples), "--answer-temperature", "0.7")
    return asking.run(*many, *more)


def test_several_answers_to_a_question_are_rows_of_their_own(asking: Asking) -> None:
    done = several(asking)
    assert done.code == 0, done.err
    seeds = Counter(one.body["seed"] for one in asking.model.asked())
    assert seeds == {0: 12, 1: 12, 2: 12}
    rows = asking.results()
    assert [(row["row"], row["of_row"], row["sample"]) for row in rows[:4]] == [
        (1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 1),
    ]  # fmt: skip
    run = asking.workspace.last_run()
    spreads = run.table("answers_by_question.json")
    assert len(spreads) == 12
    assert spreads[0] == {
        "row": 1, "question": "What is item-0?", "n": 3, "mean": 2.0, "sd": 1.0, "min": 1.0,
        "max": 3.0,
    }  # fmt: skip
    assert run.metrics["llm_judge/answer_spread"] == 1.0
    assert "spread       1.00 points" in done.out
    # Every question's mean is 2: over other questions nothing would be different.
    assert "2.00 (2.00 to 2.00 over other questions" in run.tags["mlflow.note.content"]


def test_more_samples_ask_for_the_new_ones_alone(asking: Asking) -> None:
    several(asking, "--answers-only", samples=2)
    asking.model.forget()
    several(asking, "--answers-only", samples=3)
    assert {one.body["seed"] for one in asking.model.asked()} == {2}


def test_the_same_answer_several_times_is_refused(asking: Asking) -> None:
    done = asking.run("--answers-per-row", "3")
    assert done.code == 2 and "give one above 0, such as 0.7" in done.problems[0]


def test_rows_of_several_answers_can_be_drawn_for_people(asking: Asking, capfd: Capture) -> None:
    several(asking)
    script = ROOT / "mlflow_tracking/grade_rows.py"
    folder = asking.workspace.folder
    grading = Workspace(folder, with_database=False, script=script)
    done = call(grading, capfd, "open", "--run", "last", "--rows", "10", "--folder", str(folder))
    assert done.code == 0, done.err
    with (folder / "to_grade.csv").open(encoding="utf-8-sig", newline="") as file:
        drawn = list(csv.DictReader(file))
    assert len({row["row"] for row in drawn}) == 10
    assert all("by sample" in row["predictions"] for row in drawn)


# ---------------------------------------------------------------- together with other flags


def test_a_plan_needs_the_answers_and_goes_by_them(asking: Asking) -> None:
    done = asking.run("--plan")
    assert done.code == 2 and "with --answers-only in place of --plan" in done.problems[0]
    assert asking.run("--answers-only").code == 0
    done = asking.run("--plan")
    assert done.code == 0 and "planned by   6 of 6 different rows" in done.out, done.err
    asking.judge.forget()
    assert asking.run().code == 0 and asking.judge.calls_by_row() == {}


def test_a_gate_takes_the_answers_to_a_question_as_one(asking: Asking) -> None:
    assert several(asking, rows=12).code == 0
    first = asking.workspace.last_run().id
    done = several(asking, "--not-worse-than", first, "--min-score", "1.9")
    assert done.code == 0, done.out
    assert "over 12 questions in 36 of 36 rows" in done.out
    done = several(asking, "--min-score", "1.9", rows=9)
    assert done.code == 3 and "no interval" in done.out  # of nine questions, whatever they have


def test_a_gate_of_few_questions_says_that_it_is_about_them(asking: Asking) -> None:
    assert several(asking, rows=9).code == 0
    done = several(asking, "--not-worse-than", asking.workspace.last_run().id, rows=9)
    assert "over 27 of 27 rows, about other answers to their 9 questions" in done.out


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--stock",), "--stock scores a file's answers"),
        (("--answers-only", "--resume", "last"), "goes without --resume"),
        (("--answers-only", "--plan"), "goes without --plan"),
        (("--answers-from", "ftp://x"), "--answers-from: 'ftp://x' is not a URL"),
        (("--graded", "graded.csv"), "with --answers-only in place of --graded"),
        (("--answer-prompt", "nowhere.txt"), "--answer-prompt nowhere.txt: No such file"),
        (("--answer-max-tokens", "8192"), "--answer-max-tokens 8192: the model's context has 8192"),
        (("--answer-model", "other"), "serves stub-model, not other; give --answer-model stub-mod"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_together_is_one_line(
    asking: Asking, flags: tuple[str, ...], told: str
) -> None:
    done = asking.run(*flags)
    assert done.code == 2 and told in done.problems[0] and len(done.problems) == 1
    assert asking.workspace.runs() == [] and asking.model.asked() == []


def test_flags_of_the_model_under_test_want_one(tmp_path: Path, capfd: Capture) -> None:
    done = call(Workspace(tmp_path), capfd, "--answers-per-row", "2")
    assert done.code == 2 and "--answers-per-row is for --answers-from" in done.problems[0]


def test_a_trace_has_the_call_to_the_model_before_the_judges(asking: Asking) -> None:
    refuses_two(asking)
    asking.run("--traces", "10")
    mlflow.set_tracking_uri(asking.workspace.uri)
    run = asking.workspace.last_run()
    experiment = MlflowClient().get_run(run.id).info.experiment_id
    traces = mlflow.search_traces(locations=[experiment], return_type="list")
    by_row = {trace.info.tags["row"]: trace.data.spans for trace in traces}
    root, answer, judged = by_row["1"]
    assert (answer.name, answer.span_type) == ("answer", "CHAT_MODEL")
    assert answer.inputs["messages"] == [{"role": "user", "content": "What is item-0?"}]
    assert answer.inputs["model"] == "stub-model"
    assert answer.outputs["choices"][0]["message"]["content"] == "It is item-0."
    assert root.start_time_ns == answer.start_time_ns
    assert answer.end_time_ns == judged.start_time_ns < judged.end_time_ns == root.end_time_ns
    assert answer.get_attribute("mlflow.chat.tokenUsage")["output_tokens"] > 0
    assert [span.name for span in by_row["3"]] == ["row 3", "answer"]
    assert by_row["3"][1].status.status_code == "ERROR"


def test_the_shipped_questions_are_those_of_the_shipped_answers() -> None:
    wanted: dict[str, str] = {}
    with (DATA / "evaluation_data.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            wanted[row["inputs"]] = wanted.get(row["inputs"]) or row["targets"]
    with (DATA / "questions.csv").open(encoding="utf-8", newline="") as file:
        found = [(row["inputs"], row["targets"]) for row in csv.DictReader(file)]
    assert found == list(wanted.items())


@pytest.mark.server
def test_the_real_judge_answers_the_shipped_questions_and_judges_them(
    tmp_path: Path, judge_server: JudgeServer, capfd: Capture
) -> None:
    workspace = Workspace(tmp_path)
    url = judge_server.base_url
    flags = ("--answers-from", url, "--limit", "2", "--answer-max-tokens", "24", "--score-only")
    done = call(
        workspace, capfd, *flags, "--no-claim", base_url=url, VLLM_API_KEY=judge_server.api_key
    )
    assert done.code == 0, done.err
    run = workspace.last_run()
    assert run.params["data_file"] == "questions.csv"
    assert run.params["answer_model"] == run.params["judge_model"] == judge_server.model
    answers = [str(row["predictions"]) for row in run.table("judge_results.json")]
    assert "Paris" in answers[0] and run.metrics["llm_judge/answers_given"] == 2
