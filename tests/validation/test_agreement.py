"""Is each statistic of agreement the one that scipy and sklearn compute, and are baselines beaten?

python -m pytest tests/validation/test_agreement.py
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score, mean_absolute_error

from mlflow_tracking.rows.scale import ONE_TO_FIVE
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.validation.agreement import (
    STATISTICS,
    against_baselines,
    agreement,
    calibration_bins,
    confusion,
    constant_judge,
    length_excess,
    length_judge,
    worst_disagreements,
)

LABELS = [1, 2, 3, 4, 5]


def judged(rows: int, seed: int, whole: bool) -> tuple[Array, Array]:
    """Scores of a judge and of people, who are the mean of two raters."""
    random = np.random.default_rng(seed)
    human = random.integers(2, 11, size=rows) / 2
    scores = np.clip(human + random.normal(0, 1.2, size=rows), 1, 5)
    return (np.round(scores) if whole else scores), human


def half_up(scores: Array) -> list[int]:
    return [int(np.floor(score + 0.5)) for score in scores]


@pytest.mark.parametrize("whole", [True, False], ids=["whole-scores", "expected-scores"])
@pytest.mark.parametrize(("rows", "seed"), [(10, 1), (37, 2), (120, 3)])
def test_every_statistic_is_scipys_and_sklearns(rows: int, seed: int, whole: bool) -> None:
    scores, human = judged(rows, seed, whole)
    ours, people = half_up(scores), half_up(human)
    apart = np.abs(np.array(ours) - np.array(people))
    expected = {
        "spearman": stats.spearmanr(scores, human).statistic,
        "kendall_tau_b": stats.kendalltau(scores, human, variant="b").statistic,
        "pearson": stats.pearsonr(scores, human).statistic,
        "quadratic_weighted_kappa": cohen_kappa_score(
            people, ours, weights="quadratic", labels=LABELS
        ),
        "mean_absolute_error": mean_absolute_error(human, scores),
        "exact_share": np.mean(apart == 0),
        "within_one_share": np.mean(apart <= 1),
        "bias": np.mean(scores) - np.mean(human),
    }
    found = agreement(scores, human, ONE_TO_FIVE)
    assert set(found) == set(expected) == set(STATISTICS)
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(expected[name]), name
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= expected[name] <= estimate.high, name
        assert estimate.n == rows


@pytest.mark.parametrize("name", STATISTICS)
def test_many_resamples_at_once_are_the_same_as_one_by_one(name: str) -> None:
    random = np.random.default_rng(5)
    x, y = random.integers(1, 6, size=(2, 6, 15)).astype(float)
    together = STATISTICS[name](x, y, axis=-1)
    assert together.shape == (6,)
    alone = [float(STATISTICS[name](a, b, axis=-1)) for a, b in zip(x, y, strict=True)]
    assert together.tolist() == pytest.approx(alone)


def test_the_statistics_worked_out_by_hand() -> None:
    # Twice the same five rows: people 1 2 3 4 5, judge 1 3 3 5 5. Differences 0 1 0 1 0.
    found = agreement([1, 3, 3, 5, 5] * 2, [1, 2, 3, 4, 5] * 2, ONE_TO_FIVE)
    value = {name: estimate.value for name, estimate in found.items()}
    assert value["mean_absolute_error"] == pytest.approx(2 / 5)
    assert value["bias"] == pytest.approx(2 / 5)
    assert value["exact_share"] == pytest.approx(3 / 5)
    assert value["within_one_share"] == 1
    # Means 3.4 and 3; variances 11.2 / 5 = 2.24 and 2; the sum of products 1 + 6 + 9 + 20 + 25
    # = 61, 61 / 5 - 3.4 x 3 = 2.0 is the covariance: 2 / sqrt(4.48) = 0.9449.
    assert value["pearson"] == pytest.approx(2 / 4.48**0.5)
    # Mean square of differences 0.4; by chance 2.24 + 2 + 0.4^2 = 4.4; 1 - 0.4 / 4.4.
    assert value["quadratic_weighted_kappa"] == pytest.approx(1 - 0.4 / 4.4)


def test_rows_without_a_verdict_or_too_few_rows_are_never_nan() -> None:
    for scores, human in (
        ([3, None, 4], [1.0, 2, 3]),
        ([4] * 12, [1.0, 2, 3] * 4),
        ([1, 2, 3] * 4, [3.0] * 12),
        ([3] * 12, [3.0] * 12),
        ([None] * 12, [3.0] * 12),
    ):
        answers = ["x" * (1 + i % 5) for i in range(len(human))]
        results = {
            **agreement(scores, human, ONE_TO_FIVE),
            "over": against_baselines(scores, human, answers, ONE_TO_FIVE).over_length,
            "constant": against_baselines(scores, human, answers, ONE_TO_FIVE).over_constant,
            "excess": length_excess(scores, human, answers),
        }
        text = json.dumps({k: asdict(v) for k, v in results.items()}, allow_nan=False)
        assert "not enough" not in text, "the note says why, not only that"
        assert results["spearman"].value is None
        assert results["spearman"].note


def test_a_constant_judge_says_the_median() -> None:
    assert constant_judge([1, 1, 2, 5, 5]) == [2.0] * 5
    assert constant_judge([4, 5]) == [5.0] * 2, "halves upwards, as everywhere"
    assert constant_judge([]) == []


def test_a_length_judge_gives_each_fifth_a_score() -> None:
    answers = ["x" * length for length in (50, 10, 30, 20, 40)]
    assert length_judge(answers, ONE_TO_FIVE) == [5, 1, 3, 2, 4]
    assert length_judge(["a", "a", "a", "a"], ONE_TO_FIVE) == [4] * 4, "equal lengths, equal scores"
    assert length_judge([], ONE_TO_FIVE) == []


def test_a_good_judge_beats_both_baselines_and_a_length_lover_does_not() -> None:
    random = np.random.default_rng(2)
    human = random.integers(1, 6, size=120).astype(float)
    answers = ["x" * int(n) for n in random.integers(5, 400, size=120)]
    good = np.clip(human + random.normal(0, 0.7, size=120), 1, 5)
    result = against_baselines(good, human.tolist(), answers, ONE_TO_FIVE)
    assert result.constant["spearman"].value is None
    assert result.constant["spearman"].note.startswith("the judge's scores are all")
    assert result.over_constant.low is not None
    assert result.over_length.low is not None
    assert min(result.over_constant.low, result.over_length.low) > 0
    lover = length_judge(answers, ONE_TO_FIVE)
    beaten = against_baselines(lover, human.tolist(), answers, ONE_TO_FIVE)
    assert (beaten.over_length.value, beaten.over_length.low) == (0, 0)
    assert beaten.over_constant.high is not None
    assert beaten.over_constant.high < 0, "random scores are further off than the median"
    excess = length_excess(lover, human.tolist(), answers)
    fair = length_excess(good, human.tolist(), answers)
    assert excess.low is not None
    assert fair.low is not None
    assert excess.low > 0.5
    assert fair.low < 0


def test_baselines_are_measured_on_the_rows_that_have_a_verdict() -> None:
    human = [float(1 + i % 5) for i in range(20)]
    scores = [None if i < 5 else human[i] for i in range(20)]
    result = against_baselines(scores, human, ["x" * (i + 1) for i in range(20)], ONE_TO_FIVE)
    assert result.over_length.n == result.length["bias"].n == result.constant["bias"].n == 15


def test_the_confusion_matrix_counts_rounded_scores() -> None:
    table = confusion([1, 2.5, 5, None, 4.4], [1, 2, 4.5, 3, 4.5], ONE_TO_FIVE)
    assert table == [
        [1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 1, 1],
    ]


def test_calibration_bins_hold_every_row_once() -> None:
    bins = calibration_bins([1, 1.79, 1.8, 3.0, 4.2, 5, None], [1, 2, 3, 4, 5, 5, 5], ONE_TO_FIVE)
    assert [b.n for b in bins] == [2, 1, 1, 0, 2]
    assert bins[0].mean_expected == pytest.approx(1.395)
    assert bins[3].mean_expected is None
    assert bins[0].mean_human.note == "fewer than 10 rows"
    assert [(round(b.low, 1), round(b.high, 1)) for b in bins][:2] == [(1.0, 1.8), (1.8, 2.6)]
    full = calibration_bins([1.5] * 12, [2.0, 4.0] * 6, ONE_TO_FIVE)
    assert (full[0].mean_human.value, full[0].mean_human.n) == (3, 12)


def test_the_worst_disagreements_come_first() -> None:
    found = worst_disagreements([5, 3, None, 1.5, 2], [1, 3, 5, 4, 4.5], limit=3)
    assert [(row.index, row.gap) for row in found] == [(0, 4), (3, -2.5), (4, -2.5)]
