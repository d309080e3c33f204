"""How many requests does a vLLM server have at work, and how many wait in it? From its /metrics.

    curl -s http://127.0.0.1:8000/metrics | grep num_requests

https://docs.vllm.ai/en/stable/usage/metrics.html
"""

import re
from dataclasses import dataclass

_GAUGE = r"^vllm:num_requests_%s(?:\{[^}\n]*\})? (\d{1,9}(?:\.\d+)?)$"
_RUNNING, _WAITING = (re.compile(_GAUGE % name, re.M) for name in ("running", "waiting"))


@dataclass(frozen=True)
class ServerLoad:
    """Requests of all clients of a server, summed over its engines."""

    running: float
    waiting: float

    def waiting_of(self, in_flight: int) -> float:
        """How many of one client's requests wait, if they wait as the others' do."""
        everyone = self.running + self.waiting
        return self.waiting * min(in_flight / everyone, 1.0) if everyone else 0.0


def server_load(page: str) -> ServerLoad | None:
    """None where the page does not tell."""
    running, waiting = (pattern.findall(page) for pattern in (_RUNNING, _WAITING))
    if not waiting:
        return None
    return ServerLoad(sum(map(float, running)), sum(map(float, waiting)))
