"""Does looking for words first leave out a rule that would have matched?

python -m pytest tests/defence/test_rules.py
"""

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_client.settings import ROOT
from mlflow_tracking.defence import manipulation, rules
from mlflow_tracking.defence.manipulation import _fold, find_spans
from mlflow_tracking.defence.rules import RULES, candidates
from tests.support.hostile_rows import ANSWERS

ATTACKS = ROOT / "mlflow_tracking/data/attacks"
PATTERNS = [rule for _, rule in RULES]
LINES = [
    line
    for file in (*sorted(ATTACKS.glob("*.jsonl")), ROOT / "README.ru.md", ROOT / "README.md")
    for line in file.read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("rule", PATTERNS, ids=[words[0] for words, _ in RULES])
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
@given(st.data())
def test_a_rule_is_tried_on_each_text_that_it_matches(
    rule: re.Pattern[str], data: st.DataObject
) -> None:
    # Spaces alone where any text may stand between two parts: else a text takes long to make.
    tighter = re.sub(r"\[\^[^]]+\]\{0,\d+\}", " {1,3}", rule.pattern)
    text = data.draw(st.from_regex(re.compile(tighter, rule.flags)))
    assert rule.search(text)
    assert rule in candidates(text)


def test_no_rule_that_matches_is_left_out() -> None:
    matched = 0
    for text in [*LINES, *ANSWERS.values()]:
        folded, _ = _fold(text)
        kept = candidates(folded)
        for rule in PATTERNS:
            if rule.search(folded):
                matched += 1
                assert rule in kept, (text, rule.pattern)
    assert matched > 100


def test_the_spans_of_the_attacks_are_the_same_as_with_all_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [line for file in sorted(ATTACKS.glob("*.jsonl")) for line in file.open("rb")]
    texts = [text for line in lines for text in json.loads(line).values()]
    spans = [find_spans(text) for text in texts]
    monkeypatch.setattr(manipulation, "candidates", lambda text: PATTERNS)
    assert spans == [find_spans(text) for text in texts]
    assert sum(map(bool, spans)) >= 40


@pytest.mark.parametrize("text", ["ſcore", "\u212aey of mar\u212a", "gıve"])
def test_letters_that_ignoring_case_makes_equal_leave_no_rule_out(text: str) -> None:
    alike = [re.compile("score", re.I), re.compile("mark", re.I), re.compile("give", re.I)]
    assert any(rule.search(text) for rule in alike)
    assert candidates(text) == PATTERNS


def test_a_rule_without_words_is_always_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = re.compile(r"\d\d")
    monkeypatch.setattr(rules, "RULES", [*RULES, ([""], rule)])
    assert candidates("") == [rule]


def test_few_rules_are_tried_on_an_honest_answer() -> None:
    answer = "Water boils at 100 degrees at sea level, where the air presses hardest on it."
    assert len(candidates(answer)) <= 10 < len(RULES)
