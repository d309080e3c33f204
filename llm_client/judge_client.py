"""How is the judge called, many times at once, without losing a call? One event loop, retries.

Used by `python mlflow_tracking/run_experiment.py --concurrency 32 --wait-for-server 300`.

What can pass is tried again, with backoff and jitter: 408, 409, 425, 429, 5xx, broken bodies and
time-outs up to `attempts` times; a server that cannot be reached for `wait_for_server_s` seconds,
because a restart loads its weights anew. 400 and 401 are answers and are not tried again.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, TypeVar

import aiohttp

_Answer = TypeVar("_Answer")

_TRANSIENT = {408, 409, 425, 429}
_BACKOFF_S, _BACKOFF_MAX_S = 0.5, 15.0
_GET_TIMEOUT_S = 8.0  # of a question about the server itself, which costs it nothing


@dataclass(frozen=True)
class TokenLogprobs:
    """One token of a reply: its bytes, its log probability, and its alternatives' (natural log)."""

    text: bytes
    logprob: float
    alternatives: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Reply:
    """A chat completion, with what it cost."""

    text: str
    finish_reason: str
    tokens: tuple[TokenLogprobs, ...]  # empty if the server sent no log probabilities
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of the prompt, from the server's prefix cache
    latency_s: float = 0.0  # of the call that succeeded
    attempts: int = 1


@dataclass(frozen=True)
class RetryPolicy:
    """The bounds within which a call is tried again."""

    attempts: int = 6
    timeout_s: float = 300.0  # of one call
    wait_for_server_s: float = 300.0


class CallFailed(Exception):
    """A call without a reply. `status`: the HTTP status, 0 for none."""

    def __init__(self, message: str, status: int, attempts: int, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status, self.attempts, self.timed_out = status, attempts, timed_out


class ServerGone(Exception):
    """The server could not be reached for longer than the policy waits."""


class _Retry(Exception):
    """What went wrong may pass. `after_s`: the server's own Retry-After."""

    def __init__(self, message: str, status: int = 0, after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.after_s = status, after_s


class JudgeClient:
    """Calls one OpenAI-compatible server; use it as an asynchronous context manager."""

    def __init__(
        self, base_url: str, api_key: str, policy: RetryPolicy, connections: int = 64
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.root_url = self.base_url.removesuffix("/v1")
        self._key, self._policy, self._connections = api_key, policy, connections
        self._session: aiohttp.ClientSession | None = None
        self._gone_since: float | None = None  # None: the last try to connect succeeded

    async def __aenter__(self) -> "JudgeClient":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60),
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=aiohttp.ClientTimeout(total=self._policy.timeout_s, sock_connect=10),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """One chat completion; raises CallFailed or ServerGone."""
        url = f"{self.base_url}/chat/completions"
        reply, latency_s, attempts = await self._post(url, body, _read_reply)
        return replace(reply, latency_s=latency_s, attempts=attempts)

    async def count_tokens(self, model: str, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of the prompt as the server renders it (vLLM's /tokenize); raises CallFailed."""
        body = {"model": model, "messages": messages}
        url = f"{self.root_url}/tokenize"
        count, _, _ = await self._post(url, body, lambda answer: int(answer["count"]))
        return count

    async def get(self, url: str) -> Any:
        """The JSON at a URL, not tried again; raises CallFailed or aiohttp.ClientError."""
        assert self._session is not None, "use `async with JudgeClient(...)`"
        limit = aiohttp.ClientTimeout(total=_GET_TIMEOUT_S)
        async with self._session.get(url, allow_redirects=False, timeout=limit) as response:
            text = await response.text()
            if response.status != 200:
                raise CallFailed(_error_text(text), response.status, 1)
            return json.loads(text) if text.strip() else {}

    async def _post(
        self, url: str, body: Mapping[str, Any], read: Callable[[Any], _Answer]
    ) -> tuple[_Answer, float, int]:
        """What `read` makes of the answer, seconds of the call that gave it, number of calls."""
        attempts = faults = 0
        while True:
            attempts += 1
            started = time.monotonic()
            try:
                text = await self._post_once(url, body, attempts)
                answer, latency_s = _read(text, read), time.monotonic() - started
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                await self._wait_for_server(error, attempts)  # not this call's fault
                continue
            except TimeoutError:
                fault, timed_out = _Retry(f"no answer in {self._policy.timeout_s:g} s"), True
            except aiohttp.ClientError as error:  # reset, or the body broke off
                fault, timed_out = _Retry(_connection_text(error)), False
            except _Retry as error:
                fault, timed_out = error, False
            else:
                return answer, latency_s, attempts
            faults += 1
            if faults >= self._policy.attempts:
                message = f"{fault} ({url}, {attempts} attempts)"
                raise CallFailed(message, fault.status, attempts, timed_out)
            await asyncio.sleep(_pause(faults, fault.after_s))

    async def _post_once(self, url: str, body: Mapping[str, Any], attempts: int) -> str:
        assert self._session is not None, "use `async with JudgeClient(...)`"
        async with self._session.post(url, json=body, allow_redirects=False) as response:
            self._gone_since = None
            text = await response.text(errors="replace")
            if response.status in _TRANSIENT or response.status >= 500:
                after = _retry_after(response.headers.get("Retry-After"))
                message = f"HTTP {response.status}: {_error_text(text)}"
                raise _Retry(message, response.status, after)
            if response.status != 200:
                message = f"HTTP {response.status}: {_error_text(text)} ({url})"
                raise CallFailed(message, response.status, attempts)
            return text

    async def _wait_for_server(self, error: Exception, attempts: int) -> None:
        """Sleep before the next try to connect; raises ServerGone after the policy's bound."""
        # From the first refusal on, not from the last answer: a slow judge's silence is no absence.
        now = time.monotonic()
        self._gone_since = now if self._gone_since is None else self._gone_since
        away = now - self._gone_since
        if away >= self._policy.wait_for_server_s:
            raise ServerGone(
                f"{self.base_url}: not reached for {away:.0f} s ({_connection_text(error)})"
            ) from None
        await asyncio.sleep(min(_pause(min(attempts, 4), None), 5.0))


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
        error = data.get("error", data)
        message = error.get("message", error) if isinstance(error, dict) else error
    except (ValueError, AttributeError):
        message = text
    return " ".join(str(message).split())[:300] or "no reason given"


def _connection_text(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _read(text: str, read: Callable[[Any], _Answer]) -> _Answer:
    """What `read` makes of the JSON; a body that is cut or of another shape may pass."""
    try:
        return read(json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Retry(f"the reply has another shape: {text[:80]!r}", 200) from None


def _read_reply(answer: Mapping[str, Any]) -> Reply:
    choice = answer["choices"][0]
    text = choice["message"].get("content") or ""
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Reply(
        text=text.encode(errors="replace").decode(),  # half a surrogate cannot be written anywhere
        finish_reason=choice.get("finish_reason") or "",
        tokens=_read_logprobs(choice.get("logprobs")),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def _read_logprobs(logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprobs, ...]:
    tokens = (logprobs or {}).get("content") or []
    return tuple(
        TokenLogprobs(
            _token_bytes(token),
            float(token["logprob"]),
            tuple(
                (_token_bytes(other), float(other["logprob"]))
                for other in token.get("top_logprobs") or []
            ),
        )
        for token in tokens
    )


def _token_bytes(token: Mapping[str, Any]) -> bytes:
    """A token may be half a character: its bytes tell, its text cannot."""
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode(errors="replace")
