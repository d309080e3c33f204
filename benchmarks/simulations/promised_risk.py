"""Does a rule of validate_judge.py --max-wrong keep its promise? Many draws of graded rows.

    python benchmarks/simulations/promised_risk.py
    python benchmarks/simulations/promised_risk.py --data graded.csv --score-only --max-wrong 0.1

Without --data: judges of known worth. Each time `n` rows are drawn from a population of 200,000,
and a rule is learnt from them; the promise is broken where the population's rows that it decides
are wrong more often. That may happen in at most 5 % of draws. Coverage is the share of the
population that is decided, 0 where no rule is found; `possible` is what the population allows.

With --data: the file's rows, judged once (verdicts are kept, the same command asks for none
twice), are the population. `n` of them are drawn with replacement, so that the truth is known.
Halves: learnt on one half, applied to the other; in how many draws are the rows that are decided
there wrong more often than promised? These few rows vary by themselves, and a half with too few
wrong rows leaves too many to the other: that is not the share of broken promises.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say
from mlflow_tracking.command.experiment import check_judge, wanted_judge
from mlflow_tracking.command.flags import (
    CallFlags,
    FlagParser,
    JudgeFlags,
    PromiseFlags,
    RowFlags,
    RunFlags,
    positive,
    take,
)
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.rows.graded import GradedPairs, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.selective import Step, select
from mlflow_tracking.validation.decision_rule import other_prompt, signals_of, wrong_rows
from mlflow_tracking.validation.passes import JudgePass, judge_and_keep

ROWS, MAX_WRONG = (50, 120, 300), 0.1
_SIZE = 200_000

Wrong = NDArray[np.bool_]


@dataclass(frozen=True)
class Population:
    """Rows with their signals, greater is surer, and whether the judge is wrong on them."""

    signals: Mapping[str, Array]
    wrong: Wrong
    _sorted: dict[str, tuple[Array, Array]] = field(default_factory=dict)

    def decided(self, rule: Step) -> tuple[float, float]:
        """The share of rows that a rule decides, and the share of them that is wrong."""
        if rule.signal not in self._sorted:
            column = self.signals[rule.signal]
            order = np.argsort(-column)  # NaN comes last
            known = int((~np.isnan(column)).sum())
            ordered = -column[order][:known], np.cumsum(self.wrong[order].astype(float))[:known]
            self._sorted[rule.signal] = ordered
        doubts, wrongs = self._sorted[rule.signal]
        above = rule.above
        count = len(doubts) if above is None else int(np.searchsorted(doubts, -above, "left"))
        return count / len(self.wrong), float(wrongs[count - 1]) / count if count else 0.0

    def possible(self, max_wrong: float) -> float:
        """The greatest share that any threshold could decide and keep the promise."""
        best = 0.0
        for column in self.signals.values():
            order = np.argsort(-column)
            ends = np.append(np.flatnonzero(np.diff(column[order])), len(column) - 1)
            risks = np.cumsum(self.wrong[order])[ends] / (ends + 1)
            kept = ends[(risks <= max_wrong) & ~np.isnan(column[order][ends])]
            best = max(best, float(kept[-1] + 1) / len(column) if len(kept) else 0.0)
        return best


@dataclass(frozen=True)
class Kept:
    """What came of many draws."""

    found: float  # share of draws that gave a rule
    broken: float  # share of draws whose rule breaks its promise
    coverage: float  # mean


def draw_many(population: Population, n: int, max_wrong: float, draws: int, seed: int = 0) -> Kept:
    """Learn a rule from `n` rows, drawn with replacement, `draws` times."""
    rng, size = np.random.default_rng(seed), len(population.wrong)
    found, broken, coverage = 0, 0, 0.0
    for _ in range(draws):
        rows = rng.integers(0, size, n)
        columns = {name: column[rows] for name, column in population.signals.items()}
        rule = select(columns, population.wrong[rows], max_wrong).best  # type: ignore[arg-type]
        if rule is not None:
            share, risk = population.decided(rule)
            found, broken = found + 1, broken + (risk > max_wrong)
            coverage += share
    return Kept(found / draws, broken / draws, coverage / draws)


def _judge(risk: Callable[[Array], Array], values: int = 0, more: int = 0) -> Population:
    """Of a judge that is wrong with chance `risk` of its doubt, which is uniform from 0 to 1.

    Its doubt takes so many `values` (0: all different); `more` signals follow it with noise.
    """
    rng = np.random.default_rng(7)
    doubt = rng.random(_SIZE)
    if values:
        doubt = np.floor(doubt * values) / values
    signals = {"doubt": -doubt}
    for number in range(more):
        signals[f"noisy_{number}"] = -doubt + rng.normal(0, 0.1 + 0.2 * number, _SIZE)
    return Population(signals, rng.random(_SIZE) < risk(doubt))


def _yes_or_no() -> Population:
    """A judge that is too sure: of its probability of yes half of the log odds is true."""
    rng = np.random.default_rng(7)
    odds = rng.normal(0, 3, _SIZE)
    share, truth = 1 / (1 + np.exp(-odds)), 1 / (1 + np.exp(-odds / 2))
    wrong = (rng.random(_SIZE) < truth) != (share > 0.5)
    return Population({"entropy": np.abs(share - 0.5)}, wrong)


def judges() -> dict[str, Population]:
    """Judges of known worth, from worthless to near perfect."""
    return {
        "worthless": _judge(lambda u: 0.3 + 0 * u),
        "just too often wrong": _judge(lambda u: 0.101 + 0 * u),
        "just too often wrong, 5 values": _judge(lambda u: 0.101 + 0 * u, values=5),
        "just too often wrong, 3 signals": _judge(lambda u: 0.101 + 0 * u, more=2),
        "sure where it is wrong": _judge(lambda u: 0.3 - 0.25 * u),
        "weak": _judge(lambda u: 0.03 + 0.5 * u),
        "weak, 3 signals": _judge(lambda u: 0.03 + 0.5 * u, more=2),
        "good": _judge(lambda u: 0.01 + 0.25 * u**2),
        "good, 5 values": _judge(lambda u: 0.01 + 0.25 * u**2, values=5),
        "good, 3 signals": _judge(lambda u: 0.01 + 0.25 * u**2, more=2),
        "yes or no": _yes_or_no(),
        "wrong in 3 %": _judge(lambda u: 0.03 + 0 * u),
        "near perfect": _judge(lambda u: 0.002 + 0.06 * u**3),
    }


def main() -> int:
    """Simulate, or draw from real rows; returns the exit code."""
    return run_command("promised_risk", measure)


def measure() -> int:
    """The tables in Markdown."""
    settings = load_settings()
    parser = FlagParser("promised_risk", __doc__)
    parser.add("--draws", "how often", type=positive, default=1000)
    parser.add("--max-wrong", "promises, with --data", type=float, nargs="+", default=[MAX_WRONG])
    parser.add("--second-prompt", "with --data: judges the rows, too", type=Path)
    parser.add("--by-distance", "with --data: one signal more", action="store_true")
    parser.add_group(RowFlags, data=None)
    parser.add_group(JudgeFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=("experiment_name", "run_name", "resume", "min_scored"))
    given = parser.parse_args()
    if given.data is None:
        simulate(given.draws)
        return 0
    flags = (take(RowFlags, given), take(JudgeFlags, given), take(CallFlags, given))
    promise = PromiseFlags(second_prompt=given.second_prompt, by_distance=given.by_distance)
    population = judged(*flags, take(RunFlags, given), promise, settings)
    if population is None:
        return 1
    draw_from_file(population, given.max_wrong, given.draws)
    return 0


def simulate(draws: int) -> None:
    """Every judge and number of graded rows."""
    say(f"{draws} draws, promise: wrong in at most {MAX_WRONG:.0%}, 95 % confidence")
    say()
    say("| judge | wrong | possible | " + " | ".join(f"n = {n}" for n in ROWS) + " |")
    say("| --- | --- | --- |" + " --- |" * len(ROWS))
    for name, population in judges().items():
        cells = []
        for n in ROWS:
            kept = draw_many(population, n, MAX_WRONG, draws)
            cells.append(f"broken {kept.broken:.1%}, coverage {kept.coverage:.2f}")
        wrong, possible = population.wrong.mean(), population.possible(MAX_WRONG)
        say(f"| {name} | {wrong:.0%} | {possible:.2f} | {' | '.join(cells)} |")


def judged(
    rows: RowFlags,
    judge: JudgeFlags,
    calls: CallFlags,
    kept: RunFlags,
    promise: PromiseFlags,
    settings: Settings,
) -> Population | None:
    """The file's rows with what the judge gave them; None, and a line, if that was stopped."""
    scale = load_prompt(judge.prompt).format.scale
    graded = load_graded(rows.data, rows.encoding, rows.limit, rows.sheet, rows.columns, scale)
    if isinstance(graded, GradedPairs):
        raise DataError(f"{rows.data}: has pairs; promised_risk.py needs graded answers")
    items = tuple(row.row.item for row in graded.rows)
    wanted = wanted_judge(judge, ())
    plan = check_judge(graded.data, items, rows.limit, wanted, calls, kept, settings)
    asked = plan.judge.settings
    passes = [JudgePass("first", asked, items)]
    if promise.second_prompt:
        second = load_prompt(promise.second_prompt)
        passes.append(JudgePass("second", other_prompt(asked, second), items))
    digest = graded.data.sha256
    verdicts = judge_and_keep("promised_risk", plan, passes, "promised_risk", digest)
    if verdicts is None:
        return None
    columns = signals_of(verdicts["first"], verdicts.get("second"), promise.by_distance)
    signals = {name: np.array(column, dtype=float) for name, column in columns.items()}
    return Population(signals, np.array(wrong_rows(graded, verdicts["first"])))


def draw_from_file(population: Population, promises: Sequence[float], draws: int) -> None:
    """Draws with replacement, whose truth is the file, and halves."""
    size, names = len(population.wrong), ", ".join(population.signals)
    say(f"{size} rows, {population.wrong.sum()} of them wrong; signals: {names}; {draws} draws")
    say()
    say("| promise | possible | n | rule found | broken | coverage | halves: worse than promised |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    for promise in promises:
        possible = population.possible(promise)
        for n in (size // 2, size, 2 * size):
            kept = draw_many(population, n, promise, draws)
            halves = _halves(population, promise, draws) if n == size // 2 else ""
            told = f"{kept.found:.1%} | {kept.broken:.1%} | {kept.coverage:.2f} | {halves}"
            say(f"| {promise:g} | {possible:.2f} | {n} | {told} |")


def _halves(population: Population, max_wrong: float, draws: int) -> str:
    """How often the half that no rule was learnt from is wrong more often than promised."""
    rng, size, worse = np.random.default_rng(1), len(population.wrong), 0
    for _ in range(draws):
        order = rng.permutation(size)
        learnt, rest = (
            Population({k: v[rows] for k, v in population.signals.items()}, population.wrong[rows])
            for rows in (order[: size // 2], order[size // 2 :])
        )
        rule = select(learnt.signals, learnt.wrong, max_wrong).best  # type: ignore[arg-type]
        worse += rule is not None and rest.decided(rule)[1] > max_wrong
    return f"{worse / draws:.1%}"


if __name__ == "__main__":
    raise SystemExit(main())
