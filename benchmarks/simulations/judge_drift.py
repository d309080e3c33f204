"""Does --anchors of run_experiment.py raise false alarms, and how soon is another judge found?

    python benchmarks/simulations/judge_drift.py
    python benchmarks/simulations/judge_drift.py --streams 200

A stream is one judge's 50 runs with the same anchors, and the test is looked at after each of them.
False: the share of streams without any change in which it raises an alarm at any of the 50 looks.
The other columns are shares of streams whose alarm comes at one of the ten runs from the change on.
`+0.3 at 2`: from the second run on every score is 0.3 points higher. `uneven`: by 0.3 points on
average, by anchor from -0.3 to 0.9. `up, down`: half of the anchors 0.3 higher, the others lower.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from collections.abc import Callable, Mapping

import numpy as np

from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser, positive
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.stats.drift import ALPHA, every_look
from mlflow_tracking.stats.estimate import Array

RUNS, WITHIN, SHIFT = 50, 10, 0.3
ANCHORS = (20, 60, 120)
_AT_ONCE = 250  # streams; more would not fit the processor's cache

Noise = Callable[[np.random.Generator, tuple[int, int, int]], Array]


def _uneven(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    return rng.normal(0, 1, shape) * rng.uniform(0, 0.6, (shape[0], 1, shape[2]))


def _flips(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """Whole scores: each anchor has one of two, most of them nearly always the same one."""
    return (rng.random(shape) < rng.beta(0.3, 0.3, (shape[0], 1, shape[2]))).astype(float)


NOISES: Mapping[str, Noise] = {
    "one score in ten, sd 0.02": lambda rng, shape: (
        rng.normal(0, 0.02, shape) * (rng.random(shape) < 0.1)
    ),
    "sd 0.3": lambda rng, shape: rng.normal(0, 0.3, shape),
    "sd 0.6": lambda rng, shape: rng.normal(0, 0.6, shape),
    "skewed, sd 0.3": lambda rng, shape: rng.exponential(0.3, shape),
    "sd 0 to 0.6 by anchor": _uneven,
    "whole scores that flip": _flips,
    "one in ten a point lower": lambda rng, shape: -(rng.random(shape) < 0.1).astype(float),
}


def streams(noise: str, count: int, runs: int, anchors: int, seed: int = 0) -> Array:
    """Scores of a judge that does not change; shape (count, runs, anchors)."""
    rng = np.random.default_rng(seed)
    shape = (count, runs, anchors)
    return rng.integers(1, 6, (count, 1, anchors)) + NOISES[noise](rng, shape)


def smallest(scores: Array) -> Array:
    """Of each stream the logarithm of the smallest p of all looks."""
    parts = np.array_split(scores, max(1, len(scores) // _AT_ONCE))
    return np.concatenate([every_look(part)[0].min(axis=-1) for part in parts])


def alarmed(logs: Array) -> float:
    """The share of streams that raise an alarm at any look."""
    return float((logs <= np.log(ALPHA)).mean())


def found_within(noise: str, count: int, anchors: int, by: Array, at: int) -> float:
    """The share of streams found that change by `by`, of each anchor, from run `at` (1, 2 ...)."""
    scores = streams(noise, count, at - 1 + WITHIN, anchors, seed=at)
    scores[:, at - 1 :] += by
    return alarmed(smallest(scores))


def main() -> int:
    """Simulate; returns the exit code."""
    return run_command("judge_drift", simulate)


def simulate() -> int:
    """The table in Markdown."""
    parser = FlagParser("judge_drift", __doc__)
    parser.add(
        "--streams", "without a change; a fifth of that with one", type=positive, default=1000
    )
    count = parser.parse_args().streams
    few = max(1, count // 5)
    changes = ("+0.3 at 2", "+0.3 at 5", "+0.3 at 20", "uneven at 20", "up, down at 20")
    say(f"{count} streams of {RUNS} runs without a change, {few} with each")
    say()
    say(f"| noise of a score | anchors | false | {' | '.join(changes)} |")
    say("| --- | --- | --- |" + " --- |" * len(changes))
    for noise in NOISES:
        for anchors in ANCHORS:
            same = np.full(anchors, SHIFT)
            uneven = SHIFT + np.linspace(-2 * SHIFT, 2 * SHIFT, anchors)
            both = np.where(np.arange(anchors) % 2, SHIFT, -SHIFT)
            tried = ((same, 2), (same, 5), (same, 20), (uneven, 20), (both, 20))
            false = alarmed(smallest(streams(noise, count, RUNS, anchors)))
            cells = [f"{found_within(noise, few, anchors, by, at):.0%}" for by, at in tried]
            say(f"| {noise} | {anchors} | {false:.1%} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
