"""What did a pass cost the server, and what could its prefix cache have saved? Asks vLLM itself.

Read by `python benchmarks/judge_speed.py` from /metrics and /tokenize of the server.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from typing import Any

import requests
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.speed_pass import Cost

_CALLS = "vllm:e2e_request_latency_seconds_bucket"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Counters:
    """The server's counters at one moment."""

    totals: dict[str, float]
    latency: dict[float, float] = field(default_factory=dict)  # upper edge in s -> calls up to it

    def since(self, before: "Counters") -> Cost:
        """What was spent from `before` to now."""
        spent = {name: total - before.totals.get(name, 0) for name, total in self.totals.items()}
        buckets = {edge: n - before.latency.get(edge, 0) for edge, n in self.latency.items()}
        return Cost(
            prompt_tokens=int(spent.get("vllm:prompt_tokens_total", 0)),
            completion_tokens=int(spent.get("vllm:generation_tokens_total", 0)),
            cached_tokens=int(spent.get("vllm:prefix_cache_hits_total", 0)),
            requests=int(spent.get("vllm:request_success_total", 0)),
            latency_p50_s=histogram_quantile(buckets, 0.5),
            latency_p95_s=histogram_quantile(buckets, 0.95),
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
    """A Prometheus page: the sums of vLLM's samples, and its histogram of whole calls."""
    totals: dict[str, float] = {}
    latency: dict[float, float] = {}
    families = text_string_to_metric_families(text)
    for sample in (sample for family in families for sample in family.samples):
        if not sample.name.startswith("vllm:"):
            continue
        totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
        if sample.name == _CALLS:
            edge = float(sample.labels["le"])
            latency[edge] = latency.get(edge, 0.0) + sample.value
    return Counters(totals, latency)


def histogram_quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """Linear within the bucket, as Prometheus does it; None without calls or beyond the last."""
    edges = sorted(buckets)
    total = buckets[edges[-1]] if edges else 0.0
    low, below = 0.0, 0.0
    for edge in edges:
        if total > 0 and buckets[edge] >= share * total:
            if edge == float("inf"):
                return None
            inside = buckets[edge] - below
            return low + (edge - low) * ((share * total - below) / inside if inside else 1.0)
        low, below = edge, buckets[edge]
    return None
