"""What does a judge's server look like that costs nothing? Every call is answered at once.

    python -m benchmarks.parts.instant_server 0.05

Takes the seconds of a call, prints its port and serves until it is ended. Written on bare asyncio
because it shares two cores with the client that is measured: it answers several thousand calls a
second. The body is what vLLM 0.32 sends for a two-line verdict of 40 tokens: usage, and five log
probabilities a token. A row that names an `item-7` gets the score of that name, any other row a 4;
/counts says how often such rows were asked about.
"""

import asyncio
import json
import re
import subprocess
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import log
from typing import Any

from llm_client.settings import ROOT

LATENCY_S = 0.05
MODEL, CONTEXT_LENGTH = "instant-judge", 8192
_TOKENS = 40
_NAME, _ITEM = b"item-", re.compile(rb"item-\d+")


@contextmanager
def instant_server(latency_s: float = LATENCY_S) -> Iterator[str]:
    """Its root, while the block runs; it is a process of its own."""
    command = [sys.executable, "-m", "benchmarks.parts.instant_server", str(latency_s)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.kill()


def score_of(item: bytes) -> int:
    """The score of the rows that name the item, 1-5."""
    return 1 + zlib.crc32(item) % 5


def completion(score: int) -> dict[str, Any]:
    """The body of a reply."""
    head = ["Оц", "енка", ":", " ", str(score), "\n"]
    rest = "Обоснование: The answer names the right city, and says in a word why it is so."
    size = -(-len(rest) // (_TOKENS - len(head)))
    pieces = head + [rest[at : at + size] for at in range(0, len(rest), size)]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "".join(pieces)},
                "logprobs": {"content": [_token(piece) for piece in pieces]},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 300,
            "completion_tokens": len(pieces),
            "total_tokens": 300 + len(pieces),
            "prompt_tokens_details": {"cached_tokens": 200},
        },
    }


def _token(piece: str) -> dict[str, Any]:
    others = [str(digit) for digit in range(1, 6)] if piece.isdigit() else [piece, *"abcd"]
    told = [_logprob(text, log(0.8 if text == piece else 0.05)) for text in others]
    return {**_logprob(piece, log(0.8)), "top_logprobs": told}


def _logprob(text: str, value: float) -> dict[str, Any]:
    return {"token": text, "logprob": value, "bytes": list(text.encode())}


def _response(page: Any, status: str = "200 OK") -> bytes:
    body = json.dumps(page, ensure_ascii=False).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


class _InstantJudge:
    """What is answered, and how often it was asked about each item."""

    def __init__(self, latency_s: float) -> None:
        self.latency_s = latency_s
        self._replies = {score: _response(completion(score)) for score in range(1, 6)}
        self._calls: Counter[bytes] = Counter()

    def reply(self, request: bytearray) -> bytes:
        """To a chat completion."""
        # The row is the last thing in a request: a pattern would look through all of it.
        found = _ITEM.match(request, max(request.rfind(_NAME), 0))
        if found is None:
            return self._replies[4]
        self._calls[found[0]] += 1
        return self._replies[score_of(found[0])]

    def page(self, path: bytes) -> bytes:
        """To anything else; /counts: calls, different items, items that were asked about again."""
        if path == b"/v1/models":
            return _response({"data": [{"id": MODEL, "max_model_len": CONTEXT_LENGTH}]})
        if path == b"/counts":
            repeated = sum(count > 1 for count in self._calls.values())
            counts = {"calls": self._calls.total(), "rows": len(self._calls)}
            return _response(counts | {"repeated": repeated})
        return _response({}, "404 Not Found")


class _Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    def __init__(self, judge: _InstantJudge) -> None:
        self._judge, self._data = judge, bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        _, length, rest = head.lower().partition(b"content-length:")
        if length and len(body) < int(rest.split(b"\r\n", 1)[0]):
            return
        self._data.clear()
        path = bytes(head.split(b" ", 2)[1])
        if path != b"/v1/chat/completions":
            self._transport.write(self._judge.page(path))
            return
        reply = self._judge.reply(body)
        asyncio.get_running_loop().call_later(self._judge.latency_s, self._answer, reply)

    def _answer(self, reply: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(reply)


async def serve(latency_s: float) -> None:
    """Listen on a free port of this machine, which is printed."""
    judge, loop = _InstantJudge(latency_s), asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(judge), "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(float(sys.argv[1])))
