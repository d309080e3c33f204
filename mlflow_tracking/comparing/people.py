"""By how much would people prefer one run's answers to another's?

python mlflow_tracking/compare_runs.py RUN_A RUN_B
"""

from mlflow_tracking.comparing.shared_rows import SharedRows
from mlflow_tracking.grading.human_mean import drawn_grades, human_mean
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.prediction_powered import (
    MIN_UNITS,
    DrawnGrades,
    human_difference,
    prediction_powered_mean,
)


def people_difference(
    pair: SharedRows, graded: tuple[GradedData, GradedData]
) -> tuple[Estimate, str]:
    """People's mean of the second run's answers less the first's, and what that is over.

    Rows graded in both runs are compared one by one, which is far sharper; otherwise the two means
    are. The same rows may be in both samples then, which makes the interval too wide, not too
    narrow.
    """
    first, second = pair.runs
    paired = _paired(pair, graded)
    if paired is not None and len(paired.rows) >= MIN_UNITS:
        apart = second.finest[pair.places[:, 1]] - first.finest[pair.places[:, 0]]
        found = prediction_powered_mean(apart, paired).people
        return found, f"over {len(apart)} rows, of which {found.n} are graded in both runs"
    means = [human_mean(run.finest, one) for run, one in zip(pair.runs, graded, strict=True)]
    count = " and ".join(str(one.people.n) for one in means)
    return human_difference(means[1], means[0]), f"of two means, from {count} graded rows"


def _paired(pair: SharedRows, graded: tuple[GradedData, GradedData]) -> DrawnGrades | None:
    """The rows graded in both; None where not all rows had the same chance to be."""
    if not all(one.drawn_alike for one in graded):
        return None
    first, second = (drawn_grades(one) for one in graded)
    given = [dict(zip(one.rows, one.grades, strict=True)) for one in (first, second)]
    both = [
        (place, given[1][b] - given[0][a])
        for place, (a, b) in enumerate(pair.places.tolist())
        if a in given[0] and b in given[1]
    ]
    places = [place for place, _ in both]
    units = [str(place) for place in places]
    grades = [float(points) for _, points in both]
    return DrawnGrades(places, grades, units, [""] * len(both), {"": len(pair.places)})
