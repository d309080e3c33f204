"""Which system's answers does the judge prefer, and does it go by place or length? Measured.

python mlflow_tracking/compare_runs.py RUN RUN RUN --pairwise
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mlflow_tracking.comparing.pairwise import SEED, Verdicts
from mlflow_tracking.stats.bradley_terry import BradleyTerry, Comparisons, bradley_terry
from mlflow_tracking.stats.estimate import Array, Estimate
from mlflow_tracking.stats.several_means import mean_over_groups

_SIDE = {"a": 1.0, "tie": 0.0, "b": -1.0}


@dataclass(frozen=True)
class Judged:
    """Comparisons with a verdict in both orders; arrays of one length."""

    systems: int
    first: NDArray[np.int64]  # the systems compared, from 0
    second: NDArray[np.int64]
    question: NDArray[np.int64]
    longer: Array  # characters of the first one's answer less those of the second one's
    a_first: Array  # with the first one's answer shown first: 1 it won, 0 a tie, -1 it lost
    b_first: Array
    asked: NDArray[np.bool_]  # False: equal answers, a tie without a call

    @property
    def side(self) -> Array:
        """1 the first one won, -1 it lost; 0 a tie, also where the orders disagree."""
        return np.where(self.a_first == self.b_first, self.a_first, 0.0)


@dataclass(frozen=True)
class Record:
    """What came of the comparisons of two systems; the first one wins and loses."""

    first: int
    second: int
    wins: int
    ties: int
    losses: int
    rate: Estimate  # of the first one's wins, at equal lengths where these are controlled

    @property
    def better(self) -> int | None:
        """The system that the interval tells to be better; None: it does not tell."""
        if self.rate.low is None or self.rate.high is None:
            return None
        if self.rate.low > 0.5:
            return self.first
        return self.second if self.rate.high < 0.5 else None


@dataclass(frozen=True)
class Preferred:
    """Whom the judge prefers, and what its preference goes by beside the answers."""

    strengths: BradleyTerry
    records: tuple[Record, ...]
    compared: int
    asked: int  # the others are equal answers
    order_decides: int  # of those that were asked
    favours_first: Estimate  # mean preference for the first place, -1 to 1; 0 is fair
    longer_wins: int
    longer_or_shorter_wins: int
    spread: float  # a usual difference of lengths, in characters


def judged(verdicts: Verdicts, systems: int) -> Judged:
    """The comparisons that have both verdicts."""
    rows = [
        (pair, _SIDE[one], _SIDE[other])
        for pair, one, other in zip(verdicts.pairs, verdicts.a_first, verdicts.b_first, strict=True)
        if one is not None and other is not None
    ]
    pairs = [pair for pair, _, _ in rows]
    _, question = np.unique([pair.question for pair in pairs], return_inverse=True)
    return Judged(
        systems,
        np.array([pair.first for pair in pairs]),
        np.array([pair.second for pair in pairs]),
        question,
        np.array([float(len(pair.item.answer) - len(pair.item.second)) for pair in pairs]),
        np.array([one for _, one, _ in rows]),
        np.array([other for _, _, other in rows]),
        np.array([not pair.alike for pair in pairs]),
    )


def prefer(found: Judged, seed: int = SEED) -> Preferred:
    """Measure it; intervals are over questions."""
    side = found.side
    compared = Comparisons(
        found.systems, found.first, found.second, (side + 1) / 2, found.longer, found.question
    )
    strengths = bradley_terry(compared, seed)
    records = []
    for (first, second), rate in zip(
        combinations(range(found.systems), 2), strengths.best.pairs, strict=True
    ):
        theirs = side[(found.first == first) & (found.second == second)]
        wins, ties, losses = (int((theirs == won).sum()) for won in (1, 0, -1))
        records.append(Record(first, second, wins, ties, losses, rate))
    asked = found.asked
    place = (found.a_first - found.b_first)[asked] / 2
    with_length = side * np.sign(found.longer)
    return Preferred(
        strengths,
        tuple(records),
        len(side),
        int(asked.sum()),
        int((found.a_first != found.b_first).sum()),
        mean_over_groups(place.tolist(), found.question[asked].tolist()),
        int((with_length > 0).sum()),
        int((with_length != 0).sum()),
        compared.spread,
    )
