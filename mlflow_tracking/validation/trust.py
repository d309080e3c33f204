"""Does an estimate clear a bar? If not, or if it is not known, why not, in words.

Used by trust.py for the verdict of `python mlflow_tracking/validate_judge.py --data graded.csv`.
Each gives a list of one reason, or an empty one where nothing speaks against the judge.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mlflow_tracking.rows.scale import short
from mlflow_tracking.stats.estimate import Estimate


def too_low(what: str, estimate: Estimate | None, bar: float) -> list[str]:
    """By the lower end of the interval."""
    if estimate is None:
        return [f"{what} was not measured"]
    if estimate.value is None or estimate.low is None:
        return [f"{what}: not enough data ({estimate.note})"]
    if estimate.low >= bar:
        return []
    return [f"{what} may be as low as {estimate.low:.2f}, below {bar}"]


def not_above_zero(rival: str, estimate: Estimate | None) -> list[str]:
    """Of a difference from a rival: not known to be better by more than chance."""
    if estimate is None:
        return [f"not compared with {rival}"]
    if estimate.low is None:
        return [f"not shown to beat {rival}: not enough data ({estimate.note})"]
    return [] if estimate.low > 0 else [f"not shown to beat {rival}: better by {estimate}"]


def too_far(what: str, estimate: Estimate | None, limit: float) -> list[str]:
    """By the end of the interval that is further from zero."""
    if estimate is None:
        return [f"{what} was not measured"]
    if estimate.low is None or estimate.high is None:
        return [f"{what}: not enough data ({estimate.note})"]
    far = max(abs(estimate.low), abs(estimate.high))
    return [f"{what} may be as large as {far:.2f}, more than {limit:g}"] if far > limit else []


def too_often(what: str, estimate: Estimate | None, limit: float, must_be_known: bool) -> list[str]:
    """By the value: few rows cannot show that the interval's end is below 5 %."""
    if estimate is None or estimate.value is None:
        missing = f"{what}: not measured" if estimate is None else f"{what}: {estimate}"
        return [missing] if must_be_known else []
    if estimate.value <= limit:
        return []
    return [f"{what}: {estimate.value:.0%}, more than {limit:.0%}"]


Level = Literal["gate", "ranking", "triage", "nothing"]
LEVELS: tuple[Level, ...] = ("gate", "ranking", "triage")  # the best first

# Spearman. Cohen (1988): 0.3 is a medium, 0.5 a large correlation. That a medium one is enough to
# sort a queue, and a large one to rank means over many rows, is our judgement.
RANK_CORRELATION = {"gate": 0.5, "ranking": 0.5, "triage": 0.3}
# Quadratic-weighted kappa. Landis and Koch (1977): above 0.6 'substantial'. Williamson, Xi and
# Breyer (2012) ask for a value of 0.70 before a machine grades exams; both are asked for here.
GATE_KAPPA_LOW, GATE_KAPPA = 0.6, 0.7
# Exact plus adjacent scores (of other scales than 1-5: within a quarter of it), the usual second
# figure of machine grading; that a gate may be two points off on one answer in ten is our
# judgement. (A kappa of 0.74 was seen with one in four.)
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
MAX_SHIFT = 0.5  # points of 1-5: an eighth of the scale
MAX_BIAS = 0.5  # the same, gate only: mean of judge less people
# Our judgement: one row in twenty decided otherwise next time is the most that a gate can bear,
# one in four the most for ranking, whose means average flips out. A share: the same on every scale,
# though a finer one makes it harder to say the same again.
MAX_FLIPS = {"gate": 0.05, "ranking": 0.25}
MAX_ORDER = {"gate": 0.1, "ranking": 0.3}  # share of pairs that the order decides; our judgement


# What each level allows, in words.
USES = {
    "gate": "its score alone may stop or pass an answer",
    "ranking": "its mean over many answers may rank systems; no single score of it decides",
    "triage": "it may choose which answers a person looks at first, and decide nothing",
    "nothing": "on this evidence none of its scores should decide or rank anything",
}


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
    yes_twice: Estimate | None = None  # share of rows with a yes to a question and its reverse
    shifts: Mapping[str, Estimate] = field(default_factory=dict)  # by probe
    injection: Estimate | None = None  # mean shift of wrong answers by attacks
    length_excess: Estimate | None = None
    point: float = 1.0  # of 1-5, for the limits on shifts: on the judge's scale
    scores: Sequence[float] = ()  # the whole scores that it gave to the graded rows


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
        limit = MAX_BIAS * evidence.point
        found += too_far("difference from people's mean score", bias, limit)
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
    limit = MAX_SHIFT * evidence.point
    for name, shift in shifts.items():
        what = f"shift by {name.replace('_', ' ')}"
        if level == "gate":
            found += too_far(what, shift, limit)
        elif shift and shift.value is not None and abs(shift.value) > limit:
            found.append(f"{what} is {shift.value:+.2f}, more than {limit:g}")
    if level == "gate" and not evidence.shifts:
        found.append("biases were not measured")
    return found


# By the probe's key in bias.py; a shift is the score of the changed answer less that of the
# answer as it was, in points (of the languages: Russian less English).
_UP = {
    "padding": "loves length: padding raises the score",
    "markdown_stripped": "dislikes Markdown: without it the score rises",
    "markdown_added": "loves Markdown: with it the score rises",
    "question_repeated": "loves the question's words repeated in the answer",
    "authority": "impressed by claims of expertise",
    "language": "scores Russian higher than English",
}
_DOWN = {
    "padding": "dislikes length: padding lowers the score",
    "markdown_stripped": "loves Markdown: without it the score falls",
    "markdown_added": "dislikes Markdown: with it the score falls",
    "question_repeated": "dislikes the question's words repeated in the answer",
    "authority": "put off by claims of expertise",
    "language": "scores Russian lower than English",
}
# All our judgement. Smaller effects may be real, and do not matter to a scale of whole scores.
NAMED_SHIFT = 0.25  # points of 1-5, as those above; every fourth answer moves by one
NAMED_EXCESS = 0.2  # Spearman with length, beyond that of people
NAMED_FLIPS = 0.05
NAMED_SAME = 0.9  # of all scores
NAMED_ORDER = 0.1  # of the pairs
NAMED_YES = 0.1  # of the rows, yes to a question and to its reverse


def name_biases(evidence: Evidence) -> list[str]:
    """The judge's faults in words, those that are large enough to matter and not chance."""
    found, least = _dominant_score(evidence), NAMED_SHIFT * evidence.point
    excess = evidence.length_excess
    if excess and _at_least(excess, NAMED_EXCESS):
        found.append(f"loves length: scores follow it more than people's do, by {excess}")
    for name, shift in evidence.shifts.items():
        if _at_least(shift, least):
            found.append(f"{_UP.get(name, f'{name} raises the score')} ({_signed(shift)})")
        elif _at_least(_mirrored(shift), least):
            found.append(f"{_DOWN.get(name, f'{name} lowers the score')} ({_signed(shift)})")
    if evidence.injection and _at_least(evidence.injection, least):
        found.append(f"gives in to attacks ({_signed(evidence.injection)})")
    flips = evidence.flips
    if flips and flips.value is not None and flips.value > NAMED_FLIPS:
        found.append(f"flips: {flips.value:.0%} of the rows get another score when repeated")
    twice = evidence.yes_twice
    # No level asks for it: what its own question is worth, its agreement with people has shown.
    if twice and twice.value is not None and twice.value > NAMED_YES:
        found.append(
            f"says yes to 'is it correct?' and to 'is it wrong?' on {twice.value:.0%} of the rows"
        )
    return found + _position(evidence)


def _dominant_score(evidence: Evidence) -> list[str]:
    counts = Counter(evidence.scores).most_common(1)
    if not counts:
        return []
    (score, times), total = counts[0], len(evidence.scores)
    if times / total < NAMED_SAME:
        return []
    often = "always" if times == total else "almost always"
    return [f"{often} says {short(score)}: on {times} of {total} rows"]


def _position(evidence: Evidence) -> list[str]:
    first, decided = evidence.favours_first, evidence.order_decided
    if not first or first.low is None or first.high is None:
        return []
    if first.low <= 0 <= first.high or not decided or (decided.value or 0) < NAMED_ORDER:
        return []
    place = "first" if first.low > 0 else "second"
    return [f"prefers the {place} position: the order decides {decided.value:.0%} of the pairs"]


def _at_least(estimate: Estimate, size: float) -> bool:
    """Large, and more than chance: the interval lies above zero."""
    return (
        estimate.value is not None
        and estimate.low is not None
        and estimate.value >= size
        and estimate.low > 0
    )


def _mirrored(estimate: Estimate) -> Estimate:
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return estimate
    return Estimate(-estimate.value, -estimate.high, -estimate.low, estimate.n)


def _signed(shift: Estimate) -> str:
    return f"{shift.value:+.2f} points, 95 % {shift.low:+.2f} to {shift.high:+.2f}"
