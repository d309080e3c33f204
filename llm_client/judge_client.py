"""How is the judge called, many times at once, without losing a call? One event loop, retries.

Used by `python mlflow_tracking/run_experiment.py --concurrency 32 --wait-for-server 300`.

What can pass is tried again, with backoff and jitter: 408, 409, 425, 429, 5xx, broken bodies and
time-outs up to `attempts` times; a server that cannot be reached for `wait_for_server_s` seconds,
because a restart loads its weights anew. 400 and 401 are answers and are not tried again. Of
several servers, a call that fails on one is tried on the next at once, and that costs no attempt.
"""

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import aiohttp

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.caller import CallFailed, QuotaUsedUp, RetryPolicy, ServerGone
from llm_client.reply import BadReply, Reply, read_body, read_reply
from llm_client.server_faults import tls_fault
from llm_client.server_pool import Server, ServerLoad, ServerPool, server_load
from llm_client.settings import redacted, split_base_urls
from llm_client.surroundings import Route

_Answer = TypeVar("_Answer")

_LOG = logging.getLogger(__name__)
_TOO_MANY, _PAYMENT_REQUIRED = 429, 402
_TRANSIENT = {408, 409, 425, _TOO_MANY}
_WINDOW_S = 90.0  # without a reply to anybody, until a rate limit counts as a fault
_USED_UP = re.compile(
    r"insufficient_quota|exceeded your current quota|billing|out of credits", re.I
)
_OVERLOADED = {429, 503}
_CONNECTIONS = 8  # at least: a few calls may be made beside the rows
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 15.0
_GET_TIMEOUT_S = 8.0  # of a question about the server itself, which costs it nothing
_LOAD_ASKED_EVERY_S = 2.0
_SILENT_TIMES = 150  # five minutes, in which a server can restart; then it is not vLLM


class _Retry(Exception):
    """What went wrong may pass. `after_s`: the server's own Retry-After."""

    def __init__(
        self,
        message: str,
        status: int = 0,
        after_s: float | None = None,
        timed_out: bool = False,
    ) -> None:
        super().__init__(message)
        self.status, self.after_s, self.timed_out = status, after_s, timed_out


class JudgeClient:
    """Calls OpenAI-compatible servers of one judge; an asynchronous context manager.

    `base_url` may name several, separated by commas; `base_url` and `root_url` of the object are
    those of the first. `limit` is for the callers: how many rows may be judged at once, which is
    `concurrency`, or found while judging (None).
    """

    def __init__(
        self, base_url: str, api_key: str, policy: RetryPolicy, concurrency: int | None = None
    ) -> None:
        self._pool = ServerPool(split_base_urls(base_url), api_key)
        self.base_url = self._pool.servers[0].base_url
        self.root_url = self._pool.servers[0].root_url
        self._policy = policy
        self.limit = AdaptiveLimit.of(concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._watch: asyncio.Task[None] | None = None
        self._began, self._answered = time.monotonic(), 0.0  # when a call last had its reply
        self._told_of_limit = -_WINDOW_S

    async def __aenter__(self) -> "JudgeClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=max(self.limit.most, _CONNECTIONS), keepalive_timeout=60
            ),
            timeout=aiohttp.ClientTimeout(total=self._policy.timeout_s, sock_connect=10),
        )
        if self.limit.adapts:
            self._watch = asyncio.create_task(self._watch_load())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        if self._session:
            await self._session.close()

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """One chat completion; raises CallFailed or ServerGone."""
        reply, latency_s, attempts = await self._post(
            lambda server: f"{server.base_url}/chat/completions", body, read_reply
        )
        return replace(reply, latency_s=latency_s, attempts=attempts)

    async def count_tokens(self, model: str, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of the prompt as the server renders it (vLLM's /tokenize); raises CallFailed."""
        body = {"model": model, "messages": messages}
        count, _, _ = await self._post(
            lambda server: f"{server.root_url}/tokenize", body, lambda answer: int(answer["count"])
        )
        return count

    async def get(self, url: str) -> Any:
        """The JSON at a URL, not tried again; raises CallFailed, or ValueError for no JSON."""
        text = await self._get_text(self._pool.servers[0], url)
        return json.loads(text) if text.strip() else {}

    async def _get_text(self, server: Server, url: str) -> str:
        assert self._session is not None, "use `async with JudgeClient(...)`"
        limit, route = aiohttp.ClientTimeout(total=_GET_TIMEOUT_S), server.route
        try:
            async with self._session.get(
                url, allow_redirects=False, timeout=limit, **_way(route)
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise CallFailed(_connection_text(error) + route.through, 0, 1) from None
        if response.status != 200:
            raise CallFailed(_error_text(text) + route.through, response.status, 1)
        return text

    async def _watch_load(self) -> None:
        """Tell the limit what waits inside the servers, while any of them says it."""
        silent = dict.fromkeys(self._pool.servers, 0)  # times in a row
        while silent:
            await asyncio.sleep(_LOAD_ASKED_EVERY_S)
            loads = await asyncio.gather(*(self._load_of(server) for server in silent))
            told = list(zip(silent, loads, strict=True))
            waiting = [load.waiting_of(server.in_flight) for server, load in told if load]
            if waiting:  # a row goes where the fewest are: one server with room has it
                self.limit.waiting(sum(waiting) if all(waiting) else 0.0)
            silent = {server: 0 if load else silent[server] + 1 for server, load in told}
            silent = {server: times for server, times in silent.items() if times < _SILENT_TIMES}

    async def _load_of(self, server: Server) -> ServerLoad | None:
        """None if it does not tell."""
        try:
            return server_load(await self._get_text(server, f"{server.root_url}/metrics"))
        except CallFailed:
            return None

    async def _post(
        self,
        route: Callable[[Server], str],
        body: Mapping[str, Any],
        read: Callable[[Any], _Answer],
    ) -> tuple[_Answer, float, int]:
        """What `read` makes of the answer, seconds of the call that gave it, number of calls."""
        attempts = faults = 0
        failed: set[Server] = set()  # by this call, and each costs it no attempt once
        while True:
            attempts += 1
            server = self._pool.take(failed)
            try:
                answer, latency_s = await self._try(server, route(server), body, read)
                return answer, latency_s, attempts
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                self._pool.unreachable(server)
                await self._wait_for_server(server, error, attempts)  # not this call's fault
                continue
            except CallFailed as failure:
                failure.attempts = attempts
                if failure.status == _PAYMENT_REQUIRED:
                    raise QuotaUsedUp(str(failure)) from None
                if not (_is_the_servers(failure) and self._pool.has_other({server})):
                    self._pool.answered(server)
                    raise
                fault = _Retry(str(failure), failure.status)
            except _Retry as error:
                fault = error
            self._pool.failed(server)
            failed.add(server)
            if self._pool.has_other(failed):
                continue
            if fault.timed_out or fault.status in _OVERLOADED:
                self.limit.refused()
            if _is_used_up(fault):
                raise QuotaUsedUp(f"{server.base_url}: {fault}") from None
            if fault.status == _TOO_MANY and self._waits_for_window(fault):
                await asyncio.sleep(_pause(min(attempts, 6), fault.after_s))
                continue
            faults += 1
            if faults >= self._policy.attempts:
                message = f"{fault} ({route(server)}, {attempts} attempts)"
                raise CallFailed(message, fault.status, attempts, fault.timed_out)
            await asyncio.sleep(_pause(faults, fault.after_s))

    def _waits_for_window(self, fault: _Retry) -> bool:
        """Whether a rate limit is waited out: as long as somebody has a reply in every window.

        A minute is the longest window that is common, and many calls share it. Before the first
        reply a server that says when to come again is taken at its word, `attempts` times.
        """
        now = time.monotonic()
        since = self._answered or (self._began if fault.after_s is None else 0.0)
        if now - self._told_of_limit > _WINDOW_S:
            self._told_of_limit = now
            _LOG.warning("the server limits the rate (HTTP 429); waiting for its next window")
        return now - since < _WINDOW_S

    async def _try(
        self, server: Server, url: str, body: Mapping[str, Any], read: Callable[[Any], _Answer]
    ) -> tuple[_Answer, float]:
        """One call; raises _Retry, CallFailed, or aiohttp's errors of a connection not made."""
        started = time.monotonic()
        try:
            text = await self._post_once(server, url, body)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise
        except TimeoutError:
            raise _Retry(f"no answer in {self._policy.timeout_s:g} s", timed_out=True) from None
        except aiohttp.ClientError as error:  # reset, or the body broke off
            raise _Retry(_connection_text(error)) from None
        finally:
            self._pool.release(server)
        answer = _read(text, read)
        self._pool.answered(server)
        self._answered = time.monotonic()
        return answer, time.monotonic() - started

    async def _post_once(self, server: Server, url: str, body: Mapping[str, Any]) -> str:
        assert self._session is not None, "use `async with JudgeClient(...)`"
        async with self._session.post(
            url, json=body, allow_redirects=False, **_way(server.route)
        ) as response:
            self._pool.reached(server)
            text = await response.text(errors="replace")
            if response.status in _TRANSIENT or response.status >= 500:
                after = _retry_after(response.headers.get("Retry-After"))
                message = f"HTTP {response.status}: {_error_text(text)}{server.route.through}"
                raise _Retry(message, response.status, after)
            if response.status != 200:
                message = (
                    f"HTTP {response.status}: {_error_text(text)} ({url}){server.route.through}"
                )
                raise CallFailed(message, response.status, 1)
            return text

    async def _wait_for_server(self, server: Server, error: Exception, attempts: int) -> None:
        """Sleep before the next try to connect; raises ServerGone after the policy's bound."""
        away_s = self._pool.away_s()
        if away_s is not None and away_s >= self._policy.wait_for_server_s:
            urls = ",".join(server.base_url for server in self._pool.servers)
            raise ServerGone(
                f"{urls}: not reached for {away_s:.0f} s ({_connection_text(error)})"
                f"{server.route.through}"
            ) from None
        if not self._pool.has_other(()):
            await asyncio.sleep(min(_pause(min(attempts, 4), None), 5.0))


def _is_the_servers(failure: CallFailed) -> bool:
    """Of one among several: another key, or another model since a restart."""
    other_model = failure.status == 404 and "does not exist" in str(failure)
    return failure.status in (401, 403) or other_model


def _is_used_up(fault: _Retry) -> bool:
    """A quota that no waiting brings back."""
    return fault.status == _TOO_MANY and bool(_USED_UP.search(str(fault)))


def _pause(faults: int, after_s: float | None) -> float:
    """Seconds to wait: the server's word, or exponential backoff with full jitter."""
    if after_s is not None:
        return after_s + random.uniform(0, 0.25)
    return random.uniform(0.1, 1.0) * min(_BACKOFF_S * 2.0 ** (faults - 1), _BACKOFF_MAX_S)


def _retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; at most five minutes."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), 300.0) if seconds == seconds else None  # 'nan' is a float


def _error_text(text: str) -> str:
    """The server's own words for an error, on one line."""
    try:
        data = json.loads(text)
        error = data.get("error") or data.get("detail") or data.get("message") or data
        if isinstance(error, dict):
            code, said = error.get("code"), error.get("message") or error.get("type") or error
            named = isinstance(code, str) and code not in str(said)
            error = f"{said} ({code})" if named else said
    except (ValueError, AttributeError):
        page = re.search(r"<title>(.*?)</title>|<h1>(.*?)</h1>", text, re.I | re.S)
        error = f"a web page, '{page[1] or page[2]}'" if page else text
    return redacted(" ".join(str(error).split()))[:300] or "no reason given"


def _way(route: Route) -> dict[str, Any]:
    """The session's own trust_env would know neither ALL_PROXY nor a network in NO_PROXY."""
    return {"headers": route.headers, "proxy": route.proxy or None}


def _connection_text(error: Exception) -> str:
    return tls_fault(error) or redacted(" ".join(str(error).split())) or type(error).__name__


def _read(text: str, read: Callable[[Any], _Answer]) -> _Answer:
    """What `read` makes of the JSON; a body that is cut or of another shape may pass."""
    try:
        return read(read_body(text))
    except BadReply as fault:
        raise _Retry(str(fault), fault.status) from None
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Retry("the reply has another shape", 200) from None
