"""How is one contestant's pass made like any other's? Rows of its own, a warm server, in turns.

python benchmarks/judge_speed.py --rounds 3 --rows 100
"""

import itertools
import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from benchmarks.ceiling import BenchmarkFailed, request_bodies
from benchmarks.contestants import (
    CONTESTANTS,
    PEERS,
    Bench,
    NotInstalled,
    ceiling,
    ceiling_score_only,
)
from benchmarks.server_counters import ServerPages
from benchmarks.speed_pass import Outcome, Pass
from benchmarks.speed_table import SCORE_ONLY
from llm_client.caller import ServerGone
from mlflow_tracking.command.experiment import questions
from mlflow_tracking.rows.item import Item

# Rows whose common beginning is counted: it gets no shorter after the first few.
_SHARED_SAMPLE = 20


@dataclass
class Measured:
    """All that was measured until the end, or until something stopped it."""

    passes: list[Pass] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)  # contestant -> why it is not there
    stopped: str = ""


def measure(
    bench: Bench, names: Sequence[str], rows: int, rounds: int, tell: Callable[[str], None]
) -> Measured:
    """Every contestant's passes of `rows` rows; `tell` hears of each."""
    measured = Measured()
    try:
        for round_number in range(1, rounds + 1):
            turns = [name for name in names if name not in measured.missing]
            for name in turns if round_number % 2 else turns[::-1]:
                _take_turn(bench, name, round_number, rows, measured, tell)
    except KeyboardInterrupt:
        measured.stopped = "interrupted"
    except ServerGone as gone:
        measured.stopped = str(gone)
    return measured


def _take_turn(
    bench: Bench,
    name: str,
    round_number: int,
    rows: int,
    measured: Measured,
    tell: Callable[[str], None],
) -> None:
    own = distinct_rows(questions(bench.plan.data), rows + 1)
    try:
        done = one_pass(bench, name, round_number, own)
    except NotInstalled as absent:
        measured.missing[name] = "not installed"
        tell(str(absent))
        return
    measured.passes.append(done)
    outcome = done.outcome
    rate = f"{outcome.rows_per_second:.2f} rows/s"
    tell(f"round {round_number}: {name}: {outcome.scored} of {outcome.asked} rows, {rate}")
    for reason, count in outcome.failures.items():
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


def one_pass(bench: Bench, name: str, round_number: int, rows: Sequence[Item]) -> Pass:
    """Warm up with the first row, then let the contestant have the others; raises NotInstalled."""
    pages = ServerPages(bench.plan.judge_at, bench.plan.api_key)
    _warm_up(bench, name, rows[:1], f"warm-{name}-{round_number}")
    alone = pages.wait_until_idle()
    before = pages.counters()
    outcome = _run(bench, name, rows[1:], f"pass-{name}-{round_number}")
    alone = pages.wait_until_idle() and alone
    after = pages.counters()
    return Pass(
        contestant=name,
        round=round_number,
        outcome=outcome,
        cost=after.since(before) if before and after else None,
        shared_tokens=_shared_tokens(bench, name, pages, rows[1:]),
        strangers=not alone,
    )


def _warm_up(bench: Bench, name: str, rows: Sequence[Item], label: str) -> None:
    if name in PEERS:  # their process does it
        return
    loops = {"vllm-client": ceiling, "vllm-client-score-only": ceiling_score_only}
    if name in loops:
        loops[name](bench, rows, label)
    else:
        _run(bench, name, rows, label)


def _run(bench: Bench, name: str, rows: Sequence[Item], label: str) -> Outcome:
    """The contestant's outcome; one that cannot run has no row scored, and the reason."""
    try:
        return CONTESTANTS[name](bench, rows, label)
    except (NotInstalled, ServerGone):
        raise
    except BenchmarkFailed as failure:
        reason = str(failure)
    except Exception as fault:  # the stock scorer raises what it likes when all rows fail
        reason = f"{type(fault).__name__}: {fault}"
    return Outcome(len(rows), 0, 0.0, failures={" ".join(reason.split())[:80]: len(rows)})


def _shared_tokens(bench: Bench, name: str, pages: ServerPages, rows: Sequence[Item]) -> int | None:
    """What all rows' prompts begin with, times the rows; None where the prompt is not ours."""
    if name.startswith("stock") or name in PEERS:
        return None
    judge = bench.connection(f"shared-{name}-{len(rows)}", name.endswith(SCORE_ONLY))
    judge.journal.close()
    prompts = [body["messages"] for body in request_bodies(rows[:_SHARED_SAMPLE], judge)]
    return pages.shared_tokens(judge.settings.model, prompts) * len(rows) or None
