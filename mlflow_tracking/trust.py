"""What may this judge be used for, on this evidence? A level, with the reasons, in words.

Printed last by `python mlflow_tracking/validate_judge.py --data graded.csv`.

gate: its score alone may stop or pass an answer. ranking: its mean over many answers may rank
systems. triage: it may choose which answers a person looks at first. nothing: none of these.
Each level asks for evidence (the lower end of an interval, never the value alone) and for the
absence of faults; for a gate, faults that were not measured count as there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mlflow_tracking.bars import not_above_zero, too_far, too_low, too_often
from mlflow_tracking.estimate import Estimate

Level = Literal["gate", "ranking", "triage", "nothing"]
LEVELS: tuple[Level, ...] = ("gate", "ranking", "triage")  # the best first

# Spearman. Cohen (1988): 0.3 is a medium, 0.5 a large correlation. That a medium one is enough to
# sort a queue, and a large one to rank means over many rows, is our judgement.
RANK_CORRELATION = {"gate": 0.5, "ranking": 0.5, "triage": 0.3}
# Quadratic-weighted kappa. Landis and Koch (1977): above 0.6 'substantial'. Williamson, Xi and
# Breyer (2012) ask for a value of 0.70 before a machine grades exams; both are asked for here.
GATE_KAPPA_LOW, GATE_KAPPA = 0.6, 0.7
# Exact plus adjacent scores, the usual second figure of machine grading; that a gate may be two
# points off on one answer in ten is our judgement. (A kappa of 0.74 was seen with one in four.)
GATE_WITHIN_ONE = 0.9
# Area under the curve. Hosmer and Lemeshow (2000): 0.7 'acceptable', 0.8 'excellent'.
CURVE = {"gate": 0.8, "ranking": 0.8, "triage": 0.7}
# Zheng et al. (2023, arXiv:2306.05685): people agree with each other on 81 % of the pairs that
# have a winner, the level for a gate. The other two are our judgement: clearly more than chance.
PAIR_ACCURACY = {"gate": 0.8, "ranking": 0.65, "triage": 0.55}
GATE_ACCURACY = 0.8  # of right/wrong; the same figure, by analogy
# Our judgement: half a point moves a score to the next one, so that a change of style that shifts
# the mean by that much outweighs what most systems differ by. A gate has to show that its shifts
# are smaller (the interval's far end counts); for ranking the value counts.
MAX_SHIFT = 0.5
MAX_BIAS = 0.5  # gate only: mean of judge less people; calibration can remove it
# Our judgement: one row in twenty decided otherwise next time is the most that a gate can bear,
# one in four the most for ranking, whose means average flips out.
MAX_FLIPS = {"gate": 0.05, "ranking": 0.25}
MAX_ORDER = {"gate": 0.1, "ranking": 0.3}  # share of pairs that the order decides; our judgement


@dataclass(frozen=True)
class Evidence:
    """What was measured of one judge; None or empty where it was not."""

    agreement: Mapping[str, Estimate] = field(default_factory=dict)  # the better of whole/expected
    over_constant: Estimate | None = None  # as Baselines has them
    over_length: Estimate | None = None
    auc: Estimate | None = None  # of right/wrong labels, as BinaryAgreement has them
    auc_over_length: Estimate | None = None
    accuracy: Estimate | None = None
    over_majority: Estimate | None = None
    pair_accuracy: Estimate | None = None  # of the judging that is to be used
    pairs_over_length: Estimate | None = None  # as pairs.over_length has it
    order_decided: Estimate | None = None
    favours_first: Estimate | None = None
    flips: Estimate | None = None  # the worst of the ways in which rows were repeated
    shifts: Mapping[str, Estimate] = field(default_factory=dict)  # by probe
    injection: Estimate | None = None  # mean shift of wrong answers by attacks
    length_excess: Estimate | None = None
    scores: Sequence[int] = ()  # the whole scores that it gave to the graded rows


@dataclass(frozen=True)
class Trust:
    """The verdict on a judge: the best level it earns, and why no better one."""

    level: Level
    reasons: tuple[str, ...]


def trust(evidence: Evidence) -> Trust:
    """The best level for which nothing speaks against the judge.

    The reasons are those against the next better level, after what the level rests on.
    """
    against = {level: _against(evidence, level) for level in LEVELS}
    earned: Level = "nothing"
    for level in reversed(LEVELS):  # a level includes those below it
        if against[level]:
            return Trust(earned, (*_supports(evidence), *against[level]))
        earned = level
    return Trust(earned, _supports(evidence))


def _supports(evidence: Evidence) -> tuple[str, ...]:
    shown = {
        "Spearman with people": evidence.agreement.get("spearman"),
        "area under the curve": evidence.auc,
        "prefers what people prefer": evidence.pair_accuracy,
    }
    return tuple(f"{name}: {estimate}" for name, estimate in shown.items() if estimate)


def _against(evidence: Evidence, level: Level) -> list[str]:
    """All that speaks against `level`."""
    if evidence.agreement:
        found = _against_scores(evidence, level)
    elif evidence.auc:
        found = _against_labels(evidence, level)
    elif evidence.pair_accuracy:
        found = _against_pairs(evidence, level)
    else:
        found = ["not enough data: no agreement with people was measured"]
    return found + _faults(evidence, level)


def _against_scores(evidence: Evidence, level: Level) -> list[str]:
    kappa = evidence.agreement.get("quadratic_weighted_kappa")
    bias = evidence.agreement.get("bias")
    found = too_low("Spearman", evidence.agreement.get("spearman"), RANK_CORRELATION[level])
    found += not_above_zero("a judge that sees only length", evidence.over_length)
    if level == "gate":
        found += too_low("quadratic-weighted kappa", kappa, GATE_KAPPA_LOW)
        if kappa and kappa.value is not None and kappa.value < GATE_KAPPA:
            found.append(f"quadratic-weighted kappa is {kappa.value:.2f}, below {GATE_KAPPA}")
        near = evidence.agreement.get("within_one_share")
        found += too_low("share within one point", near, GATE_WITHIN_ONE)
        found += not_above_zero("a constant judge", evidence.over_constant)
        found += too_far("difference from people's mean score", bias, MAX_BIAS)
    return found


def _against_labels(evidence: Evidence, level: Level) -> list[str]:
    found = too_low("area under the curve", evidence.auc, CURVE[level])
    found += not_above_zero("a judge that sees only length", evidence.auc_over_length)
    if level == "gate":
        found += too_low("accuracy on unseen rows", evidence.accuracy, GATE_ACCURACY)
        found += not_above_zero("always giving the more frequent label", evidence.over_majority)
    return found


def _against_pairs(evidence: Evidence, level: Level) -> list[str]:
    found = too_low("accuracy on pairs", evidence.pair_accuracy, PAIR_ACCURACY[level])
    rival = "a judge that prefers the longer answer"
    return found + not_above_zero(rival, evidence.pairs_over_length)


def _faults(evidence: Evidence, level: Level) -> list[str]:
    """Flips, shifts and the order of pairs; none of them matters to triage, where people decide."""
    if level == "triage":
        return []
    found = too_often("rows that flip", evidence.flips, MAX_FLIPS[level], level == "gate")
    if evidence.order_decided:
        share = MAX_ORDER[level]
        found += too_often(
            "pairs that the order decides", evidence.order_decided, share, level == "gate"
        )
    shifts = {**evidence.shifts, "attacks in the answer": evidence.injection}
    for name, shift in shifts.items():
        what = f"shift by {name.replace('_', ' ')}"
        if level == "gate":
            found += too_far(what, shift, MAX_SHIFT)
        elif shift and shift.value is not None and abs(shift.value) > MAX_SHIFT:
            found.append(f"{what} is {shift.value:+.2f}, more than {MAX_SHIFT}")
    if level == "gate" and not evidence.shifts:
        found.append("biases were not measured")
    return found
