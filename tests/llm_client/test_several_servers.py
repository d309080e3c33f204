"""Do several servers share the rows, and does the death of one cost nothing but time?

python -m pytest tests/llm_client/test_several_servers.py
python -m pytest tests/llm_client/test_several_servers.py -m "not server"
"""

import asyncio
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from llm_client.caller import CallFailed, RetryPolicy, ServerGone
from llm_client.judge_client import JudgeClient
from llm_client.server_pool import ServerPool
from llm_client.settings import ROOT
from mlflow_tracking.judge.preflight import CheckedJudge, PreflightError, preflight
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item
from tests.conftest import KEY
from tests.llm_client.test_judge_client import ask
from tests.support.experiment_process import Recorded, Workspace, call, numbered_rows, write_csv
from tests.support.judge_stub import PREFLIGHT_CALLS_WITH_CLAIM, JudgeStub, serving, true_score
from tests.support.vllm_process import JudgeServer, VllmProcess
from tests.vllm_server.test_server_restart import PROMPT, wait_for_verdicts

ENGLISH = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt")
ONE_TRY = RetryPolicy(attempts=1, timeout_s=5, wait_for_server_s=5)


@pytest.fixture
def stubs() -> Iterator[list[JudgeStub]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(JudgeStub(retry_after="0"))) for _ in range(2)]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


def urls(stubs: list[JudgeStub]) -> str:
    return ",".join(stub.base_url for stub in stubs)


async def ask_all(
    stubs: list[JudgeStub], rows: int, at_once: int = 8, policy: RetryPolicy = ONE_TRY
) -> list[int]:
    """Ask about each row once; returns the attempts that each took."""
    waiting = iter(range(rows))
    attempts: list[int] = []
    async with JudgeClient(urls(stubs), "", policy) as client:

        async def work() -> None:
            for number in waiting:
                reply = await client.chat(ask(f"item-{number}"))
                assert reply.text.startswith(f"Score: {true_score(f'item-{number}')}\n")
                attempts.append(reply.attempts)

        await asyncio.gather(*(work() for _ in range(at_once)))
    return attempts


# -------------------------------------------------------------------------- which server is asked


async def test_equal_servers_get_equal_shares(stubs: list[JudgeStub]) -> None:
    for stub in stubs:
        stub.latency_s = 0.01
    assert await ask_all(stubs, 100) == [1] * 100
    shares = [len(stub.calls) for stub in stubs]
    assert sum(shares) == 100
    assert min(shares) >= 40
    assert max(stub.most_in_flight for stub in stubs) <= 5


async def test_a_server_that_is_four_times_as_fast_gets_most_rows(stubs: list[JudgeStub]) -> None:
    stubs[0].latency_s, stubs[1].latency_s = 0.01, 0.04
    await ask_all(stubs, 100)
    assert len(stubs[0].calls) > 1.8 * len(stubs[1].calls) > 0


async def test_one_call_after_the_other_takes_turns(stubs: list[JudgeStub]) -> None:
    await ask_all(stubs, 10, at_once=1)
    assert [len(stub.calls) for stub in stubs] == [5, 5]


def test_of_a_server_that_is_left_out_only_one_call_at_a_time_finds_out_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_client.server_pool._LEFT_OUT_S", 0.05)
    pool = ServerPool(["http://a/v1", "http://b/v1"])
    dead = pool.servers[0]
    pool.unreachable(dead)
    assert [pool.take(()).base_url for _ in range(3)] == ["http://b/v1"] * 3
    time.sleep(0.06)
    assert [pool.take(()) is dead for _ in range(3)] == [True, False, False]
    pool.answered(dead)
    assert [pool.take(()) is dead for _ in range(2)] == [True, True], "it has the fewest in flight"


# ---------------------------------------------------------------------------- a server that fails


@pytest.mark.parametrize(
    "fault", ["http_500", "http_503", "http_429", "reset", "cut_json", "http_401"]
)
async def test_a_call_that_fails_on_one_server_is_answered_by_the_other_at_once(
    stubs: list[JudgeStub], fault: str
) -> None:
    stubs[0].faults = lambda call: fault
    started = time.monotonic()
    attempts = await ask_all(stubs, 60, policy=RetryPolicy(attempts=1))
    assert time.monotonic() - started < 2
    assert len(stubs[1].calls) == 60
    assert set(attempts) == {1, 2}
    assert 1 <= len(stubs[0].calls) <= 12, "a server that fails at once must not draw the rows"


async def test_a_server_that_serves_another_model_since_its_restart_costs_no_row(
    stubs: list[JudgeStub],
) -> None:
    stubs[0].model = "another"
    await ask_all(stubs, 30)
    assert len(stubs[1].calls) == 30


async def test_a_server_that_hangs_holds_few_rows(stubs: list[JudgeStub]) -> None:
    stubs[0].faults = lambda call: "hang"
    await ask_all(stubs, 60, policy=RetryPolicy(attempts=1, timeout_s=0.5))
    assert len(stubs[1].calls) == 60
    assert len(stubs[0].calls) <= 8


@pytest.mark.parametrize("fault", ["http_500", "reset"])
async def test_a_row_that_no_server_can_take_fails_within_its_bound(
    stubs: list[JudgeStub], fault: str
) -> None:
    for stub in stubs:
        stub.faults = lambda call: fault
    async with JudgeClient(urls(stubs), "", RetryPolicy(attempts=2)) as client:
        with pytest.raises(CallFailed) as failed:
            await client.chat(ask())
    calls = sum(len(stub.calls) for stub in stubs)
    assert failed.value.attempts == calls == 3, "one that was free, and two"


async def test_an_answer_that_stays_the_same_is_not_asked_of_the_other(
    stubs: list[JudgeStub],
) -> None:
    for stub in stubs:
        stub.faults = lambda call: "http_400"
    async with JudgeClient(urls(stubs), "", ONE_TRY) as client:
        with pytest.raises(CallFailed):
            await client.chat(ask())
    assert sum(len(stub.calls) for stub in stubs) == 1


async def test_only_when_all_servers_are_away_the_judge_is_gone(stubs: list[JudgeStub]) -> None:
    policy = RetryPolicy(attempts=2, wait_for_server_s=0.5)
    async with JudgeClient(urls(stubs), "", policy) as client:
        stubs[0].stop()
        for number in range(4):
            await client.chat(ask(f"item-{number}"))
        stubs[1].stop()
        started = time.monotonic()
        with pytest.raises(ServerGone, match="not reached for") as gone:
            await client.chat(ask())
    assert time.monotonic() - started >= 0.5
    assert urls(stubs) in str(gone.value)


# --------------------------------------------------------------------------------- a run's judges


def assert_each_row_once(workspace: Workspace, run: Recorded, rows: int) -> None:
    verdicts = workspace.journal(run.id)
    assert len(verdicts) == len({verdict["key"] for verdict in verdicts}) == rows
    assert run.metrics["llm_judge/rows_scored"] == rows
    for row in run.table("judge_results.json"):
        assert row["score"] == true_score(row["inputs"])


def test_a_server_is_killed_in_the_middle_and_taken_back_when_it_answers_again(
    workspace: Workspace, stubs: list[JudgeStub]
) -> None:
    for stub in stubs:
        stub.latency_s = 0.03
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(1500))
    process = workspace.start(
        *("--data", str(data), "--no-claim", "--retries", "0", "--concurrency", "8"),
        base_url=urls(stubs),
    )
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(process.communicate()))
    reader.start()
    stubs[0].wait_for_calls(150)
    stubs[0].stop()
    before = len(stubs[0].calls)
    stubs[1].wait_for_calls(len(stubs[1].calls) + 150)
    stubs[0].start()
    reader.join(120)
    assert process.returncode == 0, output
    assert_each_row_once(workspace, workspace.last_run(), 1500)
    calls = stubs[0].calls_by_row() + stubs[1].calls_by_row()
    assert Counter(calls.values()).keys() <= {1, 2}
    twice = [row for row, number in calls.items() if number > 1]
    assert len(twice) <= 4, "only what was in flight on the dead server was asked again"
    assert len(stubs[0].calls) > before + 100, "it was not taken back"


def test_without_any_server_the_run_stops_and_says_how_to_go_on(
    workspace: Workspace, stubs: list[JudgeStub]
) -> None:
    for stub in stubs:
        stub.latency_s = 0.02
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(400))
    process = workspace.start(
        *("--data", str(data), "--no-claim", "--wait-for-server", "1", "--concurrency", "8"),
        *("--timeout", "10"),  # of a call whose connection a dying server leaves open
        base_url=urls(stubs),
    )
    stubs[0].wait_for_calls(60)
    for stub in stubs:
        stub.stop()
    _, err = process.communicate(timeout=150)
    assert process.returncode == 1, err
    assert f"stopped: {urls(stubs)}: not reached for" in err
    assert "--resume" in err.splitlines()[-1]
    for stub in stubs:
        stub.start()
        stub.forget()
    run_id = workspace.last_run().id
    kept = len(workspace.journal(run_id))
    flags = ("--data", str(data), "--no-claim", "--resume", run_id)
    done = workspace.run(*flags, base_url=urls(stubs))
    assert done.code == 0, done.err
    assert_each_row_once(workspace, workspace.last_run(), 400)
    assert sum(len(stub.calls_by_row()) for stub in stubs) == 400 - kept


def test_servers_with_different_models_are_refused_before_any_row(
    workspace: Workspace, stubs: list[JudgeStub], capfd: pytest.CaptureFixture[str]
) -> None:
    stubs[1].model = "another"
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(3))
    done = call(workspace, capfd, "--data", str(data), base_url=urls(stubs))
    assert done.code == 2
    [problem] = done.problems
    for words in ("serves stub-judge", "serves another", "--model", stubs[1].base_url):
        assert words in problem
    assert workspace.runs() == []
    assert not stubs[0].calls_by_row()


# ---------------------------------------------------------------------------------- the preflight


async def check(base_url: str) -> CheckedJudge:
    rows = [Item("What is item-1?", "It is item-1.")]
    return await preflight(base_url, "", JudgeSettings("", ENGLISH), rows)


async def test_the_preflight_checks_every_server_and_takes_the_smallest_context(
    stubs: list[JudgeStub],
) -> None:
    stubs[1].context_length = 4096
    stubs[1].root = "/elsewhere"
    found = await check(urls(stubs))
    assert [len(stub.calls) for stub in stubs] == [PREFLIGHT_CALLS_WITH_CLAIM] * 2
    assert found.settings.context_length == 4096
    text = "\n".join(found.lines)
    assert "context      4096 tokens" in text
    for stub in stubs:
        assert f"server       {stub.base_url} (vLLM 0.32.0)" in text
    assert len(found.warnings) == 2
    assert "context_length 8192" in found.warnings[1]
    assert "/elsewhere" in found.warnings[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param({"healthy": False}, "the engine is dead", id="a dead engine"),
        pytest.param({"api_key": "other"}, "key", id="another key"),
        pytest.param({"has_chat_template": False}, "no chat template", id="no chat template"),
    ],
)
async def test_one_server_that_cannot_judge_is_named(
    stubs: list[JudgeStub], change: dict[str, Any], told: str
) -> None:
    for name, value in change.items():
        setattr(stubs[1], name, value)
    with pytest.raises(PreflightError, match=told) as refused:
        await check(urls(stubs))
    assert f":{stubs[1].port}/" in str(refused.value)


async def test_one_server_that_does_not_run_is_named(stubs: list[JudgeStub]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{probe.getsockname()[1]}/v1"
    with pytest.raises(PreflightError, match="no server answers") as refused:
        await check(f"{stubs[0].base_url},{nobody}")
    assert nobody in str(refused.value)


async def test_one_server_that_ignores_the_constraint_leaves_it_to_the_parser(
    stubs: list[JudgeStub],
) -> None:
    stubs[0].honours_constraint = False
    found = await check(urls(stubs))
    assert not found.settings.constrained


# ------------------------------------------------------------------------------ two real servers


@pytest.mark.server
def test_two_real_servers_share_a_run_and_one_is_killed_in_its_middle(
    twin_servers: tuple[JudgeServer, JudgeServer],
    vllm_processes: dict[str, VllmProcess],
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    before = [requests_finished(server) for server in twin_servers]  # by other tests
    (tmp_path / "prompt.txt").write_text(PROMPT, "utf-8")
    data = write_csv(tmp_path / "rows.csv", numbered_rows(600))
    process = workspace.start(
        *("--data", str(data), "--prompt", str(tmp_path / "prompt.txt"), "--max-tokens", "40"),
        *("--concurrency", "8", "--retries", "0"),
        base_url=",".join(server.base_url for server in twin_servers),
        settings={"VLLM_API_KEY": KEY},
    )
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(process.communicate()))
    reader.start()
    wait_for_verdicts(workspace, process, 100)
    while min(asked := finished_since(before, twin_servers)) < 5:
        assert process.poll() is None, f"the work was not shared: {asked}"
        time.sleep(0.2)
    dead, survivor = vllm_processes["twin"], twin_servers[1]
    os.killpg(dead.process.pid, signal.SIGKILL)  # its own session: nothing else dies
    dead.process.wait(10)
    killed_at = time.monotonic()
    assert process.poll() is None, "the server died after the last row"
    reader.join(300)
    tries = (time.monotonic() - killed_at) / 2 + 1  # of the dead one, each by a row
    assert process.returncode == 0, output
    verdicts = workspace.journal(workspace.last_run().id)
    assert len(verdicts) == len({verdict["key"] for verdict in verdicts}) == 600
    assert all(verdict["scores"] for verdict in verdicts)
    again = [verdict for verdict in verdicts if verdict["attempts"] > 1]
    assert 1 <= len(again) <= 8 + tries, "only what was in flight was asked twice"
    canaries, lost_on_the_way = 2, 8  # a reply that the dead one had sent may not have come
    done = asked[0] + requests_finished(survivor) - before[1]
    assert done <= 600 + canaries + lost_on_the_way, "rows were judged twice"


def finished_since(before: Sequence[int], servers: Sequence[JudgeServer]) -> list[int]:
    """Each server's finished requests, less those that it had `before`."""
    return [requests_finished(s) - count for s, count in zip(servers, before, strict=True)]


def requests_finished(server: JudgeServer) -> int:
    """What vLLM's own counter says."""
    text = requests.get(f"{server.root_url}/metrics", timeout=10).text
    lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total")]
    return int(sum(float(line.rpartition(" ")[2]) for line in lines))
