"""What came of one pass of one contestant over the rows? The data that benchmarks/judge_speed.py
collects, before anything is averaged.

python benchmarks/judge_speed.py --json passes.json
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

ON_SERVER = " on "  # between a contestant and the server that it alone asks


@dataclass(frozen=True)
class Tally:
    """What a contestant tells of its pass."""

    asked: int  # rows
    scored: int  # rows that got a score; for the ceiling, requests that got a reply
    seconds: float
    latencies: tuple[float, ...] = ()  # seconds of each call, as its client saw them
    failures: dict[str, int] = field(default_factory=dict)  # why rows have no score

    @property
    def rows_per_second(self) -> float:
        """Rows that got a score, by the time for all."""
        return self.scored / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Cost:
    """What a pass cost the server, by its own counters (retries and second calls included)."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of the prompt tokens, from the prefix cache


@dataclass(frozen=True)
class MeasuredPass:
    """One contestant over the rows once: what it tells, and what the server does."""

    contestant: str
    round: int  # from 1
    tally: Tally
    cost: Cost | None  # None: the server tells no counters
    shared_tokens: int | None = None  # prompt tokens that all rows begin with, times the rows
    strangers: bool = False  # somebody else's requests were on the server at the start

    def as_json(self) -> dict[str, Any]:
        """Everything, for a file."""
        return asdict(self) | {"rows_per_second": self.tally.rows_per_second}


def count_reasons(reasons: Sequence[str]) -> dict[str, int]:
    """How often each reason came, one line of 80 characters each, the most frequent first.

    Numbers of three digits and more are a row's own, '…', but those before the first colon.
    """
    lines = (_brief(" ".join(reason.split())) for reason in reasons)
    return dict(Counter(lines).most_common())


def _brief(line: str) -> str:
    head, space, rest = line.partition(": ")
    return (head + space + re.sub(r"\d{3,}", "…", rest))[:80]
