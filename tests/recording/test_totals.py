"""What is a verdict, and what do all verdicts of a run come to? Every row is counted once.

python -m pytest tests/recording/test_totals.py
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client.settings import ROOT
from mlflow_tracking.judge.journal import record_line
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.verdict import FAILURES, Score, Status, Verdict
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.scale import ONE_TO_FIVE

PROMPTS = ROOT / "mlflow_tracking/prompts"
PROMPT = load_prompt(PROMPTS / "judge_prompt_en.txt")
CRITERIA = load_prompt(PROMPTS / "judge_prompt_criteria.txt")
SURE = (0.0, 0.0, 0.0, 0.0, 1.0)


def scored(value: int, probabilities: tuple[float, ...] | None = None, **more: object) -> Verdict:
    verdict = Verdict(Status.OK, scores={"Score": Score(value, probabilities)}, calls=1, attempts=1)
    return replace(verdict, justification="Why.", **more)  # type: ignore[arg-type]


# --- verdicts -------------------------------------------------------------------------------

TEXT = st.text(max_size=20)
SHARES = st.one_of(st.none(), st.tuples(*[st.floats(0, 1)] * 5), st.just((0.1, 0.2, 0.3, 0.4, 0.0)))
ONE_SCORE = st.builds(Score, st.sampled_from(ONE_TO_FIVE.values), SHARES)
OTHER_SCORE = st.one_of(
    st.builds(Score, st.integers(0, 10), st.just(None), st.just(tuple(range(11)))),
    st.builds(Score, st.just(3), st.just((0.5, 0.25, 0.25)), st.just((1, 2, 3))),
    st.builds(Score, st.floats(1, 5), st.just(None), mean=st.one_of(st.none(), st.floats(1, 5))),
)
SCORES = st.dictionaries(TEXT, ONE_SCORE, min_size=1, max_size=6)
COMMON = {
    "reason": TEXT,
    "raw_reply": TEXT,
    "finish_reason": TEXT,
    "prompt_tokens": st.integers(0, 10**6),
    "completion_tokens": st.integers(0, 10**6),
    "cached_tokens": st.integers(0, 10**6),
    "latency_s": st.floats(0, 10**4),
    "calls": st.integers(0, 9),
    "attempts": st.integers(0, 9),
    "ended_at": st.floats(0, 2e9),
    "answer_truncated": st.booleans(),
    "judged_answer": TEXT,
    "claim": TEXT,
    "claim_not_in_answer": st.booleans(),
    "invented_quote": TEXT,
    "claim_score": st.one_of(st.none(), ONE_SCORE),
    "answer_score": st.one_of(st.none(), ONE_SCORE),
}
WITH_SCORE = st.builds(
    Verdict,
    status=st.sampled_from([Status.OK, Status.TRUNCATED]),
    scores=SCORES,
    justification=TEXT,
    **COMMON,
)
WITHOUT = st.builds(Verdict, status=st.sampled_from(FAILURES), **COMMON)
VERDICTS = st.one_of(WITH_SCORE, WITHOUT)


@settings(max_examples=150, deadline=None)
@given(VERDICTS)
def test_a_verdict_survives_json(verdict: Verdict) -> None:
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict
    line = record_line("a key", verdict)
    assert "\n" not in line
    assert "\r" not in line
    data = json.loads(line)
    assert data.pop("key") == "a key"
    assert Verdict.from_json(data) == verdict


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(TEXT, OTHER_SCORE, min_size=1, max_size=6), OTHER_SCORE)
def test_a_verdict_of_another_scale_survives_json(scores: dict[str, Score], claim: Score) -> None:
    verdict = Verdict(Status.OK, scores=scores, claim_score=claim)
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json()))) == verdict


def test_a_verdict_of_a_journal_of_before_is_read() -> None:
    data = scored(2).to_json()
    del data["invented_quote"]
    assert Verdict.from_json(data) == scored(2)


def test_the_last_score_is_the_overall_one_after_json_too() -> None:
    scores = {"B": Score(1), "A": Score(2), "Overall": Score(4, SURE)}
    verdict = Verdict(Status.OK, scores=scores)
    again = Verdict.from_json(json.loads(json.dumps(verdict.to_json())))
    assert list(again.scores) == ["B", "A", "Overall"]
    assert again.overall == verdict.overall == Score(4, SURE)


def test_a_verdict_without_scores_has_no_number() -> None:
    for status in FAILURES:
        verdict = Verdict(status, "why")
        assert verdict.failed
        assert verdict.overall is None
    assert not scored(1).failed


def test_the_statuses_are_the_ones_that_are_promised() -> None:
    assert [str(status) for status in Status] == [
        "ok",
        "unparsable",
        "truncated",
        "too_long",
        "http_error",
        "timeout",
        "empty_input",
        "no_answer",
    ]
    assert set(FAILURES) == set(Status) - {Status.OK}


@pytest.mark.parametrize(
    "change",
    [
        {"status": "excellent"},
        {"status": None},
        {"scores": []},
        {"scores": None},
        {"scores": {}},
        {"scores": {"Score": 5}},
        {"scores": {"Score": {"value": 5}}},
        {"scores": {"Score": {"value": 6, "probabilities": None}}},
        {"scores": {"Score": {"value": 0, "probabilities": None}}},
        {"scores": {"Score": {"value": "5", "probabilities": None}}},
        {"scores": {"Score": {"value": 5.5, "probabilities": None}}},
        {"scores": {"Score": {"value": None, "probabilities": None}}},
        {"scores": {"Score": {"value": 5, "probabilities": [1.0]}}},
        {"status": "http_error"},
        {"status": "unparsable"},
        {"claim_score": 5},
        {"claim_score": {"value": 6, "probabilities": None}},
        {"answer_score": {"value": 5, "probabilities": [1.0]}},
        {"suspected_manipulation": True},
        {"a_field_of_another_version": 1},
    ],
    ids=lambda change: json.dumps(change)[:50],
)
def test_what_is_no_verdict_is_not_read_as_one(change: dict[str, object]) -> None:
    data = scored(5).to_json() | change
    with pytest.raises((KeyError, TypeError, ValueError)):
        Verdict.from_json(data)


@pytest.mark.parametrize("name", ["status", "scores", "claim_score", "answer_score"])
def test_a_verdict_without_a_part_is_not_read(name: str) -> None:
    data = scored(5).to_json()
    del data[name]
    with pytest.raises(KeyError):
        Verdict.from_json(data)


# --- totals ---------------------------------------------------------------------------------


def totals(verdicts: Sequence[Verdict | None], judged_s: float = 2.0) -> dict[str, float]:
    found = metrics_of(verdicts, PROMPT, judged_s)
    return {
        name.removeprefix("llm_judge/"): value
        for name, value in found.items()
        if name.startswith("llm_judge/")
    }


def metrics_of(
    verdicts: Sequence[Verdict | None], prompt: JudgePrompt, judged_s: float = 2.0
) -> dict[str, float]:
    found = Totals(prompt)
    found.add(verdicts)
    return found.metrics(len(verdicts), judged_s)


def score_metrics(verdicts: Sequence[Verdict | None], prompt: JudgePrompt) -> dict[str, float]:
    """`llm_judge_accuracy/v1/mean` and its like."""
    found = metrics_of(verdicts, prompt)
    return {name: value for name, value in found.items() if not name.startswith("llm_judge/")}


def is_honest(metrics: dict[str, float]) -> bool:
    reasons = ["not_judged", *map(str, FAILURES)]
    return (
        metrics["rows_total"] == metrics["rows_scored"] + metrics["rows_failed"]
        and metrics["rows_failed"] == sum(metrics[f"rows_{reason}"] for reason in reasons)
        and all(math.isfinite(value) for value in metrics.values())
    )


MIXED: list[Verdict | None] = [
    scored(5, SURE, prompt_tokens=100, completion_tokens=20, cached_tokens=50, latency_s=1.0),
    scored(
        3,
        (0.0, 0.0, 0.5, 0.5, 0.0),
        claim="what it does not say",
        claim_not_in_answer=True,
        invented_quote="a % 1; Lyon",
        prompt_tokens=10,
        completion_tokens=2,
        latency_s=3.0,
    ),
    Verdict(Status.UNPARSABLE, "prose", prompt_tokens=10, calls=1, attempts=1, latency_s=2.0),
    Verdict(Status.TRUNCATED, "cut", calls=1, attempts=1, latency_s=2.0),
    replace(scored(2), status=Status.TRUNCATED, latency_s=2.0, justification="Cut […]"),
    Verdict(Status.TOO_LONG, "9000", prompt_tokens=9000),
    Verdict(Status.HTTP_ERROR, "500", calls=1, attempts=6),
    Verdict(Status.TIMEOUT, "slow", calls=1, attempts=6),
    Verdict(Status.EMPTY_INPUT, "no answer"),
    Verdict(Status.NO_ANSWER, "the model wrote nothing"),
    None,
    scored(1, claim_score=Score(1), answer_score=Score(5), calls=2, attempts=3, latency_s=4.0),
]


def test_every_row_is_scored_or_in_exactly_one_count() -> None:
    metrics = totals(MIXED)
    assert is_honest(metrics)
    assert metrics["rows_total"] == 12
    assert metrics["rows_scored"] == 4
    assert metrics["rows_not_judged"] == 1
    for status in FAILURES:
        assert metrics[f"rows_{status}"] == 1, status
    assert metrics["rows_justification_cut"] == 1
    assert metrics["rows_suspected_manipulation"] == 1
    assert metrics["rows_claim_not_in_answer"] == 1
    assert metrics["rows_invented_quote"] == 1


def test_the_mean_stands_between_its_bounds() -> None:
    metrics = totals(MIXED)
    assert metrics["mean_if_failed_are_1"] == pytest.approx((5 + 3 + 2 + 1 + 8 * 1) / 12)
    assert metrics["mean_if_failed_are_5"] == pytest.approx((5 + 3 + 2 + 1 + 8 * 5) / 12)
    all_there = totals([scored(2), scored(4)])
    assert all_there["mean_if_failed_are_1"] == all_there["mean_if_failed_are_5"] == 3.0


def test_costs_are_those_of_the_calls_that_were_made() -> None:
    metrics = totals(MIXED, judged_s=5.5)
    assert metrics["prompt_tokens"] == 120, "a row that was too long cost no call"
    assert metrics["cached_prompt_tokens"] == 50
    assert metrics["completion_tokens"] == 22
    assert metrics["retries"] == 5 + 5 + 1, "a row with a claim takes two calls without a retry"
    latencies = [1.0, 3.0, 2.0, 2.0, 2.0, 4.0]
    assert metrics["latency_p50_s"] == pytest.approx(np.percentile(latencies, 50))
    assert metrics["latency_p95_s"] == pytest.approx(np.percentile(latencies, 95))
    assert metrics["rows_per_second"] == pytest.approx(12 / 5.5)


def test_equal_rows_count_as_rows_and_cost_one_call() -> None:
    one = scored(4, prompt_tokens=100)
    metrics = totals([one, one, one])
    assert metrics["rows_scored"] == 3
    assert metrics["prompt_tokens"] == 100


def test_the_expected_score_is_the_mean_over_rows_that_have_one() -> None:
    assert totals(MIXED)["expected_score_mean"] == pytest.approx((5.0 + 3.5) / 2)
    assert "expected_score_mean" not in totals([scored(4), None])


@pytest.mark.parametrize(
    "verdicts",
    [
        [],
        [None, None],
        [Verdict(Status.HTTP_ERROR, "dead", calls=1, attempts=6)] * 3,
        [Verdict(status, "x") for status in FAILURES],
    ],
    ids=["no-rows", "not-judged", "dead-server", "one-of-each"],
)
def test_a_run_without_a_score_has_no_mean_and_no_nan(verdicts: list[Verdict | None]) -> None:
    metrics = totals(verdicts, judged_s=0.0)
    assert is_honest(metrics)
    assert metrics["rows_scored"] == 0
    assert score_metrics(verdicts, PROMPT) == {}
    assert "expected_score_mean" not in metrics
    assert "rows_per_second" not in metrics
    if verdicts:
        assert metrics["mean_if_failed_are_1"] == 1
        assert metrics["mean_if_failed_are_5"] == 5


@pytest.mark.parametrize(
    "values", [[3], [1, 5], [1, 2, 2, 3, 5, 5, 5], [4] * 10], ids=["one", "two", "seven", "equal"]
)
def test_the_aggregates_are_numpys(values: list[int]) -> None:
    metrics = score_metrics([*map(scored, values), None], PROMPT)
    assert metrics == {
        "llm_judge_accuracy/v1/mean": pytest.approx(np.mean(values)),
        "llm_judge_accuracy/v1/median": pytest.approx(np.median(values)),
        "llm_judge_accuracy/v1/variance": pytest.approx(np.var(values)),
        "llm_judge_accuracy/v1/p90": pytest.approx(np.percentile(values, 90)),
    }


def test_each_criterion_has_its_own_metric() -> None:
    labels = CRITERIA.format.scores
    verdict = Verdict(Status.OK, scores={label: Score(at + 1) for at, label in enumerate(labels)})
    metrics = score_metrics([verdict, None, Verdict(Status.TIMEOUT, "slow")], CRITERIA)
    means = {name: value for name, value in metrics.items() if name.endswith("/mean")}
    assert sorted(means.values()) == [1, 2, 3, 4, 5]
    assert means["llm_judge_accuracy/v1/mean"] == 5, "the last score is the overall one"
    assert len(metrics) == 4 * len(labels)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.none(), VERDICTS), max_size=30))
def test_the_totals_of_any_verdicts_are_honest(verdicts: list[Verdict | None]) -> None:
    metrics = totals(verdicts)
    assert is_honest(metrics)
    values = [v.overall.value for v in verdicts if v and v.overall]
    assert metrics["rows_scored"] == len(values)
    if values:
        low, high = metrics["mean_if_failed_are_1"], metrics["mean_if_failed_are_5"]
        assert low - 1e-9 <= np.mean(values) <= high + 1e-9
