"""What do the passes say? One line for each contestant, as Markdown.

python benchmarks/judge_speed.py > speed.md
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.parts.contestants import SCORE_ONLY
from benchmarks.parts.passes import ON_SERVER, Cost, MeasuredPass

HEADER = (
    "contestant",
    "rows/s",
    "x ours",
    "x stock",
    "x stock-10",
    "% of the ceiling",
    "scored",
    "prompt tokens/row",
    "reply tokens/row",
    "% prompt cached",
    "% of shared cached",
    "p50 s",
    "p95 s",
)
_NONE = "–"

Passes = Sequence[MeasuredPass]


@dataclass(frozen=True)
class Spread:
    """The middle one of the rounds' values, and the least and the greatest."""

    middle: float
    low: float
    high: float

    def text(self, digits: int = 2, times: int = 1) -> str:
        """'0.61 (0.58-0.63)'; the range only where there is one."""
        ends = (self.middle, self.low, self.high)
        middle, low, high = (f"{times * value:.{digits}f}" for value in ends)
        return middle if low == high else f"{middle} ({low}-{high})"


def spread(values: Sequence[float]) -> Spread | None:
    """None of no values."""
    return Spread(median(values), min(values), max(values)) if values else None


def ratio(passes: Passes, name: str, other: str) -> Spread | None:
    """How many times as fast as the other in the same round, so that drift falls out."""
    own, base = (
        {p.round: p.tally.rows_per_second for p in passes if p.contestant == one and p.tally.scored}
        for one in (name, other)
    )
    return spread([own[number] / base[number] for number in own if number in base])


def cells(passes: Passes, name: str) -> list[str]:
    """The contestant's line of the table."""
    own = [done for done in passes if done.contestant == name]
    # With strangers on the server its counters are not of this pass.
    told = [done for done in own if done.cost and not done.strangers]
    rate = spread([done.tally.rows_per_second for done in own])
    # The loop that sends what this contestant sends; for a peer, what ours sends.
    ceiling = "ceiling" + (SCORE_ONLY if name.endswith(SCORE_ONLY) else "")
    return [
        name,
        rate.text() if rate else _NONE,
        *(_times(ratio(passes, name, other)) for other in ("ours", "stock", "stock-10")),
        _percent(ratio(passes, name, ceiling)),
        f"{sum(p.tally.scored for p in own)} of {sum(p.tally.asked for p in own)}",
        _per_row(told, lambda cost: cost.prompt_tokens),
        _per_row(told, lambda cost: cost.completion_tokens),
        _percent(_cached(told, lambda done: done.cost.prompt_tokens if done.cost else None)),
        _percent(_cached(told, lambda done: done.shared_tokens)),
        *(_latency(own, percent) for percent in (50, 95)),
    ]


def _cached(passes: Passes, among: Callable[[MeasuredPass], int | None]) -> Spread | None:
    """The share of the cached prompt tokens among others."""
    pairs = [(done.cost.cached_tokens, among(done)) for done in passes if done.cost]
    return spread([cached / tokens for cached, tokens in pairs if tokens])


def _times(value: Spread | None) -> str:
    return value.text() if value else _NONE


def _percent(value: Spread | None) -> str:
    return value.text(digits=0, times=100) if value else _NONE


def _per_row(passes: Passes, tokens: Callable[[Cost], int]) -> str:
    found = spread([tokens(p.cost) / p.tally.asked for p in passes if p.cost])
    return f"{found.middle:.0f}" if found else _NONE


def _latency(passes: Passes, percent: int) -> str:
    """Of the calls as the client saw them; MLflow's own scorer does not tell."""
    seen = [seconds for done in passes for seconds in done.tally.latencies]
    return f"{np.percentile(seen, percent):.1f}" if seen else _NONE


def markdown(passes: Passes, names: Sequence[str], about: Sequence[str]) -> str:
    """The table, what failed and how often, and what was measured."""
    ran = [name for name in names if any(done.contestant == name for done in passes)]
    lines = [cells(passes, name) for name in ran]
    text = ["| " + " | ".join(line) + " |" for line in (HEADER, ["---"] * len(HEADER), *lines)]
    failures = [line for name in ran for line in failure_lines(passes, name)]
    about = [*about, *(_beside(passes, name) for name in ran if ON_SERVER in name)]
    notes = [f"- {line}" for line in (*about, *failures)]
    if any(done.strangers for done in passes):
        notes.append(
            "- NOT CLEAN: others' requests were on the server too; their tokens are left out"
        )
    return "\n".join([*text, "", *notes]) + "\n"


def _beside(passes: Passes, name: str) -> str:
    """How much slower or faster the same contestant was on the other server."""
    own, _, server = name.partition(ON_SERVER)
    return f"{own}: {_times(ratio(passes, own, name))} times as many rows/s as on {server}"


def failure_lines(passes: Passes, name: str) -> list[str]:
    """Why rows of the contestant have no score, the three most frequent reasons."""
    counts: Counter[str] = Counter()
    for done in passes:
        counts.update(done.tally.failures if done.contestant == name else {})
    worst = counts.most_common(3)
    return [f"{name}: {count} without a score: {reason}" for reason, count in worst]
