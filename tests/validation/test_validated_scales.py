"""Is a judge measured on its own scale? Statistics, bins, thresholds in points, a rule's errors.

python -m pytest tests/validation/test_validated_scales.py
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.recording.plots import png
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, choice, level_scale, number_scale
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.raters import rater_agreement
from mlflow_tracking.validation.agreement import (
    agreement,
    calibration_bins,
    confusion,
    length_judge,
)
from mlflow_tracking.validation.decision_rule import PROMPTS, doubt, is_wrong
from mlflow_tracking.validation.labels import best_threshold, binary_agreement
from mlflow_tracking.validation.report import calibration, confusion_matrix
from mlflow_tracking.validation.trust import Evidence, name_biases, trust
from tests.support.scale_stub import read_prompt, scored

TEN, LEVELS = number_scale(0, 10), level_scale(["poor", "fair", "good"])
YES_NO = choice("yes", "no")


def verdict(value: float, scale: Scale, probabilities: tuple[float, ...] | None = None) -> Verdict:
    return Verdict(Status.OK, scores={"Score": Score(value, probabilities, scale.values)})


@pytest.mark.parametrize(
    ("scale", "apart", "share"),
    [(TEN, 2, 1.0), (TEN, 3, 0.0), (LEVELS, 0, 1.0), (LEVELS, 1, 0.0), (ONE_TO_FIVE, 1, 1.0)],
    ids=["2-of-10", "3-of-10", "same-level", "next-level", "1-of-5"],
)
def test_near_is_within_a_quarter_of_the_scale(scale: Scale, apart: int, share: float) -> None:
    human = [float(scale.low + n % (scale.span - apart + 1)) for n in range(12)]
    found = agreement([score + apart for score in human], human, scale)
    assert found["within_one_share"].value == share
    assert found["mean_absolute_error"].value == apart


def test_the_ends_of_0_10_are_counted_in_their_places() -> None:
    table = confusion([0, 10, 9.5, 4], [0, 10, 10, 5], TEN)
    assert len(table) == 11
    assert (table[0][0], table[10][10], table[5][4]) == (1, 2, 1)
    assert sum(map(sum, table)) == 4
    figure = confusion_matrix(table, TEN)
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1", "2"]


@pytest.mark.parametrize("scale", [TEN, LEVELS, YES_NO.for_people], ids=str)
def test_calibration_has_fifths_of_the_scale(scale: Scale) -> None:
    spread = np.linspace(scale.low, scale.high, 101).tolist()
    bins = calibration_bins(spread, spread, scale)
    assert [one.low for one in bins] + [bins[-1].high] == pytest.approx(
        np.linspace(scale.low, scale.high, 6).tolist()
    )
    assert sum(one.n for one in bins) == 101 and min(one.n for one in bins) >= 19
    assert png(calibration(bins, scale))


def test_a_length_judge_uses_the_whole_scale() -> None:
    answers = ["x" * (n + 1) for n in range(22)]
    assert length_judge(answers, TEN) == [float(n // 2) for n in range(22)]
    assert set(length_judge(answers, LEVELS)) == {1, 2, 3}


def test_the_best_threshold_is_nearest_the_scales_middle() -> None:
    scores, labels = np.array([0.0, 2, 8, 10]), np.array([0.0, 0, 1, 1])
    assert best_threshold(scores, labels, TEN.middle) == 5
    split = binary_agreement([0, 2, 8, 10] * 5, [0.0, 0, 1, 1] * 5, ["x"] * 20, TEN)
    assert (split.threshold, split.auc.value) == (5, 1)


def test_raters_agree_on_0_10_as_on_five_scores_of_the_same_spread() -> None:
    five = [(float(1 + n % 5), float(1 + (n * 7) % 5)) for n in range(30)]
    ten = [(2.5 * a - 2.5, 2.5 * b - 2.5) for a, b in five]
    small, large = rater_agreement(five), rater_agreement(ten)
    assert small and large
    assert large.spearman.value == pytest.approx(small.spearman.value)
    assert large.fleiss_kappa.value == pytest.approx(small.fleiss_kappa.value)


@pytest.mark.parametrize(
    ("scale", "given", "human", "wrong"),
    [
        (TEN, 5, 7.5, False),
        (TEN, 5, 8, True),
        (TEN, 0, 3, True),
        (LEVELS, 2, 2.5, False),
        (LEVELS, 2, 3, True),
        (YES_NO, 5, 4, False),
        (YES_NO, 5, 3, True),
    ],
)
def test_wrong_is_off_by_more_than_a_quarter(
    scale: Scale, given: float, human: float, wrong: bool
) -> None:
    assert is_wrong(verdict(given, scale), human, binary=False) is wrong


def test_right_and_wrong_part_at_the_scales_middle() -> None:
    for given, right in ((6, True), (5, False), (4, False)):
        assert is_wrong(verdict(given, TEN), 1.0, binary=True) is not right
    assert is_wrong(verdict(2, LEVELS), 0.0, binary=True) is False


def test_two_prompts_of_two_scales_are_compared_by_how_far_up_they_say() -> None:
    assert doubt(PROMPTS, verdict(3, ONE_TO_FIVE), verdict(5, TEN)) == 0
    assert doubt(PROMPTS, verdict(5, ONE_TO_FIVE), verdict(2, LEVELS)) == pytest.approx(2)
    assert doubt(PROMPTS, verdict(10, TEN), verdict(9, TEN)) == 1


def test_a_checklists_doubt_is_not_known_by_entropy(tmp_path: Path) -> None:
    made = scored(read_prompt(tmp_path, "checklist"), 5, 2)
    assert doubt("entropy", made, None) is None
    known = replace(made.scores["overall"], mean=2.5)
    sure = replace(made, scores={**made.scores, "overall": known})
    assert doubt("distance", sure, None) == pytest.approx(8 / 3 - 2.5, abs=1e-5)


@pytest.mark.parametrize(
    ("scale", "named"), [(ONE_TO_FIVE, True), (TEN, False), (LEVELS, True)], ids=str
)
def test_a_shift_counts_by_its_share_of_the_scale(scale: Scale, named: bool) -> None:
    shift = Estimate(0.6, 0.55, 0.65, 100)
    evidence = Evidence(
        agreement={"spearman": Estimate(0.8, 0.7, 0.9, 100)},
        over_length=Estimate(0.5, 0.4, 0.6, 100),
        flips=Estimate(0.0, 0.0, 0.04, 100),
        shifts={"padding": shift},
        point=scale.point,
    )
    assert bool(name_biases(evidence)) is named
    limit = 0.5 * scale.point
    far = f"shift by padding is +0.60, more than {limit:g}"
    assert (far in trust(evidence).reasons) is named


def test_a_constant_judge_of_a_checklist_is_named() -> None:
    assert name_biases(Evidence(scores=[2.666667] * 9)) == ["always says 2.67: on 9 of 9 rows"]
