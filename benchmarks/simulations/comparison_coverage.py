"""Do the intervals of compare_runs.py hold, and how often does it say 'differs' where nothing does?

    python benchmarks/simulations/comparison_coverage.py
    python benchmarks/simulations/comparison_coverage.py --draws 500

Systems of known quality, of which at least two are equally good, answer so many questions; a judge
of known noise scores them in whole points of 1-5. Each time all is drawn anew and compared.
Printed: how often the interval of a system's mean holds its true mean, how often the intervals of
all differences hold at once (95 % or more is promised), how often at least one pair of equals is
said to differ (5 % at most is promised), and the share of unequal pairs that are said to. Where all
scores, or all differences, are the same there is no interval to hold: the share of such means and
differences is in brackets.
"""

import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser, positive
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.stats.estimate import Array, Estimate
from mlflow_tracking.stats.several_means import SAME, compare_means

QUESTIONS = (15, 30, 200)
_SIZE = 400_000  # questions that the true means are taken from
_EQUAL = 0.01  # points: what is drawn of equals comes closer than that

Random = np.random.Generator
# Scores of shape (rows, systems), and which question each row is of.
Drawn = tuple[Array, NDArray[np.int64]]


@dataclass(frozen=True)
class World:
    """Systems and a judge: `draw` gives their scores on so many new questions."""

    draw: Callable[[Random, int], Drawn]

    @cached_property
    def truth(self) -> Array:
        """The systems' means over all questions; those that are equal are so to the last digit."""
        means = self.draw(np.random.default_rng(11), _SIZE)[0].mean(axis=0)
        for place in range(1, len(means)):
            near = np.flatnonzero(np.abs(means[:place] - means[place]) < _EQUAL)
            means[place] = means[near[0]] if len(near) else means[place]
        return np.asarray(means)


@dataclass(frozen=True)
class Kept:
    """What came of many draws, as shares of them."""

    means: float  # of all systems and draws: the mean's interval holds, if it has one
    no_mean: float  # has none: all scores were the same
    together: float  # the intervals of all differences hold, as far as there are any
    no_difference: float  # of all pairs and draws: has none
    false: float  # a pair of equals is said to differ
    found: float  # of all unequal pairs and draws: said to differ


def judged(quality: Array) -> Drawn:
    """Whole scores of 1-5 for rows that are questions of their own."""
    return np.clip(np.round(quality), 1, 5), np.arange(len(quality))


def draw_many(world: World, questions: int, draws: int, seed: int = 0) -> Kept:
    """Compare the systems on `questions` new questions, `draws` times."""
    rng, truth = np.random.default_rng(seed), world.truth
    pairs = list(combinations(range(len(truth)), 2))
    apart = np.array([truth[b] - truth[a] for a, b in pairs])
    held, differ = [], np.zeros((draws, len(pairs)), dtype=bool)
    for draw in range(draws):
        scores, of = world.draw(rng, questions)
        compared = compare_means(scores, of.astype(str).tolist())
        found = [*compared.means, *(one.estimate for one in compared.differences)]
        held.append([_holds(*each) for each in zip(found, [*truth, *apart], strict=True)])
        differ[draw] = [one.differs for one in compared.differences]
    means, differences = np.hsplit(np.array(held), [len(truth)])
    return Kept(
        float(np.nanmean(means)),
        float(np.isnan(means).mean()),
        float((differences != 0).all(axis=1).mean()),
        float(np.isnan(differences).mean()),
        float(differ[:, apart == 0].any(axis=1).mean()),
        float(differ[:, apart != 0].mean()),
    )


def _holds(one: Estimate, truth: float) -> float:
    """Whether the interval has the truth in it: 1 or 0, NaN without an interval."""
    if one.low is None or one.high is None or one.note == SAME:
        return math.nan
    return float(one.low <= truth <= one.high)


def _noisy(better: tuple[float, ...]) -> World:
    """Hard and easy questions, and a judge that is off by 0.7 points."""

    def draw(rng: Random, n: int) -> Drawn:
        level = 3 + rng.normal(0, 0.8, (n, 1)) + np.array(better)
        return judged(level + rng.normal(0, 0.7, level.shape))

    return World(draw)


def _mostly_the_same(rng: Random, n: int) -> Drawn:
    """Only one answer in ten is not as good as the other systems'; the third's are better then."""
    base = rng.integers(2, 5, (n, 1)) + np.zeros(3)
    changed = rng.random((n, 3)) < 0.1
    by = rng.choice([-1, 1], (n, 3))
    by[:, 2] = 1
    return judged(base + changed * by)


def _skewed(rng: Random, n: int) -> Drawn:
    """One system always gets a 3, its equal a 2 or, in a third of cases, a 5; one is better."""
    lucky = rng.random(n) < 1 / 3
    better = 3 + (rng.random(n) < 0.5)
    return judged(np.column_stack([np.full(n, 3), np.where(lucky, 5, 2), better]))


def _rare(rng: Random, n: int) -> Drawn:
    """All get a 5, but for 3 in 100 rows, which get a 1; of the third system 8 in 100."""
    return judged(np.where(rng.random((n, 3)) < np.array([0.03, 0.03, 0.08]), 1, 5))


def _twins(rng: Random, n: int) -> Drawn:
    """The first two have the same scores on every row."""
    level = 3 + rng.normal(0, 1, (n, 1)) + np.array([0, 0, 0.4])
    noise = rng.normal(0, 0.5, (n, 3))
    noise[:, 1] = noise[:, 0]
    return judged(level + noise)


def _yes_or_no(rng: Random, n: int) -> Drawn:
    """Right is a 5, wrong a 1; what is hard is hard for all."""
    hard = rng.normal(0, 1, (n, 1))
    right = hard + rng.normal(0, 1, (n, 3)) < np.array([0.3, 0.3, 0.9])
    return judged(np.where(right, 5, 1))


def _several(most: int, alike: bool) -> World:
    """Several answers to a question, on which each system is good or bad in its own way."""

    def draw(rng: Random, n: int) -> Drawn:
        sizes = np.full(n, most) if alike else rng.integers(1, most + 1, n)
        own = 3 + rng.normal(0, 0.6, (n, 1)) + rng.normal(0, 0.6, (n, 3))
        own[:, 2] += 0.4
        of = np.repeat(np.arange(n), sizes)
        return judged(own[of] + rng.normal(0, 0.7, (len(of), 3)))[0], of

    return World(draw)


def worlds() -> dict[str, World]:
    """Worlds from the common to the nasty."""
    return {
        "three systems": _noisy((0, 0, 0.4)),
        "twelve, all but one equal": _noisy((*[0.0] * 11, 0.5)),
        "mostly the same score": World(_mostly_the_same),
        "equal means, skewed": World(_skewed),
        "rare failures": World(_rare),
        "two with the same scores": World(_twins),
        "yes or no": World(_yes_or_no),
        "four answers a question": _several(4, alike=True),
        "one to eight answers": _several(8, alike=False),
    }


def main() -> int:
    """Simulate; returns the exit code."""
    return run_command("comparison_coverage", measure)


def measure() -> int:
    """The table in Markdown."""
    parser = FlagParser("comparison_coverage", __doc__)
    parser.add("--draws", "how often", type=positive, default=2000)
    draws = parser.parse_args().draws
    say(f"{draws} draws")
    say()
    say("| systems and judge | questions | mean holds | all hold | false 'differs' | found |")
    say("| --- | --- | --- | --- | --- | --- |")
    for name, world in worlds().items():
        for questions in QUESTIONS:
            kept = draw_many(world, questions, draws)
            means = f"{kept.means:.1%}{_none(kept.no_mean)}"
            together = f"{kept.together:.1%}{_none(kept.no_difference)}"
            told = f"{means} | {together} | {kept.false:.1%} | {kept.found:.2f}"
            say(f"| {name} | {questions} | {told} |")
    return 0


def _none(share: float) -> str:
    return f" ({share:.1%} none)" if share >= 0.0005 else ""


if __name__ == "__main__":
    raise SystemExit(main())
