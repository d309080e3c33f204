"""Which odd servers are there? One stub, a mode for each that somebody met, after bug reports.

    with odd_server("no_system_role") as base_url: ...

In every mode the judge gives a 4 to rows about 'item-N'. A mode is a function of the request and of
how often its row was asked about; it gives the status and the reply.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Answer = tuple[int, Any]  # HTTP's status; JSON, or bytes
VERDICT = "Оценка: 4\nОбоснование: Ответ верен."
_CLAIM = re.compile(r"\n<text>\n(.*)\n</text>\Z", re.S)


def held(body: Body) -> str:
    """What vLLM's judge writes: in the declared form, or the digit that the constraint allows."""
    if quotation := claimed(body):
        return quotation
    regex = str((body.get("structured_outputs") or {}).get("regex") or "")
    if regex == "[0-9]":
        return "7"
    if regex == "[1-5]":
        return "4"
    return "Оценка: 4" if regex == "Оценка: [1-5]" else VERDICT


def free(body: Body) -> str:
    """What a judge writes whom nothing holds to a form."""
    return "The sea is wide." if about_the_sea(body) else claimed(body) or VERDICT


def claimed(body: Body) -> str:
    """What the judge quotes of an answer; '' where it is not asked for what that claims."""
    found = _CLAIM.search(str(body["messages"][-1]["content"]))
    return found[1] if found else ""


def about_the_sea(body: Body) -> bool:
    return "about the sea" in str(body["messages"][-1]["content"])


def logprobs(text: str) -> Body:
    digits = [{"token": d, "logprob": -0.2 if d == "4" else -3.0} for d in "12345"]
    tokens = [
        {"token": piece, "logprob": -0.2, "top_logprobs": digits if piece == "4" else []}
        for piece in re.findall(r"\d|\D+", text)
    ]
    return {"content": tokens}


def reply(text: str | None, finish: str | None = "stop", **more: Any) -> Answer:
    choice: Body = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    choice["logprobs"] = logprobs(text) if text else None
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return 200, {"choices": [choice | more], "usage": usage}


def refused(message: str, status: int = 400, **more: Any) -> Answer:
    return status, {"error": {"message": message, **more}}


def takes_no(field: str, words: str = "Unrecognized request argument supplied: {}") -> Any:
    def mode(body: Body, nth: int) -> Answer:
        return refused(words.format(field)) if field in body else reply(held(body))

    return mode


def only_rows(broken: Callable[[Body, int], Answer]) -> Any:
    """Broken for all but the question for the constraint."""

    def mode(body: Body, nth: int) -> Answer:
        return reply(held(body)) if about_the_sea(body) else broken(body, nth)

    return mode


def constrained_by(field: str, form: Callable[[Body], str]) -> Any:
    """An engine that knows one constraint, refuses none, and begins every reply anew."""

    def mode(body: Body, nth: int) -> Answer:
        return reply(form(body) if field in body else free(body))

    return mode


def by_grammar(body: Body) -> str:
    grammar = str(body["grammar"])
    if "Оценка" not in grammar:
        return claimed(body) or "7"
    return VERDICT if "Обоснование" in grammar else "Оценка: 4"


def by_schema(body: Body) -> str:
    names = body["response_format"]["json_schema"]["schema"]["properties"]
    values = {"digit": 7, "Оценка": 4, "Обоснование": "Ответ верен.", "Утверждение": claimed(body)}
    return json.dumps({name: values[name] for name in names}, ensure_ascii=False)


def no_logprobs(body: Body, nth: int) -> Answer:
    if "logprobs" in body:
        return refused("logprobs is not supported by this model")
    return reply(held(body), logprobs=None)


def only_reasoning(body: Body, nth: int) -> Answer:
    """The parser of thoughts took the whole reply for one."""
    return reply(None, message={"content": None, "reasoning_content": held(body)})


def no_system_role(body: Body, nth: int) -> Answer:
    if body["messages"][0]["role"] == "system":
        return refused("System role not supported")
    return reply(held(body))


def alternating_roles(body: Body, nth: int) -> Answer:
    if body["messages"][0]["role"] == "system":
        message = "Conversation roles must alternate user/assistant/user/assistant/..."
        return refused(message, 500)
    return reply(held(body))


def few_alternatives(body: Body, nth: int) -> Answer:
    if (body.get("top_logprobs") or 0) > 5:
        return refused("Invalid value for 'top_logprobs': must be less than or equal to 5.")
    return reply(free(body))


def no_max_tokens(body: Body, nth: int) -> Answer:
    if "max_tokens" in body:
        return refused("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    return reply(held(body))


def streams_unless_told(body: Body, nth: int) -> Answer:
    return reply(held(body)) if body.get("stream") is False else always_streams(body, nth)


def always_streams(body: Body, nth: int) -> Answer:
    pieces = [*held(body)]
    chunks: list[Body] = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    chunks.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return 200, "".join([*lines, "data: [DONE]\n\n"]).encode()


def null_alternative(body: Body, nth: int) -> Answer:
    found = logprobs(held(body))
    for token in found["content"]:
        token["top_logprobs"] = [*token["top_logprobs"], {"token": "9", "logprob": None}]
    return reply(held(body), logprobs=found)


def legacy_logprobs(body: Body, nth: int) -> Answer:
    shape = {"tokens": ["4"], "token_logprobs": [-0.1], "top_logprobs": [{"4": -0.1}]}
    return reply(held(body), logprobs=shape)


def fails_twice(body: Body, nth: int) -> Answer:
    if nth > 2:
        return reply(held(body))
    return reply("", "error", error={"code": 502, "message": "Upstream is overloaded"})


def error_in_a_200(body: Body, nth: int) -> Answer:
    fault = {"error": {"code": 502, "message": "Provider returned error"}}
    return (200, fault) if nth == 1 else reply(held(body))


def says_no_end(body: Body, nth: int) -> Answer:
    """Whole replies and half ones, and why they ended is not told."""
    half = "item-2" in str(body["messages"]) and not claimed(body)
    return reply("Оценка: 4\nОбоснование: Ответ" if half else held(body), None)


MODES: dict[str, Callable[[Body, int], Answer]] = {
    "vllm": lambda body, nth: reply(held(body)),
    "no_system_role": no_system_role,
    "alternating_roles": alternating_roles,
    "few_alternatives": few_alternatives,
    "no_max_tokens": no_max_tokens,
    "no_seed": takes_no("seed"),
    "no_temperature": takes_no("temperature", "Unsupported value: '{}' does not support 0.0"),
    "no_structured_outputs": takes_no("structured_outputs"),
    "no_logprobs": no_logprobs,
    "no_continue": takes_no("continue_final_message", "[{{'loc': ('body', '{}')}}]"),
    "no_stream": takes_no("stream"),
    "no_extra_field": takes_no("structured_outputs", "Extra inputs are not permitted"),
    "grammar": constrained_by("grammar", by_grammar),
    "json_schema": constrained_by("response_format", by_schema),
    "unconstrained": lambda body, nth: reply(free(body)),
    "broken_off": only_rows(lambda body, nth: reply("Оценка: 4\nОбоснование: Ответ", "abort")),
    "fails_twice": only_rows(fails_twice),
    "error_in_a_200": only_rows(error_in_a_200),
    "filtered": only_rows(lambda body, nth: reply(None, "content_filter")),
    "calls_a_tool": only_rows(lambda body, nth: reply(None, "tool_calls")),
    "only_reasoning": only_reasoning,
    "null_alternative": null_alternative,
    "legacy_logprobs": legacy_logprobs,
    "no_usage": lambda body, nth: (200, {**reply(held(body))[1], "usage": None}),
    "says_no_end": only_rows(says_no_end),
    "streams_unless_told": streams_unless_told,
    "always_streams": always_streams,
    "used_up": only_rows(
        lambda body, nth: refused("You exceeded your current quota", 429, code="insufficient_quota")
    ),
    "too_long_llama": only_rows(
        lambda body, nth: refused("request (9001 tokens) exceeds the available context size (8192)")
    ),
    "too_long_tgi": only_rows(
        lambda body, nth: refused("`inputs` must have less than 4096 tokens. Given: 9001", 422)
    ),
    "too_long_litellm": only_rows(
        lambda body, nth: refused("litellm.ContextWindowExceededError: prompt is too long", 400)
    ),
    "count_is_forbidden": lambda body, nth: reply(held(body)),
    "several_models": lambda body, nth: reply(held(body)),
    "several_judges": lambda body, nth: reply(held(body)),
}
_CARDS = {
    "several_models": [{"id": "text-embedding-nomic"}, {"id": "judge"}],
    "several_judges": [{"id": "judge-7b"}, {"id": "judge-70b"}],
    "count_is_forbidden": [{"id": "judge", "max_model_len": 8192}],
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    mode, seen, lock = "", Counter[str](), threading.Lock()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        models = {"data": _CARDS.get(self.mode, [{"id": "judge"}])}
        self.send(*((200, models) if self.path == "/v1/models" else (404, {})))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/tokenize":
            self.send(403, b"<html><h1>403 Forbidden</h1></html>")
            return
        text = str(body["messages"])
        row = re.search(r"item-\d+", text)
        with self.lock:
            self.seen[row[0] if row else text] += 1
            nth = self.seen[row[0] if row else text]
        self.send(*MODES[self.mode](body, nth))

    def send(self, status: int, content: Any) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def odd_server(mode: str) -> Iterator[str]:
    """The server in a mode, by its address; it counts from nothing."""
    handler = type("Handler", (_Handler,), {"mode": mode, "seen": Counter[str]()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def limited(per_window: int, window_s: float, retry_after: str = "") -> Iterator[str]:
    """A server that takes so many calls in a window and refuses the others with 429."""
    times: list[float] = []

    def mode(body: Body, nth: int) -> Answer:
        now = time.monotonic()
        times[:] = [at for at in times if at > now - window_s]
        if len(times) >= per_window:
            return refused("Rate limit reached: requests per min", 429)
        times.append(now)
        return reply(held(body))

    MODES["limited"] = mode
    try:
        with odd_server("limited") as base_url:
            yield base_url
    finally:
        del MODES["limited"]
