"""How well do people agree? The ceiling against scipy, sklearn and a published table.

python -m pytest tests/stats/test_raters.py
"""

import json
from dataclasses import asdict
from itertools import combinations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import aggregate_raters, fleiss_kappa

from mlflow_tracking.stats.raters import rater_agreement

# Fleiss (1971) as Wikipedia works it out: 10 subjects, 14 raters, 5 categories, kappa 0.210.
COUNTS = [
    *[[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1]],
    *[[7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]],
]


def ratings(rows: int, raters: int, seed: int = 0) -> list[list[float | None]]:
    random = np.random.default_rng(seed)
    truth = random.integers(1, 6, size=(rows, 1))
    scores = np.clip(truth + random.integers(-1, 2, size=(rows, raters)), 1, 5)
    return [[float(score) for score in row] for row in scores]


def test_the_ceiling_is_the_mean_over_pairs_of_raters() -> None:
    given = ratings(40, 3)
    found = rater_agreement(given)
    assert found is not None
    columns = list(zip(*given, strict=True))
    pairs = list(combinations(columns, 2))
    assert found.spearman.value == pytest.approx(
        np.mean([stats.spearmanr(one, other).statistic for one, other in pairs])
    )
    kappas = [cohen_kappa_score(one, other, weights="quadratic") for one, other in pairs]
    assert found.quadratic_weighted_kappa.value == pytest.approx(np.mean(kappas))
    assert found.spearman.low is not None
    assert found.spearman.value is not None
    assert found.spearman.low < found.spearman.value
    assert (found.raters, found.spearman.n) == (3, 40)


def test_each_rater_is_compared_with_the_mean_of_the_others() -> None:
    given = ratings(40, 3)
    found = rater_agreement(given)
    assert found is not None
    first, *others = np.array(given, dtype=float).T
    expected = stats.spearmanr(first, np.mean(others, axis=0)).statistic
    assert len(found.against_others) == len(found.kappa_against_others) == 3
    assert found.against_others[0].value == pytest.approx(expected)


def test_a_row_counts_for_the_raters_who_graded_it() -> None:
    given = ratings(30, 3)
    for row in range(8):
        given[row][row % 3] = None
    given.append([5.0, None, None])  # one rater: nothing to compare
    found = rater_agreement(given)
    assert found is not None
    table = np.array(given, dtype=float)
    expected = []
    for one, other in combinations(table.T, 2):
        both = ~np.isnan(one) & ~np.isnan(other)
        expected.append(stats.spearmanr(one[both], other[both]).statistic)
    assert found.spearman.value == pytest.approx(np.mean(expected))
    assert (found.spearman.n, found.fleiss_kappa.n) == (30, 22)
    assert found.spearman.low is not None
    graded = ~np.isnan(table[:, 0]) & (~np.isnan(table[:, 1:])).any(axis=1)
    others = np.nanmean(table[graded, 1:], axis=1)
    assert found.against_others[0].value == pytest.approx(
        stats.spearmanr(table[graded, 0], others).statistic
    )


def test_fleiss_kappa_is_the_published_one() -> None:
    given = [[float(c + 1) for c, n in enumerate(row) for _ in range(n)] for row in COUNTS]
    found = rater_agreement(given)
    assert found is not None
    assert found.fleiss_kappa.value == pytest.approx(0.210, abs=0.0005)


def test_fleiss_kappa_is_statsmodels() -> None:
    given = ratings(25, 4, seed=2)
    found = rater_agreement(given)
    assert found is not None
    expected = fleiss_kappa(aggregate_raters(np.array(given, dtype=int))[0])
    assert found.fleiss_kappa.value == pytest.approx(expected)


@pytest.mark.parametrize("given", [[], [[3.0]] * 20, [()] * 20], ids=["none", "one", "no-raters"])
def test_fewer_than_two_raters_have_no_ceiling(given: list[list[float | None]]) -> None:
    assert rater_agreement(given) is None


@pytest.mark.parametrize(
    ("given", "note"),
    [
        ([[1.0, 2.0]] * 3, "fewer than 10 rows"),
        ([[3.0, 3.0]] * 20, "the scores of rater 1 are all 3"),
        ([[1.0, None], [None, 2.0]] * 10, "fewer than 10 rows"),
    ],
    ids=["three-rows", "constant", "no-row-in-common"],
)
def test_too_little_is_never_nan(given: list[list[float | None]], note: str) -> None:
    found = rater_agreement(given)
    assert found is not None
    assert found.spearman.value is None
    assert found.spearman.note == note
    json.dumps(asdict(found), allow_nan=False)
