"""Does the total of all rows lie in the interval that some of them give?

python -m pytest tests/stats/test_regression.py
"""

import random

import pytest

from mlflow_tracking.stats.regression import regression_total


def test_the_interval_covers_the_total_in_at_least_nine_of_ten_samples() -> None:
    covered = 0
    for seed in range(400):
        chance = random.Random(seed)
        lengths = [chance.lognormvariate(5, 0.7) for _ in range(500)]
        costs = [(1 + length / 100) * chance.uniform(0.8, 1.2) for length in lengths]
        drawn = chance.sample(range(500), 16)
        found = regression_total([lengths[i] for i in drawn], [costs[i] for i in drawn], lengths)
        assert found.low is not None and found.high is not None
        covered += found.low <= sum(costs) <= found.high
    assert 0.89 <= covered / 400 <= 0.98


def test_longer_rows_than_those_that_were_judged_cost_more() -> None:
    found = regression_total([10, 20, 30, 40], [1, 2, 3, 4], [10, 20, 30, 40, 400])
    assert found.value == pytest.approx(50)
    assert found.low == pytest.approx(50) and found.high == pytest.approx(50)  # on a line


def test_all_rows_are_their_sum() -> None:
    found = regression_total([3, 1], [5, 9], [3, 1])
    assert (found.value, found.low, found.high) == (14, 14, 14)


def test_two_rows_of_many_give_no_interval() -> None:
    found = regression_total([1, 2], [1, 2], [1, 2, 3])
    assert found.value == pytest.approx(6)
    assert found.low is None and found.high is None
    assert found.note == "of 2 rows only"


def test_a_row_that_alone_decides_the_slope_gives_an_interval() -> None:
    found = regression_total([1, 1, 5], [1, 2, 9], [1, 1, 1, 5, 5])
    assert found.low is not None and found.high is not None
    assert found.low < 4.5 + 18 < found.high


def test_rows_of_one_length_need_no_slope() -> None:
    found = regression_total([7, 7, 7], [1, 2, 3], [7] * 10)
    assert found.value == pytest.approx(20)
