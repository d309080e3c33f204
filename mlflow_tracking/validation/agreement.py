"""Does the judge agree with people? Statistics beside a constant judge and one that sees length.

Printed and recorded by `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats

from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.scale import Scale, short
from mlflow_tracking.stats.estimate import (
    Array,
    Estimate,
    Statistic,
    Values,
    bootstrap_estimate,
    difference_estimate,
    mean_estimate,
)
from mlflow_tracking.stats.paired import (
    bias,
    exact_share,
    kendall_tau_b,
    mean_absolute_error,
    pearson,
    quadratic_weighted_kappa,
    spearman,
    whole,
    within_one_share,
)
from mlflow_tracking.stats.raters import RaterAgreement, rater_agreement
from mlflow_tracking.stats.table import BOTH_SCORES, Table, TableColumn, TableLine, value_or_least

STATISTICS: Mapping[str, Statistic] = {
    "spearman": spearman,
    "kendall_tau_b": kendall_tau_b,
    "pearson": pearson,
    "quadratic_weighted_kappa": quadratic_weighted_kappa,
    "mean_absolute_error": mean_absolute_error,
    "exact_share": exact_share,
    "within_one_share": within_one_share,
    "bias": bias,
}


_BINS = 5  # of the calibration


@dataclass(frozen=True)
class Baselines:
    """What judges without judgement reach on the same rows, and by how much ours is better."""

    constant: Mapping[str, Estimate]  # always the median of the human scores
    length: Mapping[str, Estimate]  # the longer the answer, the higher the score
    over_constant: Estimate  # mean absolute error: constant less judge, above 0 is better
    over_length: Estimate  # Spearman: judge less length, above 0 is better


@dataclass(frozen=True)
class Bin:
    """The rows whose expected score lies in [low, high), the last bin's end included."""

    low: float
    high: float
    n: int
    mean_expected: float | None
    mean_human: Estimate


@dataclass(frozen=True)
class Disagreement:
    """A row, by its index in the columns, that judge and people see differently."""

    index: int
    score: float
    human: float

    @property
    def gap(self) -> float:
        """In points; above 0, the judge is more generous."""
        return self.score - self.human


def agreement(scores: Values, human: Values, scale: Scale, seed: int = 0) -> dict[str, Estimate]:
    """Every statistic of STATISTICS between a judge's scores (whole or expected) and people's.

    Rows without a verdict (None) are left out. The kappa and the two shares are of whole scores:
    means of raters and expected scores are rounded to the nearest one, halves upwards.
    """
    near: Statistic = partial(within_one_share, point=scale.point)
    return {
        name: bootstrap_estimate(
            near if name == "within_one_share" else statistic, scores, human, seed=seed
        )
        for name, statistic in STATISTICS.items()
    }


def constant_judge(human: Sequence[float]) -> list[float]:
    """The whole score nearest the median of the human scores, for every row."""
    return [float(whole(np.asarray(np.median(human))))] * len(human) if human else []


def length_judge(answers: Sequence[str], scale: Scale) -> list[float]:
    """Scores by length alone: of 1-5 the shortest fifth of the answers gets 1, the longest 5."""
    if not answers:
        return []
    ranks = stats.rankdata([len(answer) for answer in answers])
    places = np.ceil(ranks / len(answers) * len(scale.values))
    return [float(scale.low + place - 1) for place in places]


def against_baselines(
    scores: Values, human: Sequence[float], answers: Sequence[str], scale: Scale, seed: int = 0
) -> Baselines:
    """The two baselines' statistics on the rows that the judge scored, and the differences."""
    judged = [i for i, score in enumerate(np.asarray(scores, dtype=float)) if not np.isnan(score)]
    kept, truth = [scores[i] for i in judged], [human[i] for i in judged]
    constant, length = constant_judge(truth), length_judge([answers[i] for i in judged], scale)
    names = ("the judge's scores", "the lengths", "the human scores")
    return Baselines(
        agreement(constant, truth, scale, seed),
        agreement(length, truth, scale, seed),
        difference_estimate(mean_absolute_error, constant, kept, truth, seed=seed),
        difference_estimate(spearman, kept, length, truth, seed=seed, names=names),
    )


def length_excess(
    scores: Values, human: Sequence[float], answers: Sequence[str], seed: int = 0
) -> Estimate:
    """How much more the judge's scores follow length than people's do, in Spearman.

    Length as such is no fault: long answers may be better. Above 0, the judge overpays it.
    """
    lengths = [float(len(answer)) for answer in answers]
    names = ("the judge's scores", "the human scores", "the lengths")
    return difference_estimate(spearman, scores, human, lengths, seed=seed, names=names)


def confusion(scores: Values, human: Values, scale: Scale) -> list[list[int]]:
    """Rows by rounded human score (first index, the worst first) and judge's score (second)."""
    table = [[0] * len(scale.values) for _ in scale.values]
    for score, truth in zip(*_both(scores, human), strict=True):
        table[int(whole(truth)) - scale.low][int(whole(score)) - scale.low] += 1
    return table


def calibration_bins(expected: Values, human: Values, scale: Scale, seed: int = 0) -> list[Bin]:
    """Five bins of equal width over the scale; for a calibrated judge both means are the same."""
    scores, truth = _both(expected, human)
    edges = np.linspace(scale.low, scale.high, _BINS + 1)
    place = np.digitize(scores, edges[1:-1])
    bins = []
    for index in range(_BINS):
        inside = place == index
        mean = float(scores[inside].mean()) if inside.any() else None
        people = mean_estimate(truth[inside], seed=seed)
        low, high = float(edges[index]), float(edges[index + 1])
        bins.append(Bin(low, high, int(inside.sum()), mean, people))
    return bins


def worst_disagreements(scores: Values, human: Values, limit: int = 10) -> list[Disagreement]:
    """The rows with the widest gaps, widest first, equal ones in the file's order."""
    found = [
        Disagreement(index, float(score), float(truth))
        for index, (score, truth) in enumerate(zip(scores, human, strict=True))
        if score is not None and truth is not None and score != truth
    ]
    return sorted(found, key=lambda row: -abs(row.gap))[:limit]


def _both(scores: Values, human: Values) -> tuple[Array, Array]:
    first, second = np.asarray(scores, dtype=float), np.asarray(human, dtype=float)
    known = ~(np.isnan(first) | np.isnan(second))
    return first[known], second[known]


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
    """With people's scores on the scale."""

    by_column: Mapping[str, Mapping[str, Estimate]]  # 'expected' and 'integer'
    baselines: Mapping[str, Baselines]  # by the same
    raters: RaterAgreement | None
    point: float  # of 1-5, on this scale

    @property
    def better(self) -> str:
        """The column that ranks rows more as people do."""
        return max(
            self.by_column, key=lambda name: value_or_least(self.by_column[name]["spearman"])
        )


def scale_agreement(scores: Scores, graded: GradedData, seed: int) -> ScaleAgreement:
    """Both scores' statistics, those of the baselines, and the raters' own."""
    answers = [row.row.item.answer for row in graded.rows]
    columns = {"expected": scores.expected, "integer": scores.whole}
    return ScaleAgreement(
        {
            name: agreement(column, graded.human, graded.scale, seed)
            for name, column in columns.items()
        },
        {
            name: against_baselines(column, graded.human, answers, graded.scale, seed)
            for name, column in columns.items()
        },
        rater_agreement(graded.ratings, seed),
        graded.scale.point,
    )


def agreement_table(found: ScaleAgreement) -> Table:
    """Each statistic of both scores, beside a constant judge and one that sees only length."""
    beside, labels = found.baselines["integer"], dict(_LABELS)
    if found.point != 1:
        labels["within_one_share"] = f"within {short(found.point)} points"
    lines = [
        TableLine(
            name,
            labels[name],
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
        TableLine(
            key, label, (*(getattr(found.baselines[n], key) for n in found.by_column), None, None)
        )
        for key, label in (
            ("over_constant", "error, below the constant judge's by"),
            ("over_length", "Spearman, above the length judge's by"),
        )
    ]
    return Table(
        "agreement",
        "Agreement with people",
        "1 is perfect for the correlations and the kappa, 0 is chance. The constant judge always "
        "gives people's median score, the length judge gives long answers high scores.",
        (
            *BOTH_SCORES,
            TableColumn("constant_judge", "constant", beside=True),
            TableColumn("length_judge", "length", beside=True),
        ),
        (*lines, *gains),
    )


def raters_table(found: RaterAgreement) -> Table:
    """People's own agreement: the ceiling of what a judge can be asked for."""
    lines = [
        TableLine("raters_spearman", "Spearman, mean of all pairs of raters", (found.spearman,)),
        TableLine(
            "raters_quadratic_weighted_kappa",
            "quadratic-weighted kappa, mean of all pairs",
            (found.quadratic_weighted_kappa,),
        ),
        TableLine("raters_fleiss_kappa", "Fleiss' kappa", (found.fleiss_kappa,)),
    ]
    for number, (rho, kappa) in enumerate(
        zip(found.against_others, found.kappa_against_others, strict=True), 1
    ):
        lines.append(
            TableLine(
                f"rater_{number}_spearman", f"Spearman, rater {number} with the others", (rho,)
            )
        )
        lines.append(
            TableLine(
                f"rater_{number}_quadratic_weighted_kappa",
                f"quadratic-weighted kappa, rater {number} with the others",
                (kappa,),
            )
        )
    return Table(
        "raters",
        "How far people agree among themselves",
        f"{found.raters} raters. A judge that agrees with them as one rater does with the others "
        "has reached the ceiling of these rows.",
        (TableColumn("", "raters"),),
        tuple(lines),
    )
