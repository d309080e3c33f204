"""What does the clients' stub server say? What a test put into it, whole, in pieces or not at all.

    with serving(Stub(models=canned({"data": [{"id": "m"}]}), chat=completion("Берлин."))) as stub:
        requests.get(f"{stub.base_url}/models")

A real server on a real port: mocks of an HTTP library see only the calls of that library.
"""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Canned:
    """A reply of the stub, and how it goes wrong on its way.

    `before` is called before anything is sent and `pause` between two parts; `missing` bytes are
    promised and never sent.
    """

    parts: tuple[str, ...]
    status: int = 200
    content_type: str = "application/json"
    missing: int = 0
    pause: Callable[[], object] = lambda: None
    before: Callable[[], object] = lambda: None


@dataclass
class Stub:
    """A server whose replies a test sets, and which keeps what it was sent."""

    models: Canned
    chat: Canned
    base_url: str = ""
    arrived: threading.Event = field(default_factory=threading.Event)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


def canned(body: object, status: int = 200) -> Canned:
    return Canned((json.dumps(body),), status)


def error(message: str, status: int) -> Canned:
    body = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return canned({"error": body}, status)


def completion(text: str, finish: str = "stop") -> Canned:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return canned({"choices": [choice | {"finish_reason": finish}], "usage": usage})


def sse(*events: object) -> Canned:
    parts = (f"data: {json.dumps(event)}\n\n" for event in events)
    return Canned((*parts, "data: [DONE]\n\n"), content_type="text/event-stream")


def delta(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "choices": [choice]}


USAGE = {
    "object": "chat.completion.chunk",
    "choices": [],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


@contextmanager
def serving(stub: Stub) -> Iterator[Stub]:
    """Listen on a free port while the block runs; puts the address into `stub.base_url`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802 (http.server's name)
            self.answer(stub.models if self.path == "/v1/models" else error("Not Found", 404))

        def do_POST(self) -> None:  # noqa: N802
            size = int(self.headers.get("Content-Length", 0))
            stub.bodies.append(json.loads(self.rfile.read(size)))
            self.answer(stub.chat)

        def answer(self, reply: Canned) -> None:
            stub.keys.append(self.headers.get("Authorization"))
            stub.arrived.set()
            reply.before()
            parts = [part.encode() for part in reply.parts]
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(sum(map(len, parts)) + reply.missing))
            self.end_headers()
            for number, part in enumerate(parts):
                if number:
                    reply.pause()
                with suppress(ConnectionError):  # the client had enough: that is the test
                    self.wfile.write(part)
                    self.wfile.flush()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
