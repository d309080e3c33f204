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
    calibration_section,
    label_agreement,
    labels_section,
    raters_section,
    scale_agreement,
)
from mlflow_tracking.bias_names import name_biases
from mlflow_tracking.bias_probes import bias_lines, bias_section, inapplicable, length_line
from mlflow_tracking.calibration import Calibration, fit_calibration
from mlflow_tracking.consistency_probe import consistency_section
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.graded_rows import GradedData, GradedPairs
from mlflow_tracking.injection_probe import injection_section
from mlflow_tracking.judge_passes import Verdicts, expected_scores, whole_scores
from mlflow_tracking.pairs_section import ROWS, Preferences, pairs_section, preferences
from mlflow_tracking.section import Line, Section, value_or_least
from mlflow_tracking.trust import Evidence, Trust, trust
from mlflow_tracking.validation_plan import ValidationPlan

_WORST = 10  # disagreements that are shown


@dataclass(frozen=True)
class Outcome:
    """All that was found."""

    sections: tuple[Section, ...]
    faults: tuple[str, ...]  # named biases
    trust: Trust
    scores: Scores  # of the rows; of pairs, all answers a, then all answers b
    confusion: Sequence[Sequence[int]] = ()  # rows by human and judge's score; 1-5 only
    bins: Sequence[Bin] = ()
    disagreements: Sequence[Disagreement] = ()
    calibration: Calibration | None = None
    preferences: Preferences | None = None


@dataclass
class _Findings:
    """What the parts of the validation add, one after the other."""

    sections: list[Section] = field(default_factory=list)
    evidence: dict[str, object] = field(default_factory=dict)  # Evidence's fields
    shown: dict[str, object] = field(default_factory=dict)  # Outcome's fields


def find_outcome(plan: ValidationPlan, verdicts: Verdicts) -> Outcome:
    """Measure everything that was asked for."""
    rows = verdicts[ROWS]
    scores = Scores(expected_scores(rows), whole_scores(rows))
    seed, graded, found = plan.plan.findings.settings.seed, plan.graded, _Findings()
    lines: list[Line] = []
    if isinstance(graded, GradedPairs):
        _compare_pairs(found, graded, verdicts, seed)
    else:
        (_compare_scores if graded.kind == "scale" else _compare_labels)(found, plan, scores)
        answers = [row.row.answer for row in graded.rows]
        length = length_line(scores.expected, scores.whole, graded.human, answers, seed)
        found.evidence["length_excess"] = _finer(length)
        lines.append(length)
    if plan.probed:
        found.sections.append(consistency_section(plan.probed, verdicts, seed))
        found.evidence["flips"] = _worst_flips(found.sections[-1])
        probes = bias_lines(plan.probed, verdicts, seed)
        shifts = {line.key.removeprefix("shift_"): _finer(line) for line in probes}
        unused = inapplicable(plan.probed)
        found.evidence["shifts"] = {name: s for name, s in shifts.items() if name not in unused}
        lines += probes
    if lines:
        found.sections.append(bias_section(lines))
    if plan.injection:
        found.sections.append(injection_section(verdicts, seed))
        found.evidence["injection"] = _finer(found.sections[-1].lines[0])
    values = [int(value) for value in scores.whole if value is not None]
    evidence = Evidence(**found.evidence, scores=values)  # type: ignore[arg-type]
    faults = tuple(name_biases(evidence))
    preferred = found.shown.get("preferences")
    if isinstance(preferred, Preferences) and not preferred.best_is_direct:
        evidence = replace(evidence, order_decided=None)  # it is not to be asked in any order
    return Outcome(tuple(found.sections), faults, trust(evidence), scores, **found.shown)  # type: ignore[arg-type]


def _compare_scores(found: _Findings, plan: ValidationPlan, scores: Scores) -> None:
    graded, judge = plan.graded, plan.plan.findings.settings
    assert isinstance(graded, GradedData)
    agreed = scale_agreement(scores, graded, judge.seed)
    found.sections.append(agreement_section(agreed))
    if agreed.raters:
        found.sections.append(raters_section(agreed.raters))
    better = agreed.better
    found.evidence |= {
        "agreement": agreed.by_column[better],
        "over_constant": agreed.baselines[better].over_constant,
        "over_length": agreed.baselines[better].over_length,
    }
    finest = scores.finest
    found.shown |= {
        "confusion": confusion(scores.whole, graded.human),
        "bins": calibration_bins(finest, graded.human, judge.seed),
        "disagreements": worst_disagreements(finest, graded.human, _WORST),
    }
    if plan.arguments.calibrate:
        fitted = fit_calibration(finest, graded.human, judge.model, judge.prompt.sha256, judge.seed)
        found.sections.append(calibration_section(fitted))
        found.shown["calibration"] = fitted if isinstance(fitted, Calibration) else None


def _compare_labels(found: _Findings, plan: ValidationPlan, scores: Scores) -> None:
    graded = plan.graded
    assert isinstance(graded, GradedData)
    agreed = label_agreement(scores, graded, plan.plan.findings.settings.seed)
    found.sections.append(labels_section(agreed))
    better = agreed.better
    found.evidence |= {
        "auc": better.auc,
        "auc_over_length": better.auc_over_length,
        "accuracy": better.accuracy,
        "over_majority": better.over_majority,
    }
    # A right answer stands for a 5 and a wrong one for a 1, to find what it got most wrong.
    ends = [5.0 if label else 1.0 for label in graded.human]
    found.shown["disagreements"] = worst_disagreements(scores.finest, ends, _WORST)


def _compare_pairs(found: _Findings, graded: GradedPairs, verdicts: Verdicts, seed: int) -> None:
    preferred = preferences(graded, verdicts, seed)
    found.sections.append(pairs_section(preferred))
    found.shown["preferences"] = preferred
    best = preferred.best
    found.evidence["pair_accuracy"] = best.agreement.accuracy
    found.evidence["pairs_over_length"] = best.over_length
    if preferred.direct:
        found.evidence["favours_first"] = preferred.direct.favours_first
        found.evidence["order_decided"] = preferred.direct.order_decided


def _finer(line: Line) -> Estimate | None:
    """Of the expected scores or, where a server tells no probabilities, of the integer ones."""
    expected, whole = line.values
    return expected if expected and expected.value is not None else whole


def _worst_flips(section: Section) -> Estimate | None:
    """Of the ways in which rows are judged again at temperature 0, at which rows are judged."""
    cold: Mapping[str, Estimate] = dict(section.named())
    ways = [cold[f"flips_{name}"] for name in ("temperature_0", "other_order", "other_concurrency")]
    return max(ways, key=value_or_least)
