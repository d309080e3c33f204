"""Do several means compare as they should: by the reference, by simulation, and at the edges?

python -m pytest tests/stats/test_several_means.py
"""

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from benchmarks.simulations.comparison_coverage import draw_many, worlds
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.several_means import SAME, SeveralMeans, compare_means, mean_over_groups

DRAWS = 400
# What chance may take from a true share of 95 %, or add to one of 5 %, in 4 of 1,000 tests.
SLACK = 2.65 * (0.95 * 0.05 / DRAWS) ** 0.5


def scores(rows: int, systems: int, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    level = 3 + rng.normal(0, 1, (rows, 1)) + np.linspace(0, 0.6, systems)
    return np.asarray(np.clip(np.round(level + rng.normal(0, 0.7, level.shape)), 1, 5))


def each_its_own(rows: int) -> list[str]:
    return [f"question {n}" for n in range(rows)]


def compared(table: Array) -> SeveralMeans:
    return compare_means(table, each_its_own(len(table)))


def test_two_systems_are_compared_by_the_paired_t() -> None:
    table = scores(40, 2)
    found = compared(table)
    [one] = found.differences
    reference = stats.ttest_rel(table[:, 1], table[:, 0])
    low, high = reference.confidence_interval(0.95)
    assert [one.estimate.low, one.estimate.high] == pytest.approx([low, high])
    assert one.differs == (reference.pvalue < 0.05)
    for mean, column in zip(found.means, table.T, strict=True):
        own = stats.ttest_1samp(column, 0).confidence_interval(0.95)
        assert [mean.low, mean.high] == pytest.approx([own.low, own.high])


def test_of_many_those_differ_that_bonferroni_rejects() -> None:
    table = scores(30, 8)
    found = compared(table).differences
    tests = [stats.ttest_rel(table[:, one.second], table[:, one.first]) for one in found]
    rejected = multipletests([test.pvalue for test in tests], 0.05, "bonferroni")[0]
    assert [one.differs for one in found] == rejected.tolist()
    assert 0 < sum(rejected) < len(found) == 28
    ends = [test.confidence_interval(1 - 0.05 / len(found)).low for test in tests]
    assert [one.estimate.low for one in found] == pytest.approx(ends)


@pytest.mark.parametrize("systems", [3, 12, 20])
def test_the_correction_costs_little_against_tukeys(systems: int) -> None:
    """Which is exact where all differences vary alike, and cannot be told from few rows."""
    pairs = systems * (systems - 1) / 2
    ours, exact = stats.t.isf(0.025 / pairs, 999), stats.studentized_range.ppf(0.95, systems, 1e6)
    assert 1 < ours / (exact / 2**0.5) < 1.035


def test_answers_to_one_question_are_averaged_first() -> None:
    table = scores(25, 3)
    noise = np.random.default_rng(1).integers(-1, 2, (100, 3))
    rows = np.repeat(table, 4, axis=0) + noise
    found = compare_means(rows, [f"question {n // 4}" for n in range(100)])
    averaged = compared(rows.reshape(25, 4, 3).mean(axis=1))
    assert (found.units, found.grouped, averaged.grouped) == (25, True, False)
    for one, other in zip(found.differences, averaged.differences, strict=True):
        a, b = one.estimate, other.estimate
        assert [a.value, a.low, a.high] == pytest.approx([b.value, b.low, b.high])


def test_groups_of_several_sizes_leave_the_mean_that_of_the_rows() -> None:
    table = scores(60, 2)
    groups = [f"question {min(n, 20)}" for n in range(60)]  # forty rows are of one question
    found, alone = compare_means(table, groups), compared(table)
    assert found.units == 21
    for one, other in zip(found.means, alone.means, strict=True):
        assert one.value == pytest.approx(other.value) and one.n == 60


def test_of_few_questions_the_rows_are_what_varies() -> None:
    table = scores(36, 2)
    few = compare_means(table, [f"question {n % 9}" for n in range(36)])
    assert not few.grouped and few.differences == compared(table).differences


def test_where_no_row_differs_nothing_does() -> None:
    same = np.column_stack([scores(30, 1)[:, 0]] * 2)
    [one] = compared(same).differences
    assert (one.estimate.low, one.estimate.high, one.estimate.note) == (0, 0, SAME)
    assert not one.differs


def test_one_that_is_better_on_every_row_differs() -> None:
    [one] = compared(np.column_stack([np.full(20, 1.0), np.full(20, 5.0)])).differences
    assert one.differs and one.estimate.value == 4


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_few_rows_have_no_interval_and_decide_nothing(rows: int) -> None:
    found = compared(np.column_stack([np.full(rows, 1.0), np.full(rows, 5.0)]))
    estimates = [*found.means, *(one.estimate for one in found.differences)]
    assert all(one.low is None and one.note for one in estimates)
    assert not any(one.differs for one in found.differences)


@pytest.mark.parametrize("questions", [15, 30, 200])
@pytest.mark.parametrize(
    "name", ["three systems", "mostly the same score", "yes or no", "one to eight answers"]
)
def test_intervals_hold_and_equals_do_not_differ(name: str, questions: int) -> None:
    """The table of benchmarks/simulations/comparison_coverage.py in short."""
    kept = draw_many(worlds()[name], questions, DRAWS, seed=5)
    assert kept.together > 0.95 - SLACK
    assert kept.means > 0.95 - SLACK
    assert kept.false <= 0.05


def test_what_is_better_is_found_and_ranks_first() -> None:
    world = worlds()["three systems"]
    assert draw_many(world, 200, 50).found > 0.98
    table, of = world.draw(np.random.default_rng(2), 200)
    means = [mean.value for mean in compare_means(table, of.astype(str).tolist()).means]
    assert means[2] == max(value for value in means if value is not None)


@pytest.mark.parametrize(("questions", "samples"), [(15, 8), (40, 4)])
def test_answers_to_one_question_are_not_taken_for_more_than_they_are(
    questions: int, samples: int
) -> None:
    """Half as much deviation between the answers to a question as between questions."""
    rng, simulations = np.random.default_rng(0), 400
    level = rng.normal(0, 1, (simulations, questions, 1))
    values = level + rng.normal(0, 0.5, (simulations, questions, samples))
    groups = np.repeat(np.arange(questions), samples).tolist()
    found = [mean_over_groups(one.ravel().tolist(), groups) for one in values]
    covered = np.mean([one.low <= 0 <= one.high for one in found])  # type: ignore[operator]
    naive = stats.ttest_1samp(values.reshape(simulations, -1), 0, axis=1).confidence_interval(0.95)
    assert covered == pytest.approx(0.95, abs=SLACK)
    assert np.mean((naive.low <= 0) & (naive.high >= 0)) < 0.75


def test_a_question_counts_with_all_its_answers() -> None:
    found = mean_over_groups([1.0, 2.0, 3.0, *range(4, 14)], [0, 0, 0, *range(1, 11)])
    assert found.value == pytest.approx((6 + sum(range(4, 14))) / 13) and found.n == 11
    few = mean_over_groups([1.0, 2.0, 3.0], [1, 1, 2])
    assert few.value == 2.0 and few.low is None and few.n == 2
    assert mean_over_groups([], []).value is None
