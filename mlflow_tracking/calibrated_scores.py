"""What would people give in this run? The scores mapped to the human scale, beside the raw ones.

python mlflow_tracking/validate_judge.py --data graded.csv --calibrate calibration.json
python mlflow_tracking/run_experiment.py --calibration calibration.json
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mlflow_tracking.calibration import Calibration, CalibrationError, load_calibration
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.verdict import Verdict


def calibration_for(path: Path, judge: JudgeSettings) -> Calibration:
    """The calibration at `path`; raises CalibrationError unless it was measured for this judge."""
    calibration = load_calibration(path)
    for what, was, now in (
        ("judge", calibration.judge_model, judge.model),
        ("prompt", calibration.prompt_sha256[:12], judge.prompt.sha256[:12]),
    ):
        if was != now:
            raise CalibrationError(
                f"{path}: was measured for the {what} {was}, this run's is {now}; measure anew "
                "with validate_judge.py --calibrate, or leave --calibration out"
            )
    return calibration


def calibrate(verdicts: Sequence[Verdict | None], calibration: Calibration) -> list[float | None]:
    """The human score to expect for each verdict, 1-5; None where there is no score."""
    scores = [verdict.overall if verdict else None for verdict in verdicts]
    return [calibration.apply(s.expected, s.value) if s else None for s in scores]


def calibration_metrics(calibrated: Sequence[float | None]) -> dict[str, float]:
    """`llm_judge/calibrated_score_mean`, over the rows that have a score."""
    known = [score for score in calibrated if score is not None]
    return {"llm_judge/calibrated_score_mean": float(np.mean(known))} if known else {}


def add_calibrated(table: pd.DataFrame, calibrated: Sequence[float | None]) -> None:
    """Put the column `calibrated_score` behind the raw `expected_score` of the results table."""
    place = list(table.columns).index("expected_score") + 1
    rounded = [None if score is None else round(score, 3) for score in calibrated]
    name = "calibrated_score"
    if name in table.columns:  # the CSV's own
        table.rename(columns={name: f"csv_{name}"}, inplace=True)
    table.insert(place, name, pd.Series(rounded, dtype=object))
