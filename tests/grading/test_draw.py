"""Are rows drawn by chance, and does a greater draw hold the smaller one?

python -m pytest tests/grading/test_draw.py
"""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from mlflow_tracking.grading.draw import Candidate, Design, Draw, DrawError, draw_rows, go_on_with

ROWS = [Candidate(row, str(row)) for row in range(1, 201)]
SIMPLE = Design()
LEVELS = [Candidate(row, str(row), "1" if row <= 20 else "4") for row in range(1, 201)]


def draw(rows: int, design: Design = SIMPLE, candidates: list[Candidate] = ROWS) -> Draw:
    return draw_rows(candidates, "digest", design, rows)


def numbers(found: Draw) -> list[int]:
    return [one.row for one in found.drawn]


def test_every_row_has_the_same_chance() -> None:
    counts = Counter(row for seed in range(2_000) for row in numbers(draw(10, Design(seed))))
    seen = np.array([counts[row] for row in range(1, 201)])
    # Of 2,000 draws each row is in 100; without replacement the spread is 0.95 of a binomial's.
    statistic = float(np.sum((seen - 100) ** 2 / (100 * 0.95)))
    assert 0.001 < stats.chi2.cdf(statistic, 199) < 0.999


def test_pairs_of_rows_are_together_as_often_as_chance_has_it() -> None:
    together = sum({7, 8} <= set(numbers(draw(40, Design(seed)))) for seed in range(3_000))
    expected = 3_000 * (40 / 200) * (39 / 199)
    assert abs(together - expected) < 4 * expected**0.5


def test_a_greater_draw_begins_with_the_smaller_one() -> None:
    for design, rows in ((Design(), ROWS), (Design(3, "score"), LEVELS)):
        small, great = draw(15, design, rows), draw(60, design, rows)
        assert numbers(great)[:15] == numbers(small)
        assert go_on_with(small, great) == great == go_on_with(great, small)


def test_a_rows_lot_does_not_depend_on_other_rows() -> None:
    """Two runs over one file are drawn alike, and can be compared row by row."""
    half = [one for one in ROWS if one.row % 2]
    assert numbers(draw(30, Design(), half)) == [n for n in numbers(draw(200)) if n % 2][:30]


def test_strata_give_as_many_rows_each_while_they_last() -> None:
    found = draw(60, Design(0, "score"), LEVELS)
    assert Counter(one.stratum for one in found.drawn) == {"1": 20, "4": 40}
    assert found.stratum_units == {"1": 20, "4": 180}
    assert [found.chance(replace(LEVELS[0], stratum=name)) for name in "14"] == [1.0, 40 / 180]


def test_undecided_rows_take_three_places_of_four() -> None:
    rows = [Candidate(r, str(r), "decided" if r > 100 else "undecided") for r in range(1, 201)]
    found = draw(40, Design(0, "decision"), rows)
    assert Counter(one.stratum for one in found.drawn) == {"undecided": 30, "decided": 10}


def test_clusters_are_drawn_whole() -> None:
    rows = [Candidate(row, f"question {row % 40}") for row in range(1, 201)]
    found = draw(12, Design(0, "", "question"), rows)
    assert Counter(Counter(one.unit for one in found.drawn).values()) == {5: 3}
    assert found.stratum_units == {"": 40} and found.chance(found.drawn[0]) == 3 / 40


def test_there_are_no_more_rows_than_there_are() -> None:
    assert sorted(numbers(draw(1_000))) == list(range(1, 201))


def test_a_draw_is_read_back_with_the_chance_of_each_row() -> None:
    found = draw(60, Design(5, "score"), LEVELS)
    text = json.dumps(found.to_json())
    assert Draw.from_json(json.loads(text)) == found
    assert {(one["stratum"], one["chance"]) for one in json.loads(text)["drawn"]} == {
        ("1", 1.0),
        ("4", 40 / 180),
    }


@pytest.mark.parametrize(
    ("now", "cause"),
    [
        pytest.param(draw(20, Design(1)), "drawn otherwise", id="another seed"),
        pytest.param(replace(draw(20), digest="other"), "not this run's", id="other rows"),
        pytest.param(replace(draw(20), stratum_units={"": 7}), "not this run's", id="strata"),
    ],
)
def test_two_draws_do_not_mix(now: Draw, cause: str) -> None:
    with pytest.raises(DrawError, match=cause):
        go_on_with(draw(15), now)
