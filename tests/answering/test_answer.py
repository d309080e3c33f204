"""What counts as an answer, and does it come back from the disk as it was?

python -m pytest tests/answering/test_answer.py
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.caller import CallFailed
from llm_client.reply import Reply
from mlflow_tracking.answering.answer import Answer, failed_answer, read_answer
from mlflow_tracking.answering.answers import AnswerJournal
from mlflow_tracking.answering.model import AnswerSettings


def reply(text: str, finish: str = "stop") -> Reply:
    return Reply(text, finish, (), 7, 3, 0, 1.5, 2)


@pytest.mark.parametrize(
    ("text", "finish", "reason", "cut"),
    [
        ("Paris.", "stop", "", False),
        ("Paris is", "length", "", True),
        ("", "stop", "the model wrote nothing (finish_reason stop)", False),
        (" \n", "", "the model wrote nothing", False),
        ("", "length", "the model wrote nothing (finish_reason length)", True),
        ("No", "content_filter", "the server's filter let no answer through", False),
        ("", "tool_calls", "the model called a tool in place of an answer (tool_calls)", False),
    ],
)
def test_a_reply_is_an_answer_or_says_why_not(
    text: str, finish: str, reason: str, cut: bool
) -> None:
    answer = read_answer(reply(text, finish), "m", "/m")
    assert answer.reason.startswith(reason) and bool(answer.reason) == bool(reason)
    assert (answer.failed, answer.cut) == (bool(reason), cut)
    assert answer.text == ("" if reason else text)
    assert (answer.prompt_tokens, answer.completion_tokens, answer.attempts) == (7, 3, 2)
    assert Answer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


def test_a_call_without_a_reply_is_no_answer() -> None:
    answer = failed_answer(CallFailed("HTTP 500: no", 500, 6), "m", "/m")
    assert answer.failed and answer.reason == "HTTP 500: no" and answer.attempts == 6


@pytest.mark.parametrize("odd", [{"text": "x", "reason": "y"}, {"text": 1}, {"colour": "red"}, {}])
def test_half_an_answer_on_disk_is_asked_for_again(tmp_path: Path, odd: dict[str, object]) -> None:
    path = tmp_path / "a.jsonl"
    whole = {"key": "k", **read_answer(reply("Paris."), "m", "/m").to_json()}
    lines = [whole, {**whole, "key": "odd", **odd}] if odd else [whole, {"key": "odd"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert list(AnswerJournal.read(path)) == ["k"]


def test_what_could_change_an_answer_changes_its_key() -> None:
    messages = [{"role": "user", "content": "Why?"}]
    one = AnswerSettings("http://h/v1", "", model="m", root="/m")
    others = [
        replace(one, model="n"),
        replace(one, root="/n"),
        replace(one, temperature=0.5),
        replace(one, max_tokens=9),
    ]
    keys = [each.key(messages, 1) for each in (one, *others)]
    keys += [one.key(messages, 2), one.key([*messages, *messages], 1)]
    assert len(set(keys)) == len(keys)
    elsewhere = replace(one, base_url="http://other/v1", api_key="k", samples=5)
    assert elsewhere.key(messages, 1) == keys[0]
