"""Are the strengths those of a reference implementation, and are their intervals honest?

python -m pytest tests/stats/test_bradley_terry.py
"""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from mlflow_tracking.stats.bradley_terry import Comparisons, Strengths, bradley_terry
from mlflow_tracking.stats.estimate import Array, Estimate

STRENGTHS = np.array([0.8, 0.1, -0.2, -0.7])


def drawn(questions: int = 60, for_longer: float = 0.8, seed: int = 0) -> Comparisons:
    """Four systems, all pairs, wins, ties and losses."""
    rng = np.random.default_rng(seed)
    a, b = np.array(list(combinations(range(4), 2))).T
    first, second = np.tile(a, questions), np.tile(b, questions)
    longer = rng.normal(0, 200, len(first)) + 60 * (second - first)
    odds = STRENGTHS[first] - STRENGTHS[second] + for_longer * np.tanh(longer / 200)
    won = (odds + rng.logistic(0, 1, (2, len(first))) > 0).mean(axis=0)
    return Comparisons(4, first, second, won, longer, np.repeat(np.arange(questions), 6))


def of_two(wins: int, losses: int, each: int = 1) -> Comparisons:
    """Two systems; every comparison has `each` copies that ask the same question."""
    won = np.repeat([1.0] * wins + [0.0] * losses, each)
    n = len(won)
    question = np.repeat(np.arange(wins + losses), each)
    return Comparisons(2, np.zeros(n, int), np.ones(n, int), won, np.zeros(n), question)


def reference(found: Comparisons, controlled: bool) -> Array:
    """Win rates against the others by statsmodels, with half a win and half a loss a pair."""
    pairs = list(combinations(range(found.systems), 2))
    sides = [*zip(found.first, found.second, strict=True), *pairs, *pairs]
    design = np.zeros((len(sides), found.systems + 1))
    for row, (a, b) in enumerate(sides):
        design[row, a], design[row, b] = 1, -1
    design[: len(found.wins), -1] = np.tanh(
        found.longer / (1.4826 * np.median(np.abs(found.longer)))
    )
    wins = [*found.wins, *[1] * len(pairs), *[0] * len(pairs)]
    weights = [1.0] * len(found.wins) + [0.5] * 2 * len(pairs)
    if controlled:  # and for the longer answer alone
        alone = np.zeros((2, found.systems + 1))
        alone[:, -1] = 1
        design, wins, weights = np.vstack([design, alone]), [*wins, 1, 0], [*weights, 0.5, 0.5]
    free = design[:, 1:] if controlled else design[:, 1:-1]  # the first system has strength 0
    model = sm.GLM(np.array(wins), free, family=sm.families.Binomial(), freq_weights=weights)
    strengths = np.concatenate([[0.0], model.fit().params[: found.systems - 1]])
    chance = 1 / (1 + np.exp(strengths[None] - strengths[:, None]))
    return np.asarray((chance.sum(axis=1) - 0.5) / (found.systems - 1))


def values(estimates: tuple[Estimate, ...]) -> list[float | None]:
    return [one.value for one in estimates]


def ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def width(estimate: Estimate) -> float:
    low, high = ends(estimate)
    return high - low


def controlled(found: Comparisons) -> Strengths:
    strengths = bradley_terry(found).controlled
    assert strengths is not None
    return strengths


def test_strengths_are_those_of_a_logistic_regression_by_statsmodels() -> None:
    found = drawn()
    assert values(bradley_terry(found).raw.systems) == pytest.approx(reference(found, False))
    assert values(controlled(found).systems) == pytest.approx(reference(found, True))


def test_of_all_pairs_a_raw_strength_is_nearly_the_share_of_wins() -> None:
    found = drawn()
    for system, rate in enumerate(bradley_terry(found).raw.systems):
        won = found.wins[found.first == system].sum()
        won += (1 - found.wins[found.second == system]).sum()
        assert rate.value == pytest.approx(won / (3 * 60), abs=0.01)


@pytest.mark.parametrize(("wins", "losses"), [(20, 0), (0, 20), (14, 6), (150, 50)])
def test_the_interval_of_one_pair_is_that_of_jeffreys(wins: int, losses: int) -> None:
    [rate] = bradley_terry(of_two(wins, losses)).raw.pairs
    wanted = stats.beta.ppf([0.025, 0.975], wins + 0.5, losses + 0.5)
    assert ends(rate) == pytest.approx(wanted, abs=0.03)
    assert width(rate) > 0.05  # of a system that always wins, too


def test_a_repeated_question_makes_nothing_surer() -> None:
    [once] = bradley_terry(of_two(30, 20)).raw.pairs
    [repeated] = bradley_terry(of_two(30, 20, each=4)).raw.pairs
    [more] = bradley_terry(of_two(120, 80)).raw.pairs
    assert width(repeated) == pytest.approx(width(once), rel=0.1)
    assert width(more) == pytest.approx(width(once) / 2, rel=0.1)


def test_a_judge_of_length_is_found_and_taken_out() -> None:
    found = bradley_terry(drawn(120, for_longer=3.0))
    assert found.longer is not None
    assert ends(found.longer)[0] > 0.8
    fair = bradley_terry(drawn(120, for_longer=0.0)).longer
    assert fair is not None
    assert ends(fair)[0] < 0.5 < ends(fair)[1]


def test_one_answer_that_runs_on_hides_no_judge_of_length() -> None:
    found = drawn(30, for_longer=3.0)
    runs_on = (found.question == 0) & (found.second == 3)
    longer, wins = np.where(runs_on, -15_000, found.longer), np.where(runs_on, 1, found.wins)
    told = bradley_terry(replace(found, longer=longer, wins=wins))
    assert told.longer is not None
    assert ends(told.longer)[0] > 0.75
    assert told.best.systems[0].value == pytest.approx(controlled(found).systems[0].value, abs=0.03)


@pytest.mark.parametrize("apart", [0.0, 100.0], ids=["all one length", "one length a system"])
def test_lengths_that_the_systems_explain_are_not_controlled(apart: float) -> None:
    found = drawn()
    told = bradley_terry(replace(found, longer=apart * (found.second - found.first).astype(float)))
    assert (told.controlled, told.longer, told.best) == (None, None, told.raw)


def test_of_two_systems_the_one_pair_needs_no_correction() -> None:
    two = bradley_terry(of_two(30, 20)).raw
    assert ends(two.pairs[0]) == pytest.approx(ends(two.systems[0]), abs=0.01)


def test_a_system_that_always_wins_has_a_strength() -> None:
    found = drawn()
    won = np.where(found.first == 0, 1.0, found.wins)
    best = controlled(replace(found, wins=won)).systems[0]
    assert best.value is not None
    assert 0.95 < best.value < 1
    assert width(best) > 0


def test_few_questions_have_no_interval() -> None:
    [rate] = bradley_terry(of_two(6, 3)).raw.pairs
    assert (rate.low, rate.note) == (None, "fewer than 10 questions")
    assert rate.value == pytest.approx(6.5 / 10)
