"""Do the intervals of all differences hold together?

python -m pytest tests/stats/test_simultaneous.py
"""

import numpy as np
import pytest

from mlflow_tracking.stats.estimate import Array, Estimate, difference_estimate
from mlflow_tracking.stats.paired import pearson, spearman
from mlflow_tracking.stats.simultaneous import all_differences


def judges_of(human: Array, noises: list[float], random: np.random.Generator) -> dict[str, Array]:
    shared = random.normal(size=len(human)) * 0.5
    return {
        name: human + shared + random.normal(size=len(human)) * noise
        for name, noise in zip("abcd", noises, strict=False)
    }


def apart(found: Estimate) -> bool:
    assert found.low is not None
    assert found.high is not None
    return found.low > 0 or found.high < 0


def test_of_two_the_interval_is_about_the_one_of_a_single_difference() -> None:
    random = np.random.default_rng(0)
    human = random.normal(size=200)
    columns = judges_of(human, [0.6, 1.2], random)
    [(pair, found)] = all_differences(spearman, columns, human).items()
    alone = difference_estimate(spearman, columns["a"], columns["b"], human)
    assert pair == ("a", "b")
    assert found.value == pytest.approx(alone.value)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.02)


def test_equal_judges_are_told_apart_in_at_most_5_percent_of_files() -> None:
    random, told = np.random.default_rng(3), 0
    for seed in range(150):
        human = random.normal(size=60)
        found = all_differences(pearson, judges_of(human, [1.0] * 4, random), human, seed=seed)
        assert len(found) == 6
        told += any(map(apart, found.values()))
    assert told <= 15  # of 150 at 5 %: 7.5, with a standard deviation of 2.7


def test_a_better_judge_is_told_apart_and_two_alike_are_not() -> None:
    random = np.random.default_rng(5)
    human = random.normal(size=150)
    found = all_differences(spearman, judges_of(human, [0.4, 2.0, 2.0], random), human)
    assert {pair: apart(estimate) for pair, estimate in found.items()} == {
        ("a", "b"): True,
        ("a", "c"): True,
        ("b", "c"): False,
    }


def test_what_cannot_be_measured_says_so() -> None:
    human = [float(1 + row % 5) for row in range(30)]
    constant = all_differences(spearman, {"a": human, "b": [4.0] * 30}, human)
    assert constant["a", "b"].value is None
    few = all_differences(spearman, {"a": human[:9], "b": human[:9]}, human[:9])
    assert str(few["a", "b"]) == "not enough data (fewer than 10 rows)"
    same = all_differences(spearman, {"a": human, "b": human}, human)["a", "b"]
    assert (same.value, same.low, same.high, same.note) == (0, 0, 0, "no resample differs")


def test_a_column_that_hardly_varies_takes_no_interval_from_the_others() -> None:
    random = np.random.default_rng(5)
    human = random.normal(size=60)
    hardly = np.where(np.arange(60) == 7, 4.0, 3.0)  # in 37 % of resamples all 3
    columns = judges_of(human, [0.4, 2.0], random)
    found = all_differences(spearman, columns | {"c": hardly}, human)
    assert apart(found["a", "b"])
    assert found["a", "c"].low is None
    assert found["a", "c"].note == "too many resamples have no value"


def test_rows_that_one_of_them_lacks_are_left_out_of_all() -> None:
    random = np.random.default_rng(1)
    human = random.normal(size=40)
    columns = judges_of(human, [1.0, 1.0], random)
    gaps = {"a": np.where(np.arange(40) < 15, np.nan, columns["a"]), "b": columns["b"]}
    cut = {name: column[15:] for name, column in columns.items()}
    found = all_differences(spearman, gaps, human)
    assert found == all_differences(spearman, cut, human[15:])
    assert found["a", "b"].n == 25
