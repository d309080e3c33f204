"""Does the client lose a call, wait for ever, or call where it should not?

python -m pytest tests/llm_client/test_judge_client.py
"""

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from llm_client.caller import CallFailed, RetryPolicy, ServerGone
from llm_client.judge_client import JudgeClient
from llm_client.reply import read_reply
from tests.support.judge_stub import RETRIED, Call, JudgeStub, serving, true_score

QUICK = RetryPolicy(attempts=3, timeout_s=0.4, wait_for_server_s=0.5)


@pytest.fixture
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub(retry_after="0")) as running:
        yield running


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pauses between tries grow from 0.02 s, not from 0.5 s."""
    monkeypatch.setattr("llm_client.judge_client._BACKOFF_S", 0.02)


@asynccontextmanager
async def client_of(
    stub: JudgeStub, policy: RetryPolicy = QUICK, key: str = "", concurrency: int | None = 64
) -> AsyncIterator[JudgeClient]:
    async with JudgeClient(stub.base_url, key, policy, concurrency) as client:
        yield client


def ask(row: str = "item-1") -> dict[str, Any]:
    prompt = f"Score: [1-5]\nJustification: [text]\n{row}"
    return {
        "model": "stub-judge",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 64,
        "logprobs": True,
        "structured_outputs": {"regex": r"Score: [1-5]\nJustification: [^\n]{1,400}"},
    }


def first_calls(fault: str, number: int) -> Callable[[Call], str]:
    """A fault of the first calls for each row."""
    return lambda call: fault if call.nth <= number else ""


async def test_a_reply_brings_its_text_its_tokens_and_its_cost(stub: JudgeStub) -> None:
    stub.latency_s = 0.05
    async with client_of(stub) as client:
        reply = await client.chat(ask("item-1"))
    assert reply.text.startswith(f"Score: {true_score('item-1')}\nJustification: ")
    assert b"".join(token.text for token in reply.tokens).decode() == reply.text
    assert [len(token.alternatives) for token in reply.tokens][:2] == [1, 5]
    assert (reply.finish_reason, reply.attempts) == ("stop", 1)
    assert reply.prompt_tokens > 10
    assert reply.completion_tokens == len(reply.tokens)
    assert reply.cached_tokens == reply.prompt_tokens // 2
    assert 0.05 <= reply.latency_s < 0.35


@pytest.mark.parametrize(
    "fault", [*RETRIED, "http_408", "http_409", "http_425", "http_502", "http_503", "http_504"]
)
async def test_what_can_pass_is_tried_again(stub: JudgeStub, fault: str) -> None:
    stub.faults = first_calls(fault, 2)
    async with client_of(stub) as client:
        reply = await client.chat(ask())
    assert reply.attempts == len(stub.calls) == 3
    assert reply.latency_s < 0.3, "the latency is that of the call that succeeded"


@pytest.mark.parametrize("fault", [*RETRIED, "http_503"])
async def test_what_does_not_pass_is_tried_within_a_bound(stub: JudgeStub, fault: str) -> None:
    stub.faults = lambda call: fault
    async with client_of(stub) as client:
        with pytest.raises(CallFailed) as failed:
            await client.chat(ask())
    assert failed.value.attempts == len(stub.calls) == 3
    assert failed.value.timed_out == (fault == "hang")
    status = {"cut_json": 200, "no_choices": 200}.get(
        fault, int(fault.partition("_")[2] or 0) if fault.startswith("http_") else 0
    )
    assert failed.value.status == status
    assert f"{stub.base_url}/chat/completions, 3 attempts" in str(failed.value)
    assert "\n" not in str(failed.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
async def test_an_answer_that_stays_the_same_is_not_asked_for_twice(
    stub: JudgeStub, status: int
) -> None:
    stub.faults = lambda call: f"http_{status}"
    async with client_of(stub) as client:
        with pytest.raises(CallFailed, match="the stub was told to fail") as failed:
            await client.chat(ask())
    assert (failed.value.status, len(stub.calls)) == (status, 1)


@pytest.mark.parametrize(
    ("header", "at_least", "at_most"),
    [
        pytest.param(lambda: "1", 1.0, 1.6, id="seconds"),
        pytest.param(lambda: formatdate(time.time() + 2, usegmt=True), 0.9, 2.6, id="a date"),
        pytest.param(lambda: "0", 0.0, 1.5, id="at once"),
        pytest.param(lambda: formatdate(0, usegmt=True), 0.0, 1.5, id="a date that has passed"),
        pytest.param(lambda: "-5", 0.0, 1.5, id="a negative number"),
        pytest.param(lambda: "soon", 0.0, 1.5, id="nonsense"),
        pytest.param(lambda: "nan", 0.0, 1.5, id="not a number"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(
    stub: JudgeStub, header: Callable[[], str], at_least: float, at_most: float, status: int
) -> None:
    stub.retry_after = header()
    stub.faults = first_calls(f"http_{status}", 1)
    async with client_of(stub) as client, asyncio.timeout(10):
        await client.chat(ask())
    first, second = (call.at for call in stub.calls)
    assert at_least <= second - first < at_most


async def test_the_pauses_grow_and_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_client import judge_client

    monkeypatch.setattr(judge_client, "_BACKOFF_S", 0.5)
    random.seed(1)
    pauses = {
        faults: [judge_client._pause(faults, None) for _ in range(500)] for faults in (1, 4, 9)
    }
    assert max(pauses[1]) <= 0.5 < max(pauses[4]) <= 4 < max(pauses[9]) <= 15
    assert min(min(some) for some in pauses.values()) > 0
    assert all(len(set(some)) > 400 for some in pauses.values())


async def test_a_server_that_stays_away_is_gone_after_the_wait(stub: JudgeStub) -> None:
    async with client_of(stub) as client:
        await client.chat(ask())
        stub.stop()
        started = time.monotonic()
        with pytest.raises(ServerGone, match=r"127\.0\.0\.1.*not reached for") as gone:
            await client.chat(ask())
    assert 0.5 <= time.monotonic() - started < 3
    assert "\n" not in str(gone.value)


async def test_a_server_that_comes_back_is_used(stub: JudgeStub) -> None:
    policy = RetryPolicy(attempts=2, timeout_s=5, wait_for_server_s=20)
    stub.latency_s = 0.3
    async with client_of(stub, policy) as client:
        calls = [asyncio.create_task(client.chat(ask(f"item-{n}"))) for n in range(8)]
        await asyncio.sleep(0.15)  # all are in flight
        await asyncio.to_thread(stub.stop)
        await asyncio.sleep(1)
        stub.latency_s = 0.0
        await asyncio.to_thread(stub.start)
        replies = await asyncio.gather(*calls)
    assert [reply.text[7] for reply in replies] == [str(true_score(f"item-{n}")) for n in range(8)]


async def test_the_wait_begins_when_the_server_goes_and_not_with_its_last_answer(
    stub: JudgeStub,
) -> None:
    """A judge on a CPU may answer once in minutes: silence is not absence."""
    policy = RetryPolicy(attempts=2, timeout_s=30, wait_for_server_s=2)
    stub.latency_s = 2.5  # longer than the wait
    async with client_of(stub, policy) as client:
        call = asyncio.create_task(client.chat(ask()))
        await asyncio.sleep(2.2)
        await asyncio.to_thread(stub.stop)
        await asyncio.sleep(0.5)
        stub.latency_s = 0.0
        await asyncio.to_thread(stub.start)
        assert (await call).text


async def test_the_waits_of_two_absences_are_not_added_up(stub: JudgeStub) -> None:
    policy = RetryPolicy(attempts=2, timeout_s=5, wait_for_server_s=1.5)
    async with client_of(stub, policy) as client:
        for _ in range(2):
            await asyncio.to_thread(stub.stop)
            call = asyncio.create_task(client.chat(ask()))
            await asyncio.sleep(0.9)
            await asyncio.to_thread(stub.start)
            assert (await call).text


async def test_connections_are_reused_and_bounded(stub: JudgeStub) -> None:
    stub.latency_s = 0.01
    async with client_of(stub, concurrency=16) as client:
        await asyncio.gather(*(client.chat(ask(f"item-{n}")) for n in range(60)))
    assert len(stub.calls) == 60
    assert stub.most_in_flight <= 16
    assert len(stub.connections) <= 16


async def test_a_proxy_of_the_environment_is_not_used(
    stub: JudgeStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    async with client_of(stub) as client:
        assert (await client.chat(ask())).text


async def test_a_redirect_is_not_followed(stub: JudgeStub) -> None:
    with serving(JudgeStub()) as elsewhere:
        stub.redirect_to = elsewhere.base_url.removesuffix("/v1")
        async with client_of(stub, key="secret") as client:
            with pytest.raises(CallFailed, match="HTTP 307"):
                await client.chat(ask())
            with pytest.raises(CallFailed):
                await client.get(f"{stub.base_url}/models")
        assert not elsewhere.connections


@pytest.mark.parametrize(("key", "works"), [("secret", True), ("wrong", False), ("", False)])
async def test_the_key_is_sent(stub: JudgeStub, key: str, works: bool) -> None:
    stub.api_key = "secret"
    async with client_of(stub, key=key) as client:
        if works:
            await client.chat(ask())
        else:
            with pytest.raises(CallFailed, match="HTTP 401: Unauthorized"):
                await client.chat(ask())


ODD_REPLIES: dict[str, object] = {
    "a list": [],
    "a text": "ok",
    "no message": {"choices": [{}]},
    "a choice that is a text": {"choices": ["4"]},
    "content that is a number": {"choices": [{"message": {"content": 5}}]},
    "null": None,
}
# What stands beside the text is optional: in another shape it costs the expected score at most.
OPTIONAL: dict[str, object] = {
    "content in parts": {"choices": [{"message": {"content": [{"type": "text", "text": "5"}]}}]},
    "usage that is a list": {"choices": [{"message": {"content": "5"}}], "usage": [1]},
    "usage in words": {"choices": [{"message": {"content": "5"}}], "usage": {"prompt_tokens": "x"}},
    "a token without a probability": {
        "choices": [{"message": {"content": "5"}, "logprobs": {"content": [{"token": "5"}]}}]
    },
    "tokens that are texts": {
        "choices": [{"message": {"content": "5"}, "logprobs": {"content": ["5"]}}]
    },
    "a number for log probabilities": {"choices": [{"message": {"content": "5"}, "logprobs": 1}]},
    "reasoning in place of content": {
        "choices": [{"message": {"content": None, "reasoning_content": "5"}}]
    },
}


@pytest.mark.parametrize("reply", OPTIONAL.values(), ids=OPTIONAL)
async def test_what_stands_beside_the_text_costs_no_row(reply: object) -> None:
    async with replying(reply) as url, JudgeClient(url, "", QUICK) as client:
        read = await client.chat(ask())
    assert (read.text, read.tokens, read.prompt_tokens) == ("5", (), 0)


@pytest.mark.parametrize("reply", ODD_REPLIES.values(), ids=ODD_REPLIES)
async def test_a_reply_of_another_shape_is_a_failed_call_and_nothing_worse(reply: object) -> None:
    async with replying(reply) as url, JudgeClient(url, "", QUICK) as client:
        with pytest.raises(CallFailed, match="another shape"):
            await client.chat(ask())


async def test_a_reply_without_usage_or_log_probabilities_is_read() -> None:
    answer = {"choices": [{"message": {"content": "Score: 5"}, "logprobs": None}], "usage": None}
    async with replying(answer) as url, JudgeClient(url, "", QUICK) as client:
        reply = await client.chat(ask())
    assert (reply.text, reply.finish_reason, reply.tokens, reply.prompt_tokens) == (
        "Score: 5", "", (), 0)  # fmt: skip


async def test_half_a_character_in_a_reply_is_text_that_can_be_written() -> None:
    message = {"content": "Score: 5\nJustification: \ud83d"}
    token = {"token": "\ud83d", "logprob": -0.1, "top_logprobs": []}
    choice = {"message": message, "logprobs": {"content": [token]}}
    async with replying({"choices": [choice]}) as url, JudgeClient(url, "", QUICK) as client:
        reply = await client.chat(ask())
    reply.text.encode()
    assert reply.text.startswith("Score: 5\nJustification: ")


@asynccontextmanager
async def replying(answer: object) -> AsyncIterator[str]:
    """A server with one answer to everything."""

    async def reply(request: web.Request) -> web.Response:
        return web.json_response(answer)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", reply)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def test_tokens_are_counted_as_the_server_renders_the_prompt(stub: JudgeStub) -> None:
    async with client_of(stub) as client:
        short = await client.count_tokens("stub-judge", [{"role": "user", "content": "a" * 40}])
        long = await client.count_tokens("stub-judge", [{"role": "user", "content": "a" * 400}])
    assert (short, long) == (20, 110)


async def test_a_count_of_another_shape_is_a_failed_call() -> None:
    async with replying({"n_tokens": 5}) as url, JudgeClient(url, "", QUICK) as client:
        with pytest.raises(CallFailed):
            await client.count_tokens("m", [{"role": "user", "content": "a"}])


async def test_a_question_about_the_server_is_asked_once(stub: JudgeStub) -> None:
    stub.healthy = False
    async with client_of(stub) as client:
        with pytest.raises(CallFailed) as failed:
            await client.get(f"{client.root_url}/health")
        assert failed.value.status == 503
        stub.stop()
        with pytest.raises(CallFailed) as unreachable:
            await client.get(f"{client.root_url}/health")
        assert unreachable.value.status == 0


async def test_a_cancelled_call_ends_at_once(stub: JudgeStub) -> None:
    stub.latency_s = 5
    async with client_of(stub, RetryPolicy(timeout_s=30)) as client:
        call = asyncio.create_task(client.chat(ask()))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert time.monotonic() - started < 0.5
    assert threading.active_count() < 20


def test_only_tokens_where_a_score_can_stand_keep_their_alternatives() -> None:
    """The first four of an answer and of what stands behind a colon, and those with a digit."""
    pieces = ["Score", ":", " 4", "\n", "Why", ":", "It", "is", "so", "and", "more", "2", "."]
    others = [{"token": "5", "logprob": -1.0}]
    content = [{"token": piece, "logprob": -0.1, "top_logprobs": others} for piece in pieces]
    answer = {
        "choices": [
            {
                "message": {"content": "".join(pieces)},
                "finish_reason": "stop",
                "logprobs": {"content": content},
            }
        ]
    }
    kept = [token.text.decode() for token in read_reply(answer).tokens if token.alternatives]
    assert kept == [*pieces[:6], "It", "is", "so", "and", "2"]
