"""Is a further column part of what is judged, wherever a row goes?

python -m pytest tests/judge/test_further_columns.py
"""

import asyncio
import io
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.batch_file import BatchRecorder
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import by_shared
from mlflow_tracking.judge.prompt import JudgePrompt, load_pairwise_prompt, load_prompt
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Status
from mlflow_tracking.rows.item import Item, PairItem
from mlflow_tracking.rows.row_files import read_blocks
from mlflow_tracking.rows.table import Columns
from mlflow_tracking.validation.bias import LANGUAGES, bias_passes

FORM = "Score: [1-5]\nWhy: [text]\n"
ROW = "Passage: {context}\n\nQuestion: {question}\n\nAnswer: {answer}\n"
ITEM = Item("What?", "It is.", more=(("context", "It is so."),))


def prompt_of(folder: Path, text: str, *columns: str) -> JudgePrompt:
    path = folder / "prompt.txt"
    path.write_text(text, encoding="utf-8")
    return load_prompt(path, ("inputs", "predictions", *columns))


def messages(asked: JudgeSettings, item: Item) -> str:
    return asked.messages(item)[-1]["content"]


def test_rows_that_differ_in_it_alone_are_judged_each(tmp_path: Path) -> None:
    asked = JudgeSettings("judge", prompt_of(tmp_path, f"{FORM}---\n{ROW}", "context", "id"))
    other = replace(ITEM, more=(("context", "It is not so."),))
    assert asked.key(ITEM) != asked.key(other)
    beside = replace(ITEM, more=(*ITEM.more, ("id", "7")))
    assert asked.key(ITEM) == asked.key(beside), "what the prompt does not show changes nothing"


def test_a_row_without_it_is_asked_about_without_its_paragraph(tmp_path: Path) -> None:
    asked = JudgeSettings("judge", prompt_of(tmp_path, f"{FORM}---\n{ROW}", "context"))
    for item in (Item("What?", "It is."), replace(ITEM, more=(("context", " \n"),))):
        assert messages(asked, item) == "Question: What?\n\nAnswer: It is."
        assert by_shared([item, ITEM], asked.prompt.places) == [0, 1]


def test_where_it_is_what_is_judged_an_empty_one_is_no_row(tmp_path: Path) -> None:
    text = f"Does the passage help to answer the question?\n{FORM}---\n{{question}}\n\n{{context}}"
    asked = JudgeSettings("judge", prompt_of(tmp_path, text, "context"))
    judge = Judge(BatchRecorder({}), asked)
    verdict = asyncio.run(judge.judge(Item("What?", "")))
    assert (verdict.status, verdict.reason) == (Status.EMPTY_INPUT, "the row has no context")


def test_a_claims_verdict_is_kept_under_all_that_is_asked(tmp_path: Path) -> None:
    text = f"Claim: [quotation of up to 8 words]\n{FORM}---\n{{answer}}\n\n{{context}}\n"
    asked = JudgeSettings("judge", prompt_of(tmp_path, text, "context"))
    assert asked.key(ITEM) != asked.key(replace(ITEM, question="Who?"))
    whole = replace(asked, ask_claim=False)
    assert whole.key(ITEM) == whole.key(replace(ITEM, question="Who?"))


@pytest.mark.parametrize("name", ["class", "None", "metrics", "self"])
def test_a_name_that_mlflow_cannot_take_is_told_at_the_door(tmp_path: Path, name: str) -> None:
    with pytest.raises(PromptError, match=f"write {{the_{name}}} and give --columns the_{name}="):
        prompt_of(tmp_path, f"{FORM}---\n{ROW}\n{{{name}}}", "context", name)


def test_a_place_of_pairs_is_told_in_a_prompt_for_one_answer(tmp_path: Path) -> None:
    with pytest.raises(PromptError, match="{answer_a} is for a prompt that compares two answers"):
        prompt_of(tmp_path, f"{FORM}---\n{ROW}\n{{answer_a}}", "context", "answer_a")


def test_a_column_without_a_name_is_no_place(tmp_path: Path) -> None:
    assert prompt_of(tmp_path, f"{FORM}---\n{ROW}\n{{}}", "context", "").columns == ("context",)


def test_two_answers_are_compared_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    row = "{context}\n\n{question}\n\nFirst: {answer_a}\n\nSecond: {answer_b}\n"
    path.write_text(f"Better: [1 or 2]\n---\n{row}", encoding="utf-8")
    prompt = load_pairwise_prompt(path, ("inputs", "answer_a", "answer_b", "context"))
    asked = JudgeSettings("judge", prompt)
    item = PairItem("What?", "It is.", second="It is not.", more=ITEM.more)
    assert messages(asked, item).startswith("It is so.\n\nWhat?\n\nFirst: It is.")


def test_a_cluster_reads_it(tmp_path: Path) -> None:
    prompt = prompt_of(tmp_path, f"{FORM}---\n{ROW}", "context")
    rows = io.BytesIO(b"inputs,predictions,context\nWhat?,It is.,It is so.\n")
    [block] = read_blocks(rows, "rows.csv", "utf-8", 10, Columns(shows=prompt.columns))
    assert [row.item for row in block.rows] == [ITEM]


def test_probes_on_rows_of_our_own_are_left_out_which_have_no_such_column(tmp_path: Path) -> None:
    asked = JudgeSettings("judge", prompt_of(tmp_path, f"{FORM}---\n{ROW}", "context"))
    passes = {one.name: one for one in bias_passes(asked, [ITEM] * 10, 10)}
    assert passes[LANGUAGES].items == ()
    assert all(item.more == ITEM.more for one in passes.values() for item in one.items)
