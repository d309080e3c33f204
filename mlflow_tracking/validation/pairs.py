"""Does the judge prefer the answer that people prefer? From two single scores, or side by side.

Reported by `python mlflow_tracking/validate_judge.py --data pairs.csv` (and `--pairwise`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.graded import GradedPairs, Winner
from mlflow_tracking.rows.item import Item, PairItem
from mlflow_tracking.stats.estimate import Estimate, mean_estimate, share_estimate
from mlflow_tracking.stats.table import Table, TableColumn, TableLine
from mlflow_tracking.validation.passes import JudgePass, Verdicts, expected_scores, whole_scores

_SIDE = {"a": 1, "tie": 0, "b": -1}
Place = Literal["first", "second", "neither"]


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
    favoured: Place  # the interval tells it from chance, or not


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
    return PairwiseAgreement(
        pair_agreement(merge_orders(a_first, b_first), human),
        share_estimate([one != other for one, other in both]),
        first,
        favoured_place(first),
    )


def favoured_place(favours_first: Estimate) -> Place:
    """The place that a judge prefers, as far as the interval tells it from chance."""
    if favours_first.low is not None and favours_first.low > 0:
        return "first"
    if favours_first.high is not None and favours_first.high < 0:
        return "second"
    return "neither"


ORDERS = ("pairs, a first", "pairs, b first")  # the passes over pairs
ROWS = "rows"  # the pass over single answers: of pairs, all answers a, then all answers b

_DIRECT = ("both_orders", "direct")  # the columns of what was asked directly
_ACCURACY = {
    "accuracy": "prefers what people prefer",
    "accuracy_if_decided": "the same, where it prefers one at all",
    "exact": "the same of a, b and tie",
    "judge_ties": "ties of the judge",
    "human_ties": "ties of people",
}


def single_answers(graded: GradedPairs) -> tuple[Item, ...]:
    """All answers a, then all answers b, to be scored singly."""
    sides = [[pair.answer_a for pair in graded.pairs], [pair.answer_b for pair in graded.pairs]]
    return tuple(
        replace(pair.row.item, answer=answer)
        for answers in sides
        for pair, answer in zip(graded.pairs, answers, strict=True)
    )


def direct_passes(judge: JudgeSettings, graded: GradedPairs) -> list[JudgePass]:
    """Both orders of every pair; `judge.prompt` is one of load_pairwise_prompt.

    A judge that prefers a place and not an answer contradicts itself when the two change places
    (Wang et al., 2023, arXiv:2305.17926), which is why both orders are asked.
    """
    items = [
        PairItem(
            asked.question, one.answer_a, asked.reference, second=one.answer_b, more=asked.more
        )
        for one in graded.pairs
        for asked in [one.row.item]
    ]
    return pairwise_passes(judge, items)


def pairwise_passes(judge: JudgeSettings, pairs: Sequence[PairItem]) -> list[JudgePass]:
    """Both orders of the pairs, by one token each."""
    asked = replace(judge, score_only=True, temperature=0.0)
    swapped = [replace(pair, answer=pair.second, second=pair.answer) for pair in pairs]
    both = zip(ORDERS, (pairs, swapped), strict=True)
    return [JudgePass(name, asked, tuple(order)) for name, order in both]


def chance_of_first(verdict: Verdict | None) -> float | None:
    """How sure the judge was that the answer shown first is the better one, 0 to 1.

    Its verdict is a score of preference: the best for the first answer, the worst for the second.
    """
    score = verdict.overall if verdict else None
    if score is None:
        return None
    if score.expected is None:
        return float(score.value == score.values[-1])
    return (score.expected - score.values[0]) / score.span


@dataclass(frozen=True)
class Way:
    """One way to find out which answer the judge prefers, and how well people agree with it."""

    column: TableColumn
    winners: Sequence[Winner | None]  # pair by pair
    agreement: PairAgreement
    over_length: Estimate | None = None  # accuracy, above that of preferring the longer answer


@dataclass(frozen=True)
class Preferences:
    """Whom the judge prefers, by single scores and, where it was asked, directly."""

    ways: tuple[Way, ...]
    longer: PairAgreement  # of a judge that prefers the longer answer
    direct: PairwiseAgreement | None  # what the order does; None: not asked directly

    @property
    def best(self) -> Way:
        """The way by which the judge is to be used: whose accuracy is surest."""
        return max(self.ways, key=lambda way: way.agreement.accuracy.low or 0.0)

    @property
    def best_is_direct(self) -> bool:
        """Whether that is by asking it about both answers at once."""
        return self.best.column.key in _DIRECT


def preferences(graded: GradedPairs, verdicts: Verdicts, seed: int) -> Preferences:
    """From the verdicts on single answers and, where there are any, on pairs."""
    human = [pair.winner for pair in graded.pairs]
    texts = [pair.answer_a for pair in graded.pairs], [pair.answer_b for pair in graded.pairs]
    found: list[tuple[TableColumn, Sequence[Winner | None]]] = _by_scores(verdicts[ROWS])
    direct = None
    if ORDERS[0] in verdicts:
        a_first, b_first = chances_of_a(verdicts)
        direct = pairwise_agreement(winners(a_first), winners(b_first), human, seed)
        both = zip(a_first, b_first, strict=True)
        mean = [None if p is None or q is None else (p + q) / 2 for p, q in both]
        merged = merge_orders(winners(a_first), winners(b_first))
        found.append((TableColumn(_DIRECT[0], "asked, both orders"), merged))
        found.append((TableColumn(_DIRECT[1], "asked, averaged"), winners(mean)))
    ways = tuple(
        Way(column, won, pair_agreement(won, human), over_length(won, human, *texts, seed))
        for column, won in found
    )
    return Preferences(ways, pair_agreement(prefer_the_longer(*texts), human), direct)


def _by_scores(rows: Sequence[Verdict | None]) -> list[tuple[TableColumn, Sequence[Winner | None]]]:
    half = len(rows) // 2
    whole, expected = whole_scores(rows), expected_scores(rows)
    return [
        (
            TableColumn("expected", "by expected scores"),
            prefer_by_scores(expected[:half], expected[half:]),
        ),
        (TableColumn("integer", "by integer scores"), prefer_by_scores(whole[:half], whole[half:])),
    ]


def chances_of_a(verdicts: Verdicts) -> tuple[list[float | None], list[float | None]]:
    """How sure the judge was of answer a in each order."""
    a_first, b_first = ([chance_of_first(v) for v in verdicts[name]] for name in ORDERS)
    return a_first, [None if chance is None else 1 - chance for chance in b_first]


def winners(chance_of_a: Sequence[float | None]) -> list[Winner | None]:
    """Whom the judge prefers by how sure it is of a; an even chance is a tie."""
    return [
        None if p is None else "a" if p > 0.5 else "b" if p < 0.5 else "tie" for p in chance_of_a
    ]


def pairs_table(found: Preferences) -> Table:
    """Accuracy and ties of each way to compare, and what the order does."""
    lines = [
        TableLine(
            f"pairs_{key}",
            label,
            (*(getattr(way.agreement, key) for way in found.ways), getattr(found.longer, key)),
        )
        for key, label in _ACCURACY.items()
    ]
    gains = (*(way.over_length for way in found.ways), None)
    lines.append(TableLine("pairs_over_length", "accuracy, above the longer answer's by", gains))
    findings = [f"the verdict is on the judge {found.best.column.heading}"]
    if found.direct:
        order = {
            "pairs_order_decides": ("pairs that the order decides", found.direct.order_decided),
            "pairs_favours_first": ("preference for the first place", found.direct.favours_first),
        }
        for key, (label, value) in order.items():
            cells = [value if way.column.key == _DIRECT[0] else None for way in found.ways]
            lines.append(TableLine(key, label, (*cells, None)))
        if found.direct.favoured != "neither":
            findings.append(f"favours the answer that is shown {found.direct.favoured}")
    longer = TableColumn("longer_answer", "longer answer", beside=True)
    return Table(
        "pairs",
        "Which of two answers is better",
        "Shares of the pairs; people's ties have no winner to be right about. 0.5 is chance, and "
        "the longer answer is what a judge would prefer that sees only length.",
        (*(way.column for way in found.ways), longer),
        tuple(lines),
        tuple(findings),
    )
