"""Does the preflight promise what a row will get, from every odd server that somebody met?

python -m pytest tests/judge/test_odd_servers.py
"""

import asyncio
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from llm_client.caller import JudgingStopped, RetryPolicy
from llm_client.settings import ROOT
from mlflow_tracking.custom_metrics import evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.preflight import CheckedJudge, PreflightError, preflight
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item
from tests.support.odd_server import MODES, limited, odd_server

PROMPT = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt.txt")
ROWS = [Item(f"What is item-{n}?", f"It is item-{n}.") for n in (1, 2, 3)]
OK = ("ok", "ok", "ok")


@dataclass(frozen=True)
class Expected:
    """What the preflight says, and what becomes of the rows."""

    rows: tuple[str, ...] = OK  # their statuses
    told: str = ""  # in a note of the preflight or, without any rows, in its refusal
    expected_scores: bool = True
    reason: str = ""  # in that of the rows


# By the mode; a mode without an expectation fails the first test.
WHOLE = {
    "vllm": Expected(),
    "no_system_role": Expected(told="no system role"),
    "alternating_roles": Expected(told="no system role"),
    "few_alternatives": Expected(told="at most 5 alternatives"),
    "no_max_tokens": Expected(told="max_completion_tokens in place of max_tokens"),
    "no_seed": Expected(told="takes no seed"),
    "no_temperature": Expected(told="takes no temperature"),
    "no_structured_outputs": Expected(told="ignores structured_outputs"),
    "no_logprobs": Expected(told="no log probabilities", expected_scores=False),
    "no_continue": Expected(),
    "no_stream": Expected(told="takes no stream"),
    "no_extra_field": Expected(told="ignores structured_outputs"),
    "grammar": Expected(told="held to the form by grammar"),
    "json_schema": Expected(told="held to the form by response_format"),
    "unconstrained": Expected(told="ignores structured_outputs"),
    "broken_off": Expected((), "broke the reply off (abort)"),
    "fails_twice": Expected(),
    "error_in_a_200": Expected(),
    "filtered": Expected(("unparsable",) * 3, reason="filter let no answer through"),
    "calls_a_tool": Expected(("unparsable",) * 3, reason="called a tool"),
    "only_reasoning": Expected(expected_scores=False, told="no log probabilities"),
    "null_alternative": Expected(),
    "legacy_logprobs": Expected(expected_scores=False, told="no log probabilities"),
    "no_usage": Expected(),
    "says_no_end": Expected(("ok", "truncated", "ok"), reason="not told"),
    "streams_unless_told": Expected(),
    "always_streams": Expected(expected_scores=False, told="no log probabilities"),
    "used_up": Expected((), "exceeded your current quota"),
    "too_long_llama": Expected(("too_long",) * 3),
    "too_long_tgi": Expected(("too_long",) * 3),
    "too_long_litellm": Expected(("too_long",) * 3),
    "count_is_forbidden": Expected(),
    "several_models": Expected(),
    "several_judges": Expected((), "say which judges, such as --model judge-7b"),
}
# With --score-only, where that is not the same.
AGAIN = "continue_final_message, so that the label is asked for, too"
SCORE_ONLY = {
    "few_alternatives": Expected(told=AGAIN),
    "no_structured_outputs": Expected(told=AGAIN),
    "no_extra_field": Expected(told=AGAIN),
    "no_continue": Expected(told=AGAIN),
    "grammar": Expected(told=AGAIN),
    "json_schema": Expected(told="held to the form by response_format"),
    "unconstrained": Expected(told=AGAIN),
    "says_no_end": Expected(("ok", "unparsable", "ok")),
}
# Scores of a token each, and whole replies to explain them.
CLAIM = {"says_no_end": SCORE_ONLY["says_no_end"]}
OTHERWISE: dict[str, dict[str, Expected]] = {
    "whole answer": {},
    "claim": CLAIM,
    "score-only": SCORE_ONLY,
}


def checked(base_url: str, **changes: bool) -> CheckedJudge:
    wanted = replace(JudgeSettings("", PROMPT), **changes)  # type: ignore[arg-type]  # flags
    return asyncio.run(preflight(base_url, "", wanted, ROWS))


def judged(base_url: str, found: CheckedJudge, journal: Path) -> list[Verdict]:
    policy = RetryPolicy(attempts=4, wait_for_server_s=0)
    kept = Journal(journal, {})
    judge = JudgeConnection(base_url, "", found.settings, kept, 3, policy)
    answers, questions = [item.answer for item in ROWS], [item.question for item in ROWS]
    try:
        return evaluate_with_llm_judge(answers, questions, judge=judge)
    finally:
        kept.close()


def test_every_mode_has_an_expectation() -> None:
    assert set(WHOLE) == set(MODES)


@pytest.mark.parametrize("kind", ["whole answer", "claim", "score-only"])
@pytest.mark.parametrize("mode", MODES)
def test_what_the_preflight_promises_is_what_a_row_gets(
    mode: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_client.judge_client._BACKOFF_S", 0.02)
    expected = OTHERWISE[kind].get(mode, WHOLE[mode])
    asked = {"score_only": kind == "score-only", "ask_claim": kind != "whole answer"}
    with odd_server(mode) as base_url:
        if not expected.rows:
            with pytest.raises(PreflightError, match=re.escape(expected.told)) as refused:
                checked(base_url, **asked)
            assert "\n" not in str(refused.value)
            assert "{" not in str(refused.value), "a raw dump"
            return
        found = checked(base_url, **asked)
        verdicts = judged(base_url, found, tmp_path / "journal.jsonl")
    assert expected.told in " ".join(found.warnings)
    assert tuple(str(verdict.status) for verdict in verdicts) == expected.rows
    for verdict in verdicts:
        assert bool(verdict.scores) == (verdict.status in ("ok", "truncated"))
        assert "{" not in verdict.reason or "not JSON" in verdict.reason, "a raw dump"
        if verdict.overall:
            assert bool(verdict.claim) == (kind != "whole answer"), "each of them can quote"
            assert not verdict.claim_not_in_answer
            assert verdict.overall.value == 4
            known = verdict.overall.expected is not None
            assert known == expected.expected_scores, verdict
    if expected.reason and kind != "score-only":
        assert any(expected.reason in verdict.reason for verdict in verdicts)


def test_low_scores_are_explained_where_a_reply_is_not_gone_on_with(tmp_path: Path) -> None:
    """By a constraint that allows the given score alone."""
    with odd_server("grammar") as base_url:
        wanted = replace(JudgeSettings("", PROMPT), score_only=True, explain_below=5)
        found = asyncio.run(preflight(base_url, "", wanted, ROWS))
        verdicts = judged(base_url, found, tmp_path / "journal.jsonl")
    assert [v.justification for v in verdicts] == ["Ответ верен."] * 3
    assert {verdict.calls for verdict in verdicts} == {4}, "the claim, two scores, and why"


@pytest.mark.parametrize("mode", ["vllm", "grammar", "json_schema", "no_continue", "unconstrained"])
def test_probes_are_rehearsed_beside_whole_replies(mode: str, tmp_path: Path) -> None:
    """Or a validation would lose all of theirs where a reply is not gone on with."""
    with odd_server(mode) as base_url:
        wanted = JudgeSettings("", PROMPT)
        found = asyncio.run(preflight(base_url, "", wanted, ROWS, probes=True))
        probe = replace(found, settings=found.settings.for_probes())
        verdicts = judged(base_url, probe, tmp_path / "journal.jsonl")
        whole = judged(base_url, found, tmp_path / "whole.jsonl")
    assert probe.settings.score_only == (mode != "unconstrained")
    assert [str(one.status) for one in (*verdicts, *whole)] == [*OK, *OK]


def test_without_any_constraint_low_scores_cannot_be_explained(tmp_path: Path) -> None:
    wanted = replace(JudgeSettings("", PROMPT), score_only=True, explain_below=5)
    with odd_server("unconstrained") as base_url, pytest.raises(PreflightError, match="--explain"):
        asyncio.run(preflight(base_url, "", wanted, ROWS))


def test_a_rate_limit_is_waited_out_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_client.judge_client._BACKOFF_MAX_S", 0.3)
    with limited(per_window=2, window_s=1.5) as base_url:
        found = checked(base_url)
        started = time.monotonic()
        verdicts = judged(base_url, found, tmp_path / "journal.jsonl")
    assert [str(verdict.status) for verdict in verdicts] == list(OK)
    assert time.monotonic() - started > 1.5
    assert "limits the rate (HTTP 429)" in caplog.text


def test_a_quota_that_is_used_up_ends_the_run_early(tmp_path: Path) -> None:
    with odd_server("vllm") as base_url:
        found = checked(base_url)
    with odd_server("used_up") as base_url, pytest.raises(JudgingStopped, match="current quota"):
        judged(base_url, found, tmp_path / "journal.jsonl")
