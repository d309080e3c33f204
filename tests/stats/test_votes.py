"""Is the number of independent votes Kish's, and does its interval hold it?

python -m pytest tests/stats/test_votes.py
"""

import numpy as np
import pytest

from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.votes import effective_votes, kish_votes


def errors_of(judges: int, rho: float, rows: int, random: np.random.Generator) -> list[Array]:
    """Errors of which every two judges' correlate by `rho`."""
    shared = random.normal(size=rows) * rho**0.5
    return [shared + random.normal(size=rows) * (1 - rho) ** 0.5 for _ in range(judges)]


@pytest.mark.parametrize("judges", [2, 3, 5])
def test_the_votes_are_the_squared_number_of_judges_over_the_sum_of_correlations(
    judges: int,
) -> None:
    errors = errors_of(judges, 0.4, 80, np.random.default_rng(judges))
    matrix = np.corrcoef(errors)
    estimate = effective_votes(errors, ["e"] * judges)
    assert estimate.value == pytest.approx(judges**2 / matrix.sum())


@pytest.mark.parametrize(
    ("errors", "votes"),
    [
        ([[1.0, -1, 0, 2] * 5] * 3, 1.0),
        ([[1.0, -1, 0, 2] * 5, [3.0, 1, 2, 4] * 5], 1.0),
        ([[1.0, 1, -1, -1] * 5, [1.0, -1, 1, -1] * 5], 2.0),
        ([[1.0, -1] * 10, [-1.0, 1] * 10], 2.0),
    ],
    ids=["the-same-three-times", "the-same-but-for-a-shift", "independent", "opposite"],
)
def test_votes_worked_out_by_hand(errors: list[list[float]], votes: float) -> None:
    assert effective_votes(errors, ["e"] * len(errors)).value == pytest.approx(votes)


def test_a_judge_that_errs_alike_everywhere_gives_no_number() -> None:
    random = np.random.default_rng(0).normal(size=30)
    found = effective_votes([random, [0.5] * 30], ["a's errors", "b's errors"])
    assert str(found) == "not enough data (b's errors are all 0.5)"


def test_rows_that_a_judge_did_not_score_are_left_out() -> None:
    errors = errors_of(2, 0.5, 40, np.random.default_rng(1))
    gaps = [np.where(np.arange(40) < 10, np.nan, errors[0]), errors[1]]
    cut = [column[10:] for column in errors]
    assert effective_votes(gaps, ["e"] * 2) == effective_votes(cut, ["e"] * 2)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random, held, truth = np.random.default_rng(7), 0, 3 / (1 + 2 * 0.5)
    for seed in range(100):
        found = effective_votes(errors_of(3, 0.5, 60, random), ["e"] * 3, seed=seed)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= truth <= found.high
    assert held >= 89  # of 100 at 95 %: 95, with a standard deviation of 2.2


def test_many_resamples_are_worked_out_at_once() -> None:
    errors = np.random.default_rng(2).normal(size=(3, 4, 50))
    votes = kish_votes(*errors)
    assert votes.shape == (4,)
    assert votes[2] == pytest.approx(kish_votes(*errors[:, 2]))
