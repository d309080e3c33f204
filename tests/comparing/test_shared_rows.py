"""Which rows of two, three and more runs are the same, and with which scores?

python -m pytest tests/comparing/test_shared_rows.py
"""

import numpy as np
import pandas as pd
import pytest

from mlflow_tracking.comparing.shared_rows import share_rows
from mlflow_tracking.grading.judged_run import JudgedRun

Line = tuple[str, str | None, float | None]
BOTH, QUESTIONS = ("inputs", "predictions"), ("inputs",)


def run(*lines: Line) -> JudgedRun:
    table = pd.DataFrame(lines, columns=["inputs", "predictions", "score"], dtype=object)
    table.insert(0, "row", range(1, len(lines) + 1))
    return JudgedRun("id", "0", "name", "judge", "prompt", "data", table)


@pytest.mark.parametrize(
    ("runs", "keys", "scores"),
    [
        (
            [
                run(("q", "right", 5), ("q", "wrong", 1), ("q", "wrong", 2)),
                run(("q", "wrong", 3), ("q", "right", 4)),
            ],
            *(BOTH, [[5, 4], [1, 3]]),
        ),
        ([run(("q", "a", 5), ("r", "a", 4)), run(("r", "b", 3))], QUESTIONS, [[4, 3]]),
        (
            [run(("q", "a", 1), ("q", "b", 2)), run(("q", "c", 3), ("q", "b", 4))],
            *(QUESTIONS, [[1, 3], [2, 4]]),
        ),
        (
            [run(("q", "a", 1), ("q", "b", 2)), run(("q", "c", 3), ("q", "d", None))],
            *(QUESTIONS, [[1, 3], [2, np.nan]]),
        ),
        (
            [
                run(("q", "a", 1), ("r", "a", 2)),
                run(("q", "a", 3), ("r", "b", 4)),
                run(("r", "c", 5)),
            ],
            *(QUESTIONS, [[2, 4, 5]]),
        ),
        ([run(("q", None, 1)), run(("q", "", 2)), run(("q", None, 3))], BOTH, [[1, 2, 3]]),
        ([run(("q", "a", 1)), run(("r", "a", 2))], BOTH, np.empty((0, 2))),
    ],
    ids=[
        *("by-answer", "by-question", "one-answer-is-the-same", "repeated-in-their-order"),
        *("three", "no-answer", "nothing-shared"),
    ],
)
def test_rows_are_paired(
    runs: list[JudgedRun], keys: tuple[str, ...], scores: list[list[float]]
) -> None:
    found = share_rows(runs)
    assert found.keys == keys
    np.testing.assert_array_equal(found.scores(), np.array(scores, dtype=float))
    assert len(found.questions) == len(found.places)


def test_a_place_is_an_index_into_the_runs_rows() -> None:
    first = run(("x", "a", 1), ("q", "a", 2), ("r", "a", 3))
    second = run(("r", "b", 4), ("q", "b", 5))
    found = share_rows([first, second])
    assert found.places.tolist() == [[1, 1], [2, 0]] and found.questions == ["q", "r"]
