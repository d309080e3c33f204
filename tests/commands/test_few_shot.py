"""Which graded rows become examples, and is the written prompt still the prompt that it was?

python -m pytest tests/commands/test_few_shot.py
"""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_client.settings import ROOT
from mlflow_tracking.command.few_shot import (
    Example,
    left_to_judge,
    pick_examples,
    write_with_examples,
)
from mlflow_tracking.defence.safe_text import ControlTokens, TextSafety, delimiters_around
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.judge.reply_parser import parse_decision_reply, parse_reply
from mlflow_tracking.rows.graded import GradedData, GradedRow, load_graded
from mlflow_tracking.rows.item import DataError, Item, Row
from tests.support.experiment_process import write_csv

PROMPTS = ROOT / "mlflow_tracking/prompts"
SCORED = [PROMPTS / "judge_prompt.txt", *sorted((PROMPTS / "variants").glob("*.txt"))]
DECISIONS = [PROMPTS / "decision_prompt.txt", PROMPTS / "decision_prompt_en.txt"]
TOKENS = ["<|im_end|>", "<|im_start|>", "</s>", "[INST]", "<odd>"]
KNOWN = ControlTokens(frozenset(TOKENS))
FORM = "Grade it.\n\nReply with two lines:\nScore: [1-5]\nJustification: [text]\n"
# Without a line ---, all of it is the user's message, and the examples stand in it.
ONE_MESSAGE = {
    "tags": f"{FORM}\n<question>\n{{question}}\n</question>\n\n<answer>\n{{answer}}\n</answer>\n",
    "labels": f"{FORM}\nQuestion: {{question}}\nAnswer: {{answer}}\n---\n",
    "reference": f"{FORM}\nQ:\n{{question}}\n\nR:\n{{reference}}\n\nA:\n{{answer}}\nHow good?\n",
    "fence first": f"---\n{FORM}\nQuestion:\n{{question}}\nAnswer:\n{{answer}}\n",
    "claim": f"Claim: [quotation of up to 8 words]\n\n{FORM}\nQ: {{question}}\nA: {{answer}}\n",
    "form last": "Grade it.\n\nQ: {question}\nA: {answer}\nScore: [1-5]\nWhy: [a reason]\n",
}


def graded_csv(folder: Path, rows: list[dict[str, str]]) -> GradedData:
    names = {name: "" for row in rows for name in row}
    data = load_graded(write_csv(folder / "graded.csv", [names | row for row in rows]))
    assert isinstance(data, GradedData)
    return data


def row(question: str, score: str, answer: str = "an answer", **more: str) -> dict[str, str]:
    return {"inputs": question, "predictions": answer, "human_score": score, **more}


def prompt_of(folder: Path, text: str) -> JudgePrompt:
    path = folder / "prompt.txt"
    path.write_text(text, encoding="utf-8")
    return load_prompt(path)


def picked(data: GradedData, prompt: JudgePrompt, shots: int) -> list[tuple[str, int]]:
    examples = pick_examples(data, prompt, shots)
    return [(one.row.row.item.question, one.score) for one in examples]


def one_score() -> JudgePrompt:
    return load_prompt(PROMPTS / "judge_prompt_en.txt")


# --- which rows -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shots", "levels"),
    [
        (1, [3]),
        (2, [1, 5]),
        (3, [1, 5, 3]),
        (4, [1, 5, 2, 4]),
        (5, [1, 5, 2, 4, 3]),
        (7, [1, 5, 2, 4, 3, 1, 5]),
    ],
)
def test_examples_are_spread_over_the_scale_and_always_the_same(
    tmp_path: Path, shots: int, levels: list[int]
) -> None:
    data = graded_csv(tmp_path, [row(f"q{n}", str(1 + n % 5)) for n in range(20)])
    found = picked(data, one_score(), shots)
    assert [level for _, level in found] == levels
    assert len({question for question, _ in found}) == shots
    assert found == picked(data, one_score(), shots)


@pytest.mark.parametrize("name", ["judge_prompt_en.txt", "decision_prompt_en.txt"])
def test_of_labels_wrong_and_right_come_in_turn(tmp_path: Path, name: str) -> None:
    data = graded_csv(tmp_path, [row(f"q{n}", "right" if n < 6 else "wrong") for n in range(12)])
    assert [level for _, level in picked(data, load_prompt(PROMPTS / name), 4)] == [1, 5, 1, 5]


def test_a_level_that_nobody_gave_is_not_missed(tmp_path: Path) -> None:
    data = graded_csv(tmp_path, [row("a", "1"), row("b", "2"), row("c", "2"), row("d", "5")])
    assert [level for _, level in picked(data, one_score(), 4)] == [1, 5, 2, 2]


def test_a_level_whose_questions_are_taken_gives_way_to_another(tmp_path: Path) -> None:
    data = graded_csv(tmp_path, [row("a", "1"), row(" A ", "5"), row("b", "3"), row("c", "3")])
    assert picked(data, one_score(), 3) == [("a", 1), ("b", 3), ("c", 3)]


def test_a_score_between_two_levels_is_an_example_of_neither(tmp_path: Path) -> None:
    data = graded_csv(tmp_path, [row("a", "3.5"), row("b", "3.6"), row("c", "4"), row("d", "1")])
    assert picked(data, one_score(), 2) == [("d", 1), ("c", 4)]
    assert picked(data, one_score(), 3)[-1] == ("b", 4)
    with pytest.raises(DataError, match="--shots 4: found 3 rows"):
        pick_examples(data, one_score(), 4)
    decision = load_prompt(PROMPTS / "decision_prompt_en.txt")
    assert picked(data, decision, 2) == [("d", 1), ("c", 5)]


def test_a_short_answer_is_preferred_unless_it_is_hardly_an_answer(tmp_path: Path) -> None:
    answers = ["no idea", "an answer of some words " * 4, "an answer of some words " * 2, ""]
    rows = [row(f"q{n}", "3", answer) for n, answer in enumerate(answers)]
    assert picked(graded_csv(tmp_path, rows), one_score(), 3) == [("q2", 3), ("q1", 3), ("q0", 3)]
    with pytest.raises(DataError, match="found 3 rows"):
        pick_examples(graded_csv(tmp_path, rows), one_score(), 4)


def test_no_row_is_judged_whose_question_an_example_answers(tmp_path: Path) -> None:
    rows = [row("a", "1"), row("a ", "4"), row("b", "5"), row("c", "3"), row("C", "2")]
    data = graded_csv(tmp_path, rows)
    left = left_to_judge(data, pick_examples(data, one_score(), 2))
    assert [one.row.item.question for one in left.rows] == ["c", "C"]
    assert left.human == [3, 2]
    assert left.notes == ("3 of 5 rows share a question with an example and are left out",)
    with pytest.raises(DataError, match="every row shares its question with one of the 3 examples"):
        left_to_judge(data, pick_examples(data, one_score(), 3))


def test_people_gave_one_score_and_a_prompt_with_four_gets_no_examples(tmp_path: Path) -> None:
    data = graded_csv(tmp_path, [row("a", "1")])
    with pytest.raises(PromptError, match="has the scores Точность, Полнота"):
        pick_examples(data, load_prompt(PROMPTS / "judge_prompt_criteria.txt"), 1)


# --- what is written ------------------------------------------------------------------------


def test_an_example_looks_like_the_row_and_ends_with_the_reply(tmp_path: Path) -> None:
    cells = {"targets": "four", "human_feedback": "[Correct] It is four. As it should be."}
    data = graded_csv(tmp_path, [row("2 + 2?", "5", "4", **cells)])
    origin = one_score()
    written = write_with_examples(
        tmp_path / "new.txt", origin, pick_examples(data, origin, 1), KNOWN
    )
    assert written.user == origin.user
    assert written.system == (
        f"{origin.system}\n\nExamples, graded by people:\n\n"
        "<question>\n2 + 2?\n</question>\n\n<reference>\nfour\n</reference>\n\n"
        "<answer>\n4\n</answer>\n\nScore: 5\nJustification: (Correct) It is four."
    )
    assert written.text.startswith("Claim: [quotation of up to 8 words; the mean]\n")


def test_without_a_reference_or_a_reason_their_lines_are_left_out(tmp_path: Path) -> None:
    data = graded_csv(
        tmp_path, [row("a", "1", human_feedback="It is wrong."), row("b", "5", targets="r")]
    )
    origin = load_prompt(PROMPTS / "judge_prompt.txt")
    written = write_with_examples(
        tmp_path / "new.txt", origin, pick_examples(data, origin, 2), KNOWN
    )
    shown = written.system.removeprefix(origin.system)
    assert shown.startswith("\n\nПримеры, оценённые людьми:\n\n")
    assert shown.count("<reference>\nr\n</reference>") == shown.count("<reference>") == 1
    assert re.findall(r"^Оценка: .*$", shown, re.M) == ["Оценка: 1", "Оценка: 5"]
    assert "Обоснование" not in shown, "a reply with a reason beside one without is no form"


def test_in_one_message_the_examples_stand_between_the_instructions_and_the_row(
    tmp_path: Path,
) -> None:
    data = graded_csv(tmp_path, [row("2 + 2?", "5", "4"), row("3 + 3?", "1", "7")])
    origin = prompt_of(tmp_path, ONE_MESSAGE["tags"])
    written = write_with_examples(
        tmp_path / "new.txt", origin, pick_examples(data, origin, 2), KNOWN
    )
    head, rest = written.user.split("\n\nExamples, graded by people:\n\n")
    shown, tail = re.split(r"\n\n(?=<question>\n\{)", rest)
    assert f"{head.strip()}\n" == FORM
    assert shown == (
        "<question>\n3 + 3?\n</question>\n\n<answer>\n7\n</answer>\n\nScore: 1\n\n"
        "<question>\n2 + 2?\n</question>\n\n<answer>\n4\n</answer>\n\nScore: 5"
    )
    assert origin.user.endswith(tail)


@pytest.mark.parametrize(
    "text",
    [
        f"{{question}}\n{{answer}}\n{FORM}",
        f"{FORM}\nQ: {{question}}\n\nClaim: [quotation of up to 8 words]\n\nA: {{answer}}\n",
    ],
    ids=["row-first", "claim-in-the-row"],
)
def test_a_prompt_without_a_place_for_examples_is_told_and_no_file_is_left(
    tmp_path: Path, text: str
) -> None:
    data, origin = graded_csv(tmp_path, [row("a", "3")]), prompt_of(tmp_path, text)
    with pytest.raises(PromptError, match="has no place for examples before the row"):
        write_with_examples(tmp_path / "new.txt", origin, pick_examples(data, origin, 1), KNOWN)
    assert not (tmp_path / "new.txt").exists()


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.stem)
def test_the_judges_own_parser_reads_the_reply_of_an_example(tmp_path: Path, path: Path) -> None:
    reason = "[Partly] It is, e.g. here: [1-5].\nScore: 2\nОценка: 2"
    data = graded_csv(tmp_path, [row(f"q{n}", str(n), human_feedback=reason) for n in (1, 5)])
    origin = load_prompt(path)
    examples = pick_examples(data, origin, 2)
    written = write_with_examples(tmp_path / "new.txt", origin, examples, KNOWN)
    *_, first, second = re.split(r"</answer>\n\n", written.system)
    for text, score in ((first, 1), (second, 5)):
        parse = parse_decision_reply if origin.format.decision else parse_reply
        reply = parse(text.split("\n\n")[0], origin.format)
        assert (reply.scores, reply.complete) == ({origin.format.overall: score}, True)
        assert reply.justification.startswith("(Partly) It is, e.g.")


# --- whatever the rows say ------------------------------------------------------------------

HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            [*TOKENS, "{question}", "{answer}", "{reference}", "{", "}", "{0}", "\n---\n", "---"]
            + ["\nScore: [1-5]\n", "\nWhy: [1-10]", "**Score**：[1-5]", "\n[yes/no]\n", "\r[a/b]\r"]
            + ["Claim: [quotation of up to 8 words; the mean]\n", "Цитата: [цитата]", "\nMark: ["]
            + ["</answer>", "< / Answer>", "<question>", "\nQuestion:", "\nScore: 5", "\nQ:", "A: "]
            + [
                "<|im_",
                "<od",
                "d>",
                "\n",
                "\n\n\n",
                "\r",
                "\x1c",
                "\x85",
                "\u2028",
                "\ufeff",
                "\x00",
            ]
            + ["[", "]", ":", "：", "Examples, graded by people:", "\\1", "%s", "1-5", "\ufeff"]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=25,
).map("".join)


def example(item: Item, score: int, feedback: str) -> Example:
    return Example(GradedRow(Row(1, 2, item, {}), float(score), (), feedback), score)


EXAMPLES = st.builds(
    example,
    st.builds(Item, HOSTILE, HOSTILE, HOSTILE),
    st.sampled_from([1, 5]),
    HOSTILE.map(str.strip),
)


def check_written(folder: Path, origin: JudgePrompt, examples: list[Example]) -> None:
    written = write_with_examples(folder / "new.txt", origin, examples, KNOWN)
    assert (written.format, written.claim) == (origin.format, origin.claim)
    assert delimiters_around(written.user, written.places) == delimiters_around(
        origin.user, origin.places
    )
    assert written.uses_reference == origin.uses_reference
    closing = re.compile(r"<\s*/\s*answer\s*>", re.I)
    ends = [len(closing.findall(one.text)) for one in (origin, written)]
    assert not ends[0] or ends[1] == ends[0] * (1 + len(examples)), "no answer ends before its end"
    # Between what was there before and what was there after stands what the rows share, ...
    if origin.system:
        assert written.user == origin.user
        assert written.system.startswith(origin.system)
    assert not [token for token in TOKENS if token in written.text.replace(origin.text, "")]
    # ... and the row goes where it went.
    safety = TextSafety(KNOWN, delimiters_around(origin.user, origin.places))
    marked = Item("the question §1", "the answer §2", "the reference §3")
    before, after = (one.render(marked, safety) for one in (origin, written))
    assert len(before) == len(after)
    assert all(
        after[-1]["content"].count(f"§{n}") == before[-1]["content"].count(f"§{n}")
        for n in (1, 2, 3)
    )
    assert after[-1]["content"].endswith(before[-1]["content"][-40:])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([*SCORED, *DECISIONS, *ONE_MESSAGE.values()]),
    st.lists(EXAMPLES, min_size=1, max_size=4),
)
def test_whatever_the_rows_say_the_file_is_the_prompt_and_the_examples(
    origin: Path | str, examples: list[Example]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = origin if isinstance(origin, Path) else None
        prompt = load_prompt(path) if path else prompt_of(Path(folder), str(origin))
        check_written(Path(folder), prompt, examples)


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decisions_example_has_the_graders_reason(tmp_path: Path, path: Path) -> None:
    labels = ("right", "wrong")
    data = graded_csv(tmp_path, [row(label, label, human_feedback="It is so.") for label in labels])
    origin = load_prompt(path)
    examples = pick_examples(data, origin, 2)
    written = write_with_examples(tmp_path / "new.txt", origin, examples, KNOWN)
    form = origin.format
    assert written.system.endswith(f"\n\n{form.scale.word_of(5)}\n{form.justification}: It is so.")
