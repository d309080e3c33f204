"""What would people give, and where is it told? Kept, computed and shown in a run that is recorded.

python mlflow_tracking/grade_rows.py report --run last
python mlflow_tracking/run_experiment.py --data my.csv --graded graded.csv
"""

from collections.abc import Callable, Sequence

from mlflow_tracking.grading.human_mean import human_mean
from mlflow_tracking.grading.kept import keep_grades, kept_grades
from mlflow_tracking.recording.people import human_lines
from mlflow_tracking.recording.publish import show_people
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.prediction_powered import HumanMean


def tell_people(
    run_id: str,
    items: Sequence[Item],
    judged: Array,
    graded: GradedData | None,
    warn: Callable[[str], None],
) -> HumanMean | None:
    """Show what people would give by the run's grades and these new ones; None without any.

    Raises DataError where they are of different draws.
    """
    both = keep_grades(run_id, items, graded) if graded else kept_grades(run_id, items)
    if both is None:
        return None
    human = human_mean(judged, both)
    show_people(run_id, human, warn)
    return human


def tell_people_of_recorded(
    run_id: str,
    items: Sequence[Item],
    judged: Array,
    graded: GradedData | None,
    warn: Callable[[str], None],
) -> tuple[str, ...]:
    """The lines of it for a run that was just judged; no mistake in its grades is to spoil that."""
    try:
        human = tell_people(run_id, items, judged, graded, warn)
    except DataError as mistake:
        warn(f"note: what people would give is not told: {mistake}")
        return ()
    return human_lines(human) if human else ()
