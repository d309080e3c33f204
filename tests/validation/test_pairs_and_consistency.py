"""Which answer does the judge prefer, and does it say the same twice? Values worked out by hand.

python -m pytest tests/validation/test_pairs_and_consistency.py
"""

import json
from dataclasses import asdict

import numpy as np
import pytest

from mlflow_tracking.rows.graded import Winner
from mlflow_tracking.validation.consistency import changed_share, repeats
from mlflow_tracking.validation.pairs import (
    merge_orders,
    over_length,
    pair_agreement,
    pairwise_agreement,
    prefer_by_scores,
    prefer_the_longer,
)


def winners(letters: str) -> list[Winner]:
    names: dict[str, Winner] = {"a": "a", "b": "b", "=": "tie"}
    return [names[letter] for letter in letters]


def test_the_higher_score_is_the_preference() -> None:
    assert prefer_by_scores([5, 1, 3, None, 2], [4, 1.5, 3, 2, None]) == [
        "a",
        "b",
        "tie",
        None,
        None,
    ]


def test_agreement_on_pairs_worked_out_by_hand() -> None:
    human = winners("aaaabbbb====")
    judge: list[Winner | None] = [*winners("aab=bba=aa=="[:11]), None]
    # People have a winner in 8: the judge is right on a a, b b: 4, wrong on 2, ties 2.
    # With the ties of people: the third '=' is met by '=': 5 of the 11 that have a verdict.
    found = pair_agreement(judge * 3, human * 3)
    assert (found.accuracy.value, found.accuracy.n) == (4 / 8, 24)
    assert (found.accuracy_if_decided.value, found.accuracy_if_decided.n) == (4 / 6, 18)
    assert found.exact.n == 33
    assert found.exact.value == pytest.approx(5 / 11)
    assert found.judge_ties.value == pytest.approx(3 / 11)
    assert found.human_ties.value == pytest.approx(3 / 11)


def test_the_judge_is_compared_with_preferring_the_longer_answer() -> None:
    human = winners("aabb=") * 4
    answers_a, answers_b = ["long", "x", "x", "long", "long"] * 4, ["x", "long", "x", "x", "x"] * 4
    assert prefer_the_longer(answers_a, answers_b)[:5] == winners("ab=aa")
    judge: list[Winner | None] = [*winners("aaba"), None] * 4
    # Of the four pairs with a winner the judge has three right, length the first only.
    found = over_length(judge, human, answers_a, answers_b)
    assert (found.value, found.n) == (0.5, 16)


def test_a_verdict_that_depends_on_the_order_is_a_tie() -> None:
    assert merge_orders(winners("aab=a"), [*winners("abb="), None]) == [
        *winners("a=b="),
        None,
    ]


@pytest.mark.parametrize(
    ("a_first", "b_first", "decided", "mean", "favoured"),
    [
        ("ab=ab" * 4, "ab=ab" * 4, 0, 0, "neither"),
        ("a" * 20, "b" * 20, 1, 1, "first"),
        ("b" * 20, "a" * 20, 1, -1, "second"),
        ("aaaab" * 4, "bbaab" * 4, 0.4, 0.4, "first"),
        ("ab" * 10, "ba" * 10, 1, 0, "neither"),
        ("a=" * 10, "==" * 10, 0.5, 0.25, "first"),
    ],
    ids=["fair", "first", "second", "often-first", "erratic", "half-a-step"],
)
def test_the_position_that_a_judge_favours_is_found(
    a_first: str, b_first: str, decided: float, mean: float, favoured: str
) -> None:
    human = winners("ab" * 10)
    found = pairwise_agreement(winners(a_first), winners(b_first), human)
    assert found.order_decided.value == pytest.approx(decided)
    assert found.favours_first.value == pytest.approx(mean)
    assert found.favoured == favoured


def test_what_holds_in_both_orders_is_compared_with_people() -> None:
    found = pairwise_agreement(winners("aab" * 5), winners("abb" * 5), winners("aab" * 5))
    assert found.agreement.accuracy.value == pytest.approx(2 / 3)
    assert found.agreement.judge_ties.value == pytest.approx(1 / 3)


def test_few_pairs_are_not_enough_data() -> None:
    found = pairwise_agreement(winners("aaa"), winners("bbb"), winners("aab"))
    assert found.favoured == "neither"
    assert found.order_decided.note == "fewer than 10 rows"
    assert "NaN" not in json.dumps(asdict(found), allow_nan=False)


def test_flips_and_spread_worked_out_by_hand() -> None:
    # Rows: 3 3 3 never flips; 1 5 3 does, deviation 2, spread 4; 4 4 - has two verdicts and does
    # not; 2 - - has one and is left out.
    rows: list[list[int | None]] = [[3, 3, 3], [1, 5, 3], [4, 4, None], [2, None, None]] * 5
    found = repeats(list(zip(*rows, strict=True)))
    assert (found.passes, found.flips.n) == (3, 15)
    assert found.flips.value == pytest.approx(1 / 3)
    assert found.deviation.value == pytest.approx(2 / 3)
    assert found.spread.value == pytest.approx(4 / 3)


def test_a_steady_judge_does_not_flip_and_the_interval_says_how_surely() -> None:
    scores = [1 + row % 5 for row in range(30)]
    found = repeats([scores] * 3)
    assert (found.flips.value, found.deviation.value, found.spread.value) == (0, 0, 0)
    assert found.flips.high is not None
    # Wilson for 0 of 30: z^2 / (n + z^2) = 3.8415 / 33.8415.
    assert found.flips.high == pytest.approx(3.8415 / 33.8415, abs=1e-4)


@pytest.mark.parametrize("passes", [[], [[1] * 20], [[1, 2], [2, 2]], [[None] * 20] * 2])
def test_nothing_repeated_is_not_enough_data(passes: list[list[int | None]]) -> None:
    found = repeats(passes)
    assert found.flips.value is None
    assert found.flips.note == "fewer than 10 rows"
    json.dumps(asdict(found), allow_nan=False)


def test_the_share_that_changed_against_a_first_pass() -> None:
    first: list[int | None] = [1, 2, 3, 4, None] * 4
    other: list[int | None] = [1, 2, 3, 5, 5] * 4
    found = changed_share(first, other)
    assert (found.value, found.n) == (0.25, 16)


def test_the_spread_of_a_noisy_judge_is_that_of_its_noise() -> None:
    random = np.random.default_rng(0)
    passes = [random.integers(1, 4, size=2_000).tolist() for _ in range(3)]
    found = repeats(passes)
    # All three of 1..3 the same: 3 / 27; so 1 - 1/9 flip.
    assert found.flips.low is not None
    assert found.flips.high is not None
    assert found.flips.low < 8 / 9 < found.flips.high
