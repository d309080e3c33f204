"""What is a doubt, what is wrong, and does a rule come back as it was written?

python -m pytest tests/validation/test_decision_rule.py
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.validation.decision_rule import (
    DISTANCE,
    ENTROPY,
    PROMPTS,
    DecisionRule,
    RuleError,
    check_rule,
    doubt,
    is_wrong,
    judged_by,
    read_rule,
    signals_of,
)

JUDGE = JudgeSettings(
    "m", load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt"), "root"
)
FAILED = Verdict(Status.TIMEOUT)


def scored(value: int, *probabilities: float) -> Verdict:
    return Verdict(Status.OK, scores={"Score": Score(value, probabilities or None)})


SURE, TORN = scored(5, 0, 0, 0, 0, 1), scored(5, 0.5, 0, 0, 0, 0.5)


@pytest.mark.parametrize(
    ("signal", "verdict", "second", "expected"),
    [
        (ENTROPY, SURE, None, 0.0),
        (ENTROPY, TORN, None, 1.0),
        (DISTANCE, SURE, None, 0.0),
        (DISTANCE, TORN, None, 2.0),  # the expected 3 is whole, and as far from sure as can be
        (PROMPTS, SURE, TORN, 2.0),
        (PROMPTS, SURE, scored(4), 1.0),
        (ENTROPY, scored(5), None, None),
        (DISTANCE, scored(5), None, None),
        (PROMPTS, SURE, None, None),
        (PROMPTS, SURE, FAILED, None),
        (ENTROPY, FAILED, None, None),
        (PROMPTS, None, SURE, None),
    ],
)
def test_a_doubt_is_small_where_the_judge_is_sure_and_none_where_nothing_is_known(
    signal: str, verdict: Verdict | None, second: Verdict | None, expected: float | None
) -> None:
    assert doubt(signal, verdict, second) == expected


@pytest.mark.parametrize(
    ("verdict", "human", "binary", "wrong"),
    [
        (scored(4), 5, False, False),
        (scored(3), 5, False, True),
        (scored(4), 3 - 1 / 3, False, True),
        (scored(3), 3 + 2 / 3 + 1 / 3, False, False),
        (scored(5), 1, True, False),
        (scored(5), 0, True, True),
        (scored(5, 0.6, 0, 0, 0, 0.4), 1, True, True),  # the finest score is 2.6
        (scored(3), 0, True, False),  # a 3 is not above 3
        (FAILED, 5, False, False),
    ],
)
def test_wrong_is_more_than_a_point_or_the_other_side(
    verdict: Verdict, human: float, binary: bool, wrong: bool
) -> None:
    assert is_wrong(verdict, human, binary) is wrong


def test_signals_are_greater_where_the_judge_is_surer() -> None:
    [(name, column)] = signals_of([SURE, TORN, FAILED], None, distance=False).items()
    assert (name, column) == (ENTROPY, [0.0, -1.0, None])
    assert list(signals_of([SURE], [TORN], distance=True)) == [ENTROPY, DISTANCE, PROMPTS]


def rule(**changes: object) -> DecisionRule:
    made = DecisionRule(
        signal=ENTROPY,
        threshold=0.1 + 0.2,
        max_wrong=0.1,
        confidence=0.95,
        wrong_means="by more than a point",
        graded_rows=100,
        decided=60,
        wrong=1,
        upper_bound=0.08,
        coverage=0.6,
        data_sha256="0" * 64,
        second_prompt="",
        judged_by=judged_by(JUDGE),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("threshold", [0.1 + 0.2, None])
def test_a_rule_comes_back_as_it_was(tmp_path: Path, threshold: float | None) -> None:
    path, made = tmp_path / "rule.json", rule(threshold=threshold)
    path.write_text(made.text())
    assert read_rule(path) == made


@pytest.mark.parametrize(
    "changes",
    [
        {"signal": "mood"},
        {"threshold": "low"},
        {"max_wrong": "0.1"},
        {"second_prompt": None},
        {"judged_by": {}},
        {"more": 1},
    ],
    ids=str,
)
def test_what_is_no_rule_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    path = tmp_path / "rule.json"
    path.write_text(json.dumps({**json.loads(rule().text()), **changes}))
    with pytest.raises(RuleError, match="is no decision rule"):
        read_rule(path)


def test_decided_is_what_is_below_the_threshold() -> None:
    whole, half = rule(threshold=None), rule(threshold=1.0)
    assert [half.decides(one) for one in (SURE, TORN, FAILED, None)] == [True, False, False, False]
    assert [whole.decides(one) for one in (SURE, TORN, FAILED)] == [True, True, False]
    both = rule(signal=PROMPTS, threshold=2.0)
    assert [both.decides(SURE, one) for one in (SURE, TORN, None)] == [True, False, False]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (replace(JUDGE, model_root="other"), "judge is 'other' here and 'root' there"),
        (replace(JUDGE, ask_claim=False), "claim is 'not asked' here and 'mean counts' there"),
        (replace(JUDGE, score_only=True), "score_only is True here and False there"),
    ],
)
def test_a_rule_is_for_one_judge(settings: JudgeSettings, told: str) -> None:
    check_rule(Path("rule.json"), rule(), JUDGE)
    check_rule(Path("rule.json"), rule(), replace(JUDGE, model="alias", explain_below=3))
    with pytest.raises(RuleError, match=told):
        check_rule(Path("rule.json"), rule(), settings)
