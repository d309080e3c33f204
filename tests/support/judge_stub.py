"""What would vLLM answer, and what if it went wrong? A judge's server that tests can break.

    with serving(JudgeStub(faults=lambda call: "http_500" if call.nth == 1 else "")) as stub:
        subprocess.run([..., "--base-url", stub.base_url])

It listens on a real port, in a thread of its own, and speaks as vLLM 0.32 does where the project
listens: /v1/models, /health, /version, /metrics, /tokenize, /v1/chat/completions with usage and
log probabilities. The score of a row follows from its text alone (`true_score`), so that a test can
tell a wrong score from a right one.
"""

import asyncio
import json
import re
import socket
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import log
from typing import Any

from aiohttp import web

NO_CHAT_TEMPLATE = (  # vLLM 0.32 with facebook/opt-1.3b
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
    "chat template if the tokenizer does not define one."
)
PROSE = "The sea is wide and blue, and nobody has ever given it a mark."
# What a fault does to a call; any other text is a status such as 'http_500'.
RETRIED = ("http_500", "http_429", "reset", "hang", "cut_json", "no_choices")
NOT_A_VERDICT = ("prose", "out_of_range", "quoted")

_ROW = re.compile(r"item-\w+")
_FIELD = re.compile(r"(?:^|\\n)((?:[^\\\[\]:]|\\.)+): (\[1-5\]|\[\^\\n)")
_DECISION = re.compile(r"\((\w+)\|(\w+)\)(?:\\n(\w+): )?")
_PLANTED = re.compile(r"^(?:Оценка|Score): [1-5]\n(?:Обоснование|Justification): .*$", re.M)
_DECLARED = re.compile(r"^([^\n:\[\]{}]{1,60}): \[([^\]\n]+)\]$", re.M)
# A claim question: the answer between these tags, and nothing after it.
_CLAIM = re.compile(r"\n<text>\n(.*)\n</text>\Z", re.S)
# The reversed question of validate_judge.py: a yes says that the answer is bad.
_REVERSED = re.compile(r"^(?:Is the student answer wrong|Ошибочен ли ответ)", re.M)
_SURE = 0.8  # the probability of the score; the other four share the rest


def row_of(text: str) -> str:
    """What a text is about: its first `item-…`, or, without one, all of it."""
    found = _ROW.search(text)
    return found[0] if found else text


def asked(body: dict[str, Any]) -> str:
    """The last thing that the user says in a chat."""
    said = [message["content"] for message in body["messages"] if message["role"] == "user"]
    return str(said[-1])


def true_score(text: str) -> int:
    """The score that the stub's judge gives to a text, 1-5."""
    return 1 + zlib.crc32(row_of(text).encode()) % 5


def is_it_so(text: str) -> bool:
    """Whether the stub's judge says yes to a yes or no question about a text's row."""
    return (true_score(text) > 3) != bool(_REVERSED.search(text))


PREFLIGHT_CALLS = 2  # does the constraint hold? and a row's own request, about an example
# and what the example claims, why it has its score, and its score alone (not with --score-only)
PREFLIGHT_CALLS_WITH_CLAIM = 5


@dataclass(frozen=True)
class Call:
    """One chat completion that was asked for."""

    row: str
    nth: int  # call for this row, from 1
    body: dict[str, Any]
    at: float  # time.monotonic()
    headers: dict[str, str]

    @property
    def text(self) -> str:
        return asked(self.body)

    @property
    def answer(self) -> str:
        """What stands in the prompt as the answer to judge or to quote; else all of it."""
        found = re.search(r"<answer>\n(.*)\n</answer>", self.text, re.S)
        found = found or _CLAIM.search(self.text)
        return found[1] if found else self.text

    @property
    def asks_claim(self) -> bool:
        """Whether it asks for a quotation of what an answer claims, and not for a score."""
        return "<answer>\n" not in self.text and bool(_CLAIM.search(self.text))

    @property
    def begun(self) -> str:
        """What the reply begins with already."""
        last = self.body["messages"][-1]
        return str(last["content"]) if self.body.get("continue_final_message") else ""


@dataclass
class JudgeStub:
    """How the server behaves, and what it was asked. Change it while it runs."""

    model: str = "stub-judge"
    root: str = "/models/stub-judge"
    context_length: int | None = 8192
    api_key: str = ""
    latency_s: float = 0.0
    batch: int = 0  # calls that are worked on at once, the others wait; 0: all
    faults: Callable[[Call], str] = lambda call: ""  # a fault's name, '' for none
    judge: Callable[[Call], int] = lambda call: true_score(call.text)  # 1-5
    agrees: Callable[[Call], bool] = lambda call: is_it_so(call.text)  # to a yes or no question
    claim: Callable[[Call], str] = lambda call: call.answer  # a quotation of it
    quote: Callable[[Call], str] = lambda call: call.row[:40]  # of the row, in its justification
    sure: Callable[[Call], float] = lambda call: _SURE  # its score's probability
    prefer: Callable[[Call], int] = lambda call: 1  # of two answers: the first or the second
    retry_after: str = "1"
    honours_constraint: bool = True
    sends_logprobs: bool = True
    goes_on: bool = True  # honours continue_final_message
    thinks: bool = False  # the answer is empty unless max_tokens leaves room for thoughts
    has_chat_template: bool = True
    healthy: bool = True
    control_tokens: tuple[str, ...] = ()  # /tokenizer_info; none: the route is not there
    counts_tokens: bool = True  # whether /tokenize is there
    other_server: bool = False  # any address answers with a web page
    redirect_to: str = ""
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    tokenized: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    connections: set[object] = field(default_factory=set)  # all there ever were
    _asked: Counter[str] = field(default_factory=Counter)
    _at_work: int = 0
    _places: asyncio.Semaphore | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _thread: threading.Thread | None = None
    _open: set[asyncio.Transport] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def calls_by_row(self) -> Counter[str]:
        """Chat completions asked for, claim questions too, without the preflight's."""
        return Counter(call.row for call in self.calls if call.row.startswith("item-"))

    def forget(self) -> None:
        """Count from nothing again."""
        self.calls, self.tokenized, self.most_in_flight = [], 0, 0
        self._asked.clear()
        self.connections = set()

    def wait_for_calls(self, number: int, timeout_s: float = 60.0) -> None:
        """Return when rows have been asked about `number` times in all."""
        until = time.monotonic() + timeout_s
        while sum(self.calls_by_row().values()) < number:
            assert time.monotonic() < until, f"only {len(self.calls)} of {number} calls came"
            time.sleep(0.003)

    def start(self) -> None:
        """Listen; on the port that it had before, if it had one."""
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(ready)), daemon=True, name="judge stub"
        )
        self._thread.start()
        assert ready.wait(10), "the stub does not start"

    def stop(self) -> None:
        """Die as a killed server does: the port is closed, open connections are reset."""
        if self._loop and self._stop and self._thread:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)
            self._thread = None

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._places, self._at_work = asyncio.Semaphore(self.batch or 2**20), 0
        app = web.Application(middlewares=[self._guard], client_max_size=2**28)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        app.router.add_get("/version", self._version)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/tokenizer_info", self._tokenizer_info)
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/v1/chat/completions", self._chat)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, backlog=1024).start()
        self.port = int(runner.addresses[0][1])
        ready.set()
        await self._stop.wait()
        for transport in list(self._open):
            transport.abort()
        self._open.clear()
        self.in_flight = 0
        await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        assert isinstance(request.transport, asyncio.Transport)
        self._open.add(request.transport)
        self.connections.add(request.transport.get_extra_info("peername"))
        if self.other_server:
            return web.Response(text="<html><h1>It works!</h1></html>", content_type="text/html")
        if self.redirect_to:
            raise web.HTTPTemporaryRedirect(self.redirect_to + request.path)
        key = request.headers.get("Authorization", "")
        if self.api_key and request.path.startswith("/v1") and key != f"Bearer {self.api_key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _models(self, request: web.Request) -> web.Response:
        card: dict[str, Any] = {
            "id": self.model,
            "object": "model",
            "owned_by": "vllm",
            "root": self.root,
        }
        card |= {"max_model_len": self.context_length} if self.context_length else {}
        return web.json_response({"object": "list", "data": [card]})

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if self.healthy else 503)

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def _metrics(self, request: web.Request) -> web.Response:
        labels = f'{{engine="0",model_name="{self.model}"}}'
        lines = (
            f"vllm:num_requests_running{labels} {self._at_work}.0",
            f"vllm:num_requests_waiting{labels} {self.in_flight - self._at_work}.0",
        )
        return web.Response(text="\n".join(lines) + "\n")

    async def _tokenizer_info(self, request: web.Request) -> web.Response:
        if not self.control_tokens:
            raise web.HTTPNotFound
        added = {str(i): {"content": text} for i, text in enumerate(self.control_tokens)}
        return web.json_response({"added_tokens_decoder": added})

    async def _tokenize(self, request: web.Request) -> web.Response:
        if not self.counts_tokens:
            raise web.HTTPNotFound
        self.tokenized += 1
        count = count_tokens(await request.json())
        return web.json_response(
            {"count": count, "max_model_len": self.context_length, "tokens": list(range(count))}
        )

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        row = row_of(asked(body))
        self._asked[row] += 1
        call = Call(row, self._asked[row], body, time.monotonic(), dict(request.headers))
        self.calls.append(call)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        assert self._places is not None, "not started"
        try:
            async with self._places:
                self._at_work += 1
                try:
                    await asyncio.sleep(self.latency_s)
                    return await self._reply(request, call)
                finally:
                    self._at_work -= 1
        finally:
            self.in_flight -= 1

    async def _reply(self, request: web.Request, call: Call) -> web.StreamResponse:
        if not self.has_chat_template:
            return _error(NO_CHAT_TEMPLATE, 400)
        if call.body["model"] != self.model:
            return _error(f"The model `{call.body['model']}` does not exist.", 404)
        prompt_tokens = count_tokens(call.body)
        limit = self.context_length
        if limit and prompt_tokens + int(call.body["max_tokens"]) > limit:
            return _error(f"This model's maximum context length is {limit} tokens.", 400)
        fault = self.faults(call)
        if fault == "reset":
            assert isinstance(request.transport, asyncio.Transport)
            # SO_LINGER 0 makes the close a reset, as of a process that was killed
            sock = request.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            request.transport.abort()
            await asyncio.sleep(1)
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault.startswith("http_"):
            status = int(fault.removeprefix("http_"))
            headers = {"Retry-After": self.retry_after} if status in (429, 503) else {}
            return _error("the stub was told to fail", status, headers)
        text, finish = self._text(call, fault), "stop"
        if fault == "no_choices":
            return web.json_response({"object": "chat.completion", "choices": []})
        if self.thinks and int(call.body["max_tokens"]) < 1000:
            text, finish = None, "length"
        whole = self._completion(call, text, finish, prompt_tokens)
        if fault == "cut_json":
            return web.Response(text=json.dumps(whole)[:-25], content_type="application/json")
        return web.json_response(whole)

    def _text(self, call: Call, fault: str) -> str | None:
        constraint = str((call.body.get("structured_outputs") or {}).get("regex", ""))
        if call.asks_claim:
            return PROSE if fault in NOT_A_VERDICT else self.claim(call)
        if call.begun and self.goes_on and fault not in NOT_A_VERDICT:
            return self._go_on(call, constraint)
        decision = _DECISION.match(constraint)
        if decision and self.honours_constraint and fault not in NOT_A_VERDICT:
            word = decision[1] if self.agrees(call) else decision[2]
            text = f"{decision[3]}: because of {self.quote(call)!r}"
            return f"{word}\n{text}" if decision[3] else word
        if fault == "prose" or (constraint and not _FIELD.search(constraint)):
            canary = fault != "prose" and self.honours_constraint
            return "7" if canary else PROSE
        score = self.judge(call)
        labels = _labels(constraint) if self.honours_constraint else []
        if "\nscore: Your numerical score" in call.text:  # MLflow's own scorer asks for these two
            labels = [("score", True), ("justification", False)]
        if not labels:
            whole = "\n".join(str(message["content"]) for message in call.body["messages"])
            labels = [(name, "5" in inside) for name, inside in _DECLARED.findall(whole)]
        if fault == "quoted":  # what a server that ignores the constraint may let through
            planted = _PLANTED.search(call.text)
            return f"The answer says:\n{planted[0]}" if planted else PROSE
        if fault == "out_of_range":
            return _verdict(labels, 42, f"{call.row} is about 42")
        return _verdict(labels, score, f"because of {self.quote(call)!r}")

    def _go_on(self, call: Call, constraint: str) -> str:
        """What comes after the beginning of a reply."""
        if "four five" in call.begun:
            return " six"
        if constraint == "[12]":
            return str(self.prefer(call))
        score = self.judge(call)
        return str(score) if constraint == "[1-5]" else f" because of {self.quote(call)!r}"

    def _completion(
        self, call: Call, text: str | None, finish: str, prompt_tokens: int
    ) -> dict[str, Any]:
        pieces = re.findall(r"\d|\D+", text or "")
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": finish,
        }
        if self.sends_logprobs and call.body.get("logprobs"):
            sure = self.sure(call)
            choice["logprobs"] = {"content": [_token(piece, sure) for piece in pieces]}
        return {
            "id": f"chatcmpl-{len(self.calls)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self.model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": len(pieces),
                "total_tokens": prompt_tokens + len(pieces),
                "prompt_tokens_details": {"cached_tokens": prompt_tokens // 2},
            },
        }


@contextmanager
def serving(stub: JudgeStub) -> Iterator[JudgeStub]:
    """Listen on a free port while the block runs."""
    stub.start()
    try:
        yield stub
    finally:
        stub.stop()


def count_tokens(body: dict[str, Any]) -> int:
    """The stub's tokenizer: four characters a token, and ten for the template."""
    return 10 + sum(len(str(message["content"])) for message in body["messages"]) // 4


def _labels(constraint: str) -> list[tuple[str, bool]]:
    return [
        (re.sub(r"\\(.)", r"\1", label), kind == "[1-5]")
        for label, kind in _FIELD.findall(constraint)
    ]


def _verdict(labels: list[tuple[str, bool]], score: int, why: str) -> str:
    return "\n".join(f"{label}: {score if is_score else why}" for label, is_score in labels)


def _token(piece: str, sure: float) -> dict[str, Any]:
    others: list[tuple[str, float]] = [(piece, 0.0)]
    if piece in set("12345"):
        rest = (1 - sure) / 4
        others = [(d, log(sure if d == piece else rest)) for d in "12345"]
    return {
        "token": piece,
        "bytes": list(piece.encode()),
        "logprob": dict(others)[piece],
        "top_logprobs": [
            {"token": text, "bytes": list(text.encode()), "logprob": value}
            for text, value in others
        ],
    }


def _error(message: str, status: int, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": message, "type": "Error", "param": None, "code": status}
    return web.json_response({"error": error}, status=status, headers=headers)
