"""Does the calibration bring scores nearer to people's, does it say so if not, is the file sound?

python -m pytest tests/test_calibration.py
"""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from mlflow_tracking.calibration import (
    Calibration,
    CalibrationError,
    fit_calibration,
    load_calibration,
)
from mlflow_tracking.estimate import Array, Estimate


def generous(rows: int, seed: int = 0) -> tuple[Array, Array]:
    """A judge that ranks well and gives everything 3.5 to 5."""
    random = np.random.default_rng(seed)
    human = random.integers(1, 6, size=rows).astype(float)
    return 3.5 + 1.5 * (np.clip(human + random.normal(0, 0.5, rows), 1, 5) - 1) / 4, human


def fitted(scores: Array | list[float], human: Array | list[float]) -> Calibration:
    found = fit_calibration(scores, list(human), "judge", "f" * 64)
    assert isinstance(found, Calibration), found
    return found


def test_a_generous_judge_gains_and_loses_its_bias() -> None:
    scores, human = generous(200)
    found = fitted(scores, human)
    assert found.gain.low is not None
    assert found.gain.low > 0.5
    assert found.bias_before.value is not None
    assert found.bias_after.value is not None
    assert found.bias_before.value > 1
    assert abs(found.bias_after.value) < 0.2
    assert found.verdict.startswith("the calibration brings the score ")
    assert (found.fitted_on, found.gain.n) == (100, 100)


def test_the_map_and_its_gain_are_sklearns_on_a_half_and_the_other() -> None:
    scores, human = generous(61)
    found = fitted(scores, human)
    order = np.random.default_rng(0).permutation(61)
    fit, test = order[:30], order[30:]
    curve = IsotonicRegression(y_min=1, y_max=5, out_of_bounds="clip").fit(scores[fit], human[fit])
    mapped = curve.predict(scores[test])
    assert [found.apply(score, 3) for score in scores[test]] == pytest.approx(mapped.tolist())
    before, after = np.abs(scores[test] - human[test]), np.abs(mapped - human[test])
    assert found.gain.value == pytest.approx(np.mean(before - after))


def test_no_gain_is_called_no_gain() -> None:
    random = np.random.default_rng(1)
    human = random.integers(1, 6, size=120).astype(float)
    good = np.clip(human + random.normal(0, 0.2, size=120), 1, 5)
    found = fitted(np.round(good), human)
    assert found.gain.low is not None
    assert found.gain.low <= 0
    assert found.verdict.startswith("no gain that could be told from chance")


def test_a_loss_is_called_a_loss() -> None:
    knots = ((1.0, 1.0), (5.0, 5.0))
    still = Estimate(0.0, 0.0, 0.0, 50)
    worse = Calibration(knots, 50, "m", "p", Estimate(-0.3, -0.4, -0.2, 50), still, still)
    assert worse.verdict.startswith("the calibration makes it worse: -0.30")


def test_without_an_expected_score_the_whole_one_is_mapped() -> None:
    still = Estimate(0.0, 0.0, 0.0, 50)
    found = Calibration(((2.0, 1.0), (3.0, 2.5), (4.0, 4.5)), 50, "m", "p", still, still, still)
    assert found.apply(None, 3) == 2.5
    assert found.apply(2.5, 3) == 1.75
    assert (found.apply(1.0, 1), found.apply(None, 5)) == (1.0, 4.5), "constant beyond the ends"


GENEROUS = fitted(*generous(60))


@given(st.lists(st.floats(1, 5), min_size=2, max_size=30))
def test_a_higher_score_is_never_mapped_lower_and_stays_on_the_scale(scores: list[float]) -> None:
    mapped = [GENEROUS.apply(score, 3) for score in sorted(scores)]
    assert all(1 <= score <= 5 for score in mapped)
    assert mapped == sorted(mapped)


@pytest.mark.parametrize(
    ("scores", "human", "reason"),
    [
        ([1, 2, 3], [1.0, 2, 3], "3 rows, fewer than 20: two halves of 10 are needed"),
        ([None] * 40, [1.0, 2] * 20, "0 rows, fewer than 20"),
        ([4] * 40, [1.0, 2] * 20, "the judge's scores of the half to fit on are all 4"),
        ([1, 2] * 20, [3.0] * 40, "the human scores of the half to fit on are all 3"),
        ([1, 5] * 20, [5.0, 1] * 20, "people's scores do not rise with the judge's"),
    ],
    ids=["three-rows", "no-verdicts", "constant-judge", "constant-people", "upside-down"],
)
def test_what_cannot_be_fitted_is_told_why(
    scores: list[float | None], human: list[float], reason: str
) -> None:
    found = fit_calibration(scores, human, "judge", "f" * 64)
    assert isinstance(found, str)
    assert found.startswith(reason)


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    # Probabilities that sum to 1 + 1e-16 give expected scores a little off the scale.
    scores = [1 - 1e-12, *generous(58)[0], 5 + 1e-12]
    found = fitted(scores, [1.0, *generous(58)[1], 5.0])
    path = tmp_path / "calibration.json"
    found.save(path)
    assert load_calibration(path) == found
    assert path.stat().st_size < 10_000


def content_of(tmp_path: Path) -> dict[str, object]:
    fitted(*generous(60)).save(tmp_path / "calibration.json")
    content = json.loads((tmp_path / "calibration.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "is no calibration (it has no kind llm_judge_calibration/v1)"),
        ({"knots": [[1, 2], [2, 1]]}, "is no calibration (not monotone at 2, 1)"),
        ({"knots": [[2, 2], [2, 3]]}, "not monotone at 2, 3"),
        ({"knots": [[1, 0], [2, 3]]}, "the knot 1, 0 is off the scale"),
        ({"knots": [[1, 1], [2, 5.5]]}, "the knot 2, 5.5 is off the scale"),
        ({"knots": [[1, 1], [9, 5]]}, "the knot 9, 5 is off the scale"),
        ({"knots": [[1, float("nan")], [2, 5]]}, "is off the scale"),
        ({"knots": [[1, 1]]}, "fewer than two knots"),
        ({"knots": 7}, "is no calibration ("),
        ({"knots": [["x", 1], [2, 2]]}, "is no calibration ("),
        ({"gain": {"value": 1}}, "is no calibration ("),
        ({"gain": {"value": float("nan"), "low": 0, "high": 0, "n": 1}}, "nan is no estimate"),
        ({"gain": {"value": "x", "low": 0, "high": 0, "n": 1}}, "is no calibration ("),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content_of(tmp_path) | change))
    with pytest.raises(CalibrationError) as caught:
        load_calibration(path)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert message in said
    assert said.endswith("; validate_judge.py --calibrate writes one")
    assert "\n" not in said


@pytest.mark.parametrize("missing", ["knots", "judge_model", "prompt_sha256", "gain", "fitted_on"])
def test_a_file_without_a_part_is_refused(tmp_path: Path, missing: str) -> None:
    content = content_of(tmp_path)
    del content[missing]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=f"it has no {missing}"):
        load_calibration(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "it is not JSON"), ("[1]", "it has no kind"), ("{}", "it has no kind"), ("{", "JSON")],
)
def test_another_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(CalibrationError, match=message):
        load_calibration(path)
    with pytest.raises(CalibrationError, match="cannot be read: No such file"):
        load_calibration(tmp_path / "none.json")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CalibrationError, match="it is not JSON"):
        load_calibration(path)
