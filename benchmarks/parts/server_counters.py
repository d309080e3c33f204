"""What did a pass cost the server, and what could its prefix cache have saved? Asks vLLM itself.

Read by `python benchmarks/judge_speed.py` from /metrics and /tokenize of the server.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.parts.passes import Cost

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Counters:
    """The server's counters at one moment."""

    totals: dict[str, float]

    def since(self, before: "Counters") -> Cost:
        """What was spent from `before` to now."""
        spent = {name: total - before.totals.get(name, 0) for name, total in self.totals.items()}
        return Cost(
            prompt_tokens=int(spent.get("vllm:prompt_tokens_total", 0)),
            completion_tokens=int(spent.get("vllm:generation_tokens_total", 0)),
            cached_tokens=int(spent.get("vllm:prefix_cache_hits_total", 0)),
        )


class ServerPages:
    """The pages of one vLLM server that tell about itself."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self._root = base_url.removesuffix("/v1")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def counters(self) -> Counters | None:
        """The counters now, summed over engines; None where the server has no such page."""
        try:
            url = f"{self._root}/metrics"
            page = requests.get(url, headers=self._headers, timeout=_TIMEOUT_S)
        except requests.RequestException:
            return None
        return read_counters(page.text) if page.status_code == 200 else None

    def wait_until_idle(self, seconds: float = 20.0) -> bool:
        """Let calls that were given up run out; False if the server is still busy after that."""
        until = time.monotonic() + seconds
        while (counters := self.counters()) is not None:
            names = ("vllm:num_requests_running", "vllm:num_requests_waiting")
            if not any(counters.totals.get(name) for name in names):
                break
            if time.monotonic() > until:
                return False
            time.sleep(0.5)
        return True

    def shared_tokens(self, model: str, prompts: Sequence[Sequence[Mapping[str, str]]]) -> int:
        """Tokens that all these chats begin with, by the server's /tokenize; 0: it cannot tell."""
        tokenized: list[list[int]] = []
        for messages in prompts:
            body: dict[str, Any] = {"model": model, "messages": messages}
            url = f"{self._root}/tokenize"
            page = requests.post(url, json=body, headers=self._headers, timeout=_TIMEOUT_S)
            if page.status_code != 200:
                return 0
            tokenized.append(page.json()["tokens"])
        return len(commonprefix(tokenized))


def read_counters(text: str) -> Counters:
    """A Prometheus page: the sums of vLLM's samples."""
    totals: dict[str, float] = {}
    families = text_string_to_metric_families(text)
    for sample in (sample for family in families for sample in family.samples):
        if sample.name.startswith("vllm:"):
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return Counters(totals)
