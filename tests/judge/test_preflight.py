"""Is a server that cannot judge found out before any row, with the remedy in the line?

python -m pytest tests/judge/test_preflight.py
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.judge.preflight import CheckedJudge, PreflightError, preflight
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.row_files import load_rows
from tests.support.experiment_process import Done, Workspace, call, numbered_rows, write_csv
from tests.support.judge_stub import (
    PREFLIGHT_CALLS,
    PREFLIGHT_CALLS_WITH_CLAIM,
    Call,
    JudgeStub,
    serving,
    true_score,
)
from tests.support.whole_answers import whole_answer_prompt

PROMPT = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt")
ROWS = [Item("What is item-1?", "It is item-1."), Item("What is item-2?", "Two. " * 200)]


@pytest.fixture
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


async def check(stub: JudgeStub, model: str = "", max_tokens: int = 256) -> CheckedJudge:
    wanted = JudgeSettings(model, PROMPT, max_tokens=max_tokens)
    return await preflight(stub.base_url, stub.api_key, wanted, ROWS)


async def refusal(stub: JudgeStub, model: str = "", max_tokens: int = 256) -> str:
    """The one line of a preflight that fails."""
    with pytest.raises(PreflightError) as refused:
        await check(stub, model, max_tokens)
    text = str(refused.value)
    assert "\n" not in text
    return text


async def test_a_healthy_server_is_found_with_all_that_changes_a_score(stub: JudgeStub) -> None:
    found = await check(stub)
    assert found.warnings == ()
    assert found.server_version == "0.32.0"
    settings = found.settings
    assert (settings.model, settings.model_root) == ("stub-judge", "/models/stub-judge")
    assert (settings.context_length, settings.constrained) == (8192, True)
    text = "\n".join(found.lines)
    for words in ("vLLM 0.32.0", "stub-judge", "8192 tokens", "honoured", "logprobs     yes"):
        assert words in text
    assert "(row 2)" in found.lines[-1]
    assert stub.tokenized == 1
    assert len(stub.calls) == PREFLIGHT_CALLS_WITH_CLAIM
    assert [call.body["max_tokens"] for call in stub.calls if not call.asks_claim] == [
        8,
        256,
        256,
        1,
    ]


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({}, [8, 256, "claim", 256, 1]),
        ({"score_only": True}, [8, 1, "claim"]),
        ({"score_only": True, "explain_below": 3}, [8, 1, "claim", 256]),
        ({"ask_claim": False}, [8, 256]),
        ({"ask_claim": False, "score_only": True}, [8, 1]),
    ],
    ids=["whole replies", "score only", "explained", "no claim", "no claim, score only"],
)
async def test_each_kind_of_request_is_rehearsed_once(
    stub: JudgeStub, changes: dict[str, Any], tokens: list[object]
) -> None:
    await preflight(stub.base_url, "", JudgeSettings("", PROMPT, **changes), ROWS)
    asked = ["claim" if call.asks_claim else call.body["max_tokens"] for call in stub.calls]
    assert asked == tokens


async def test_a_prompt_without_a_claim_rehearses_none(stub: JudgeStub) -> None:
    prompt = load_prompt(whole_answer_prompt("judge_prompt_en.txt"))
    await preflight(stub.base_url, "", JudgeSettings("", prompt), ROWS)
    assert len(stub.calls) == PREFLIGHT_CALLS
    assert not any(call.asks_claim for call in stub.calls)


async def test_the_model_can_be_named(stub: JudgeStub) -> None:
    assert (await check(stub, "stub-judge")).settings.model == "stub-judge"
    line = await refusal(stub, "other")
    assert "serves stub-judge, not other" in line
    assert "--model stub-judge" in line


async def test_a_server_that_ignores_the_constraint_is_noticed(stub: JudgeStub) -> None:
    stub.honours_constraint = False
    found = await check(stub)
    assert not found.settings.constrained
    [warning] = found.warnings
    assert "ignores structured_outputs" in warning
    assert "The sea is wide" in warning
    assert "constraint   IGNORED" in found.lines


async def test_a_server_without_log_probabilities_is_noticed(stub: JudgeStub) -> None:
    stub.sends_logprobs = False
    found = await check(stub)
    [warning] = found.warnings
    assert "no log probabilities" in warning
    assert "logprobs     NO" in found.lines


async def test_a_judge_that_thinks_first_is_noticed(stub: JudgeStub) -> None:
    stub.thinks = True
    found = await check(stub)
    warning, about_claims = found.warnings
    assert "whole answers are scored" in about_claims
    assert not found.settings.ask_claim
    assert "thinks before it answers" in warning
    assert "--max-tokens 2048" in warning
    assert "enable_thinking" in warning
    assert found.settings.constrained
    assert [call.body["max_tokens"] for call in stub.calls][:3] == [8, 2048, 256]


async def test_a_base_model_without_a_chat_template_is_refused(stub: JudgeStub) -> None:
    stub.has_chat_template = False
    line = await refusal(stub)
    assert "no chat template" in line
    assert "run_vllm_server.sh" in line


async def test_a_dead_engine_is_refused(stub: JudgeStub) -> None:
    stub.healthy = False
    line = await refusal(stub)
    assert "/health: HTTP 503, the engine is dead" in line
    assert "run_vllm_server.sh" in line


async def test_a_server_that_only_fails_is_refused(stub: JudgeStub) -> None:
    stub.faults = lambda call: "http_500"
    line = await refusal(stub)
    assert "cannot judge" in line
    assert "HTTP 500" in line
    assert len(stub.calls) == 4


async def test_a_server_that_fails_once_is_not(stub: JudgeStub) -> None:
    def once(call: Call) -> str:
        return "http_500" if call.nth == 1 else ""

    stub.faults = once
    assert (await check(stub)).settings.constrained


async def test_a_wrong_key_is_refused(stub: JudgeStub) -> None:
    stub.api_key = "secret"
    with pytest.raises(PreflightError, match="HTTP 401, wrong or missing key; set VLLM_API_KEY"):
        await preflight(stub.base_url, "other", JudgeSettings("", PROMPT), ROWS)


async def test_a_reply_that_leaves_no_room_for_a_row_is_refused(stub: JudgeStub) -> None:
    line = await refusal(stub, max_tokens=8192)
    assert "--max-tokens 8192" in line
    assert "8192 tokens" in line


async def test_a_row_beyond_the_context_is_told_by_its_number(stub: JudgeStub) -> None:
    stub.context_length = 800
    found = await check(stub)
    [warning] = found.warnings
    assert warning.startswith("row 2 has ")
    assert "context has 800" in warning
    assert "--on-too-long truncate" in warning


async def test_the_tokenizers_own_control_tokens_are_kept_out(stub: JudgeStub) -> None:
    stub.control_tokens = ("<|im_end|>", "<odd>", "@@END@@", " ")
    found = await check(stub)
    assert found.settings.control_tokens is not None
    assert found.settings.control_tokens.literals == {"<|im_end|>", "<odd>", "@@END@@"}
    assert any("3 tokens of the tokenizer" in line for line in found.lines)


async def test_a_server_that_is_no_vllm_can_judge(stub: JudgeStub) -> None:
    """No context length, no /tokenize, no log probabilities and no constraint."""
    stub.context_length, stub.counts_tokens = None, False
    stub.sends_logprobs = stub.honours_constraint = False
    found = await check(stub)
    assert found.settings.context_length is None
    assert len(found.warnings) == 2
    assert "context      unknown tokens" in found.lines


async def test_rows_that_would_leave_the_network_are_warned_of(
    stub: JudgeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda host: "8.8.8.8")
    [warning] = (await check(stub)).warnings
    assert "outside this machine and its network" in warning


# ---------------------------------------------------------------- through the command


def test_check_prints_what_it_found_and_makes_nothing(tmp_path: Path, stub: JudgeStub) -> None:
    workspace = Workspace(tmp_path, with_database=False)
    done = workspace.run("--check", base_url=stub.base_url, cwd=tmp_path)
    assert done.code == 0
    assert not done.problems
    for words in (stub.base_url, "stub-judge", "8192 tokens", "longest row"):
        assert words in done.out
    assert list(tmp_path.iterdir()) == []
    assert len(stub.calls) == PREFLIGHT_CALLS_WITH_CLAIM


def test_check_of_a_server_that_cannot_judge(
    tmp_path: Path, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.has_chat_template = False
    workspace = Workspace(tmp_path, with_database=False)
    done = call(workspace, capfd, "--check", base_url=stub.base_url)
    assert (done.code, done.out, len(done.problems)) == (2, "", 1)


def judged(workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]) -> Done:
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(3))
    return call(workspace, capfd, "--data", str(data), base_url=stub.base_url)


def test_where_the_constraint_is_ignored_the_strict_parser_decides_and_the_run_says_so(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.honours_constraint = False
    stub.faults = lambda call: "out_of_range" if call.row == "item-1" else ""
    done = judged(workspace, stub, capfd)
    assert done.code == 1
    assert "note: " in done.err
    assert "the strict parser alone" in done.err
    run = workspace.last_run()
    assert run.params["constrained"] == "False"
    table = run.table("judge_results.json")
    assert [row["score"] for row in table] == [
        None if n == 1 else true_score(f"item-{n}") for n in range(3)
    ]
    assert table[1]["status"] == "unparsable"
    rows = [call for call in stub.calls if call.row.startswith("item-")]
    assert all("structured_outputs" not in call.body for call in rows)
    assert {call.body["top_logprobs"] for call in rows if not call.asks_claim} == {20}
    assert all("top_logprobs" not in call.body for call in rows if call.asks_claim)


def test_without_log_probabilities_there_is_no_expected_score(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.sends_logprobs = False
    assert judged(workspace, stub, capfd).code == 0
    run = workspace.last_run()
    assert "llm_judge/expected_score_mean" not in run.metrics
    assert all(row["expected_score"] is None for row in run.table("judge_results.json"))


def test_a_dead_engine_makes_no_run(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.healthy = False
    done = judged(workspace, stub, capfd)
    assert (done.code, len(done.problems)) == (2, 1)
    assert workspace.runs() == []


# ---------------------------------------------------------------- the language of rows and prompt

ENGLISH_ROWS = [Item(f"What is item-{n} of the list?", f"It is the item {n}.") for n in range(12)]
RUSSIAN_ROWS = [Item(f"Что такое item-{n}?", f"Это предмет номер {n}.") for n in range(12)]
PROMPTS = ROOT / "mlflow_tracking/prompts"


async def notes_on(stub: JudgeStub, prompt: Path, rows: list[Item]) -> list[str]:
    judge = JudgeSettings("", load_prompt(prompt))
    found = await preflight(stub.base_url, "", judge, rows)
    return [line for line in found.warnings if "language" in line]


@pytest.mark.parametrize(
    ("prompt", "rows", "told"),
    [
        ("judge_prompt.txt", ENGLISH_ROWS, ("12 of 12 rows are in English", "judge_prompt_en.txt")),
        ("judge_prompt_en.txt", RUSSIAN_ROWS, ("in Russian, judge_prompt_en.txt is in English",)),
        (
            "judge_prompt_en.txt",
            RUSSIAN_ROWS,
            ("--prompt mlflow_tracking/prompts/judge_prompt.txt",),
        ),
        ("variants/short_question.txt", ENGLISH_ROWS, ("has no twin, write one in English",)),
    ],
)
async def test_rows_in_another_language_than_the_prompt_are_told_with_its_twin(
    stub: JudgeStub, prompt: str, rows: list[Item], told: tuple[str, ...]
) -> None:
    [note] = await notes_on(stub, PROMPTS / prompt, rows)
    assert all(words in note for words in told), note


@pytest.mark.parametrize(
    ("prompt", "rows"),
    [
        ("judge_prompt_en.txt", ENGLISH_ROWS),
        ("judge_prompt.txt", RUSSIAN_ROWS),
        ("judge_prompt.txt", ENGLISH_ROWS[:9]),
        ("judge_prompt.txt", [*ENGLISH_ROWS, *RUSSIAN_ROWS[:4]]),
        ("judge_prompt.txt", [Item(f"{n} + 1 = ?", f"{n + 1}") for n in range(12)]),
        ("judge_prompt.txt", load_rows(ROOT / "mlflow_tracking/data/evaluation_data.csv").items),
    ],
    ids=["English", "Russian", "few rows", "mixed rows", "no language", "shipped rows and prompt"],
)
async def test_nothing_is_said_of_the_language_without_need(
    stub: JudgeStub, prompt: str, rows: list[Item]
) -> None:
    assert await notes_on(stub, PROMPTS / prompt, rows) == []
