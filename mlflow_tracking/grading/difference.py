"""Which rows of two runs are the same, and by how much would people prefer one run's answers?

python mlflow_tracking/compare_runs.py RUN_A RUN_B
"""

import pandas as pd

from mlflow_tracking.grading.human_mean import drawn_grades, human_mean
from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.item import ANSWER, QUESTION
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.prediction_powered import (
    MIN_UNITS,
    DrawnGrades,
    human_difference,
    prediction_powered_mean,
)


def pair_rows(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Each row of `first` beside the same row of `second`, and the columns that make it the same.

    By question and answer as far as these are in both, the others by question alone. Repeated rows
    are paired in their order. The pairs have the columns row_a, row_b, inputs, score_a and score_b.
    """
    same = _merge(first, second, [QUESTION, ANSWER])
    others = _merge(
        first[~first["row"].isin(same["row_a"])],
        second[~second["row"].isin(same["row_b"])],
        [QUESTION],
    )
    pairs = pd.concat([same, others], ignore_index=True).sort_values("row_a", ignore_index=True)
    return pairs, [QUESTION] if len(others) else [QUESTION, ANSWER]


def _merge(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    sides = [side.assign(nth=side.groupby(keys).cumcount()) for side in (first, second)]
    return sides[0].merge(sides[1], on=[*keys, "nth"], suffixes=("_a", "_b"))


def people_difference(
    runs: tuple[JudgedRun, JudgedRun], graded: tuple[GradedData, GradedData], pairs: pd.DataFrame
) -> tuple[Estimate, str]:
    """People's mean of the second run's answers less the first's, and what that is over.

    `pairs` has the row numbers row_a and row_b of every row that both runs have. Rows graded in
    both runs are compared one by one, which is far sharper; otherwise the two means are. The same
    rows may be in both samples then, which makes the interval too wide, not too narrow.
    """
    paired = _paired(runs, graded, pairs)
    if paired is not None and len(paired.rows) >= MIN_UNITS:
        apart = runs[1].finest[pairs["row_b"] - 1] - runs[0].finest[pairs["row_a"] - 1]
        found = prediction_powered_mean(apart, paired).people
        return found, f"over {len(pairs)} rows, of which {found.n} are graded in both runs"
    means = [human_mean(run.finest, one) for run, one in zip(runs, graded, strict=True)]
    count = " and ".join(str(one.people.n) for one in means)
    return human_difference(means[1], means[0]), f"of two means, from {count} graded rows"


def _paired(
    runs: tuple[JudgedRun, JudgedRun], graded: tuple[GradedData, GradedData], pairs: pd.DataFrame
) -> DrawnGrades | None:
    """The rows graded in both; None where not all rows had the same chance to be."""
    if not all(one.drawn_alike for one in graded):
        return None
    first, second = (drawn_grades(one) for one in graded)
    given = [dict(zip(one.rows, one.grades, strict=True)) for one in (first, second)]
    both = [
        (place, given[1][b] - given[0][a])
        for place, (a, b) in enumerate(zip(pairs["row_a"] - 1, pairs["row_b"] - 1, strict=True))
        if a in given[0] and b in given[1]
    ]
    places = [place for place, _ in both]
    units = [str(place) for place in places]
    grades = [float(points) for _, points in both]
    return DrawnGrades(places, grades, units, [""] * len(both), {"": len(pairs)})
