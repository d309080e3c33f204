"""Does the judge prefer the answer that people prefer? From two single scores, or side by side.

Reported by `python mlflow_tracking/validate_judge.py --data pairs.csv` (and `--pairwise`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mlflow_tracking.estimate import Estimate, mean_estimate, share_estimate
from mlflow_tracking.graded_cells import Winner

_SIDE = {"a": 1, "tie": 0, "b": -1}


@dataclass(frozen=True)
class PairAgreement:
    """How often the judge's preference is people's. `n` of each counts the pairs it is over."""

    accuracy: Estimate  # of pairs with a human winner: prefers it; a judge's tie is no hit
    accuracy_if_decided: Estimate  # the same, of those where the judge prefers one at all
    exact: Estimate  # of all pairs: the same of a, b and tie
    judge_ties: Estimate
    human_ties: Estimate


@dataclass(frozen=True)
class PairwiseAgreement:
    """Both answers shown at once, in both orders; what differs by order counts as a tie."""

    agreement: PairAgreement
    order_decided: Estimate  # share of pairs whose verdict changes with the order
    favours_first: Estimate  # mean of (preference for the first place), -1 to 1; 0 is fair
    favoured: Literal["first", "second", "neither"]  # the interval tells it from chance, or not


def prefer_by_scores(
    scores_a: Sequence[float | None], scores_b: Sequence[float | None]
) -> list[Winner | None]:
    """The answer with the higher score; equal scores are a tie, a missing one None."""
    return [
        None if a is None or b is None else "a" if a > b else "b" if b > a else "tie"
        for a, b in zip(scores_a, scores_b, strict=True)
    ]


def prefer_the_longer(answers_a: Sequence[str], answers_b: Sequence[str]) -> list[Winner]:
    """What a judge prefers that looks only at length."""
    return [
        "a" if len(a) > len(b) else "b" if len(b) > len(a) else "tie"
        for a, b in zip(answers_a, answers_b, strict=True)
    ]


def over_length(
    judge: Sequence[Winner | None],
    human: Sequence[Winner],
    answers_a: Sequence[str],
    answers_b: Sequence[str],
    seed: int = 0,
) -> Estimate:
    """Accuracy of the judge less that of preferring the longer answer, on the same pairs.

    People prefer longer answers more often than not, so that 0.5 is too low a bar.
    """
    longer = prefer_the_longer(answers_a, answers_b)
    won = [
        float(ours == truth) - float(rival == truth)
        for ours, truth, rival in zip(judge, human, longer, strict=True)
        if ours is not None and truth != "tie"
    ]
    return mean_estimate(won, seed=seed)


def pair_agreement(judge: Sequence[Winner | None], human: Sequence[Winner]) -> PairAgreement:
    """Pairs without a verdict (None) are left out. Human ties have no winner to be right about.

    Zheng et al. (2023, arXiv:2306.05685) report both: with ties (here `exact`) and without.
    """
    both = [(ours, truth) for ours, truth in zip(judge, human, strict=True) if ours is not None]
    won = [(ours, truth) for ours, truth in both if truth != "tie"]
    return PairAgreement(
        share_estimate([ours == truth for ours, truth in won]),
        share_estimate([ours == truth for ours, truth in won if ours != "tie"]),
        share_estimate([ours == truth for ours, truth in both]),
        share_estimate([ours == "tie" for ours, _ in both]),
        share_estimate([truth == "tie" for _, truth in both]),
    )


def merge_orders(
    a_first: Sequence[Winner | None], b_first: Sequence[Winner | None]
) -> list[Winner | None]:
    """The verdict that holds in both orders, else a tie; both in terms of the answers a and b."""
    return [
        None if one is None or other is None else one if one == other else "tie"
        for one, other in zip(a_first, b_first, strict=True)
    ]


def pairwise_agreement(
    a_first: Sequence[Winner | None],
    b_first: Sequence[Winner | None],
    human: Sequence[Winner],
    seed: int = 0,
) -> PairwiseAgreement:
    """`a_first`: the winners with answer a shown first; `b_first`: with answer b shown first."""
    both = [
        (one, other)
        for one, other in zip(a_first, b_first, strict=True)
        if one is not None and other is not None
    ]
    first = mean_estimate([(_SIDE[one] - _SIDE[other]) / 2 for one, other in both], seed=seed)
    favoured: Literal["first", "second", "neither"] = "neither"
    if first.low is not None and first.low > 0:
        favoured = "first"
    elif first.high is not None and first.high < 0:
        favoured = "second"
    return PairwiseAgreement(
        pair_agreement(merge_orders(a_first, b_first), human),
        share_estimate([one != other for one, other in both]),
        first,
        favoured,
    )
