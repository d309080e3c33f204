"""Where are a run's draw and its grades kept? With the run itself, as artifacts in `grading/`.

python mlflow_tracking/grade_rows.py report --run last
python mlflow_tracking/run_experiment.py --resume last    # the grades stay, and are used again
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import mlflow
from mlflow import MlflowClient

from mlflow_tracking.grading.draw import Draw, DrawError
from mlflow_tracking.grading.human_mean import read_drawn_grades
from mlflow_tracking.grading.sheet import Line, as_csv, write_csv
from mlflow_tracking.rows.graded import FEEDBACK, GRADE, GradedData, is_rater
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.scale import Scale

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


def keep_grades(run_id: str, items: Sequence[Item], scale: Scale, graded: GradedData) -> GradedData:
    """Record grades with the run, beside those that it has; returns all of them, one a row.

    Of a row that was graded before the new grade counts. Every set is kept as it came, too. Raises
    DataError where the two are of different draws; nothing is recorded then.
    """
    earlier = kept_grades(run_id, items, scale)
    sets = [one for one in (earlier, graded) if one]
    points = len({one.kind for one in sets}) > 1
    lines = {line["row"]: line for one in sets for line in _one_grade_each(one, points)}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "graded.csv"
        write_csv(path, list(lines.values()))
        both = read_drawn_grades(path, items, scale)
        MlflowClient().log_artifact(run_id, str(path), "grading")
    came = as_csv([one.row.columns for one in graded.rows])
    name = hashlib.sha256(came.encode("utf-8", "replace")).hexdigest()[:12]
    MlflowClient().log_text(run_id, came, f"grading/sets/{name}.csv")
    return both


def _one_grade_each(graded: GradedData, points: bool) -> list[Line]:
    """The lines of a file with one grade a row; labels as `points` where others gave scores."""
    lines: list[Line] = []
    for one, grade in zip(graded.rows, graded.points, strict=True):
        label = "pass" if one.human else "fail"
        cell = label if graded.kind == "binary" and not points else f"{grade:.10g}"
        kept = {name: text for name, text in one.row.columns.items() if not is_rater(name)}
        lines.append({**kept, GRADE: cell, FEEDBACK: one.feedback})
    return lines


def kept_grades(run_id: str, items: Sequence[Item], scale: Scale) -> GradedData | None:
    """The grades that are recorded with the run of `items`, None if there are none."""
    if not _is_there(run_id, _GRADES):
        return None
    with TemporaryDirectory() as folder:
        uri = f"runs:/{run_id}/{_GRADES}"
        path = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
        return read_drawn_grades(Path(path), items, scale)


def _is_there(run_id: str, path: str) -> bool:
    there = MlflowClient().list_artifacts(run_id, str(Path(path).parent))
    return any(artifact.path == path for artifact in there)
