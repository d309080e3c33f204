"""Does the judge agree with the people who graded these rows? The sections on agreement.

Printed and recorded by `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_tracking.agreement import (
    STATISTICS,
    Baselines,
    against_baselines,
    agreement,
)
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.graded_rows import GradedData
from mlflow_tracking.raters import RaterAgreement, rater_agreement
from mlflow_tracking.section import BOTH_SCORES, Column, Line, Section, value_or_least

_LABELS = {
    "spearman": "Spearman",
    "kendall_tau_b": "Kendall tau-b",
    "pearson": "Pearson",
    "quadratic_weighted_kappa": "quadratic-weighted kappa",
    "mean_absolute_error": "mean absolute error",
    "exact_share": "same score",
    "within_one_share": "within one point",
    "bias": "judge less people, mean",
}


@dataclass(frozen=True)
class Scores:
    """The judge's two scores of each graded row; None without a verdict or probabilities."""

    expected: Sequence[float | None]
    whole: Sequence[float | None]

    @property
    def finest(self) -> Sequence[float | None]:
        """The expected scores, or the integer ones of a server that tells no probabilities."""
        return self.expected if any(e is not None for e in self.expected) else self.whole


@dataclass(frozen=True)
class ScaleAgreement:
    """With people's scores from 1 to 5."""

    by_column: Mapping[str, Mapping[str, Estimate]]  # 'expected' and 'integer'
    baselines: Mapping[str, Baselines]  # by the same
    raters: RaterAgreement | None

    @property
    def better(self) -> str:
        """The column that ranks rows more as people do."""
        return max(
            self.by_column, key=lambda name: value_or_least(self.by_column[name]["spearman"])
        )


def scale_agreement(scores: Scores, graded: GradedData, seed: int) -> ScaleAgreement:
    """Both scores' statistics, those of the baselines, and the raters' own."""
    answers = [row.row.answer for row in graded.rows]
    columns = {"expected": scores.expected, "integer": scores.whole}
    return ScaleAgreement(
        {name: agreement(column, graded.human, seed) for name, column in columns.items()},
        {
            name: against_baselines(column, graded.human, answers, seed)
            for name, column in columns.items()
        },
        rater_agreement(graded.ratings, seed),
    )


def agreement_section(found: ScaleAgreement) -> Section:
    """Each statistic of both scores, beside a constant judge and one that sees only length."""
    beside = found.baselines["integer"]
    lines = [
        Line(
            name,
            _LABELS[name],
            (
                found.by_column["expected"][name],
                found.by_column["integer"][name],
                beside.constant[name],
                beside.length[name],
            ),
        )
        for name in STATISTICS
    ]
    gains = [
        Line(key, label, (*(getattr(found.baselines[n], key) for n in found.by_column), None, None))
        for key, label in (
            ("over_constant", "error, below the constant judge's by"),
            ("over_length", "Spearman, above the length judge's by"),
        )
    ]
    return Section(
        "agreement",
        "Agreement with people",
        "1 is perfect for the correlations and the kappa, 0 is chance. The constant judge always "
        "gives people's median score, the length judge gives long answers high scores.",
        (
            *BOTH_SCORES,
            Column("constant_judge", "constant", beside=True),
            Column("length_judge", "length", beside=True),
        ),
        (*lines, *gains),
    )


def raters_section(found: RaterAgreement) -> Section:
    """People's own agreement: the ceiling of what a judge can be asked for."""
    lines = [
        Line("raters_spearman", "Spearman, mean of all pairs of raters", (found.spearman,)),
        Line(
            "raters_quadratic_weighted_kappa",
            "quadratic-weighted kappa, mean of all pairs",
            (found.quadratic_weighted_kappa,),
        ),
        Line("raters_fleiss_kappa", "Fleiss' kappa", (found.fleiss_kappa,)),
    ]
    for number, (rho, kappa) in enumerate(
        zip(found.against_others, found.kappa_against_others, strict=True), 1
    ):
        lines.append(
            Line(f"rater_{number}_spearman", f"Spearman, rater {number} with the others", (rho,))
        )
        lines.append(
            Line(
                f"rater_{number}_quadratic_weighted_kappa",
                f"quadratic-weighted kappa, rater {number} with the others",
                (kappa,),
            )
        )
    return Section(
        "raters",
        "How far people agree among themselves",
        f"{found.raters} raters. A judge that agrees with them as one rater does with the others "
        "has reached the ceiling of these rows.",
        (Column("", "raters"),),
        tuple(lines),
    )
