"""What did the validation find? All that was measured, and what the judge is good for.

Made when `python mlflow_tracking/validate_judge.py --data graded.csv` has all verdicts: everything
is measured first, and the tables show it afterwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mlflow_tracking.rows.graded import GradedData, GradedPairs
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.selective import Selection, select
from mlflow_tracking.stats.table import Table, TableColumn, TableLine
from mlflow_tracking.validation.agreement import (
    Bin,
    Disagreement,
    Scores,
    agreement_table,
    calibration_bins,
    confusion,
    raters_table,
    scale_agreement,
    worst_disagreements,
)
from mlflow_tracking.validation.bias import (
    LengthBias,
    Shift,
    bias_table,
    inapplicable,
    injection_table,
    measure_injection,
    measure_length,
    measure_shifts,
)
from mlflow_tracking.validation.consistency import (
    both_ways_table,
    consistency_table,
    measure_both_ways,
    measure_consistency,
)
from mlflow_tracking.validation.decision_rule import signals_of, wrong_rows
from mlflow_tracking.validation.labels import label_agreement, labels_table
from mlflow_tracking.validation.pairs import ROWS, Preferences, pairs_table, preferences
from mlflow_tracking.validation.passes import Verdicts, expected_scores, whole_scores
from mlflow_tracking.validation.plan import SECOND, ValidationPlan
from mlflow_tracking.validation.trust import Evidence, Trust, name_biases, trust

_WORST = 10  # disagreements that are shown


@dataclass
class Measured:
    """What was measured so far; each part of the validation adds to it."""

    scores: Scores  # of the rows; of pairs, all answers a, then all answers b
    scale: Scale  # of people and judge
    evidence: Evidence
    first: tuple[str, Estimate] | None = None  # what the verdict rests on first, and its name
    tables: list[Table] = field(default_factory=list)
    length: LengthBias | None = None
    shifts: list[Shift] = field(default_factory=list)
    confusion: Sequence[Sequence[int]] = ()  # rows by human and judge's score; not of labels
    bins: Sequence[Bin] = ()
    disagreements: Sequence[Disagreement] = ()
    preferences: Preferences | None = None
    selection: Selection | None = None  # which rows the judge may decide alone, if that was asked


@dataclass(frozen=True)
class Outcome:
    """All that was found."""

    faults: tuple[str, ...]  # named biases
    trust: Trust
    measured: Measured

    @property
    def tables(self) -> Sequence[Table]:
        """What is shown of it."""
        return self.measured.tables


def find_outcome(plan: ValidationPlan, verdicts: Verdicts) -> Outcome:
    """Measure everything that was asked for."""
    rows, seed = verdicts[ROWS], plan.seed
    scale, scores = plan.scale.for_people, Scores(expected_scores(rows), whole_scores(rows))
    known = [score for score in scores.whole if score is not None]
    found = Measured(scores, scale, Evidence(point=scale.point, scores=known))
    if isinstance(plan.graded, GradedPairs):
        _compare_pairs(found, plan.graded, verdicts, seed)
    elif plan.graded.kind == "scale":
        _compare_scores(found, plan.graded, seed)
    else:
        _compare_labels(found, plan.graded, seed)
    if plan.probed:
        _repeat_and_dress(found, plan, verdicts)
    if found.length or found.shifts:
        found.tables.append(bias_table(found.length, found.shifts))
    if plan.injection:
        attacks = measure_injection(verdicts, seed)
        found.tables.append(injection_table(attacks))
        found.shifts.append(attacks)
        found.evidence = replace(found.evidence, injection=attacks.by.finer)
    max_wrong = plan.promise.max_wrong
    if max_wrong and isinstance(plan.graded, GradedData):
        signals = signals_of(rows, verdicts.get(SECOND), plan.promise.by_distance)
        found.selection = select(signals, wrong_rows(plan.graded, rows), max_wrong)
        found.tables.append(_selection_table(found.selection))
    return Outcome(tuple(name_biases(found.evidence)), trust(_to_be_used(found)), found)


def _to_be_used(found: Measured) -> Evidence:
    """The evidence on the judge as it is to be used: single scores are asked in no order."""
    preferred = found.preferences
    if preferred and not preferred.best_is_direct:
        return replace(found.evidence, order_decided=None, favours_first=None)
    return found.evidence


def _compare_scores(found: Measured, graded: GradedData, seed: int) -> None:
    finest = found.scores.finest
    agreed = scale_agreement(found.scores, graded, seed)
    found.tables.append(agreement_table(agreed))
    if agreed.raters:
        found.tables.append(raters_table(agreed.raters))
    found.first = f"Spearman, {agreed.better} score", agreed.by_column[agreed.better]["spearman"]
    found.evidence = replace(
        found.evidence,
        agreement=agreed.by_column[agreed.better],
        over_constant=agreed.baselines[agreed.better].over_constant,
        over_length=agreed.baselines[agreed.better].over_length,
    )
    found.confusion = confusion(found.scores.whole, graded.human, found.scale)
    found.bins = calibration_bins(finest, graded.human, found.scale, seed)
    found.disagreements = worst_disagreements(finest, graded.human, _WORST)
    _compare_length(found, graded, seed)


def _compare_labels(found: Measured, graded: GradedData, seed: int) -> None:
    agreed = label_agreement(found.scores, graded, seed)
    found.tables.append(labels_table(agreed))
    better = agreed.by_column[agreed.better]
    found.first = f"area under the curve, {agreed.better} score", better.auc
    found.evidence = replace(
        found.evidence,
        auc=better.auc,
        auc_over_length=better.auc_over_length,
        accuracy=better.accuracy,
        over_majority=better.over_majority,
    )
    found.disagreements = worst_disagreements(found.scores.finest, graded.points, _WORST)
    _compare_length(found, graded, seed)


def _compare_length(found: Measured, graded: GradedData, seed: int) -> None:
    answers, scores = [row.row.item.answer for row in graded.rows], found.scores
    found.length = measure_length(scores.expected, scores.whole, graded.human, answers, seed)
    found.evidence = replace(found.evidence, length_excess=found.length.excess.finer)


def _compare_pairs(found: Measured, graded: GradedPairs, verdicts: Verdicts, seed: int) -> None:
    preferred = preferences(graded, verdicts, seed)
    found.preferences = preferred
    found.tables.append(pairs_table(preferred))
    best, direct = preferred.best, preferred.direct
    found.first = f"prefers what people prefer, {best.column.heading}", best.agreement.accuracy
    found.evidence = replace(
        found.evidence,
        pair_accuracy=best.agreement.accuracy,
        pairs_over_length=best.over_length,
        order_decided=direct.order_decided if direct else None,
        favours_first=direct.favours_first if direct else None,
    )


def _repeat_and_dress(found: Measured, plan: ValidationPlan, verdicts: Verdicts) -> None:
    """The probes of consistency and biases."""
    repeated = measure_consistency(plan.probed, verdicts, plan.seed)
    both_ways = measure_both_ways(verdicts)
    found.tables += [consistency_table(repeated), both_ways_table(both_ways)]
    found.shifts += measure_shifts(plan.probed, verdicts, plan.seed)
    unused = inapplicable(plan.probed)
    found.evidence = replace(
        found.evidence,
        flips=repeated.worst_flips,
        yes_twice=both_ways.yes_twice,
        shifts={one.key: one.by.finer for one in found.shifts if one.key not in unused},
    )


def _selection_table(found: Selection) -> Table:
    """How many of the graded rows each signal lets the judge decide."""
    columns = (
        TableColumn("coverage", "decided", beside=True),
        TableColumn("wrong", "of them wrong", beside=True),
        TableColumn("bound", "at most", beside=True),
    )
    lines = [_selection_line(signal, found) for signal in found.known]
    findings = [] if found.best else [f"No rule can promise that: {'; '.join(_why_none(found))}."]
    return Table(
        "decided",
        "Rows that the judge may decide alone",
        f"The most rows that are wrong in at most {100 * found.max_wrong:g} % of cases, with "
        f"{100 * found.confidence:g} % confidence: their share of the graded ones, the share of "
        "them that is wrong, and its exact bound.",
        columns,
        tuple(lines),
        tuple(findings),
    )


def _selection_line(signal: str, found: Selection) -> TableLine:
    best, rows = found.passed.get(signal), found.rows
    shown = [best.decided / rows, best.wrong / best.decided, best.upper] if best else [0.0]
    values = [Estimate(value, None, None, rows, "no interval") for value in shown]
    padded = (*values, *[None] * (3 - len(values)))
    return TableLine(f"decided_by_{signal}", f"by {signal.replace('_', ' ')}", padded)


def _why_none(found: Selection) -> list[str]:
    """Why nothing can be promised, by signal."""
    reasons = []
    for signal, known in found.known.items():
        failed, name = found.failed.get(signal), signal.replace("_", " ")
        if failed:
            surest = f"{failed.wrong} of the {failed.decided} surest rows are wrong"
            reasons.append(f"by {name}, {surest}, and {failed.most} may be")
        else:
            needed = f"{found.fewest} graded rows are needed at least"
            reasons.append(f"by {name}, {needed}, and there are {known}")
    return reasons
