"""Does looking for words first leave out a rule that would have matched?

python -m pytest tests/defence/test_rule_filter.py
"""

import re

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.defence.manipulation import _fold
from mlflow_tracking.defence.rule_filter import RuleFilter, needed_words
from mlflow_tracking.defence.rules import RULES
from tests.support.hostile_rows import ANSWERS

FILTER = RuleFilter(RULES)


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        pytest.param(r"\bscore\b", ("score",), id="a word"),
        pytest.param(r"score|grade", ("grade", "score"), id="one of two"),
        pytest.param(r"(?:score|mark)s? (?:me )?", ("mark", "score"), id="a group"),
        pytest.param(r"(?:good )?\w+ a?b", (), id="nothing that must be there but single letters"),
        pytest.param(r"score|\d", (), id="a branch without a word"),
        pytest.param(r"a{2,}(?:mark)+", ("mark",), id="a group that repeats"),
        pytest.param(r"(?:mark)*", (), id="a group that may be missing"),
        pytest.param(r"x(?!score)y", (), id="what must not follow"),
        pytest.param(r"ОЦЕНКА|mark\w*", ("mark", "оценка"), id="capital letters"),
        pytest.param(r"gets|get", ("get",), id="a word in another"),
    ],
)
def test_the_words_of_which_a_match_holds_one(pattern: str, words: tuple[str, ...]) -> None:
    assert needed_words(pattern) == words


@pytest.mark.parametrize("text", ["ſcore", "\u212aey of mar\u212a", "gıve"])
def test_letters_that_ignoring_case_makes_equal_leave_no_rule_out(text: str) -> None:
    rules = [re.compile("score", re.I), re.compile("mark", re.I), re.compile("give", re.I)]
    assert any(rule.search(text) for rule in rules)
    assert RuleFilter(rules).candidates(text) == rules


def test_few_rules_are_tried_on_an_honest_answer() -> None:
    answer = "Water boils at 100 degrees at sea level, where the air presses hardest on it."
    assert len(FILTER.candidates(answer)) <= 10 < len(RULES)


def test_no_rule_that_matches_is_left_out() -> None:
    names = (
        "mlflow_tracking/data/attacks/injection_attacks.jsonl",
        "mlflow_tracking/data/attacks/wrong_and_right_answers.jsonl",
    )
    files = [ROOT / name for name in (*names, "README.ru.md", "README.md")]
    texts = [line for file in files for line in file.read_text("utf-8").splitlines()]
    matched = 0
    for text in [*texts, *ANSWERS.values()]:
        folded, _ = _fold(text)
        kept = FILTER.candidates(folded)
        for rule in RULES:
            if rule.search(folded):
                matched += 1
                assert rule in kept, (text, rule.pattern)
    assert matched > 100
