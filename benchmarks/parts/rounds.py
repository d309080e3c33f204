"""How is one contestant's pass made like any other's? Rows of its own, a warm server, in turns.

python benchmarks/judge_speed.py --rounds 3 --rows 100
"""

import itertools
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.parts.ceiling import request_bodies
from benchmarks.parts.contestants import CONTESTANTS, SCORE_ONLY, Bench
from benchmarks.parts.passes import ON_SERVER, MeasuredPass, Tally
from benchmarks.parts.server_counters import ServerPages
from llm_client.caller import ServerGone
from mlflow_tracking.rows.item import Item

# Rows whose common beginning is counted: it gets no shorter after the first few.
_SHARED_SAMPLE = 20


@dataclass
class Rounds:
    """All that was measured until the end, or until something stopped it."""

    passes: list[MeasuredPass] = field(default_factory=list)
    stopped: str = ""


@dataclass(frozen=True)
class Turn:
    """A contestant, and the server that it asks."""

    contestant: str
    bench: Bench
    server: str = ""  # its name, where it is not the one of the others

    @property
    def name(self) -> str:
        """As the table has it."""
        return self.contestant + ON_SERVER + self.server if self.server else self.contestant


def take_turns(
    turns: Sequence[Turn], rows: int, rounds: int, tell: Callable[[str], None]
) -> Rounds:
    """Every turn's passes of `rows` rows; `tell` hears of each."""
    found = Rounds()
    try:
        for number in range(1, rounds + 1):
            for turn in turns if number % 2 else turns[::-1]:
                own = distinct_rows(turn.bench.experiment.data.items, rows + 1)
                measured = one_pass(turn.bench, turn.contestant, number, own)
                found.passes.append(replace(measured, contestant=turn.name))
                _tell(found.passes[-1], tell)
    except KeyboardInterrupt:
        found.stopped = "interrupted"
    except ServerGone as gone:
        found.stopped = str(gone)
    return found


def _tell(done: MeasuredPass, tell: Callable[[str], None]) -> None:
    tally, turn = done.tally, f"round {done.round}: {done.contestant}"
    tell(f"{turn}: {tally.scored} of {tally.asked} rows, {tally.rows_per_second:.2f} rows/s")
    for reason, count in tally.failures.items():
        tell(f"  {count} without a score: {reason}")


def distinct_rows(items: Sequence[Item], count: int) -> list[Item]:
    """The items again and again, each with a code that no row of any pass had before.

    Not even of an earlier start of this program: the server's cache outlives it.
    """
    by_chance, codes = random.SystemRandom(), set[str]()
    while len(codes) < count:
        codes.add("".join(by_chance.choices(string.ascii_lowercase, k=6)))
    told = zip(itertools.cycle(items), codes, strict=False)
    return [replace(item, question=f"({code}) {item.question}") for item, code in told]


def one_pass(bench: Bench, name: str, number: int, items: Sequence[Item]) -> MeasuredPass:
    """Warm up with the first row, then let the contestant have the others."""
    pages = ServerPages(bench.experiment.calls.base_url, bench.experiment.api_key)
    _run(bench, name, items[:1], f"warm-{name}-{number}")
    alone = pages.wait_until_idle()
    before = pages.counters()
    tally = _run(bench, name, items[1:], f"pass-{name}-{number}")
    alone = pages.wait_until_idle() and alone
    after = pages.counters()
    cost = after.since(before) if before and after else None
    shared = _shared_tokens(bench, name, pages, items[1:])
    return MeasuredPass(name, number, tally, cost, shared, strangers=not alone)


def _run(bench: Bench, name: str, items: Sequence[Item], label: str) -> Tally:
    """The contestant's tally; one that cannot run has no row scored, and the reason."""
    try:
        return CONTESTANTS[name](bench, items, label)
    except ServerGone:
        raise
    except Exception as fault:  # the stock scorer raises what it likes when all rows fail
        reason = f"{type(fault).__name__}: {fault}"
    return Tally(len(items), 0, 0.0, failures={" ".join(reason.split())[:80]: len(items)})


def _shared_tokens(
    bench: Bench, name: str, pages: ServerPages, items: Sequence[Item]
) -> int | None:
    """What all rows' prompts begin with, times the rows; None where a row has others, too."""
    claim = bench.experiment.judge.settings.claim and name in ("ours", f"ours{SCORE_ONLY}")
    if name.startswith("stock") or claim:
        return None
    settings = bench.settings(name.endswith(SCORE_ONLY))
    prompts = [body["messages"] for body in request_bodies(items[:_SHARED_SAMPLE], settings)]
    return pages.shared_tokens(settings.model, prompts) * len(items) or None
