"""What would people give, and where is it told? Kept, computed and shown in a run that is recorded.

python mlflow_tracking/grade_rows.py report --run last
python mlflow_tracking/run_experiment.py --data my.csv --graded graded.csv
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from mlflow_tracking.grading.draw import Draw
from mlflow_tracking.grading.human_mean import human_mean
from mlflow_tracking.grading.kept import keep_grades, kept_draw, kept_grades
from mlflow_tracking.recording.publish import show_people
from mlflow_tracking.rows.graded import UNIT, GradedData
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.prediction_powered import HumanMean


def tell_people(
    run_id: str,
    items: Sequence[Item],
    scale: Scale,
    judged: Array,
    graded: GradedData | None,
    warn: Callable[[str], None],
) -> HumanMean | None:
    """Show what people would give by the run's grades and these new ones; None without any.

    Raises DataError where they are of different draws.
    """
    both = (
        keep_grades(run_id, items, scale, graded) if graded else kept_grades(run_id, items, scale)
    )
    if both is None:
        return None
    if draw := kept_draw(run_id):
        both = _whole_units(draw, both)
        if lacking := len(draw.drawn) - len(both.rows):
            warn(
                f"note: {lacking} of {len(draw.drawn)} drawn rows do not count, for want of a "
                "grade; if they were left out for what they are like, the mean is off"
            )
    human = human_mean(judged, both)
    show_people(run_id, human, warn)
    return human


def _whole_units(draw: Draw, graded: GradedData) -> GradedData:
    """Without the grades of clusters of which not every row is graded."""
    there = {one.row.columns["row"] for one in graded.rows}
    half = {one.unit for one in draw.drawn if str(one.row) not in there}
    kept = tuple(one for one in graded.rows if one.row.columns[UNIT] not in half)
    if not kept:
        raise DataError("no cluster is graded whole yet")
    return replace(graded, rows=kept)


def tell_people_of_recorded(
    run_id: str,
    items: Sequence[Item],
    scale: Scale,
    judged: Array,
    graded: GradedData | None,
    warn: Callable[[str], None],
) -> HumanMean | None:
    """The same for a run that was just judged; no mistake in its grades is to spoil that."""
    try:
        return tell_people(run_id, items, scale, judged, graded, warn)
    except DataError as mistake:
        warn(f"note: what people would give is not told: {mistake}")
        return None
