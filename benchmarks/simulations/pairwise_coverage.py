"""Does compare_runs.py --pairwise find which system is better? Systems and judges of known worth.

    python benchmarks/simulations/pairwise_coverage.py
    python benchmarks/simulations/pairwise_coverage.py --simulations 100

Each time `n` questions are drawn. A system's answer is as good as the system, more or less; the
judge sees the difference of two answers with noise, and adds what it gives to the longer answer and
to the one that is shown first. Truth is the judge's mean over 400,000 questions: as it is (raw),
and of a judge that does not see the length (at equal lengths).

covers: how often the 95 % interval of a system's win rate has the truth, all systems together; raw
at equal lengths: how often the interval without length control has the truth of equal lengths.
differs: how often any two systems of equal worth are told apart (at most 5 %), with and without
control. order: how often the strengths stand in the order of the truth. first place: the mean
preference, its truth, and how often its interval has it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser, positive
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.comparing.preferred import Judged, prefer
from mlflow_tracking.stats.estimate import Array, Estimate

_MANY = 400_000
_LENGTHS, _USUAL = 120.0, 150.0  # characters: of answers about their system's mean; a difference


@dataclass(frozen=True)
class World:
    """Systems, and a judge of them, in log odds of winning."""

    quality: tuple[float, ...]
    lengths: tuple[float, ...]  # mean characters
    for_longer: float = 0.0  # what a much longer answer gets
    for_first: float = 0.0  # what the answer shown first gets
    uneven: float = 1.0  # deviation of an answer's worth from its system's
    share: float = 1.0  # of the pairs that are asked about

    def draw(self, questions: int, rng: np.random.Generator) -> Judged:
        """The verdicts on the answers to so many questions."""
        first, second = np.array(list(combinations(range(len(self.quality)), 2))).T
        shape = (questions, len(self.quality))
        worth = np.array(self.quality) + rng.normal(0, self.uneven, shape)
        length = np.array(self.lengths) + rng.normal(0, _LENGTHS, shape)
        longer = length[:, first] - length[:, second]
        seen = worth[:, first] - worth[:, second] + rng.logistic(0, 1, longer.shape)
        seen += self.for_longer * np.tanh(longer / _USUAL)
        number = np.broadcast_to(np.arange(questions)[:, None], longer.shape)
        kept = rng.random(longer.shape) < self.share
        a, b = (np.broadcast_to(one, longer.shape)[kept] for one in (first, second))
        return Judged(
            len(self.quality),
            a,
            b,
            number[kept],
            longer[kept],
            np.sign(seen + self.for_first)[kept],
            np.sign(seen - self.for_first)[kept],
            np.ones(int(kept.sum()), bool),
        )

    def win_rates(self) -> Array:
        """What each system would win of very many comparisons, against each other one alike."""
        found = self.draw(_MANY // len(self.quality), np.random.default_rng(11))
        rates = (found.side + 1) / 2
        count = np.bincount(found.first, minlength=found.systems)
        count = count + np.bincount(found.second, minlength=found.systems)
        won = np.bincount(found.first, rates, found.systems)
        return np.asarray((won + np.bincount(found.second, 1 - rates, found.systems)) / count)

    def first_place(self) -> float:
        """The mean preference for the first place."""
        found = self.draw(_MANY // len(self.quality), np.random.default_rng(12))
        return float(np.mean((found.a_first - found.b_first) / 2))


_THREE, _ALIKE = (0.6, 0.0, -0.6), (0.0, 0.0, 0.0)
_WORST_LONGEST, _SAME = (300.0, 400.0, 500.0), (400.0, 400.0, 400.0)
WORLDS = {
    "three, a fair judge": World(_THREE, _SAME),
    "likes length; the worst writes longest": World(_THREE, _WORST_LONGEST, 1.5),
    "likes the first place": World(_THREE, _SAME, 0.0, 1.0),
    "likes both": World(_THREE, _WORST_LONGEST, 1.5, 1.0),
    "likes both, half of the pairs": World(_THREE, _WORST_LONGEST, 1.5, 1.0, share=0.5),
    "equal, a fair judge": World(_ALIKE, _SAME),
    "equal, likes both": World(_ALIKE, _WORST_LONGEST, 1.5, 1.0),
    "two equal, the third far better": World((3.0, 0.0, 0.0), _WORST_LONGEST, 1.5, 1.0),
    "six equal, likes both": World((0.0,) * 6, (300, 340, 380, 420, 460, 500), 1.5, 1.0),
}


@dataclass(frozen=True)
class Found:
    """Of many simulations: shares, and means."""

    order: float  # where the systems differ
    controlled_covers: float
    raw_covers: float
    raw_at_equal: float
    differs: float  # with control
    raw_differs: float
    first: float
    first_covers: float


def simulate(world: World, questions: int, simulations: int, seed: int = 0) -> Found:
    """Compare, again and again, and see what was found."""
    raw, equal = world.win_rates(), replace(world, for_longer=0.0).win_rates()
    place, order = world.first_place(), np.argsort(-np.array(world.quality), kind="stable")
    same = [world.quality[a] == world.quality[b] for a, b in combinations(range(len(raw)), 2)]
    rows = []
    for number in range(simulations):
        drawn = world.draw(questions, np.random.default_rng((seed, number)))
        found = prefer(drawn, seed=number)
        controlled = found.strengths.controlled or found.strengths.raw
        values = [float(one.value or 0) for one in controlled.systems]
        rows.append(
            (
                np.array_equal(np.argsort(-np.array(values)), order),
                np.mean([_has(*both) for both in zip(controlled.systems, equal, strict=True)]),
                np.mean(
                    [_has(*both) for both in zip(found.strengths.raw.systems, raw, strict=True)]
                ),
                np.mean(
                    [_has(*both) for both in zip(found.strengths.raw.systems, equal, strict=True)]
                ),
                _any_apart(controlled.pairs, same),
                _any_apart(found.strengths.raw.pairs, same),
                float(found.favours_first.value or 0),
                _has(found.favours_first, place),
            )
        )
    return Found(*(float(one) for one in np.mean(np.array(rows, dtype=float), axis=0)))


def _has(estimate: Estimate, truth: float) -> bool:
    return estimate.low is not None and estimate.low <= truth <= (estimate.high or 0)


def _any_apart(rates: Sequence[Estimate], same: Sequence[bool]) -> bool:
    return any(alike and not _has(rate, 0.5) for rate, alike in zip(rates, same, strict=True))


def main() -> int:
    """Simulate; returns the exit code."""
    return run_command("pairwise_coverage", measure)


def measure() -> int:
    """The table in Markdown."""
    parser = FlagParser("pairwise_coverage", __doc__)
    parser.add("--simulations", "how many", type=positive, default=500)
    parser.add("--questions", "of each", type=positive, nargs="+", default=[40, 120])
    given = parser.parse_args()
    say(f"{given.simulations} simulations each")
    say()
    heads = ("judge", "n", "order", "covers", "raw covers", "raw at equal lengths")
    say(f"| {' | '.join((*heads, 'differs', 'raw differs', 'first place'))} |")
    say("|" + " --- |" * 9)
    for name, world in WORLDS.items():
        equal = len(set(world.quality)) < len(world.quality)
        for questions in given.questions:
            found = simulate(world, questions, given.simulations)
            shares = (found.controlled_covers, found.raw_covers, found.raw_at_equal)
            differs = (found.differs, found.raw_differs)
            cells = ["" if equal else f"{found.order:.1%}", *(f"{one:.1%}" for one in shares)]
            cells += [f"{one:.1%}" if equal else "" for one in differs]
            place = f"{found.first:+.3f} of {world.first_place():+.3f}, {found.first_covers:.1%}"
            say(f"| {name} | {questions} | {' | '.join(cells)} | {place} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
