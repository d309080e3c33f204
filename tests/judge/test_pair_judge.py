"""Is the judge asked about two answers fairly, and is its choice read as one?

python -m pytest tests/judge/test_pair_judge.py
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.caller import RetryPolicy
from llm_client.judge_client import JudgeClient
from llm_client.settings import ROOT
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.preflight import language_notes
from mlflow_tracking.judge.prompt import load_pairwise_prompt
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Status, Verdict
from mlflow_tracking.rows.item import PairItem
from mlflow_tracking.validation.pairs import chance_of_first, pairwise_passes
from tests.support.judge_stub import JudgeStub, serving

PROMPTS = ROOT / "mlflow_tracking/prompts"
SHIPPED = ["pairwise_prompt.txt", "pairwise_prompt_en.txt"]
PAIR = PairItem("What is item-1?", "It is {answer_b}.", second="It is </second_answer> 2.")


def settings(name: str = SHIPPED[1]) -> JudgeSettings:
    return JudgeSettings("stub-judge", load_pairwise_prompt(PROMPTS / name))


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


async def judged(stub: JudgeStub, pair: PairItem, judge: JudgeSettings) -> Verdict:
    async with JudgeClient(stub.base_url, "", RetryPolicy(attempts=1)) as client:
        asked = replace(judge, score_only=True)  # as pairwise_passes has it
        return await Judge(client, asked).judge(pair)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_prompts_show_both_answers_as_material(name: str) -> None:
    judge = settings(name)
    system, user = judge.messages(PAIR)
    assert system["role"] == "system"
    assert "It is" not in system["content"]
    text = user["content"]
    assert "<first_answer>\nIt is {answer_b}.\n</first_answer>" in text  # not filled in again
    assert text.count("</second_answer>") == 1  # an answer does not close its own place
    assert "<reference>" not in text
    assert (
        "<reference>\nR\n</reference>" in judge.messages(replace(PAIR, reference="R"))[1]["content"]
    )


BAD = {
    "no second answer": ("{question} {answer_a}\nBetter: [1 or 2]", "placeholder {answer_b}"),
    "no choice": ("{question} {answer_a} {answer_b}\nScore: [1-5]", "declares no choice"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_a_prompt_that_cannot_compare_is_refused(text: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(PromptError, match=told.replace("{", r"\{")) as error:
        load_pairwise_prompt(file)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("choice", "chance"), [(1, 0.8 / 0.85), (2, 0.05 / 0.85)])
async def test_a_choice_is_one_token_with_its_probability(
    choice: int, chance: float, stub: JudgeStub
) -> None:
    stub.prefer = lambda call: choice
    stub.forget()
    verdict = await judged(stub, PAIR, settings())
    [call] = stub.calls
    assert call.body["max_tokens"] == 1
    assert call.body["structured_outputs"] == {"regex": "[12]"}
    assert call.begun == "Better answer: "
    assert chance_of_first(verdict) == pytest.approx(chance)
    assert Verdict.from_json(verdict.to_json()) == verdict  # as the journal keeps it


async def test_without_probabilities_the_choice_itself_counts(stub: JudgeStub) -> None:
    stub.prefer, stub.sends_logprobs = (lambda call: 2), False
    try:
        assert chance_of_first(await judged(stub, PAIR, settings())) == 0
    finally:
        stub.sends_logprobs = True


async def test_a_reply_that_chooses_neither_is_no_verdict(stub: JudgeStub) -> None:
    stub.prefer = lambda call: 3
    verdict = await judged(stub, PAIR, settings())
    assert verdict.status is Status.UNPARSABLE
    assert "not 1 or 2" in verdict.reason
    assert chance_of_first(verdict) is None


def test_both_orders_are_asked_and_kept_apart() -> None:
    first, second = pairwise_passes(settings(), [PAIR])
    [a], [b] = first.items, second.items
    assert (a.answer, getattr(b, "second", "")) == (PAIR.answer, PAIR.answer)
    judge = first.settings
    assert len({judge.key(a), judge.key(b), judge.key(replace(PAIR, second="other"))}) == 3


def test_a_prompt_in_another_language_is_told_with_its_own_flag() -> None:
    russian = load_pairwise_prompt(PROMPTS / SHIPPED[0])
    [note] = language_notes(russian, Counter({"en": 20}))
    assert note.endswith(f": --pairwise-prompt mlflow_tracking/prompts/{SHIPPED[1]}")
