"""Can the judge tell what people labelled right from what they labelled wrong? The section on it.

Printed and recorded by `python mlflow_tracking/validate_judge.py --data labels.csv`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow_tracking.agreement_section import Scores
from mlflow_tracking.binary import BinaryAgreement, binary_agreement
from mlflow_tracking.graded_rows import GradedData
from mlflow_tracking.section import BOTH_SCORES, Line, Section, value_or_least


@dataclass(frozen=True)
class LabelAgreement:
    """With labels right and wrong."""

    by_column: Mapping[str, BinaryAgreement]  # 'expected' and 'integer'

    @property
    def better(self) -> BinaryAgreement:
        """Of the score that tells right from wrong better."""
        return max(self.by_column.values(), key=lambda found: value_or_least(found.auc))


def label_agreement(scores: Scores, graded: GradedData, seed: int) -> LabelAgreement:
    """Both scores against the labels."""
    answers = [row.row.answer for row in graded.rows]
    columns = {"expected": scores.expected, "integer": scores.whole}
    return LabelAgreement(
        {n: binary_agreement(column, graded.human, answers, seed) for n, column in columns.items()}
    )


def labels_section(found: LabelAgreement) -> Section:
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
        Line(key, label, tuple(getattr(b, key) for b in both)) for key, label in lines.items()
    )
    findings = tuple(
        f"{name} score: called right from {one.threshold:.2f} on"
        for name, one in found.by_column.items()
        if one.threshold is not None
    )
    return Section(
        "labels",
        "Right or wrong",
        "The area is the chance that a right answer scores above a wrong one: 0.5 is chance.",
        BOTH_SCORES,
        shown,
        findings,
    )
