"""Where are a run's draw and its grades kept? With the run itself, as artifacts in `grading/`.

python mlflow_tracking/grade_rows.py report --run last
python mlflow_tracking/run_experiment.py --resume last    # the grades stay, and are used again
"""

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient

from mlflow_tracking.grading.draw import Draw, DrawError
from mlflow_tracking.grading.human_mean import finest, human_mean, read_drawn_grades
from mlflow_tracking.grading.sheet import as_csv
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.item import Item
from mlflow_tracking.stats.prediction_powered import HumanMean

_DRAW, _GRADES = "grading/draw.json", "grading/graded.csv"


def keep_draw(run_id: str, draw: Draw) -> None:
    """Record the seed, the design, and each row with its chance."""
    MlflowClient().log_text(run_id, json.dumps(draw.to_json(), ensure_ascii=False, indent=1), _DRAW)


def kept_draw(run_id: str) -> Draw | None:
    """The run's draw, None if it has none."""
    if not _is_there(run_id, _DRAW):
        return None
    return Draw.from_json(mlflow.artifacts.load_dict(f"runs:/{run_id}/{_DRAW}"))


def wanted_draw(run_id: str) -> Draw:
    """The run's draw; raises DrawError if it has none."""
    draw = kept_draw(run_id)
    if draw is None:
        raise DrawError(f"run {run_id}: no rows were drawn yet; grade_rows.py open draws some")
    return draw


def keep_grades(run_id: str, graded: GradedData) -> None:
    """Record the graded rows as a file that is read as any other."""
    lines = [one.row.columns for one in graded.rows]
    MlflowClient().log_text(run_id, as_csv(lines), _GRADES)


def kept_grades(run_id: str, items: Sequence[Item]) -> GradedData | None:
    """The grades that are recorded with the run of `items`, None if there are none."""
    if not _is_there(run_id, _GRADES):
        return None
    with TemporaryDirectory() as folder:
        uri = f"runs:/{run_id}/{_GRADES}"
        path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        return read_drawn_grades(Path(path), items)


def people_of(
    run_id: str,
    items: Sequence[Item],
    verdicts: Sequence[Verdict | None],
    graded: GradedData | None,
) -> HumanMean | None:
    """What people would give all rows, by grades that are given or kept with the run, if any."""
    graded = graded or kept_grades(run_id, items)
    if graded is None:
        return None
    keep_grades(run_id, graded)
    return human_mean(finest(verdicts), graded)


def _is_there(run_id: str, path: str) -> bool:
    there = MlflowClient().list_artifacts(run_id, str(Path(path).parent))
    return any(artifact.path == path for artifact in there)
