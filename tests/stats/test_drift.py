"""Does the test stay silent while the judge is the same, and does it find another one?

python -m pytest tests/stats/test_drift.py
"""

import numpy as np
import pytest
from scipy import stats

from benchmarks.simulations.judge_drift import alarmed, found_within, smallest, streams
from mlflow_tracking.stats.drift import ALPHA, TOLERANCE, look
from mlflow_tracking.stats.estimate import Array

SPENT = 3 * np.pi**2 / 6  # what the first look costs: it has that share of a third of ALPHA
RNG = np.random.default_rng(1)
DIFFERENCES = {
    "all the same": np.full(12, 0.3),
    "all but two the same": np.where(np.arange(14) < 2, 0.0, 0.3),
    "normal": RNG.normal(0.5, 0.5, 13),
    "one of them large": np.append(np.full(10, 0.1), 3.0),
    "no shift": RNG.normal(0, 0.5, 13),
}


@pytest.mark.parametrize("apart", DIFFERENCES.values(), ids=DIFFERENCES)
def test_of_two_runs_it_is_never_below_the_exact_permutation_test(apart: Array) -> None:
    beyond = np.sign(apart) * np.maximum(np.abs(apart) - TOLERANCE, 0)
    exact = stats.permutation_test(
        (beyond, np.zeros(len(apart))),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    ).pvalue
    found = look(np.array([np.zeros(len(apart)), apart])).p
    assert min(1.0, SPENT * exact) <= found * (1 + 1e-9)
    assert found <= min(1.0, 12 * SPENT * exact)


@pytest.mark.parametrize("noise", ["skewed, sd 0.3", "one in ten a point lower"])
def test_a_judge_that_stays_the_same_raises_few_alarms(noise: str) -> None:
    ever = smallest(streams(noise, 1000, 50, 20))
    assert alarmed(ever) <= ALPHA
    assert (ever <= np.log(0.5)).mean() <= 0.5
    assert (ever <= np.log(0.9)).any(), "the bound is not so wide that nothing could raise one"


@pytest.mark.parametrize("at", [2, 5, 20])
@pytest.mark.parametrize(
    ("noise", "anchors"),
    [("one score in ten, sd 0.02", 20), ("skewed, sd 0.3", 60), ("whole scores that flip", 120)],
)
def test_a_judge_that_is_shifted_is_found_within_ten_runs(
    noise: str, anchors: int, at: int
) -> None:
    assert found_within(noise, 50, anchors, np.full(anchors, 0.3), at) >= 0.9


@pytest.mark.parametrize("wobble", [0.0, TOLERANCE])
def test_runs_that_are_off_by_less_than_the_tolerance_say_nothing(wobble: float) -> None:
    """However many anchors there are, and in the last run alone or in all from one on."""
    scores = np.tile(RNG.uniform(1, 5, 120), (50, 1))
    scores[30:] += wobble * RNG.uniform(-1, 1, (20, 120))
    assert look(scores).p == 1
    assert look(scores[:31]).p == 1


def test_it_says_with_which_run_the_other_judge_began() -> None:
    scores = RNG.normal(3, 0.3, (12, 60))
    scores[8:] -= 0.3
    found = look(scores)
    assert found.found
    assert found.changed_at == 8


def test_anchors_that_move_up_and_down_are_found_from_the_third_run_on() -> None:
    scores = np.tile(RNG.uniform(1, 5, 60), (3, 1)) + RNG.normal(0, 0.02, (3, 60))
    scores[-1] += np.where(np.arange(60) % 2, 0.3, -0.3)
    assert look(scores).found
    assert look(scores).changed_at == 2
    assert not look(scores[1:]).found, "of two runs nobody knows how much the judge varies"


def test_a_missing_score_counts_for_nothing() -> None:
    scores = streams("sd 0.3", 1, 6, 80)[0]
    scores[3:] += 0.3
    gone = np.full((6, 3), np.nan)
    gone[2, 0] = 4.0
    assert look(np.hstack([scores, gone])) == look(scores)
    scores[3, :79] = np.nan
    scores[5, 0] = np.nan
    assert look(scores).found


@pytest.mark.parametrize("by", [0.3, -0.3])
def test_up_and_down_are_found_alike(by: float) -> None:
    scores = np.zeros((2, 30))
    scores[1] = by
    assert look(scores).p == pytest.approx(look(-scores).p)
    assert look(scores).found
