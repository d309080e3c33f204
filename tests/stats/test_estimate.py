"""Is a statistic's interval right, and does 'not enough data' ever look like a result?

python -m pytest tests/stats/test_estimate.py
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from mlflow_tracking.stats.estimate import (
    Estimate,
    bootstrap_estimate,
    difference_estimate,
    mean_estimate,
    share_estimate,
)
from mlflow_tracking.stats.paired import mean_absolute_error, pearson, spearman


def test_an_interval_is_the_one_that_scipy_gives() -> None:
    random = np.random.default_rng(3)
    x = random.normal(size=60)
    y = x + random.normal(size=60)
    ours = bootstrap_estimate(pearson, x, y, seed=7)
    theirs = stats.bootstrap(
        (x, y),
        lambda a, b: stats.pearsonr(a, b).statistic,
        paired=True,
        vectorized=False,
        n_resamples=2_000,
        method="percentile",
        rng=np.random.default_rng(7),
    ).confidence_interval
    assert ours.value == pytest.approx(stats.pearsonr(x, y).statistic)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held = 0
    for seed in range(150):
        estimate = mean_estimate(random.normal(3.0, 1.0, size=60), seed=seed)
        assert estimate.low is not None
        assert estimate.high is not None
        held += estimate.low <= 3.0 <= estimate.high
    # 95 % of 150 are 142.5, with a standard deviation of 2.7; a percentile interval of 60 rows
    # is a little narrow. 132 to 149 is four deviations down and nearly three up.
    assert 132 <= held <= 149


def test_the_same_rows_give_the_same_interval() -> None:
    values = [1.0, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    assert mean_estimate(values, seed=1) == mean_estimate(values, seed=1)
    assert mean_estimate(values, seed=1) != mean_estimate(values, seed=2)


def test_rows_without_a_verdict_are_left_out() -> None:
    human = [float(1 + row % 5) for row in range(20)]
    judge = [None if row < 5 else score for row, score in enumerate(human)]
    estimate = bootstrap_estimate(mean_absolute_error, judge, human)
    assert (estimate.value, estimate.n) == (0.0, 15)


@pytest.mark.parametrize(
    ("judge", "human", "note"),
    [
        ([1, 2, 3], [1, 2, 3], "fewer than 10 rows"),
        ([], [], "fewer than 10 rows"),
        ([None] * 20, [1, 2] * 10, "fewer than 10 rows"),
        ([4] * 20, [1, 2] * 10, "the judge's scores are all 4"),
        ([1, 2] * 10, [3.5] * 20, "the human scores are all 3.5"),
        ([2.1] * 20, [2.1] * 20, "the judge's scores are all 2.1"),
    ],
    ids=["three-rows", "none", "no-verdicts", "constant-judge", "constant-people", "both"],
)
def test_too_little_is_not_enough_data_and_never_nan(
    judge: list[float | None], human: list[float], note: str
) -> None:
    for statistic in (spearman, pearson):
        estimate = bootstrap_estimate(statistic, judge, human)
        assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
        assert estimate.note == note
        assert str(estimate) == f"not enough data ({note})"
        json.dumps(asdict(estimate), allow_nan=False)


def test_nan_can_be_no_estimate() -> None:
    with pytest.raises(ValueError, match="nan is no estimate"):
        Estimate(float("nan"), None, None, 3)
    with pytest.raises(ValueError, match="inf is no estimate"):
        Estimate(1.0, 0.0, float("inf"), 3)


def test_resamples_without_a_value_are_left_out() -> None:
    # One row of 30 has another score: a resample misses it with (29/30)^30 = 36 %.
    rare = [3.0] * 29 + [5.0]
    human = [float(1 + row % 5) for row in range(30)]
    estimate = bootstrap_estimate(spearman, rare, human)
    assert estimate.value == pytest.approx(stats.spearmanr(rare, human).statistic)
    assert (estimate.low, estimate.high) == (None, None)
    assert estimate.note.endswith("of the resamples have no value")
    assert 0.30 < float(estimate.note.split("%")[0]) / 100 < 0.42
    # Four of 30: (26/30)^30 = 1.4 %, which leaves enough for an interval.
    assert bootstrap_estimate(spearman, [3.0] * 26 + [5.0] * 4, human).low is not None


def test_two_judges_are_compared_on_the_same_resamples() -> None:
    random = np.random.default_rng(1)
    human = random.integers(1, 6, size=100).astype(float)
    good = human + random.normal(0, 1, size=100)
    worse = good + random.normal(0, 0.5, size=100)
    difference = difference_estimate(spearman, good, worse, human)
    one, other = (bootstrap_estimate(spearman, judge, human) for judge in (good, worse))
    assert difference.value is not None
    assert one.value is not None
    assert other.value is not None
    assert difference.value == pytest.approx(one.value - other.value)
    assert difference.low is not None
    assert difference.high is not None
    assert difference.low > 0, "paired, the difference can be told from chance"
    assert one.low is not None
    assert other.high is not None
    assert one.low < other.high, "although the two intervals overlap"


def test_a_judge_is_no_better_than_itself() -> None:
    human = [float(1 + row % 5) for row in range(30)]
    same = difference_estimate(mean_absolute_error, human, human, human)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert same.note == "no resample differs"


@pytest.mark.parametrize(("found", "rows"), [(0, 20), (7, 20), (20, 20), (300, 1_000)])
def test_a_share_has_wilsons_interval(found: int, rows: int) -> None:
    share = share_estimate([True] * found + [False] * (rows - found))
    low, high = proportion_confint(found, rows, method="wilson")
    assert (share.value, share.n) == (found / rows, rows)
    assert (share.low, share.high) == pytest.approx((low, high))


def test_a_share_worked_out_by_hand() -> None:
    # Wilson for 8 of 10, z = 1.96: centre (0.8 + 3.8416/20) / 1.38416 = 0.71674, half width
    # 1.96 / 1.38416 x sqrt(0.16/10 + 3.8416/400) = 1.41602 x 0.16001 = 0.22658.
    share = share_estimate([True] * 8 + [False] * 2)
    assert (share.low, share.high) == pytest.approx((0.49016, 0.94332), abs=1e-4)


def test_the_interval_of_ten_thousand_rows_is_narrow() -> None:
    random = np.random.default_rng(0)
    human = random.integers(1, 6, size=10_000).astype(float)
    estimate = bootstrap_estimate(spearman, human + random.normal(size=10_000), human)
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0 < estimate.high - estimate.low < 0.03


def test_an_estimate_is_read_at_a_glance() -> None:
    assert str(Estimate(0.561, 0.44, 0.658, 120)) == "0.56 (0.44 to 0.66)"
    assert str(Estimate(-0.001, -0.2, 0.1, 120)) == "0.00 (-0.20 to 0.10)"
    assert str(Estimate(0.5, None, None, 12, "too odd")) == "0.50 (no interval: too odd)"
