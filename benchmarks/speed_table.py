"""What do the passes say? One line for each contestant, as Markdown and as a picture.

python benchmarks/judge_speed.py --markdown speed.md --plot speed.png
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.figure import Figure

from benchmarks.speed_pass import Cost, Pass

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
_BLUE, _GREY, _ORANGE = "#3b6fb6", "#8a8f98", "#d9822b"
SCORE_ONLY = "-score-only"
CEILINGS = ("ceiling", "vllm-client")


@dataclass(frozen=True)
class Spread:
    """The middle one of the rounds' values, and the least and the greatest."""

    middle: float
    low: float
    high: float

    def text(self, digits: int = 2) -> str:
        """'0.61 (0.58-0.63)'; the range only where there is one."""
        middle, low, high = (f"{v:.{digits}f}" for v in (self.middle, self.low, self.high))
        return middle if low == high else f"{middle} ({low}-{high})"


def spread(values: Sequence[float]) -> Spread | None:
    """None of no values."""
    return Spread(median(values), min(values), max(values)) if values else None


def speeds(passes: Sequence[Pass], names: Sequence[str]) -> dict[int, float]:
    """Rows a second by round, the fastest of the named contestants; rounds without one left out."""
    by_round: dict[int, float] = {}
    for done in passes:
        if done.contestant in names and done.outcome.scored:
            rate = done.outcome.rows_per_second
            by_round[done.round] = max(rate, by_round.get(done.round, 0.0))
    return by_round


def ratio(passes: Sequence[Pass], name: str, others: Sequence[str]) -> Spread | None:
    """How many times as fast as the fastest of the others in the same round, so drift falls out."""
    own, base = speeds(passes, [name]), speeds(passes, others)
    return spread([own[number] / base[number] for number in own if number in base])


def ceilings_of(name: str) -> tuple[str, ...]:
    """The load loops that send what this contestant sends (a peer: what ours sends)."""
    suffix = SCORE_ONLY if name.endswith(SCORE_ONLY) else ""
    return tuple(ceiling + suffix for ceiling in CEILINGS)


def cells(passes: Sequence[Pass], name: str) -> list[str]:
    """The contestant's line of the table."""
    own = [done for done in passes if done.contestant == name]
    # With strangers on the server its counters are not of this pass.
    told = [done for done in own if not done.strangers]
    rate = spread([done.outcome.rows_per_second for done in own])
    to_others = [ratio(passes, name, [other]) for other in ("ours", "stock", "stock-10")]
    of_ceiling = ratio(passes, name, ceilings_of(name))
    scored = sum(done.outcome.scored for done in own)
    asked = sum(done.outcome.asked for done in own)
    return [
        name,
        rate.text() if rate else _NONE,
        *(times.text() if times else _NONE for times in to_others),
        _percent(of_ceiling),
        f"{scored} of {asked}",
        _per_row(told, lambda cost: cost.prompt_tokens),
        _per_row(told, lambda cost: cost.completion_tokens),
        _percent(
            spread([_share(p.cost.cached_tokens, p.cost.prompt_tokens) for p in told if p.cost])
        ),
        _percent(shared_from_cache(told)),
        *(_latency(own, percent) for percent in (50, 95)),
    ]


def shared_from_cache(passes: Sequence[Pass]) -> Spread | None:
    """The cached prompt tokens by those that every row begins with."""
    return spread(
        [
            _share(p.cost.cached_tokens, p.shared_tokens)
            for p in passes
            if p.cost and p.shared_tokens
        ]
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _percent(value: Spread | None) -> str:
    if value is None:
        return _NONE
    return Spread(100 * value.middle, 100 * value.low, 100 * value.high).text(0)


def _per_row(passes: Sequence[Pass], tokens: Callable[[Cost], int]) -> str:
    values = [
        tokens(done.cost) / (done.outcome.asked + done.outcome.warm_ups)
        for done in passes
        if done.cost
    ]
    found = spread(values)
    return f"{found.middle:.0f}" if found else _NONE


def _latency(passes: Sequence[Pass], percent: int) -> str:
    """Of the calls as the client saw them, or '~' and what the server's histogram says."""
    seen = [seconds for done in passes for seconds in done.outcome.latencies]
    if seen:
        return f"{np.percentile(seen, percent):.1f}"
    costs = [done.cost for done in passes if done.cost and not done.strangers]
    told = [cost.latency_p50_s if percent == 50 else cost.latency_p95_s for cost in costs]
    found = spread([value for value in told if value is not None])
    return f"~{found.middle:.1f}" if found else _NONE


def markdown(
    passes: Sequence[Pass], names: Sequence[str], missing: Mapping[str, str], about: Sequence[str]
) -> str:
    """The table, what failed and how often, and what was measured."""
    ran = [name for name in names if any(done.contestant == name for done in passes)]
    lines = [cells(passes, name) for name in ran]
    lines += [[name, why, *[_NONE] * (len(HEADER) - 2)] for name, why in missing.items()]
    text = ["| " + " | ".join(line) + " |" for line in (HEADER, ["---"] * len(HEADER), *lines)]
    failures = [line for name in ran for line in failure_lines(passes, name)]
    notes = [f"- {line}" for line in (*about, *failures)]
    if any(done.strangers for done in passes):
        notes.append(
            "- NOT CLEAN: others' requests were on the server too; their tokens are left out"
        )
    return "\n".join([*text, "", *notes]) + "\n"


def failure_lines(passes: Sequence[Pass], name: str) -> list[str]:
    """Why rows of the contestant have no score, the three most frequent reasons."""
    counts: dict[str, int] = {}
    for done in passes:
        for reason, count in done.outcome.failures.items() if done.contestant == name else ():
            counts[reason] = counts.get(reason, 0) + count
    worst = sorted(counts.items(), key=lambda item: -item[1])[:3]
    return [f"{name}: {count} without a score: {reason}" for reason, count in worst]


def plot(passes: Sequence[Pass], names: Sequence[str], path: Path) -> None:
    """Rows a second of each contestant, a dot for each round."""
    ran = [name for name in names if any(done.contestant == name for done in passes)][::-1]
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(ran)), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(ran):
        rates = [p.outcome.rows_per_second for p in passes if p.contestant == name]
        axes.barh(place, median(rates), color=_colour(name), height=0.6)
        axes.annotate(
            f"{median(rates):.2f}",
            (max(rates), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
        )
        axes.plot(rates, [place] * len(rates), "o", color="black", markersize=3)
    axes.set_yticks(range(len(ran)), ran)
    axes.set_xlabel("rows a second that got a score (bar: median of the rounds, dots: rounds)")
    axes.set_title("The same rows, judge, server and token limits")
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def _colour(name: str) -> str:
    if name.startswith("ours"):
        return _BLUE
    return _GREY if name.startswith(CEILINGS) else _ORANGE
