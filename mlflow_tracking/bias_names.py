"""Which faults does this judge have? Names them in words, from what was measured.

Printed by `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections import Counter

from mlflow_tracking.estimate import Estimate
from mlflow_tracking.trust import Evidence

# By the probe's key in bias_probes.py; a shift is the score of the changed answer less that of the
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
NAMED_SHIFT = 0.25  # points; every fourth answer moves by one
NAMED_EXCESS = 0.2  # Spearman with length, beyond that of people
NAMED_FLIPS = 0.05
NAMED_SAME = 0.9  # of all scores
NAMED_ORDER = 0.1  # of the pairs


def name_biases(evidence: Evidence) -> list[str]:
    """The judge's faults in words, those that are large enough to matter and not chance."""
    found = _dominant_score(evidence)
    excess = evidence.length_excess
    if excess and _at_least(excess, NAMED_EXCESS):
        found.append(f"loves length: scores follow it more than people's do, by {excess}")
    for name, shift in evidence.shifts.items():
        if _at_least(shift, NAMED_SHIFT):
            found.append(f"{_UP.get(name, f'{name} raises the score')} ({_signed(shift)})")
        elif _at_least(_mirrored(shift), NAMED_SHIFT):
            found.append(f"{_DOWN.get(name, f'{name} lowers the score')} ({_signed(shift)})")
    if evidence.injection and _at_least(evidence.injection, NAMED_SHIFT):
        found.append(f"gives in to attacks ({_signed(evidence.injection)})")
    flips = evidence.flips
    if flips and flips.value is not None and flips.value > NAMED_FLIPS:
        found.append(f"flips: {flips.value:.0%} of the rows get another score when repeated")
    return found + _position(evidence)


def _dominant_score(evidence: Evidence) -> list[str]:
    counts = Counter(evidence.scores).most_common(1)
    if not counts:
        return []
    (score, times), total = counts[0], len(evidence.scores)
    if times / total < NAMED_SAME:
        return []
    often = "always" if times == total else "almost always"
    return [f"{often} says {score}: on {times} of {total} rows"]


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
