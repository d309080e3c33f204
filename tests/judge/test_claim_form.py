"""What does a prompt file say of the claim, and how is the judge's quotation read?

python -m pytest tests/judge/test_claim_form.py
"""

from pathlib import Path

import pytest

from llm_client.reply import Reply
from llm_client.settings import ROOT
from mlflow_tracking.judge.call import claim_body, read_claim
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item

FORM = "Score: [1-5]\nJustification: [text]\n---\n{question}\n{answer}\n{reference}\n"
ROW = Item("What is the capital?", "It is Lyon, they say; 3.5 of [1] agree.", "Paris")


def prompt_of(folder: Path, line: str, rest: str = FORM) -> JudgePrompt:
    path = folder / "prompt.txt"
    path.write_text(f"You grade.\n{line}\n\n{rest}", encoding="utf-8")
    return load_prompt(path)


@pytest.mark.parametrize(
    ("line", "label", "words", "counts"),
    [
        ("Claim: [quotation of up to 8 words]", "Claim", 8, "claim"),
        ("Claim: [quotation of up to 8 words; the claim]", "Claim", 8, "claim"),
        ("Claim: [quotation of up to 12 words; the answer]", "Claim", 12, "answer"),
        ("Claim: [quotation of up to 8 words; the mean counts]", "Claim", 8, "mean"),
        ("Claim: [quotation of up to 8 words; their average]", "Claim", 8, "mean"),
        ("Claim: [quotation of up to 8 words; the smaller score counts]", "Claim", 8, "smaller"),
        ("  claim : [Quotation, 1 word]", "claim", 1, "claim"),
        ("**Claim**: [quotation of 100 words]", "Claim", 100, "claim"),
        ("Утверждение: [цитата не длиннее 8 слов]", "Утверждение", 8, "claim"),
        ("Утверждение: [цитата не длиннее 6 слов; ответ]", "Утверждение", 6, "answer"),
        ("Утверждение: [цитата не длиннее 8 слов; среднее]", "Утверждение", 8, "mean"),
        ("Утверждение: [цитата до 8 слов; средняя оценка]", "Утверждение", 8, "mean"),
        ("Утверждение: [цитата до 8 слов; меньшая оценка]", "Утверждение", 8, "smaller"),
        ("Утверждение：[цитата до 8 слов; утверждение]", "Утверждение", 8, "claim"),
    ],
)
def test_a_line_declares_the_claim(
    tmp_path: Path, line: str, label: str, words: int, counts: str
) -> None:
    prompt = prompt_of(tmp_path, line)
    assert prompt.claim is not None
    assert (prompt.claim.label, prompt.claim.words, prompt.claim.counts) == (label, words, counts)
    assert ("Выпиши" in prompt.claim.question) == (label == "Утверждение")
    assert line not in prompt.system + prompt.user
    assert (prompt.format.labels, prompt.format.scores) == (("Score", "Justification"), ("Score",))


@pytest.mark.parametrize(
    "line",
    [
        "Claim: [quotation]",
        "Claim: [quotation of up to eight words]",
        "Claim: [quotation of up to 0 words]",
        "Claim: [quotation of up to 101 words]",
        "Claim: [quotation of up to 8 words; the best of them]",
        "Утверждение: [цитата]",
        "Утверждение: [цитата до 8 слов; лучшая]",
    ],
)
def test_a_wrong_line_is_told_with_its_place_and_how_it_should_be(
    tmp_path: Path, line: str
) -> None:
    with pytest.raises(PromptError) as caught:
        prompt_of(tmp_path, line)
    said = str(caught.value)
    assert said.startswith(f"{tmp_path / 'prompt.txt'}:2: '{line}': write [quotation of up to 8")
    assert "answer, mean, smaller" in said
    assert "\n" not in said


def test_a_file_without_such_a_line_has_no_claim(tmp_path: Path) -> None:
    assert prompt_of(tmp_path, "A claim is a quotation of up to 8 words.").claim is None
    criteria = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt_criteria.txt")
    assert criteria.claim is None


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("judge_prompt", "mean"),
        ("judge_prompt_en", "mean"),
        ("decision_prompt", "claim"),
        ("decision_prompt_en", "claim"),
    ],
)
def test_the_shipped_prompts_have_a_claim_of_eight_words(name: str, counts: str) -> None:
    claim = load_prompt(ROOT / f"mlflow_tracking/prompts/{name}.txt").claim
    assert claim is not None
    assert (claim.words, claim.counts) == (8, counts)


def test_a_long_reference_matters_only_to_a_prompt_that_shows_it(tmp_path: Path) -> None:
    line = "Claim: [quotation of up to 8 words]"
    long = Item(ROW.question, ROW.answer, "word " * 9)
    with_reference = JudgeSettings("judge", prompt_of(tmp_path, line))
    assert with_reference.claim_question(long) is None
    blind = prompt_of(tmp_path, line, FORM.replace("{reference}\n", ""))
    question = JudgeSettings("judge", blind).claim_question(long)
    assert question is not None
    assert question.words == 8


# --- the reply ------------------------------------------------------------------------------


def settings_of(folder: Path, constraint: str = "structured_outputs") -> JudgeSettings:
    prompt = prompt_of(folder, "Claim: [quotation of up to 8 words]")
    return JudgeSettings("judge", prompt, dialect=Dialect(constraint))


def read(settings: JudgeSettings, text: str) -> tuple[str, bool]:
    question = settings.claim_question(ROW)
    assert question is not None
    return read_claim(Reply(text, "stop", (), 0, 0, 0), settings, question)


@pytest.mark.parametrize(
    ("text", "claim", "found"),
    [
        ("It is Lyon", "It is Lyon", True),
        (" it is\nLYON. ", "it is LYON.", True),
        ("Claim: Lyon", "Lyon", True),
        ("**claim**: Lyon", "Lyon", True),
        ('"Lyon"', "Lyon", True),
        ("«It is Lyon»", "It is Lyon", True),
        ("**Lyon**", "Lyon", True),
        ("Lyon\n\nThe text says so.", "Lyon", True),
        ("<think>Paris?</think>\nLyon", "Lyon", True),
        ("3.5 of [1] agree", "3.5 of [1] agree", True),
        ("Paris", "Paris", False),
        ("It is Lyon in France", "It is Lyon in France", False),
        ("", "", False),
        ("—", "—", False),
    ],
)
def test_a_quotation_is_read_out_of_the_reply(
    tmp_path: Path, text: str, claim: str, found: bool
) -> None:
    assert read(settings_of(tmp_path, ""), text) == (claim, found)


@pytest.mark.parametrize(
    ("text", "claim", "found"),
    [
        ("It is Lyon", "It is Lyon", True),
        ("3.5 of [1]", "3.5 of [1]", True),
        ("<think>Paris?</think>\nLyon, they", "Lyon, they", True),
        ("[1] agree", "[1] agree", True),
        ("Paris", "Paris", False),
        ("", "", False),
    ],
)
def test_a_quotation_that_was_held_to_the_answers_words_is_taken_as_it_is(
    tmp_path: Path, text: str, claim: str, found: bool
) -> None:
    assert read(settings_of(tmp_path), text) == (claim, found)


@pytest.mark.parametrize(
    ("text", "claim", "found"),
    [
        ('{"Claim": "It is Lyon"}', "It is Lyon", True),
        ('{"Claim":\n"3.5 of [1] agree"}', "3.5 of [1] agree", True),
        ('{"Claim": "Paris"}', "Paris", False),
        ('{"Claim": ""}', "", False),
        ("Lyon", "Lyon", True),
    ],
)
def test_a_quotation_is_read_out_of_json(
    tmp_path: Path, text: str, claim: str, found: bool
) -> None:
    assert read(settings_of(tmp_path, "response_format"), text) == (claim, found)


@pytest.mark.parametrize(
    "text", ['{"Claim": "Ly', '["Paris"]', '{"Other": "Paris"}', "null", '{"Claim": null}']
)
def test_json_that_quotes_nothing_is_no_quotation(tmp_path: Path, text: str) -> None:
    assert not read(settings_of(tmp_path, "response_format"), text)[1]


def test_json_is_asked_for_by_the_claims_name(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "response_format")
    question = settings.claim_question(ROW)
    assert question is not None
    schema = claim_body(settings, question)["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == {"Claim": {"type": "string"}}
    assert schema["required"] == ["Claim"]


def test_a_quotation_from_a_long_answer_is_not_held_to_its_words(tmp_path: Path) -> None:
    """The grammar would grow with the answer; the quotation is checked all the same."""
    settings = settings_of(tmp_path)

    def regex(words: int, reference: str = "") -> str:
        question = settings.claim_question(Item("Q", "word " * words, reference))
        assert question is not None
        return str(claim_body(settings, question)["structured_outputs"]["regex"])

    assert regex(500).startswith("(word( word(")
    assert regex(501).startswith("[^")
    assert regex(501, "one two").startswith("[^")
    assert regex(251, "three " * 8).startswith("[^"), "a longer quotation, a shorter answer"
    assert regex(250, "three " * 8).startswith("(word( word(")
