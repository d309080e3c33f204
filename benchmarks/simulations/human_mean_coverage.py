"""Does the 95 % interval of people's mean hold it in 95 % of draws, and what does the judge save?

    python benchmarks/simulations/human_mean_coverage.py
    python benchmarks/simulations/human_mean_coverage.py --real judge_results.csv --grade 30

Without a file: simulated judges, from a worthless one to a nearly perfect one, each on populations
of 1,000 rows with known grades. `holds` is the share of intervals that hold people's mean over all
rows, `none` the share of draws that get no interval (and say why), `width` the interval against the
one from the same grades without a judge, both as means over the draws.

With `--real`, the judge_results.csv of a run over a file that people graded in full (its column
human_score): rows are drawn again and again, and the mean over all of them is what is to be held.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser, natural, positive
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.rows.graded import GradedPairs, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.prediction_powered import (
    MIN_UNITS,
    DrawnGrades,
    HumanMean,
    prediction_powered_mean,
)

ROWS, PER_POPULATION = 1_000, 20
SIZES = (20, 50, 100, 200)
Random = np.random.Generator
Population = tuple[Array, Array]  # grades and the judge's scores, each of shape (rows,)
Draw = Callable[[Population, int, Random], DrawnGrades]


@dataclass(frozen=True)
class Outcome:
    """What came of many draws."""

    holds: float  # of the intervals that there are
    none: float  # of the draws
    width: float  # against the intervals without a judge
    half: float  # mean half width, in points


RARE = "perfect but for 1 in 20"
# What each judge gives, from a row's quality, people's grade of it, and noise of its own.
JUDGES: dict[str, Callable[[Array, Array, Array], Array]] = {
    "worthless": lambda quality, grade, noise: 3 + noise,
    "always the same": lambda quality, grade, noise: np.full(len(noise), 3.7),
    "weak": lambda quality, grade, noise: 3 + 0.3 * (quality - 3) + noise,
    "biased by 1.2": lambda quality, grade, noise: 4.5 + 0.1 * (quality - 3) + 0.2 * noise,
    "good": lambda quality, grade, noise: quality + 0.6 * noise,
    "good, whole scores": lambda quality, grade, noise: np.round(quality + 0.6 * noise),
    "nearly perfect": lambda quality, grade, noise: grade + 0.1 * noise,
    RARE: lambda quality, grade, noise: grade + (abs(noise) > 1.96) * noise,
    "yes or no": lambda quality, grade, noise: 1 + 4 / (1 + np.exp((3 - grade) / 2 - noise)),
    "one in ten wrong": lambda quality, grade, noise: grade + 1.5 * noise,
}
# People who say right or wrong; the shares of right answers.
RIGHT = {"yes or no": 0.7, "one in ten wrong": 0.9}


def populations(judge: str, random: Random) -> Iterator[Population]:
    """Rows with people's grades of 1 to 5 and what the judge gave, new ones each time."""
    while True:
        quality, noise = random.normal(3.3, 1.1, ROWS), random.normal(0, 1, ROWS)
        grades = np.clip(np.round(quality), 1, 5)
        if judge in RIGHT:
            grades = np.where(random.random(ROWS) < RIGHT[judge], 5.0, 1.0)
        yield grades, np.clip(JUDGES[judge](quality, grades, noise), 1, 5)


def by_rows(population: Population, size: int, random: Random) -> DrawnGrades:
    """Every row with the same chance."""
    grades = population[0]
    rows = random.choice(len(grades), size, replace=False)
    return _drawn(rows, grades, [str(row) for row in rows], [""] * size, {"": len(grades)})


def by_strata(population: Population, size: int, random: Random) -> DrawnGrades:
    """As many rows of each rounded score as of the others, as --strata has it."""
    grades, judged = population
    rows: list[int] = []
    levels = np.floor(judged + 0.5).astype(int)
    there = {str(level): int(np.sum(levels == level)) for level in np.unique(levels)}
    taken = dict.fromkeys(there, 0)
    while sum(taken.values()) < size:
        for level in taken:
            if taken[level] < there[level] and sum(taken.values()) < size:
                taken[level] += 1
    for level, count in taken.items():
        own = np.flatnonzero(levels == int(level))
        rows += random.choice(own, count, replace=False).tolist()
    strata = [str(levels[row]) for row in rows]
    return _drawn(rows, grades, [str(row) for row in rows], strata, there)


def by_clusters(population: Population, size: int, random: Random) -> DrawnGrades:
    """Whole questions of one to nine rows, which are alike in quality, as --cluster has it."""
    grades = population[0]
    clusters = clusters_of(len(grades))
    drawn = random.choice(clusters[-1] + 1, size // 5, replace=False)
    rows = np.flatnonzero(np.isin(clusters, drawn))
    units = [str(clusters[row]) for row in rows]
    return _drawn(rows, grades, units, [""] * len(rows), {"": int(clusters[-1]) + 1})


def clusters_of(rows: int) -> np.ndarray:
    """The cluster of each row: sizes 1, 5, 9, 1, 5, 9 ..."""
    sizes = np.tile([1, 5, 9], rows)
    return np.repeat(np.arange(len(sizes)), sizes)[:rows]


def alike_in_clusters(population: Population) -> Population:
    """The same rows in another order: those of one cluster resemble each other."""
    grades, judged = population
    order = np.argsort(grades + np.random.default_rng(0).normal(0, 1, len(grades)))
    clusters = clusters_of(len(grades))
    mixed = np.random.default_rng(1).permutation(clusters[-1] + 1)
    place = np.argsort(mixed[clusters], kind="stable")
    shuffled = np.empty(len(grades), dtype=int)
    shuffled[place] = order
    return grades[shuffled], judged[shuffled]


def _drawn(
    rows: Sequence[int] | np.ndarray,
    grades: Array,
    units: list[str],
    strata: list[str],
    there: dict[str, int],
) -> DrawnGrades:
    return DrawnGrades(
        [int(r) for r in rows], [float(grades[r]) for r in rows], units, strata, there
    )


def simulate(
    drawn_from: Iterator[Population], draw: Draw, size: int, draws: int, seed: int
) -> Outcome:
    """Draw again and again; how often is people's mean in the interval, and how wide is it?"""
    random = np.random.default_rng(seed)
    held, widths, alone = [], [], []
    for number in range(draws):
        if number % PER_POPULATION == 0:
            population = next(drawn_from)
        drawn = draw(population, size, random)
        found = prediction_powered_mean(population[1], drawn).people
        if found.low is None or found.high is None:
            continue
        held.append(found.low <= population[0].mean() <= found.high)
        widths.append(found.high - found.low)
        alone.append(_width(prediction_powered_mean(np.full(len(population[1]), 3.0), drawn)))
    width, half = float(np.mean(widths)), float(np.mean(widths)) / 2
    return Outcome(
        float(np.mean(held)), 1 - len(held) / draws, width / float(np.nanmean(alone)), half
    )


def _width(found: HumanMean) -> float:
    low, high = found.people.low, found.people.high
    return high - low if low is not None and high is not None else float("nan")


def main() -> int:
    """Simulate, or draw from real grades; returns the exit code."""
    return run_command("human_mean_coverage", compare)


def compare() -> int:
    """Print a line for each judge, or for each number of graded rows."""
    parser = FlagParser("human_mean_coverage", __doc__)
    parser.add("--draws", "of each line", type=positive, default=4_000, metavar="N")
    parser.add("--seed", "of all that is drawn", type=natural, default=0, metavar="N")
    parser.add(
        "--real", "a run's judge_results.csv with people's grades", type=Path, metavar="FILE"
    )
    parser.add(
        "--grade", "rows of it to grade", type=positive, nargs="+", default=[30], metavar="N"
    )
    given = parser.parse_args()
    if given.real:
        population = read_real(given.real)
        for size in given.grade:
            if not MIN_UNITS <= size < len(population[0]):
                raise DataError(f"--grade {size}: not from {MIN_UNITS} to {len(population[0]) - 1}")
            same = iter(lambda: population, None)
            _tell(given.real.name, size, simulate(same, by_rows, size, given.draws, given.seed))
        return 0
    cells: list[tuple[str, str, Draw, Sequence[int]]]
    cells = [(judge, judge, by_rows, SIZES) for judge in JUDGES]
    cells += [(f"strata, {one}", one, by_strata, SIZES[1:]) for one in ("good", "weak", RARE)]
    cells += [(f"clusters, {one}", one, by_clusters, SIZES[2:]) for one in ("good", "weak")]
    for name, judge, draw, sizes in cells:
        for size in sizes:
            rows = populations(judge, np.random.default_rng(given.seed))
            drawn_from = map(alike_in_clusters, rows) if draw is by_clusters else rows
            _tell(name, size, simulate(drawn_from, draw, size, given.draws, given.seed))
    return 0


def read_real(path: Path) -> Population:
    """People's grades and the judge's scores of a run's table; raises DataError."""
    graded = load_graded(path)
    if isinstance(graded, GradedPairs) or "score" not in graded.rows[0].row.columns:
        raise DataError(f"{path}: needs the columns inputs, predictions, human_score and score")
    columns = [one.row.columns for one in graded.rows]
    judged = [cells.get("expected_score") or cells["score"] or "nan" for cells in columns]
    return np.array(graded.points), np.array(judged, dtype=float)


def _tell(judge: str, size: int, found: Outcome) -> None:
    say(
        f"{judge:<32}{size:>4} graded   holds {found.holds:6.1%}   none {found.none:6.1%}   "
        f"width {found.width:.2f}x, ±{found.half:.2f}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
