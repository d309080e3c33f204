"""Which pairs is the judge asked about? All, or as many of every two systems, drawn by chance.

python -m pytest tests/comparing/test_pairwise.py
"""

from collections import Counter

import pandas as pd
import pytest

from mlflow_tracking.comparing.pairwise import Chosen, choose_pairs
from mlflow_tracking.comparing.shared_rows import share_rows
from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.rows.item import DataError

ROWS = 20


def run(name: str, answers: list[str], references: list[str] | None = None) -> JudgedRun:
    rows = pd.DataFrame(
        {
            "row": range(1, len(answers) + 1),
            "inputs": [f"Q {n // 2}" for n in range(len(answers))],  # each is asked twice
            "predictions": answers,
            "score": 3,
        }
    )
    if references:
        rows["targets"] = references
    return JudgedRun(name, "1", name, "judge", "prompt.txt", "data.csv", rows)


def answers(name: str) -> list[str]:
    return [f"{name} says {n}" for n in range(ROWS)]


def chosen(*given: list[str], limit: int | None = None) -> Chosen:
    runs = [run(f"run {n}", one) for n, one in enumerate(given)]
    return choose_pairs(share_rows(runs), limit)


def test_all_pairs_of_answers_are_compared() -> None:
    found = chosen(answers("x"), answers("y"), answers("z"))
    assert (len(found.pairs), found.of, found.unanswered) == (60, 60, 0)
    assert Counter((p.first, p.second) for p in found.pairs) == {(0, 1): 20, (0, 2): 20, (1, 2): 20}
    one = found.pairs[4]
    assert (one.row, one.question, one.item.question) == (1, 0, "Q 0")
    assert (one.item.answer, one.item.second) == ("x says 1", "z says 1")
    [line] = found.notes()
    assert line == (
        "60 comparisons, 20 for each pair of systems: 120 calls of one token, two orders each"
    )


def test_some_are_drawn_by_chance_as_many_of_every_two_systems() -> None:
    found = chosen(answers("x"), answers("y"), answers("z"), limit=20)
    counts = Counter((p.first, p.second) for p in found.pairs)
    assert sorted(counts.values()) == [6, 7, 7]
    assert len({(p.row, p.first, p.second) for p in found.pairs}) == 20
    assert found == chosen(answers("x"), answers("y"), answers("z"), limit=20)
    assert max(p.row for p in found.pairs) > ROWS / 2  # not the first rows alone
    assert found.notes()[0].startswith("20 comparisons of 60, drawn by chance (seed 0), 7 for")


def test_with_a_run_more_those_that_were_drawn_before_are_drawn_again() -> None:
    three = [answers("x"), answers("y"), answers("z")]
    before = {(p.row, p.first, p.second) for p in chosen(*three, limit=18).pairs}
    after = {(p.row, p.first, p.second) for p in chosen(*three, answers("v"), limit=18).pairs}
    assert len(after & before) == 9 == sum(second < 3 for _, _, second in after)


def test_every_two_systems_have_to_be_compared() -> None:
    three = [answers("x"), answers("y"), answers("z")]
    assert len(chosen(*three, limit=3).pairs) == 3
    with pytest.raises(DataError, match="--pairs 2: there are 3 pairs of systems; draw more"):
        chosen(*three, limit=2)


def test_more_than_there_are_is_all() -> None:
    assert chosen(answers("x"), answers("y"), limit=500) == chosen(answers("x"), answers("y"))


def test_rows_without_an_answer_are_left_out_and_counted() -> None:
    found = chosen(["", *answers("x")[1:]], [*answers("y")[:-1], "  "], answers("z"))
    assert found.unanswered == 2
    assert {p.row for p in found.pairs} == set(range(1, 19))
    assert "2 rows are left out: a system has no answer" in found.notes()


def test_equal_answers_are_not_asked_about() -> None:
    found = chosen(answers("x"), [*answers("x")[:3], *answers("y")[3:]])
    assert (len(found.pairs), len(found.asked)) == (20, 17)
    assert found.notes()[1] == "3 comparisons are of equal answers: ties, without a call"


def test_the_reference_is_shown_of_whichever_run_has_one() -> None:
    one = run("one", answers("x"))
    other = run("other", answers("y"), [f"R {n}" for n in range(ROWS)])
    pairs = choose_pairs(share_rows([one, other]), None).pairs
    assert [pair.item.reference for pair in pairs][:2] == ["R 0", "R 1"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((answers("x"), answers("x")), "have the same answers"),
        ((answers("x"), [""] * ROWS), "have no row that all of them answered"),
    ],
    ids=["same", "none"],
)
def test_nothing_to_compare_is_a_mistake(given: tuple[list[str], ...], why: str) -> None:
    with pytest.raises(DataError, match=f"runs run 0, run 1: {why}"):
        chosen(*given)
