"""Which rows are shown where not all can be? The worst first, then a sample of the rest.

python mlflow_tracking/run_experiment.py --traces 100
python mlflow_tracking/run_distributed.py --data answers/ --output verdicts/ --sample 2000
"""

import zlib
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from mlflow_tracking.judge.verdict import Verdict

_Shown = TypeVar("_Shown")


class _Candidate(NamedTuple, Generic[_Shown]):
    rank: tuple[Any, ...]  # low ones are kept; its end is the row's place
    place: tuple[Any, ...]
    shown: _Shown


class RowSample(Generic[_Shown]):
    """Sees every row once, holds four times `limit` at most.

    All rows if they are no more than `limit`; else half of the places go to the worst, and a sample
    of all fills the other half, so that what is shown is not only what went wrong.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._worst: list[_Candidate[_Shown]] = []
        self._drawn: list[_Candidate[_Shown]] = []

    def add(self, place: tuple[Any, ...], verdict: Verdict, shown: _Shown) -> None:
        """Look at a row; `place` tells it from all others."""
        # A row's lot follows from where it stands: two runs over the same rows draw the same, in
        # whatever order their blocks come, and can be compared row by row.
        lot = zlib.crc32(":".join(map(str, place)).encode())
        self._worst.append(_Candidate((*_badness(verdict), *place), place, shown))
        self._drawn.append(_Candidate((lot, *place), place, shown))
        if len(self._drawn) >= 2 * self._limit:
            self._cut()

    def rows(self) -> list[_Shown]:
        """At most `limit`, by their places."""
        self._cut()
        worst = self._worst[: (self._limit + 1) // 2]
        places = {row.place for row in worst}
        rest = [row for row in self._drawn if row.place not in places]
        chosen = worst + rest[: self._limit - len(worst)]
        return [row.shown for row in sorted(chosen, key=lambda row: row.place)]

    def _cut(self) -> None:
        for rows in (self._worst, self._drawn):
            rows.sort(key=lambda row: row.rank)
            del rows[self._limit :]


def worst_first(verdicts: Sequence[Verdict | None]) -> list[int]:
    """Indices of the judged rows: failed ones, then by score, equal ones by expected score."""
    judged = [(_badness(verdict), index) for index, verdict in enumerate(verdicts) if verdict]
    return [index for _, index in sorted(judged)]


def choose_rows(verdicts: Sequence[Verdict | None], limit: int) -> list[int]:
    """At most `limit` indices of judged rows, in the file's order, as RowSample has them."""
    sample = RowSample[int](limit)
    for index, verdict in enumerate(verdicts):
        if verdict:
            sample.add((index,), verdict, index)
    return sample.rows()


def _badness(verdict: Verdict) -> tuple[float, float]:
    """Low for what a person should see: no score, a low one, a low expected one."""
    score = verdict.overall
    if score is None:
        return -1.0, 0.0  # below a 0 of 0-10
    return float(score.value), score.finest
