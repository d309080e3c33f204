"""Can right be told from wrong? Against sklearn, and on judges that only seem to.

python -m pytest tests/validation/test_labels.py
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mlflow_tracking.rows.scale import ONE_TO_FIVE
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.validation.agreement import length_judge
from mlflow_tracking.validation.labels import best_threshold, binary_agreement, left_out_hits


def lengths(rows: int) -> list[str]:
    return ["x" * (1 + 7 * row % 31) for row in range(rows)]


def judged(rows: int, seed: int, whole: bool) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, size=rows).astype(float)
    scores = np.clip(2 + 2 * labels + random.normal(0, 1.2, size=rows), 1, 5)
    return (np.round(scores) if whole else scores), labels


@pytest.mark.parametrize("whole", [True, False], ids=["whole-scores", "expected-scores"])
@pytest.mark.parametrize("rows", [12, 60, 200])
def test_the_area_under_the_curve_is_sklearns(rows: int, whole: bool) -> None:
    scores, labels = judged(rows, 1, whole)
    found = binary_agreement(scores, labels.tolist(), lengths(rows), ONE_TO_FIVE)
    assert found.auc.value == pytest.approx(roc_auc_score(labels, scores))
    assert found.auc.low is not None
    assert found.auc.high is not None
    expected = roc_auc_score(labels, scores)
    assert found.auc.low <= expected <= found.auc.high
    by_length = roc_auc_score(labels, length_judge(lengths(rows), ONE_TO_FIVE))
    assert found.auc_over_length.value == pytest.approx(expected - by_length)


def test_the_area_worked_out_by_hand() -> None:
    # Right answers 3 4 5, wrong ones 1 3 4: of nine pairs, 3>1, 4>1, 4>3, 5>1, 5>3, 5>4 are
    # above (6), 3=3 and 4=4 tie (1), 3<4 below: 7 / 9. Doubled rows do not change it.
    found = binary_agreement(
        [3, 4, 5, 1, 3, 4] * 2, [1, 1, 1, 0, 0, 0] * 2, lengths(12), ONE_TO_FIVE
    )
    assert found.auc.value == pytest.approx(7 / 9)


@pytest.mark.parametrize("seed", range(4))
def test_the_threshold_and_the_rows_left_out_are_those_of_trying_all(seed: int) -> None:
    scores, labels = judged(40, seed, whole=False)

    def hits(threshold: float, keep: list[int]) -> int:
        return sum((scores[i] >= threshold) == labels[i] for i in keep)

    every = list(range(40))
    places = [*(scores - 1e-9), 99.0]
    threshold = best_threshold(scores, labels, ONE_TO_FIVE.middle)
    assert hits(threshold, every) == max(hits(place, every) for place in places)
    found = left_out_hits(scores, labels, ONE_TO_FIVE.middle)
    for row in every:
        rest = [i for i in every if i != row]
        most = max(hits(place, rest) for place in places)
        best = [place for place in places if hits(place, rest) == most]
        told = {(scores[row] >= place) == labels[row] for place in best}
        assert bool(found[row]) in told, "by one of the thresholds that are best without it"


def test_the_threshold_worked_out_by_hand() -> None:
    scores, labels = np.array([1.0, 2, 3, 4, 5, 5]), np.array([0.0, 0, 1, 1, 1, 1])
    assert best_threshold(scores, labels, ONE_TO_FIVE.middle) == 2.5
    # Without the 3 every threshold from 2 to 4 is as good; 2.5 is as near the middle as 3.5.
    assert left_out_hits(scores, labels, ONE_TO_FIVE.middle).tolist() == [True] * 6


def test_choosing_the_threshold_on_the_same_rows_is_told_as_too_good() -> None:
    random = np.random.default_rng(0)
    flattering, honest = [], []
    for _ in range(20):
        scores = random.uniform(1, 5, size=40)
        labels = [float(row % 2) for row in range(40)]
        found = binary_agreement(scores, labels, lengths(40), ONE_TO_FIVE)
        assert found.accuracy.value is not None
        assert found.accuracy_on_same_rows.value is not None
        flattering.append(found.accuracy_on_same_rows.value)
        honest.append(found.accuracy.value)
    assert np.mean(flattering) > 0.56, "a random judge seems better than a coin"
    assert np.mean(honest) < 0.52, "and is not, on rows that did not choose the threshold"


def test_always_saying_right_is_the_rival_where_most_answers_are() -> None:
    labels = [1.0] * 45 + [0.0] * 5
    found = binary_agreement([4, 5] * 25, labels, lengths(50), ONE_TO_FIVE)
    assert found.majority.value == 0.9
    assert found.accuracy.value == pytest.approx(0.9, abs=0.05)
    assert found.over_majority.low is not None
    assert found.over_majority.low <= 0


@pytest.mark.parametrize(
    ("scores", "labels", "note"),
    [
        ([1, 2, 3], [0.0, 1, 1], "fewer than 10 rows"),
        ([None] * 20, [0.0, 1] * 10, "fewer than 10 rows"),
        ([1, 5] * 10, [1.0] * 20, "the labels are all 1"),
    ],
    ids=["three-rows", "no-verdicts", "one-label"],
)
def test_too_little_is_not_enough_data_and_never_nan(
    scores: list[float | None], labels: list[float], note: str
) -> None:
    found = binary_agreement(scores, labels, lengths(len(labels)), ONE_TO_FIVE)
    assert (found.auc.value, found.threshold, found.accuracy.value) == (None, None, None)
    assert found.auc.note == found.accuracy.note == note
    json.dumps(asdict(found), allow_nan=False)


def test_a_constant_judge_is_chance() -> None:
    found = binary_agreement([4] * 30, [1.0, 0.0] * 15, lengths(30), ONE_TO_FIVE)
    assert (found.auc.value, found.auc.low, found.auc.high) == (0.5, 0.5, 0.5)
    assert found.over_majority.low is not None
    assert found.over_majority.low <= 0
