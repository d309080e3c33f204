"""Which rows are shown of those that do not fit into memory? The worst, and a sample of all.

Recorded by `python mlflow_tracking/run_distributed.py --sample 2000`; row_sample.py does the same
for rows that are all there.
"""

import zlib
from dataclasses import dataclass
from typing import Any

from mlflow_tracking.block_results import FILE, JudgedBlock
from mlflow_tracking.verdict import Verdict


@dataclass(frozen=True)
class SampledRow:
    """A row's columns as they were written, and its verdict."""

    rank: tuple[Any, ...]  # low ones are kept; its end is the row's place
    record: dict[str, Any]
    verdict: Verdict

    @property
    def place(self) -> tuple[Any, ...]:
        """File and row number."""
        return self.rank[-2:]


class RowSample:
    """Sees every row once, holds four times `limit` at most."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._worst: list[SampledRow] = []
        self._drawn: list[SampledRow] = []

    def add(self, block: JudgedBlock) -> None:
        """Look at a block's rows."""
        for record, verdict in zip(block.records, block.verdicts, strict=True):
            place = (str(record[FILE]), int(record["row"]))
            # A row's lot follows from where it stands: two runs over the same rows draw the same,
            # in whatever order their blocks come, and can be compared row by row.
            lot = zlib.crc32(f"{place[0]}:{place[1]}".encode())
            self._worst.append(SampledRow((*_badness(verdict), *place), record, verdict))
            self._drawn.append(SampledRow((lot, *place), record, verdict))
            if len(self._drawn) >= 2 * self._limit:
                self._cut()

    def rows(self) -> list[SampledRow]:
        """At most `limit`, in the files' order: all, or half of them the worst."""
        self._cut()
        worst = self._worst[: (self._limit + 1) // 2]
        places = {row.place for row in worst}
        rest = [row for row in self._drawn if row.place not in places]
        chosen = worst + rest[: self._limit - len(worst)]
        return sorted(chosen, key=lambda row: row.place)

    def _cut(self) -> None:
        for rows in (self._worst, self._drawn):
            rows.sort(key=lambda row: row.rank)
            del rows[self._limit :]


def _badness(verdict: Verdict) -> tuple[float, float]:
    """As row_sample.worst_first: rows without a score, then by score and expected score."""
    score = verdict.overall
    if score is None:
        return 0.0, 0.0
    return float(score.value), score.expected if score.expected is not None else float(score.value)
