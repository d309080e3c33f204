"""Can the judge tell right answers from wrong ones? For rows that people labelled right or wrong.

Reported by `python mlflow_tracking/validate_judge.py --data graded.csv` for labels such as 1/0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import (
    MIN_ROWS,
    Array,
    Estimate,
    Values,
    bootstrap_estimate,
    difference_estimate,
    mean_estimate,
    not_enough_data,
    share_estimate,
)
from mlflow_tracking.stats.paired import area_under_curve
from mlflow_tracking.stats.table import BOTH_SCORES, Table, TableLine, value_or_least
from mlflow_tracking.validation.agreement import Scores, length_judge

_NAMES = ("the judge's scores", "the labels")


@dataclass(frozen=True)
class BinaryAgreement:
    """What a score tells about right or wrong. Shares with Wilson's interval."""

    auc: Estimate  # 0.5 is chance
    auc_over_length: Estimate  # less that of a judge that sees only length
    threshold: float | None  # scores from here on are called right; the best on all rows
    accuracy: Estimate  # each row at the threshold that is best on all the others
    accuracy_on_same_rows: Estimate  # at `threshold`: too good, it was chosen on these rows
    majority: Estimate  # of always saying what is more frequent
    over_majority: Estimate  # accuracy less majority, by row


def binary_agreement(
    scores: Values, labels: Sequence[float], answers: Sequence[str], scale: Scale, seed: int = 0
) -> BinaryAgreement:
    """The scores (whole or expected, None without a verdict) against labels 1 and 0."""
    judged = [i for i, score in enumerate(np.asarray(scores, dtype=float)) if not np.isnan(score)]
    points = np.array([scores[i] for i in judged], dtype=float)
    right = np.array([labels[i] for i in judged], dtype=float)
    lengths = length_judge([answers[i] for i in judged], scale)
    auc = bootstrap_estimate(area_under_curve, points, right, seed=seed, names=_NAMES)
    over_length = difference_estimate(
        area_under_curve, points, lengths, right, seed=seed, names=("", "", "the labels")
    )
    if len(points) < MIN_ROWS or auc.value is None:
        none = not_enough_data(len(points), auc.note)
        return BinaryAgreement(auc, over_length, None, none, none, none, none)
    threshold = best_threshold(points, right, scale.middle)
    honest = left_out_hits(points, right, scale.middle)
    usual = right == (right.mean() >= 0.5)
    return BinaryAgreement(
        auc,
        over_length,
        threshold,
        share_estimate(honest.tolist()),
        share_estimate(((points >= threshold) == right).tolist()),
        share_estimate(usual.tolist()),
        mean_estimate(honest.astype(float) - usual, seed=seed),
    )


def best_threshold(scores: Array, labels: Array, middle: float) -> float:
    """The threshold with the most hits; of several, the one nearest the scale's middle."""
    places = _thresholds(scores, middle)
    return float(places[np.argmax(_hits(scores, labels, places))])


def left_out_hits(scores: Array, labels: Array, middle: float) -> NDArray[np.bool_]:
    """For each row: is it told right by the threshold that is best without it (leave-one-out)?

    Choosing and measuring on the same rows flatters the judge, most where rows are few.
    """
    places = _thresholds(scores, middle)
    total = _hits(scores, labels, places)
    result = np.empty(len(scores), dtype=bool)
    for row, (score, label) in enumerate(zip(scores, labels, strict=True)):
        own = (score >= places) == label
        result[row] = own[np.argmax(total - own)]
    return result


def _thresholds(scores: Array, middle: float) -> Array:
    """Between neighbouring scores and beyond both ends, those nearest the middle first."""
    different = np.unique(scores)
    between = (different[1:] + different[:-1]) / 2
    places = np.concatenate([[different[0] - 1], between, [different[-1] + 1]])
    return np.asarray(places[np.argsort(np.abs(places - middle), kind="stable")])


def _hits(scores: Array, labels: Array, places: Array) -> NDArray[np.int64]:
    """How many rows each threshold tells right, without a table of rows x thresholds."""
    right, wrong = np.sort(scores[labels == 1]), np.sort(scores[labels != 1])
    return len(right) - np.searchsorted(right, places) + np.searchsorted(wrong, places)


@dataclass(frozen=True)
class LabelAgreement:
    """With labels right and wrong."""

    by_column: Mapping[str, BinaryAgreement]  # 'expected' and 'integer'

    @property
    def better(self) -> str:
        """The column that tells right from wrong better."""
        return max(self.by_column, key=lambda name: value_or_least(self.by_column[name].auc))


def label_agreement(scores: Scores, graded: GradedData, seed: int) -> LabelAgreement:
    """Both scores against the labels."""
    answers = [row.row.item.answer for row in graded.rows]
    columns = {"expected": scores.expected, "integer": scores.whole}
    return LabelAgreement(
        {
            n: binary_agreement(column, graded.human, answers, graded.scale, seed)
            for n, column in columns.items()
        }
    )


def labels_table(found: LabelAgreement) -> Table:
    """AUC, and accuracy at the best threshold."""
    both = list(found.by_column.values())
    lines = {
        "auc": "area under the curve",
        "auc_over_length": "area, above the length judge's by",
        "accuracy": "accuracy on rows not used for the threshold",
        "accuracy_on_same_rows": "accuracy at the best threshold, on the same rows",
        "majority": "accuracy of always saying the more frequent",
        "over_majority": "accuracy, above that by",
    }
    shown = tuple(
        TableLine(key, label, tuple(getattr(b, key) for b in both)) for key, label in lines.items()
    )
    findings = tuple(
        f"{name} score: called right from {one.threshold:.2f} on"
        for name, one in found.by_column.items()
        if one.threshold is not None
    )
    return Table(
        "labels",
        "Right or wrong",
        "The area is the chance that a right answer scores above a wrong one: 0.5 is chance.",
        BOTH_SCORES,
        shown,
        findings,
    )
