"""Does the number of calls in flight find what the server can do, and give way when it is full?

python -m pytest tests/llm_client/test_adaptive_limit.py
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client.adaptive_limit import AT_FEW, AT_FIRST, MOST, AdaptiveLimit
from llm_client.caller import CallFailed, RetryPolicy
from llm_client.judge_client import JudgeClient
from llm_client.server_pool import ServerLoad, server_load
from llm_client.settings import ROOT
from mlflow_tracking.custom_metrics import evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from tests.support.judge_stub import Call, JudgeStub, serving


class Server:
    """A server on a clock of its own: `rate(in_flight)` rows a second, always as many in flight."""

    def __init__(
        self, rate: Callable[[int], float], start: int = AT_FIRST, most: int = MOST
    ) -> None:
        self.rate, self.now, self.in_flight = rate, 0.0, 0
        self.limit = AdaptiveLimit(start, most, clock=lambda: self.now)
        self.seen: list[int] = []

    async def judge(self, rows: int, each: Callable[[int], None] = lambda in_flight: None) -> int:
        """Judge rows; returns the bound at their end."""
        for _ in range(rows):
            while self.in_flight < self.limit.limit:
                await self.limit.__aenter__()
                self.in_flight += 1
            self.now += 1 / self.rate(self.in_flight)
            each(self.in_flight)
            self.limit.ended()
            await self.limit.__aexit__(None, None, None)
            self.in_flight -= 1
            self.seen.append(self.limit.limit)
        return self.limit.limit


async def test_it_begins_with_few_and_each_that_ends_makes_room_for_one_more() -> None:
    server = Server(lambda in_flight: 1.0)  # a judge on two CPU cores
    assert server.limit.limit == AT_FEW
    await server.judge(AT_FIRST)
    assert server.seen[:3] == [AT_FEW + 1, AT_FEW + 2, AT_FEW + 3]
    assert server.seen[AT_FIRST - AT_FEW - 1 :] == [AT_FIRST] * (AT_FEW + 1)


async def test_a_refusal_ends_the_slow_start() -> None:
    server = Server(lambda in_flight: 1.0)
    await server.judge(6)
    server.limit.refused()
    assert server.limit.limit == (AT_FEW + 6) // 2
    assert await server.judge(5) == (AT_FEW + 6) // 2


async def test_it_rises_until_more_in_flight_brings_nothing() -> None:
    server = Server(lambda in_flight: min(in_flight, 100) / 0.05)
    final = await server.judge(20_000)
    assert 100 / 1.5 <= final <= 100 * 1.5
    assert max(server.seen) <= 100 * 1.5**2


async def test_where_it_is_no_faster_it_goes_back_to_where_it_began() -> None:
    server = Server(lambda in_flight: 1.0)  # a judge on two CPU cores
    assert await server.judge(300) == AT_FIRST
    assert max(server.seen) == 48
    assert server.seen.count(48) <= 100  # and not for long


async def test_it_ends_at_the_bound() -> None:
    server = Server(lambda in_flight: in_flight / 0.05)
    assert await server.judge(40_000) == MOST == max(server.seen)


async def test_it_tries_again_when_the_server_has_become_faster() -> None:
    server = Server(lambda in_flight: min(in_flight, 32) / 0.05)
    assert await server.judge(3000) <= 48
    server.rate = lambda in_flight: min(in_flight, 200) / 0.05
    assert await server.judge(60_000) >= 132


async def test_refusals_halve_it_and_those_of_one_moment_only_once() -> None:
    server = Server(lambda in_flight: in_flight / 0.5)

    def refuse(in_flight: int) -> None:
        for _ in range(in_flight - 40):
            server.limit.refused()

    await server.judge(20_000, refuse)
    settled = server.seen[10_000:]
    assert max(settled) <= 60
    assert min(settled) >= 20
    assert {24, 36} <= set(server.seen)  # 48 was refused and halved; it rose again


async def test_what_waits_inside_the_server_lowers_it() -> None:
    """A server that has eight at work, whatever it is sent."""
    server = Server(lambda in_flight: min(in_flight, 8) / 0.5)
    final = await server.judge(4000, lambda in_flight: server.limit.waiting(in_flight - 8))
    assert 8 <= final <= 14
    assert max(server.seen[1000:]) <= 20


async def test_a_fixed_one_stays() -> None:
    server = Server(lambda in_flight: in_flight / 0.05, start=7, most=7)

    def refuse(in_flight: int) -> None:
        server.limit.refused()
        server.limit.waiting(100)

    assert await server.judge(5000, refuse) == 7
    assert set(server.seen) == {7}


async def test_the_last_rows_say_nothing_of_the_bound() -> None:
    """With fewer rows left than may be in flight, the rate falls by itself."""
    server = Server(lambda in_flight: in_flight / 0.05)
    await server.judge(1000)
    before = server.limit.limit
    for _ in range(before // 2):
        await server.limit.__aexit__(None, None, None)
    for _ in range(2000):
        server.now += 1
        server.limit.ended()
    assert server.limit.limit == before


async def test_places_are_given_and_taken_back_by_the_bound() -> None:
    limit, in_flight, most = AdaptiveLimit(4, 100), 0, 0

    async def work() -> None:
        nonlocal in_flight, most
        async with limit:
            in_flight += 1
            most = max(most, in_flight)
            await asyncio.sleep(0.002)
            in_flight -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 4
    limit._move(10)
    await asyncio.gather(*(work() for _ in range(40)))
    assert most == 10
    running = [asyncio.create_task(work()) for _ in range(60)]
    await asyncio.sleep(0)
    limit._move(3)  # while ten are in flight
    await asyncio.sleep(0.02)
    most = 0
    await asyncio.gather(*running)
    assert most == 3
    limit._move(5)
    most = 0
    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 5


@pytest.mark.parametrize(
    ("page", "load"),
    [
        ('vllm:num_requests_waiting{engine="0",model_name="m"} 12.0\n', ServerLoad(0, 12)),
        (
            'vllm:num_requests_waiting{engine="0"} 2.0\nvllm:num_requests_waiting{engine="1"} 3.0\n'
            'vllm:num_requests_running{engine="0"} 4.0\nvllm:num_requests_running{engine="1"} 4.0',
            ServerLoad(8, 5),
        ),
        ("vllm:num_requests_waiting 0.0\n", ServerLoad(0, 0)),
        ("vllm:num_requests_waiting 1.2.3\n", None),
        ("vllm:num_requests_waiting 1e999\n", None),
        ('vllm:num_requests_waiting_by_reason{reason="x"} 7.0\n', None),
        ("# TYPE vllm:num_requests_waiting gauge\n", None),
        ("<html>", None),
        ("vllm:num_requests_waiting NaN\n", None),
        ("vllm:num_requests_waiting -1.0\n", None),
        ("vllm:num_requests_waiting 1.0\nvllm:num_requests_running <html>\n", None),
        ("vllm:num_requests_waiting 1 " + "9" * 400, None),
        (
            'another{ 1\nvllm:num_requests_waiting{model_name="{a, b} \\" 9"} 2.0\r\n',
            ServerLoad(0, 2),
        ),
    ],
)
def test_the_page_of_metrics_is_read(page: str, load: ServerLoad | None) -> None:
    assert server_load(page) == load


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from('{}=,"\\ \n\t#1.e-_:a') | st.characters(), max_size=60))
def test_no_page_is_too_odd_to_be_read(text: str) -> None:
    server_load(f"vllm:num_requests_waiting{text}")


@pytest.mark.parametrize(
    "line",
    [
        "vllm:num_requests_waiting" + "{" * 10_000_000,
        "vllm:num_requests_waiting{" + "".join(f'a{i}="",' for i in range(1_000_000)) + "} 1.0",
        'vllm:num_requests_waiting{engine="0"} 1.0\n' * 250_000,
        "# " + "x" * 10_000_000,
    ],
    ids=["a-long-line", "many-labels", "many-lines", "something-else"],
)
def test_a_page_of_10_mb_holds_up_nothing(line: str) -> None:
    started = time.perf_counter()
    assert server_load(line) is None
    assert time.perf_counter() - started < 1


def test_of_what_waits_a_client_has_its_share() -> None:
    assert ServerLoad(256, 256).waiting_of(32) == 16
    assert ServerLoad(8, 24).waiting_of(32) == 24
    assert ServerLoad(0, 3).waiting_of(12) == 3
    assert ServerLoad(0, 0).waiting_of(12) == 0


@pytest.fixture
def often_asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The servers' load is asked for ten times a second."""
    monkeypatch.setattr("llm_client.judge_client._LOAD_ASKED_EVERY_S", 0.1)
    yield


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(200):
        if reached():
            return
        await asyncio.sleep(0.05)
    pytest.fail("never reached")


async def told_of(urls: str, calls: int, wanted: float) -> None:
    """Returns when the client has told its limit that so many of its calls wait."""
    async with JudgeClient(urls, "", RetryPolicy()) as client:
        told: list[float] = []
        client.limit.waiting = told.append  # type: ignore[method-assign, assignment]
        body = {"model": "stub-judge", "messages": [{"role": "user", "content": "item-1"}]}
        running = [asyncio.create_task(client.chat(body | {"max_tokens": 9})) for _ in range(calls)]
        await until(lambda: wanted in told[1:])
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@pytest.mark.usefixtures("often_asked")
async def test_the_client_tells_its_limit_what_waits_in_the_server() -> None:
    with serving(JudgeStub(latency_s=30, batch=2)) as stub:
        await told_of(stub.base_url, 12, 10)


@pytest.mark.usefixtures("often_asked")
async def test_a_server_with_room_is_room_enough() -> None:
    full, free = JudgeStub(latency_s=30, batch=2), JudgeStub(latency_s=30)
    with serving(full), serving(free):
        await told_of(f"{full.base_url},{free.base_url}", 12, 0)
        assert full.most_in_flight == 6
    full, other = JudgeStub(latency_s=30, batch=2), JudgeStub(latency_s=30, batch=3)
    with serving(full), serving(other):
        await told_of(f"{full.base_url},{other.base_url}", 12, 4 + 3)


@pytest.mark.usefixtures("often_asked")
async def test_a_server_without_such_a_page_is_left_in_peace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_client.judge_client._SILENT_TIMES", 3)
    with serving(JudgeStub(other_server=True)) as stub:
        async with JudgeClient(stub.base_url, "", RetryPolicy()) as client:
            assert client._watch is not None
            await asyncio.wait_for(client._watch, 10)


async def test_a_call_that_one_of_two_servers_refuses_lowers_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("llm_client.judge_client._BACKOFF_S", 0.02)
    body = {"model": "stub-judge", "messages": [{"role": "user", "content": "item-1"}]}
    dead, alive = JudgeStub(faults=lambda call: "http_503", retry_after="0"), JudgeStub()
    with serving(dead), serving(alive):
        async with JudgeClient(f"{dead.base_url},{alive.base_url}", "", RetryPolicy()) as client:
            await asyncio.gather(*(client.chat(body | {"max_tokens": 9}) for _ in range(20)))
            assert len(dead.calls) >= 3
            assert client.limit.limit >= AT_FEW
        async with JudgeClient(dead.base_url, "", RetryPolicy(attempts=3)) as client:
            with pytest.raises(CallFailed, match="503"):
                await client.chat(body | {"max_tokens": 9})
            assert client.limit.limit == AT_FEW // 2  # and not a quarter: it is one overload


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / "journal.jsonl", {})
    yield opened
    opened.close()


def judge_of(stub: JudgeStub, journal: Journal) -> JudgeConnection:
    prompt = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt.txt")
    settings = JudgeSettings("stub-judge", prompt, context_length=8192, ask_claim=False)
    return JudgeConnection(stub.base_url, "", settings, journal)


def test_a_run_rises_above_where_it_began_and_every_row_is_judged_once(
    journal: Journal,
) -> None:
    with serving(JudgeStub(latency_s=0.1)) as stub:
        rows = [f"item-{number}" for number in range(1200)]
        judge = judge_of(stub, journal)
        verdicts = evaluate_with_llm_judge(rows, rows, judge=judge)
        assert stub.most_in_flight > AT_FIRST
        [limit] = judge.limits
        assert limit.reached >= limit.limit
        assert stub.most_in_flight <= limit.reached
        assert set(stub.calls_by_row().values()) == {1}
    assert not any(verdict.failed for verdict in verdicts)


def test_a_server_that_refuses_gets_fewer_at_once(journal: Journal) -> None:
    stub = JudgeStub(latency_s=0.02, retry_after="0")

    def overloaded(call: Call) -> str:
        return "http_503" if stub.in_flight > 20 else ""

    stub.faults = overloaded
    with serving(stub):
        rows = [f"item-{number}" for number in range(1500)]
        verdicts = evaluate_with_llm_judge(rows, rows, judge=judge_of(stub, journal))
        stub_saw = stub.calls[-300:]
        refused = len(stub.calls) - len(rows)
    assert not any(verdict.failed for verdict in verdicts)
    assert len(stub_saw) == 300
    assert 0 < refused < 700
