"""Is the better system found by direct comparisons, whatever the judge likes beside good answers?

python -m pytest tests/comparing/test_preferred.py
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.simulations.pairwise_coverage import WORLDS, Found, World, simulate
from mlflow_tracking.comparing.pairwise import Pair, Verdicts
from mlflow_tracking.comparing.preferred import Preferred, judged, prefer
from mlflow_tracking.comparing.told_directly import tell
from mlflow_tracking.rows.item import PairItem
from mlflow_tracking.rows.labels import Winner
from mlflow_tracking.stats.estimate import Estimate

SIMULATIONS = 60
LETTERS: dict[str, Winner] = {"a": "a", "b": "b", "=": "tie"}


def verdicts(a_first: str, b_first: str) -> Verdicts:
    """Two systems; one question a letter, '-' for no verdict."""
    one, other = (tuple(map(LETTERS.get, letters)) for letters in (a_first, b_first))
    lengths = np.random.default_rng(0).integers(5, 200, (len(a_first), 2)).tolist()
    pairs = (
        Pair(n, n, 0, 1, PairItem(f"Q {n}", "x" * a, second="y" * b))
        for n, (a, b) in enumerate(lengths)
    )
    return Verdicts(tuple(pairs), one, other)


def found_of(given: Verdicts) -> Preferred:
    return prefer(judged(given, 2))


def simulated(name: str, questions: int = 40) -> Found:
    return simulate(WORLDS[name], questions, SIMULATIONS)


def test_a_bias_for_length_and_place_is_undone() -> None:
    found = simulated("likes both")
    assert found.raw_at_equal < 0.7  # the bias is there
    assert found.controlled_covers > 0.9
    assert found.raw_covers > 0.9  # of what the judge prefers as it is
    assert found.first_covers > 0.85
    assert found.first > 0.25


def test_the_order_of_the_systems_is_found() -> None:
    world = World((1.2, 0.0, -1.2), (250.0, 400.0, 550.0), for_longer=3.0)
    assert simulate(world, 60, 40).order > 0.95
    shown = prefer(world.draw(200, np.random.default_rng(0)))
    raw = [one.value for one in shown.strengths.raw.systems]
    assert raw != sorted(raw, key=lambda one: -(one or 0.0))  # which without control it is not


def test_equal_systems_are_seldom_told_apart() -> None:
    found = simulated("equal, likes both")
    assert found.differs <= 0.13  # 0.05 and three standard errors of 60 simulations
    assert found.raw_differs > 0.5


def test_what_the_order_decides_is_a_tie_and_told() -> None:
    found = found_of(verdicts("aaab=abbab", "aabb==abab"))
    [record] = found.records
    # aa aa ab bb == a= ba bb aa bb: the third, sixth and seventh change with the order.
    assert (record.wins, record.ties, record.losses) == (3, 4, 3)
    assert (found.order_decides, found.asked) == (3, 10)
    assert found.favours_first.value == pytest.approx((1 + 0.5 - 1) / 10)


@pytest.mark.parametrize(
    ("a_first", "b_first", "told"),
    [
        ("a" * 12, "b" * 12, "1.00 (1.00 to 1.00): favours the first"),
        ("b" * 12, "a" * 12, "-1.00 (-1.00 to -1.00): favours the second"),
        ("ab" * 6, "ab" * 6, "0.00 (0.00 to 0.00): favours neither"),
    ],
    ids=["first", "second", "fair"],
)
def test_the_place_that_a_judge_favours_is_told(a_first: str, b_first: str, told: str) -> None:
    given = verdicts(a_first, b_first)
    lines = tell(found_of(given), given, "AB", "stub").lines
    assert [line for line in lines if line.startswith("place") and told in line], lines


def test_who_is_better_is_said_where_the_interval_tells() -> None:
    record = found_of(verdicts("a" * 20, "a" * 20)).records[0]
    assert record.better == 0
    assert found_of(verdicts("b" * 20, "b" * 20)).records[0].better == 1
    assert found_of(verdicts("ab" * 10, "ab" * 10)).records[0].better is None
    assert replace(record, rate=Estimate(0.9, None, None, 5, "few")).better is None


def test_comparisons_without_a_verdict_are_left_out_and_counted() -> None:
    given = verdicts("aa-ab" * 4, "aaaa-" * 4)
    assert given.missing == 8
    found = found_of(given)
    assert (found.compared, found.records[0].wins) == (12, 12)
    table = tell(found, given, "AB", "stub").table
    assert table["winner"].tolist()[:5] == ["a", "a", "", "a", ""]
    assert table["winner_b_first"].tolist()[:5] == ["a", "a", "a", "a", ""]


def test_equal_answers_are_ties_that_say_nothing_of_the_place() -> None:
    given = verdicts("a" * 12 + "=", "b" * 12 + "=")
    same = replace(given.pairs[-1], item=PairItem("Q", "same", second="same "))
    found = found_of(replace(given, pairs=(*given.pairs[:-1], same)))
    assert (found.compared, found.asked, found.records[0].ties) == (13, 12, 13)
    assert found.favours_first.value == 1
    lines = tell(found, given, "AB", "stub").lines
    assert lines[0].endswith("; 1 of equal answers are ties")


def test_what_is_told_and_recorded_are_the_same_numbers() -> None:
    given = verdicts("aaab" * 10, "aaab" * 10)
    found = found_of(given)
    told = tell(found, given, "AB", "stub")
    best = found.strengths.best.systems[0]
    assert told.metrics["pairwise_win_rate_A"] == best.value
    assert told.metrics["pairwise_win_rate_A_low"] == best.low
    [pair] = told.pairs.to_dict("records")
    assert (pair["win_rate"], pair["better"]) == (found.records[0].rate.value, "A")
    assert told.metrics["pairwise_comparisons"] == 40
    for text in ("\n".join(told.lines), told.markdown):
        assert str(best) in text
        assert "30-0-10" in text
    assert told.markdown.count("\n| --- |") == 2


def test_of_many_systems_only_the_pairs_that_differ_are_listed() -> None:
    many = World((2.0, *[0.0] * 5), (400.0,) * 6)
    found = prefer(many.draw(60, np.random.default_rng(0)))
    told = tell(found, verdicts("a" * 12, "a" * 12), "ABCDEF", "stub")
    assert len(told.pairs) == 15
    listed = [line for line in told.lines if " over " in line]
    assert len(listed) == 5
    assert all(line.startswith("A over ") and line.endswith("A is better") for line in listed)
    assert any(line.startswith("others       10 pairs") for line in told.lines)
