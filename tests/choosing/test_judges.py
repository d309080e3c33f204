"""Does the right judge get taken, for the right reason? And is a family's own favour found?

python -m pytest tests/choosing/test_judges.py
"""

import argparse
from dataclasses import replace

import numpy as np
import pytest

from mlflow_tracking.choosing.advice import advise, family_line
from mlflow_tracking.choosing.family import Favour, family_of, favours
from mlflow_tracking.choosing.judge_names import NamedJudge, confusion, read_judge
from mlflow_tracking.choosing.judges import ComparedJudge, Comparison, Difference, Panel
from mlflow_tracking.choosing.kept_judges import Speed
from mlflow_tracking.stats.estimate import Array, Estimate, not_enough_data
from mlflow_tracking.validation.passes import Tokens

ROWS = 1_000
URL = "http://127.0.0.1:8000/v1"


def known(value: float, half: float) -> Estimate:
    return Estimate(value, round(value - half, 9), round(value + half, 9), 60)


def judge(name: str, agreement: Estimate, seconds: float | None = 10.0) -> ComparedJudge:
    none = not_enough_data(0, "of no matter")
    speed = None if seconds is None else Speed(100, seconds, 8)
    costs = Tokens(500, 400, 1), speed
    return ComparedJudge(name, name, True, 60, none, none, agreement, none, none, *costs)


GOOD, LESS, CHANCE = known(0.6, 0.1), known(0.5, 0.1), known(0.1, 0.2)
APART, ALIKE = known(0.25, 0.1), known(0.1, 0.2)
PAYS = Panel(known(0.7, 0.1), "a", known(0.1, 0.05), known(1.8, 0.3))


def comparison(
    *judges: ComparedJudge, lead: Estimate = ALIKE, panel: Panel | None = None
) -> Comparison:
    """`lead` is that of the first over each of the others."""
    differences = [Difference(judges[0].name, one.name, lead) for one in judges[1:]]
    return Comparison(60, "prompt.txt", judges, tuple(differences), panel)


@pytest.mark.parametrize(
    ("found", "taken", "words"),
    [
        (comparison(judge("a", GOOD), judge("b", LESS), lead=APART), "a", "b agrees less"),
        (comparison(judge("a", GOOD, 99), judge("b", LESS), lead=APART), "a", "b agrees less"),
        (comparison(judge("a", GOOD, 99), judge("b", LESS)), "b", "0.0 hours where a takes 0.3"),
        (comparison(judge("a", GOOD), judge("b", LESS, 9.5)), "a", "b may agree as well"),
        (comparison(judge("a", GOOD), judge("b", LESS, 8.5)), "b", "lead may be chance"),
        (comparison(judge("a", GOOD), judge("b", LESS, None)), "a", "b may agree as well"),
        (comparison(judge("a", GOOD, None), judge("b", LESS)), "a", "b may agree as well"),
        (comparison(judge("a", GOOD, 99), judge("b", CHANCE)), "a", "b's agreement is not told"),
        (comparison(judge("a", CHANCE), judge("b", CHANCE)), "", "told from 0 on 60 rows"),
        (
            comparison(judge("a", not_enough_data(9, "fewer than 10 rows")), judge("b", CHANCE)),
            "",
            "told from 0",
        ),
        (
            comparison(*(judge(name, not_enough_data(9, "fewer than 10 rows")) for name in "ab")),
            "",
            "not enough data (fewer than 10 rows)",
        ),
        (
            comparison(judge("a", GOOD), replace(judge("b", LESS), asked=False)),
            "",
            "b did not judge every row yet",
        ),
        (
            comparison(judge("a", GOOD, 30), judge("b", LESS, 20), judge("c", LESS, 10)),
            "c",
            "b may agree as well",
        ),
    ],
    ids=[
        "the-better",
        "the-better-though-slower",
        "the-quicker-of-two-alike",
        "not-a-tenth-quicker",
        "more-than-a-tenth-quicker",
        "one-not-timed",
        "the-best-not-timed",
        "quick-and-useless",
        "all-useless",
        "the-best-unknown",
        "all-unknown",
        "one-missing",
        "the-quickest-of-three",
    ],
)
def test_the_quickest_of_those_that_may_be_best_is_taken(
    found: Comparison, taken: str, words: str
) -> None:
    advice = advise(found, ROWS)
    assert (advice.judge, words in advice.reason) == (taken, True), advice.reason


def test_a_lead_is_read_from_both_sides() -> None:
    turned = Difference("a", "b", known(-0.25, 0.1))  # b is the better one
    both = judge("a", LESS, 5), judge("b", GOOD)
    advice = advise(Comparison(60, "prompt.txt", both, (turned,)), ROWS)
    assert advice.judge == "b"
    assert "a agrees less (b leads by 0.25 (0.15 to 0.35))" in advice.reason


@pytest.mark.parametrize(
    ("panel", "words"),
    [
        (
            PAYS,
            "a panel agrees better with people, for 0.1 hours: the mean of all 2 judges is 0.10",
        ),
        (replace(PAYS, gain=known(0.1, 0.2)), "no panel: the mean of all 2 judges is 0.10 (-0.10"),
        (replace(PAYS, votes=known(1.0, 0.0)), "worth 1.00 (1.00 to 1.00) independent votes"),
        (
            replace(PAYS, votes=not_enough_data(60, "a's errors are all 0")),
            "worth an unknown number of independent votes (a's errors are all 0)",
        ),
        (replace(PAYS, gain=not_enough_data(3, "few")), ""),
    ],
    ids=["pays", "may-be-chance", "one-vote", "votes-unknown", "unknown"],
)
def test_a_panel_has_to_be_better_than_its_best_judge(panel: Panel, words: str) -> None:
    advice = advise(comparison(judge("a", GOOD), judge("b", LESS), panel=panel), 2_000)
    assert words in advice.panel
    assert bool(words) == bool(advice.panel)


def test_a_judge_that_favours_its_family_is_taken_with_a_doubt() -> None:
    found = comparison(judge("a", GOOD), judge("b", LESS), lead=APART)
    own = Favour("a", "qwen", 30, 30, known(0.5, 0.2), ("b",), known(0.4, 0.2))
    assert "(qwen) 0.50 (0.30 to 0.70) points" in advise(replace(found, favours=(own,)), 9).doubt
    chance = known(0.1, 0.2)
    others = (
        replace(own, judge="b"),
        replace(own, points=chance),
        replace(own, over_judges=chance),
    )
    for harmless in others:
        assert advise(replace(found, favours=(harmless,)), 9).doubt == ""


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (("/root/.cache/llm-judge/Qwen2.5-Coder-1.5B-Instruct-w8a8",), "qwen"),
        (("meta-llama/Meta-Llama-3-8B-Instruct",), "llama"),
        (("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",), "deepseek"),
        (("mistralai/Mixtral-8x7B-Instruct-v0.1",), "mistral"),
        (("openai/gpt-oss-20b",), "gpt"),
        (("ChatGPT-4o",), "gpt"),
        (("cognitivecomputations/dolphin-2.9",), "dolphin"),
        (("/models/7f3a", "judge", "qwen-large"), "qwen"),
        (("facebook/opt-1.3b",), "opt"),
        (("",), ""),
        (("123",), ""),
    ],
)
def test_a_family_is_read_from_a_models_name(names: tuple[str, ...], family: str) -> None:
    assert family_of(*names) == family


AUTHORS = ["Qwen/Qwen3-4B"] * 100 + ["google/gemma-3-4b-it"] * 100


HALF = np.repeat([1.0, 0.0], 100)  # Qwen's answers


def people_of(seed: int, better: float = 0.0) -> Array:
    """People's scores; those of Qwen's answers are `better` on average."""
    return np.random.default_rng(1_000 + seed).normal(size=200) + 3 + better * HALF


def scores_of(seed: int, own: float, better: float = 0.0, shrinks: float = 1.0) -> dict[str, Array]:
    """Two judges, which both give Qwen's answers 0.4 more; q gives them `own` on top."""
    random = np.random.default_rng(seed)
    human = people_of(seed, better)
    shared = 0.4 * HALF + random.normal(size=200) * 0.5
    return {
        "q": shrinks * human + shared + own * HALF + random.normal(size=200) * 0.5,
        "g": human + shared + random.normal(size=200) * 0.5,
    }


def test_a_planted_favour_is_found_beside_what_other_judges_give() -> None:
    families = {"q": "qwen", "g": "gemma"}
    first, second = favours(scores_of(0, own=0.6), people_of(0), families, AUTHORS)
    assert (first.judge, first.family, first.own, first.others) == ("q", "qwen", 100, 100)
    found = first.over_judges
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low <= 0.6 <= found.high
    assert (first.told, second.told) == (1, 0)
    assert "q: favours it" in family_line(first)
    # Beside the first judge alone the second one would look as if it favoured its own family.
    assert second.over_judges is not None
    assert second.over_judges.value == pytest.approx(found.value)


def test_answers_that_every_judge_overrates_are_no_favour() -> None:
    families = {"q": "qwen", "g": "gemma"}
    told = 0
    for seed in range(12):
        [found, _] = favours(scores_of(seed, own=0.0), people_of(seed), families, AUTHORS, seed)
        told += found.told != 0
    assert told <= 2  # of 12 at 5 %: 0.6, with a standard deviation of 0.8
    # Without a judge of another family the same answers look like a favour, and the line says so.
    scores = {"q": scores_of(0, own=0.0)["q"]}
    [alone] = favours(scores, people_of(0), {"q": "qwen"}, AUTHORS)
    assert alone.told == 1
    assert "who may see these answers otherwise than any judge" in family_line(alone)


def test_a_judge_that_shrinks_favours_no_family_whose_answers_are_worse() -> None:
    scores = {"q": scores_of(0, own=-0.4, better=-1.5, shrinks=0.4)["q"]}
    human = people_of(0, better=-1.5)
    [found] = favours(scores, human, {"q": "qwen"}, AUTHORS)
    assert found.told == 0
    generous = scores["q"] - human
    assert generous[:100].mean() - generous[100:].mean() > 0.6, "by the difference it would"


@pytest.mark.parametrize(
    ("authors", "words"),
    [
        (["qwen"] * 195 + ["gemma"] * 5, "cannot tell, fewer than 10 rows"),
        (
            ["qwen"] * 9 + ["gemma"] * 150 + [""] * 41,
            "(9 rows of its family (qwen), 150 of others)",
        ),
    ],
    ids=["few-others", "few-of-its-own"],
)
def test_too_few_rows_tell_nothing(authors: list[str], words: str) -> None:
    [first, *_] = favours(scores_of(0, own=2.0), people_of(0), {"q": "qwen", "g": "gpt"}, authors)
    assert first.points.value is None
    assert words in family_line(first)


def test_a_judge_whose_family_wrote_nothing_is_left_out() -> None:
    families = {"q": "llama", "g": "opt"}
    assert favours(scores_of(0, own=0.0), people_of(0), families, AUTHORS) == []


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (f"a={URL}", NamedJudge("a", URL)),
        (f"a-1.5={URL}/", NamedJudge("a-1.5", URL)),
        (f"a={URL}#Qwen/Qwen3-4B", NamedJudge("a", URL, "Qwen/Qwen3-4B")),
        (f"a={URL},http://gpu2/v1#m", NamedJudge("a", f"{URL},http://gpu2/v1", "m")),
    ],
)
def test_a_judge_is_a_name_and_an_address(text: str, read: NamedJudge) -> None:
    assert read_judge(text) == read


@pytest.mark.parametrize(
    "text", [URL, "a", "a=", f"={URL}", "a=nowhere", f"a/b={URL}", f".a={URL}", f"a={URL}#", ""]
)
def test_what_is_no_judge_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not NAME=URL"):
        read_judge(text)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        read_judge("a/b=http://me:secret@gpu/v1")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("judges", "words"),
    [
        ([f"a={URL}"], "given once"),
        ([f"a={URL}", "A=http://gpu2/v1"], "given twice"),
        ([f"a={URL}", f"b={URL}"], "have one address"),
        ([f"a={URL}#one", f"b={URL}"], "have one address"),
        ([f"a={URL}#one", f"b={URL}#one"], "have one address"),
        ([f"a={URL}#one", f"b={URL}#two"], ""),
        ([f"a={URL}", "b=http://gpu2/v1"], ""),
        ([f"a={URL}#one", "b=http://gpu2/v1#one"], ""),
    ],
)
def test_judges_that_cannot_be_told_apart_are_refused(judges: list[str], words: str) -> None:
    mistake = confusion([read_judge(text) for text in judges])
    assert words in mistake
    assert bool(words) == bool(mistake)
