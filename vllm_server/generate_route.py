"""How does `POST /generate` get its answer? By asking vLLM's own `/v1/completions`.

vLLM's chat server lost the plain route; this ASGI middleware brings it back:

    bash vllm_server/run_vllm_server.sh
    curl -X POST http://localhost:8000/generate -d '{"prompt": "2 + 2 =", "max_tokens": 50}'

The reply is `{"text": ["..."]}`, prompt and completion together, as vLLM's plain API server gave it
(vllm/entrypoints/api_server.py). The request is rewritten and not answered here, so the key, the
cancellation when the client hangs up, and every sampling parameter (n, stop...) are vLLM's own.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTE = "/generate"
COMPLETIONS = "/v1/completions"


class GenerateRoute:
    """ASGI middleware for `vllm ... --middleware vllm_server.generate_route.GenerateRoute`."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer POST /generate; leave everything else to vLLM."""
        path = route_path(scope)
        # OPTIONS is a browser's preflight, which vLLM answers (--allowed-origins).
        if scope["type"] != "http" or path != ROUTE or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        if scope["method"] != "POST":
            await reply_json(
                send, 405, {"error": "/generate takes POST only"}, ((b"allow", b"POST"),)
            )
            return
        body = await read_body(receive)
        if body is None:
            return  # the client hung up before the request was complete
        try:
            request = parse_request(body)
        except ValueError as error:
            await reply_json(send, 400, {"error": str(error)})
            return
        await self._complete(scope, receive, send, request)

    async def _complete(
        self, scope: Scope, receive: Receive, send: Send, request: dict[str, Any]
    ) -> None:
        body = json.dumps(
            request
        ).encode()  # ASCII: half a character in a prompt is for vLLM to refuse
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()  # vLLM waits here for the client to hang up
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        answer = Answer()
        await self.app(completions_scope(scope, len(body)), replay, answer.collect)
        if answer.status == 200:
            kept = tuple(h for h in answer.headers if not h[0].lower().startswith(b"content-"))
            await reply_json(send, 200, {"text": texts(request["prompt"], answer.body)}, kept)
        elif answer.status:
            await send({"type": "http.response.start", "status": answer.status,
                        "headers": answer.headers})  # fmt: skip
            await send({"type": "http.response.body", "body": bytes(answer.body)})


class Answer:
    """Collects what the inner application sends; status 0 until it sends something."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = bytearray()

    async def collect(self, message: Message) -> None:
        """An ASGI `send`."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")


def route_path(scope: Scope) -> str:
    """The path as the router sees it: without `--root-path`, and otherwise untouched."""
    path, root = str(scope.get("path", "")), str(scope.get("root_path", ""))
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def parse_request(body: bytes) -> dict[str, Any]:
    """A /v1/completions request for a /generate one; raises ValueError with the reason."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict):
        raise ValueError(
            'the body must be a JSON object such as {"prompt": "...", "max_tokens": 50}'
        )
    if not isinstance(request.get("prompt"), str) or not request["prompt"]:
        raise ValueError("'prompt' is missing, empty or not a string")
    if request.get("stream"):
        raise ValueError("/generate does not stream; use /v1/completions with 'stream': true")
    # 16 is the default of vLLM's SamplingParams; an echoed prompt would stand in the text twice.
    return {"max_tokens": 16} | request | {"echo": False, "stream": False}


def completions_scope(scope: Scope, length: int) -> Scope:
    """The same request, to the inner route and with the length and type of its new body."""
    replaced = {b"content-length", b"content-type", b"transfer-encoding"}
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in replaced]
    headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % length)]
    root = scope["path"].removesuffix(ROUTE)
    path = root + COMPLETIONS
    return {**scope, "path": path, "raw_path": path.encode(), "headers": headers}


def texts(prompt: str, body: bytes | bytearray) -> list[str]:
    """Prompt plus completion of every choice in a /v1/completions reply."""
    return [prompt + choice["text"] for choice in json.loads(body)["choices"]]


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body, or None when the client is gone."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def reply_json(
    send: Send, status: int, payload: object, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    """Send one JSON response."""
    body = json.dumps(payload, ensure_ascii=False).encode()
    length = (b"content-length", b"%d" % len(body))
    start = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
