"""Does an estimate clear a bar? If not, or if it is not known, why not, in words.

Used by trust.py for the verdict of `python mlflow_tracking/validate_judge.py --data graded.csv`.
Each gives a list of one reason, or an empty one where nothing speaks against the judge.
"""

from mlflow_tracking.estimate import Estimate


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
    return [f"{what} may be as large as {far:.2f}, more than {limit}"] if far > limit else []


def too_often(what: str, estimate: Estimate | None, limit: float, must_be_known: bool) -> list[str]:
    """By the value: few rows cannot show that the interval's end is below 5 %."""
    if estimate is None or estimate.value is None:
        missing = f"{what}: not measured" if estimate is None else f"{what}: {estimate}"
        return [missing] if must_be_known else []
    if estimate.value <= limit:
        return []
    return [f"{what}: {estimate.value:.0%}, more than {limit:.0%}"]
