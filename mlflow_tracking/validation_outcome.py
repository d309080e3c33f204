"""What did the validation find? Every section, the named faults, and what the judge is good for.

Made when `python mlflow_tracking/validate_judge.py --data graded.csv` has all verdicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mlflow_tracking.agreement import (
    Bin,
    Disagreement,
    calibration_bins,
    confusion,
    worst_disagreements,
)
from mlflow_tracking.agreement_section import (
    Scores,
    agreement_section,
    raters_section,
    scale_agreement,
)
from mlflow_tracking.bias_names import name_biases
from mlflow_tracking.bias_probes import bias_lines, bias_section, inapplicable, length_lines
from mlflow_tracking.calibration import Calibration, fit_calibration
from mlflow_tracking.calibration_section import calibration_section
from mlflow_tracking.consistency_probe import consistency_section
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.graded_rows import GradedData, GradedPairs
from mlflow_tracking.injection_probe import injection_section
from mlflow_tracking.judge_passes import Verdicts, expected_scores, whole_scores
from mlflow_tracking.labels_section import label_agreement, labels_section
from mlflow_tracking.pairs_section import ROWS, Preferences, pairs_section, preferences
from mlflow_tracking.section import Line, Section, value_or_least
from mlflow_tracking.trust import Evidence, Trust, trust
from mlflow_tracking.validation_plan import ValidationPlan
from mlflow_tracking.verdict import SCALE

_WORST = 10  # disagreements that are shown


@dataclass
class Measured:
    """What was measured so far; each part of the validation adds to it."""

    scores: Scores  # of the rows; of pairs, all answers a, then all answers b
    evidence: Evidence = Evidence()
    sections: list[Section] = field(default_factory=list)
    bias_lines: list[Line] = field(default_factory=list)
    confusion: Sequence[Sequence[int]] = ()  # rows by human and judge's score; 1-5 only
    bins: Sequence[Bin] = ()
    disagreements: Sequence[Disagreement] = ()
    calibration: Calibration | str | None = None  # a reason for none; None: not asked for
    preferences: Preferences | None = None


@dataclass(frozen=True)
class Outcome:
    """All that was found."""

    sections: tuple[Section, ...]
    faults: tuple[str, ...]  # named biases
    trust: Trust
    measured: Measured

    @property
    def calibration(self) -> Calibration | None:
        """The map to people's scores, if one was asked for and could be fitted."""
        fitted = self.measured.calibration
        return fitted if isinstance(fitted, Calibration) else None


def find_outcome(plan: ValidationPlan, verdicts: Verdicts) -> Outcome:
    """Measure everything that was asked for."""
    rows = verdicts[ROWS]
    found = Measured(Scores(expected_scores(rows), whole_scores(rows)))
    values = [int(value) for value in found.scores.whole if value is not None]
    found.evidence = replace(found.evidence, scores=values)
    if isinstance(plan.graded, GradedPairs):
        _compare_pairs(found, plan, verdicts)
    elif plan.graded.kind == "scale":
        _compare_scores(found, plan, plan.graded)
    else:
        _compare_labels(found, plan, plan.graded)
    if plan.probed:
        _repeat_and_dress(found, plan, verdicts)
    if found.bias_lines:
        found.sections.append(bias_section(found.bias_lines))
    if plan.injection:
        found.sections.append(injection_section(verdicts, _seed(plan)))
        attacked = _finer(found.sections[-1].lines[0])
        found.evidence = replace(found.evidence, injection=attacked)
    if found.calibration:  # what to do about it comes after what was found
        found.sections.append(calibration_section(found.calibration))
    faults = tuple(name_biases(found.evidence))
    return Outcome(tuple(found.sections), faults, trust(_to_be_used(found)), found)


def _to_be_used(found: Measured) -> Evidence:
    """The evidence on the judge as it is to be used: single scores are asked in no order."""
    preferred = found.preferences
    if preferred and not preferred.best_is_direct:
        return replace(found.evidence, order_decided=None, favours_first=None)
    return found.evidence


def _seed(plan: ValidationPlan) -> int:
    return plan.plan.findings.settings.seed


def _compare_scores(found: Measured, plan: ValidationPlan, graded: GradedData) -> None:
    judge, finest = plan.plan.findings.settings, found.scores.finest
    agreed = scale_agreement(found.scores, graded, judge.seed)
    found.sections.append(agreement_section(agreed))
    if agreed.raters:
        found.sections.append(raters_section(agreed.raters))
    found.evidence = replace(
        found.evidence,
        agreement=agreed.by_column[agreed.better],
        over_constant=agreed.baselines[agreed.better].over_constant,
        over_length=agreed.baselines[agreed.better].over_length,
    )
    found.confusion = confusion(found.scores.whole, graded.human)
    found.bins = calibration_bins(finest, graded.human, judge.seed)
    found.disagreements = worst_disagreements(finest, graded.human, _WORST)
    if plan.arguments.calibrate:
        about = (judge.model, judge.prompt.sha256, judge.seed)
        found.calibration = fit_calibration(finest, graded.human, *about)
    _compare_length(found, plan, graded)


def _compare_labels(found: Measured, plan: ValidationPlan, graded: GradedData) -> None:
    agreed = label_agreement(found.scores, graded, _seed(plan))
    found.sections.append(labels_section(agreed))
    better = agreed.better
    found.evidence = replace(
        found.evidence,
        auc=better.auc,
        auc_over_length=better.auc_over_length,
        accuracy=better.accuracy,
        over_majority=better.over_majority,
    )
    # A right answer stands for a 5 and a wrong one for a 1, to find what it got most wrong.
    ends = [float(SCALE[-1] if label else SCALE[0]) for label in graded.human]
    found.disagreements = worst_disagreements(found.scores.finest, ends, _WORST)
    _compare_length(found, plan, graded)


def _compare_length(found: Measured, plan: ValidationPlan, graded: GradedData) -> None:
    answers, scores = [row.row.answer for row in graded.rows], found.scores
    lines = length_lines(scores.expected, scores.whole, graded.human, answers, _seed(plan))
    found.bias_lines += lines
    found.evidence = replace(found.evidence, length_excess=_finer(lines[-1]))


def _compare_pairs(found: Measured, plan: ValidationPlan, verdicts: Verdicts) -> None:
    assert isinstance(plan.graded, GradedPairs), "pairs"
    preferred = preferences(plan.graded, verdicts, _seed(plan))
    found.preferences = preferred
    found.sections.append(pairs_section(preferred))
    best, direct = preferred.best, preferred.direct
    found.evidence = replace(
        found.evidence,
        pair_accuracy=best.agreement.accuracy,
        pairs_over_length=best.over_length,
        order_decided=direct.order_decided if direct else None,
        favours_first=direct.favours_first if direct else None,
    )


def _repeat_and_dress(found: Measured, plan: ValidationPlan, verdicts: Verdicts) -> None:
    """The probes of consistency and biases."""
    repeated = consistency_section(plan.probed, verdicts, _seed(plan))
    found.sections.append(repeated)
    lines = bias_lines(plan.probed, verdicts, _seed(plan))
    found.bias_lines += lines
    shifts = {line.key.removeprefix("shift_"): _finer(line) for line in lines}
    unused = inapplicable(plan.probed)
    found.evidence = replace(
        found.evidence,
        flips=_worst_flips(repeated),
        shifts={name: shift for name, shift in shifts.items() if name not in unused},
    )


def _finer(line: Line) -> Estimate:
    """Of the expected scores or, where a server tells no probabilities, of the integer ones."""
    expected, whole = line.values[:2]
    assert expected is not None and whole is not None, "a line of both scores"
    return whole if expected.value is None else expected


def _worst_flips(section: Section) -> Estimate:
    """Of the ways in which rows are judged again at temperature 0, at which rows are judged."""
    cold: Mapping[str, Estimate] = dict(section.named())
    ways = [cold[f"flips_{name}"] for name in ("temperature_0", "other_order", "other_concurrency")]
    return max(ways, key=value_or_least)
