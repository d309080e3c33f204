"""Which of several servers gets the next call? The one with the fewest in flight, if it answers.

    python mlflow_tracking/run_experiment.py --base-url http://gpu1:8000/v1,http://gpu2:8000/v1
    curl -s http://127.0.0.1:8000/metrics | grep num_requests    # what `server_load` reads

A server that cannot be reached, or fails several times in a row, is left out; every two seconds
one call tries it, and the first that it answers takes it back (a circuit breaker, as in Nygard,
*Release It!*). A server that fails at once would otherwise have the fewest calls in flight, always.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from llm_client.surroundings import Route, route_to

_FAULTS_IN_A_ROW = 3  # then a server is left out: one or two may be the rows' own
_LEFT_OUT_S = 2.0  # until it is tried again; a restart takes a minute and more
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_MOST_CHARACTERS = 100_000  # some 500 engines; the worst text of that length takes 0.13 s to parse
_MOST_REQUESTS = 1e9  # no server has so many, and no number beyond it is a count


@dataclass(eq=False)
class Server:
    """One OpenAI-compatible server and what is known of it; times are of `time.monotonic()`."""

    route: Route
    in_flight: int = 0
    faults: int = 0  # since it answered last
    left_out_until: float | None = None
    unreachable_since: float | None = None  # None: the last try to connect succeeded
    turn: int = 0  # of its last call: equals take turns

    @property
    def base_url(self) -> str:
        """Ends in /v1, and has no credentials."""
        return self.route.url

    @property
    def root_url(self) -> str:
        """Where vLLM's own routes are: /health, /tokenize."""
        return self.base_url.removesuffix("/v1")


@dataclass(frozen=True)
class ServerLoad:
    """Requests of all clients of a server, summed over its engines."""

    running: float
    waiting: float

    def waiting_of(self, in_flight: int) -> float:
        """How many of one client's requests wait, if they wait as the others' do."""
        everyone = self.running + self.waiting
        return self.waiting * min(in_flight / everyone, 1.0) if everyone else 0.0


class ServerPool:
    """The servers that serve one judge."""

    def __init__(self, base_urls: Collection[str], api_key: str = "") -> None:
        self.servers = [Server(route_to(url.rstrip("/"), api_key)) for url in base_urls]
        self._turn = 0

    def take(self, avoid: Collection[Server]) -> Server:
        """The server for a call, counted as in flight there; `avoid` only if there is another."""
        now = time.monotonic()
        usable = [server for server in self.servers if _may_be_asked(server, now)]
        others = [server for server in usable if server not in avoid]
        server = min(others or usable or self.servers, key=lambda s: (s.in_flight, s.turn))
        self._turn += 1
        server.turn = self._turn
        server.in_flight += 1
        return server

    def release(self, server: Server) -> None:
        """The call is over, however it ended."""
        server.in_flight -= 1

    def reached(self, server: Server) -> None:
        """It sent a status line, of whatever kind."""
        server.unreachable_since = None

    def answered(self, server: Server) -> None:
        """It did what it was asked, or said why not."""
        server.faults, server.left_out_until = 0, None

    def failed(self, server: Server) -> None:
        """It broke off, stayed silent or answered with a fault of its own."""
        server.faults += 1
        if server.faults >= _FAULTS_IN_A_ROW:
            server.left_out_until = time.monotonic() + _LEFT_OUT_S

    def unreachable(self, server: Server) -> None:
        """No connection could be made."""
        now = time.monotonic()
        # From the first refusal on, not from the last answer: a slow judge's silence is no absence.
        if server.unreachable_since is None:
            server.unreachable_since = now
        server.left_out_until = now + _LEFT_OUT_S

    def has_other(self, failed: Collection[Server]) -> bool:
        """Whether a server that is not left out remains beside those that failed a call."""
        return any(s.left_out_until is None and s not in failed for s in self.servers)

    def away_s(self) -> float | None:
        """Seconds since the last of them went away; None if one can be reached."""
        since = [s.unreachable_since for s in self.servers if s.unreachable_since is not None]
        return time.monotonic() - max(since) if len(since) == len(self.servers) else None


def _may_be_asked(server: Server, now: float) -> bool:
    """One that is left out gets one call at a time: a server that hangs would hold many."""
    if server.left_out_until is None:
        return True
    return server.left_out_until <= now and server.in_flight == 0


def server_load(page: str) -> ServerLoad | None:
    """Read vLLM's /metrics; None where the page does not tell.

    https://docs.vllm.ai/en/stable/usage/metrics.html
    """
    # Asked every two seconds, between the calls: all 59 kB of a page take 9 ms, these lines 0.2.
    lines = [line for line in page.split("\n") if line.startswith((_RUNNING, _WAITING))]
    if sum(map(len, lines)) > _MOST_CHARACTERS:
        return None
    try:
        families = list(text_string_to_metric_families("\n".join(lines)))
    except (ValueError, IndexError, OverflowError):  # what the parser raises on other text
        return None
    samples = [sample for family in families for sample in family.samples]
    running = [sample.value for sample in samples if sample.name == _RUNNING]
    waiting = [sample.value for sample in samples if sample.name == _WAITING]
    if not waiting or not all(0 <= number < _MOST_REQUESTS for number in (*running, *waiting)):
        return None
    return ServerLoad(sum(running), sum(waiting))
