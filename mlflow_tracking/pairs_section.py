"""Does the judge prefer the answer that people prefer? By two single scores, or asked directly.

python mlflow_tracking/validate_judge.py --data pairs.csv
python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_tracking.estimate import Estimate
from mlflow_tracking.graded_cells import Winner
from mlflow_tracking.graded_rows import GradedPairs
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import JudgePass, Verdicts, expected_scores, whole_scores
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.pairs import (
    PairAgreement,
    PairwiseAgreement,
    merge_orders,
    over_length,
    pair_agreement,
    pairwise_agreement,
    prefer_by_scores,
    prefer_the_longer,
)
from mlflow_tracking.pairwise import ORDERS, PairQuestion, chance_of_first, pairwise_passes
from mlflow_tracking.section import Column, Line, Section
from mlflow_tracking.verdict import Verdict

ROWS = "rows"  # the pass over single answers: of pairs, all answers a, then all answers b

_DIRECT = ("both_orders", "direct")  # the columns of what was asked directly
_ACCURACY = {
    "accuracy": "prefers what people prefer",
    "accuracy_if_decided": "the same, where it prefers one at all",
    "exact": "the same of a, b and tie",
    "judge_ties": "ties of the judge",
    "human_ties": "ties of people",
}


def single_answers(graded: GradedPairs) -> tuple[Question, ...]:
    """All answers a, then all answers b, to be scored singly."""
    sides = [[pair.answer_a for pair in graded.pairs], [pair.answer_b for pair in graded.pairs]]
    return tuple(
        Question(pair.row.question, answer, pair.row.reference)
        for answers in sides
        for pair, answer in zip(graded.pairs, answers, strict=True)
    )


def direct_passes(judge: JudgeSettings, graded: GradedPairs) -> list[JudgePass]:
    """Both orders of every pair; `judge.prompt` is a pairwise one."""
    asked = [
        PairQuestion(pair.row.question, pair.answer_a, pair.row.reference, pair.answer_b)
        for pair in graded.pairs
    ]
    return pairwise_passes(judge, asked)


@dataclass(frozen=True)
class Way:
    """One way to find out which answer the judge prefers, and how well people agree with it."""

    column: Column
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
    found: list[tuple[Column, Sequence[Winner | None]]] = _by_scores(verdicts[ROWS])
    direct = None
    if ORDERS[0] in verdicts:
        a_first, b_first = _chances_of_a(verdicts)
        direct = pairwise_agreement(_winners(a_first), _winners(b_first), human, seed)
        both = zip(a_first, b_first, strict=True)
        mean = [None if p is None or q is None else (p + q) / 2 for p, q in both]
        merged = merge_orders(_winners(a_first), _winners(b_first))
        found.append((Column(_DIRECT[0], "asked, both orders"), merged))
        found.append((Column(_DIRECT[1], "asked, averaged"), _winners(mean)))
    ways = tuple(
        Way(column, won, pair_agreement(won, human), over_length(won, human, *texts, seed))
        for column, won in found
    )
    return Preferences(ways, pair_agreement(prefer_the_longer(*texts), human), direct)


def _by_scores(rows: Sequence[Verdict | None]) -> list[tuple[Column, Sequence[Winner | None]]]:
    half = len(rows) // 2
    whole, expected = whole_scores(rows), expected_scores(rows)
    return [
        (
            Column("expected", "by expected scores"),
            prefer_by_scores(expected[:half], expected[half:]),
        ),
        (Column("integer", "by integer scores"), prefer_by_scores(whole[:half], whole[half:])),
    ]


def _chances_of_a(verdicts: Verdicts) -> tuple[list[float | None], list[float | None]]:
    """How sure the judge was of answer a in each order."""
    a_first, b_first = ([chance_of_first(v) for v in verdicts[name]] for name in ORDERS)
    return a_first, [None if chance is None else 1 - chance for chance in b_first]


def _winners(chance_of_a: Sequence[float | None]) -> list[Winner | None]:
    return [
        None if p is None else "a" if p > 0.5 else "b" if p < 0.5 else "tie" for p in chance_of_a
    ]


def pairs_section(found: Preferences) -> Section:
    """Accuracy and ties of each way to compare, and what the order does."""
    lines = [
        Line(
            f"pairs_{key}",
            label,
            (*(getattr(way.agreement, key) for way in found.ways), getattr(found.longer, key)),
        )
        for key, label in _ACCURACY.items()
    ]
    gains = (*(way.over_length for way in found.ways), None)
    lines.append(Line("pairs_over_length", "accuracy, above the longer answer's by", gains))
    findings = [f"the verdict is on the judge {found.best.column.heading}"]
    if found.direct:
        order = {
            "pairs_order_decides": ("pairs that the order decides", found.direct.order_decided),
            "pairs_favours_first": ("preference for the first place", found.direct.favours_first),
        }
        for key, (label, value) in order.items():
            cells = [value if way.column.key == _DIRECT[0] else None for way in found.ways]
            lines.append(Line(key, label, (*cells, None)))
        if found.direct.favoured != "neither":
            findings.append(f"favours the answer that is shown {found.direct.favoured}")
    longer = Column("longer_answer", "longer answer", beside=True)
    return Section(
        "pairs",
        "Which of two answers is better",
        "Shares of the pairs; people's ties have no winner to be right about. 0.5 is chance, and "
        "the longer answer is what a judge would prefer that sees only length.",
        (*(way.column for way in found.ways), longer),
        tuple(lines),
        tuple(findings),
    )
