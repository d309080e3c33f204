"""What does a judge's server look like that costs nothing? Every reply the same, after 50 ms.

    python benchmarks/instant_server.py

Prints its port and serves until it is ended. Written on bare asyncio because it shares two cores
with the client that is measured: it answers several thousand calls a second. The body is what vLLM
0.32 sends for a two-line verdict of 40 tokens: usage, and five log probabilities a token.
"""

import asyncio
import json
import sys
from math import log
from typing import Any

LATENCY_S = 0.05
TEXT = "Оценка: 4\nОбоснование: The answer names the right city, and says in a word why it is so."
_TOKENS = 40


def completion() -> bytes:
    """The body of every reply, as JSON."""
    head = ["Оц", "енка", ":", " ", "4", "\n"]
    rest = TEXT[len("".join(head)) :]
    size = -(-len(rest) // (_TOKENS - len(head)))
    pieces = head + [rest[at : at + size] for at in range(0, len(rest), size)]
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "instant-judge",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT},
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
        },
        ensure_ascii=False,
    ).encode()


def _token(piece: str) -> dict[str, Any]:
    others = [str(digit) for digit in range(1, 6)] if piece == "4" else [piece, "a", "b", "c", "d"]
    told = [_logprob(text, log(0.8 if text == piece else 0.05)) for text in others]
    return {**_logprob(piece, log(0.8)), "top_logprobs": told}


def _logprob(text: str, value: float) -> dict[str, Any]:
    return {"token": text, "logprob": value, "bytes": list(text.encode())}


class _Connection(asyncio.Protocol):
    """One client's connection; requests come one after the other."""

    reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._data = transport, bytearray()

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):  # /metrics, which it does not have
            self._data.clear()
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        at = head.lower().index(b"content-length:") + len(b"content-length:")
        if len(body) >= int(head[at:].split(b"\r\n", 1)[0]):
            self._data.clear()
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self.reply)


async def serve() -> None:
    """Listen on a free port of this machine, which is printed."""
    body = completion()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    _Connection.reply = head.encode() + b"\r\n" + body
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=2048)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve())
