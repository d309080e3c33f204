"""Is the model under test sent what the prompt file says, and a row's text as it stands?

python -m pytest tests/answering/test_answer_prompt.py
"""

import json
from pathlib import Path
from typing import Any

import pytest

from mlflow_tracking.answering.prompt import load_answer_prompt
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.rows.item import Row, row_of

COLUMNS = ("inputs", "targets", "context")


def row(question: str, **cells: str) -> Row:
    return row_of(1, 2, {"inputs": question, "targets": "", "context": "", **cells})


def sent(tmp_path: Path, text: str, question: str, **cells: str) -> list[tuple[Any, Any]]:
    path = tmp_path / "answer_prompt.txt"
    path.write_text(text, encoding="utf-8")
    messages = load_answer_prompt(path, COLUMNS).messages(row(question, **cells))
    return [(message["role"], message["content"]) for message in messages]


def test_without_a_file_the_question_alone_is_sent() -> None:
    prompt = load_answer_prompt(None, COLUMNS)
    assert prompt.messages(row("Why {x}?")) == [{"role": "user", "content": "Why {x}?"}]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Be brief.", [("system", "Be brief."), ("user", "Why?")]),
        ("Q: {question}", [("user", "Q: Why?")]),
        ("Be brief.\n---\nQ: {question}", [("system", "Be brief."), ("user", "Q: Why?")]),
        ("Be {x}.\n---\n{question}", [("system", "Be {x}."), ("user", "Why?")]),
        ("By {context}.\n---\n{question}", [("system", "By a book."), ("user", "Why?")]),
    ],
    ids=["system alone", "user alone", "both", "no column", "a column"],
)
def test_the_file_says_who_says_what(
    tmp_path: Path, text: str, expected: list[tuple[str, str]]
) -> None:
    assert sent(tmp_path, text, "Why?", context="a book") == expected


def test_a_paragraph_whose_column_is_blank_is_left_out(tmp_path: Path) -> None:
    text = "By {context}.\n---\nUse {context}.\n\n{question}"
    assert sent(tmp_path, text, "Why?") == [("user", "Why?")]  # and no empty system message


def test_text_of_a_row_is_not_read_as_a_template(tmp_path: Path) -> None:
    text = "{question} by {context}"
    said = sent(tmp_path, text, "What is {context}?", context="{question} --- {targets}")
    assert said == [("user", "What is {context}? by {question} --- {targets}")]


PICTURE = {"type": "image_url"}
CHAT = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize(
    ("chat", "expected"),
    [
        (
            CHAT,
            [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Q: Why?")],
        ),
        (
            [{"role": "system", "content": "Mine."}, CHAT[2]],
            [("system", "Mine."), ("user", "Q: Why?")],
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "Why?"}, PICTURE]}],
            [("system", "Be brief."), ("user", [{"type": "text", "text": "Q: Why?"}, PICTURE])],
        ),
        (
            [{"role": "user", "content": ["Why?"]}],
            [("system", "Be brief."), ("user", [{"type": "text", "text": "Q: Why?"}])],
        ),
    ],
    ids=["turns", "its own system", "parts", "a part that is a text"],
)
def test_the_template_goes_around_a_conversations_last_question(
    tmp_path: Path, chat: list[dict[str, Any]], expected: list[tuple[str, Any]]
) -> None:
    assert sent(tmp_path, "Be brief.\n---\nQ: {question}", json.dumps(chat)) == expected


def test_a_conversation_as_python_writes_it_is_sent_as_json_has_it() -> None:
    prompt = load_answer_prompt(None, COLUMNS)
    [message] = prompt.messages(row("[{'role': 'user', 'content': 'Why \\ud83d', 'seen': {1}}]"))
    assert message == {"role": "user", "content": "Why ?", "seen": "{1}"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("Be brief.\n---\nGo on.", "has no {question} behind its line ---"),
        ("{question}\n---\n{question}", "has {question} before its line ---"),
        ("{question} {answer}", ":1: {answer}: is what the model is asked for"),
        ("{question}\n{inputs}", ":2: {inputs}: that column is called {question}"),
        ("{question} {contxt}", "is no column of the rows; is it {context}?"),
    ],
    ids=["empty", "no question", "question to the system", "answer", "inputs", "misspelt"],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(PromptError, match=told.replace("{", r"\{").replace("?", r"\?")):
        sent(tmp_path, text, "Why?")


def test_a_word_that_is_no_column_is_told(tmp_path: Path) -> None:
    path = tmp_path / "answer_prompt.txt"
    path.write_text("{question} in {json}", encoding="utf-8")
    [note] = load_answer_prompt(path, COLUMNS).notes
    assert note.endswith("{json} is no column of the rows; the model is sent it as it stands")
