"""What would people give where this judge gives 3.4? A monotone map to the human scale.

python mlflow_tracking/validate_judge.py --data graded.csv --calibrate calibration.json
python mlflow_tracking/run_experiment.py --calibration calibration.json
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from mlflow_tracking.estimate import MIN_ROWS, Array, Column, Estimate, bootstrap_estimate
from mlflow_tracking.verdict import SCALE

_KIND = "llm_judge_calibration/v1"
_MEASURED = ("gain", "bias_before", "bias_after")


class CalibrationError(ValueError):
    """A file that is no calibration; the message is one line with file, cause and remedy."""


@dataclass(frozen=True)
class Calibration:
    """A map from expected score to the human scale, and what it was measured to be worth."""

    knots: tuple[tuple[float, float], ...]  # (expected score, human score), both rising, in 1-5
    fitted_on: int  # rows
    judge_model: str
    prompt_sha256: str
    gain: Estimate  # mean absolute error before less after, on the rows not fitted on
    bias_before: Estimate  # mean of judge less human on those rows
    bias_after: Estimate

    def apply(self, expected: float | None, value: int) -> float:
        """The human score to expect, 1-5; without an expected score the whole one is mapped."""
        at = float(value) if expected is None else expected
        scores, human = zip(*self.knots, strict=True)
        return float(np.interp(at, scores, human))

    @property
    def verdict(self) -> str:
        """In words: is it a gain?"""
        if self.gain.low is None or self.gain.value is None:
            return f"whether the calibration helps is not known: {self.gain.note}"
        if self.gain.low > 0:
            return f"the calibration brings the score {self.gain} points nearer to people's"
        if self.gain.high is not None and self.gain.high < 0:
            return f"the calibration makes it worse: {self.gain} points; do not use it"
        return f"no gain that could be told from chance: {self.gain} points"

    def save(self, path: Path) -> None:
        """Write it as JSON; raises OSError."""
        content = {"kind": _KIND, **asdict(self)}
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


def fit_calibration(
    scores: Column, human: Sequence[float], judge_model: str, prompt_sha256: str, seed: int = 0
) -> Calibration | str:
    """Fit on a random half of the rows, measure on the other; a reason where nothing can be fitted.

    The map that is returned is the one of the half, not one refitted on all rows: the gain was
    measured for this map and no other. Isotonic regression (scikit-learn) assumes only that a
    higher score is never worse; between its knots it is linear, beyond them constant.
    """
    points, truth = np.asarray(scores, dtype=float), np.asarray(human, dtype=float)
    known = ~(np.isnan(points) | np.isnan(truth))
    # The sum of probabilities can leave the scale by a rounding error.
    points, truth = np.clip(points[known], SCALE[0], SCALE[-1]), truth[known]
    if len(points) < 2 * MIN_ROWS:
        return f"{len(points)} rows, fewer than {2 * MIN_ROWS}: two halves of {MIN_ROWS} are needed"
    order = np.random.default_rng(seed).permutation(len(points))
    fit, test = order[: len(order) // 2], order[len(order) // 2 :]
    for column, name in ((points[fit], "the judge's scores"), (truth[fit], "the human scores")):
        if column.min() == column.max():
            return f"{name} of the half to fit on are all {column[0]:g}"
    curve = IsotonicRegression(y_min=SCALE[0], y_max=SCALE[-1], out_of_bounds="clip")
    curve.fit(points[fit], truth[fit])
    knots = tuple(
        (float(x), float(y)) for x, y in zip(curve.X_thresholds_, curve.y_thresholds_, strict=True)
    )
    if knots[0][1] == knots[-1][1]:
        return "people's scores do not rise with the judge's: the best monotone map is a constant"
    measured = _measure(points[test], np.asarray(curve.predict(points[test])), truth[test], seed)
    return Calibration(knots, len(fit), judge_model, prompt_sha256, *measured)


def _measure(
    before: Array, after: Array, truth: Array, seed: int
) -> tuple[Estimate, Estimate, Estimate]:
    def gain(raw: Array, mapped: Array, human: Array, axis: int) -> Array:
        return np.asarray((np.abs(raw - human) - np.abs(mapped - human)).mean(axis=axis))

    return (
        bootstrap_estimate(gain, before, after, truth, seed=seed),
        bootstrap_estimate(np.mean, before - truth, seed=seed),
        bootstrap_estimate(np.mean, after - truth, seed=seed),
    )


def load_calibration(path: Path) -> Calibration:
    """Read what `save` wrote; raises CalibrationError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        raise CalibrationError(_no_calibration(path, "it is not JSON")) from None
    if not isinstance(content, dict) or content.get("kind") != _KIND:
        raise CalibrationError(_no_calibration(path, f"it has no kind {_KIND}"))
    try:
        return Calibration(
            _knots(content["knots"]),
            int(content["fitted_on"]),
            str(content["judge_model"]),
            str(content["prompt_sha256"]),
            *(Estimate(**content[name]) for name in _MEASURED),
        )
    except KeyError as error:
        raise CalibrationError(_no_calibration(path, f"it has no {error.args[0]}")) from None
    except (TypeError, ValueError) as error:
        raise CalibrationError(_no_calibration(path, str(error))) from None


def _no_calibration(path: Path, why: str) -> str:
    return f"{path}: is no calibration ({why}); validate_judge.py --calibrate writes one"


def _knots(raw: Any) -> tuple[tuple[float, float], ...]:
    """Check what `apply` relies on; raises ValueError or TypeError."""
    knots = tuple((float(x), float(y)) for x, y in raw)
    if len(knots) < 2:
        raise ValueError("fewer than two knots")
    for x, y in knots:
        if not (SCALE[0] <= x <= SCALE[-1] and SCALE[0] <= y <= SCALE[-1] and math.isfinite(x + y)):
            raise ValueError(f"the knot {x:g}, {y:g} is off the scale")
    for (x, y), (next_x, next_y) in zip(knots, knots[1:], strict=False):
        if next_x <= x or next_y < y:
            raise ValueError(f"not monotone at {next_x:g}, {next_y:g}")
    return knots
