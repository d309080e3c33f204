"""Is the spread between answers to one question the same for any number of answers?

python -m pytest tests/answering/test_spread.py
"""

import numpy as np
import pytest

from mlflow_tracking.answering.answers import Spread, pooled_spread


def spread_of(row: int, scores: list[float]) -> Spread:
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    return Spread(row, "?", len(scores), float(np.mean(scores)), sd, min(scores), max(scores))


@pytest.mark.parametrize("answers", [2, 3, 8])
def test_the_spread_is_that_within_a_question_for_any_number_of_answers(answers: int) -> None:
    within = np.random.default_rng(0).normal(0, 0.5, (4000, answers))
    drawn = within + np.arange(4000)[:, None] % 5  # questions differ, which is no spread
    found = pooled_spread([spread_of(row, list(scores)) for row, scores in enumerate(drawn)])
    assert found == pytest.approx(0.5, abs=0.02)  # a mean of deviations: 0.40, 0.44 and 0.48


def test_a_question_with_one_score_tells_of_no_spread() -> None:
    assert pooled_spread([spread_of(1, [3.0])]) is None
    assert pooled_spread([spread_of(1, [3.0]), spread_of(2, [1.0, 3.0])]) == pytest.approx(2**0.5)
