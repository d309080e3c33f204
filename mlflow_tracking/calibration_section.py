"""Is it worth mapping the judge's scores to people's? The section on calibration.

python mlflow_tracking/validate_judge.py --data graded.csv --calibrate calibration.json
"""

from mlflow_tracking.calibration import Calibration
from mlflow_tracking.estimate import not_enough_data
from mlflow_tracking.section import Column, Line, Section


def calibration_section(fitted: Calibration | str) -> Section:
    """What a monotone map to the human scale is worth, on the rows that it was not fitted on."""
    if isinstance(fitted, str):
        none = Line("calibration_gain", "gain", (not_enough_data(0, fitted),))
        return _calibration((none,), ())
    lines = (
        Line("calibration_gain", "mean absolute error, less by", (fitted.gain,)),
        Line("calibration_bias_before", "judge less people, before", (fitted.bias_before,)),
        Line("calibration_bias_after", "judge less people, after", (fitted.bias_after,)),
    )
    return _calibration(lines, (fitted.verdict,))


def _calibration(lines: tuple[Line, ...], findings: tuple[str, ...]) -> Section:
    return Section(
        "calibration",
        "Calibration",
        "A monotone map from expected score to the human scale, fitted on half of the rows and "
        "measured on the other half.",
        (Column("", "on the other half"),),
        lines,
        findings,
    )
