"""How many requests wait inside a vLLM server? Its own gauge, from /metrics.

    curl -s http://127.0.0.1:8000/metrics | grep num_requests_waiting

https://docs.vllm.ai/en/stable/usage/metrics.html
"""

import re

_WAITING = re.compile(r"^vllm:num_requests_waiting(?:\{[^}\n]*\})? ([0-9.eE+]+)$", re.M)


def waiting_requests(page: str) -> int | None:
    """The sum over the server's engines; None where the page does not tell."""
    found = _WAITING.findall(page)
    return int(sum(map(float, found))) if found else None
