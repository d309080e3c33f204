"""Which rows did the judge decide, and which verdicts are another judge's? What a run says of it.

    python mlflow_tracking/run_experiment.py --data my.csv --decide decision_rule.json

The columns `decision` and `first_score`, metrics, and the same sentences in the terminal, in the
run's description and in the report.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Row

DECIDED, UNDECIDED, SECOND_OPINION = "decided", "undecided", "second_opinion"


@dataclass(frozen=True)
class Decisions:
    """What a rule says of each row; nothing at all in a run without one."""

    by_row: Sequence[str] = ()  # DECIDED, UNDECIDED or SECOND_OPINION
    first_scores: Sequence[float | None] = ()  # of the first judge, where a second one was asked
    max_wrong: float = 0.0
    promise: str = ""  # what holds for decided rows, in words
    second: JudgeSettings | None = None  # whose verdicts are the second opinions
    beside: Sequence[Verdict | None] = ()  # that were asked for and do not count

    def columns(self) -> dict[str, Sequence[object]]:
        """For the table of results, by name."""
        if not self.by_row:
            return {}
        first = {"first_score": self.first_scores} if self.second else {}
        return {"decision": self.by_row, **first}

    def metrics(self) -> dict[str, float]:
        """`llm_judge/rows_decided` and its like."""
        if not self.by_row:
            return {}
        counts = {name: self.by_row.count(name) for name in (DECIDED, UNDECIDED)}
        if self.second:
            counts[SECOND_OPINION] = self.by_row.count(SECOND_OPINION)
        found = {f"rows_{name}": float(count) for name, count in counts.items()}
        found["coverage"] = counts[DECIDED] / len(self.by_row)
        found["promised_risk"] = self.max_wrong
        return {f"llm_judge/{name}": value for name, value in found.items()}

    def told(self) -> tuple[str, ...]:
        """How many rows are decided, what that promises, and what becomes of the others."""
        if not self.by_row:
            return ()
        decided, left, asked = map(self.by_row.count, (DECIDED, UNDECIDED, SECOND_OPINION))
        lines = [f"{decided} of {len(self.by_row)} rows decided.", self.promise]
        if self.second:
            lines.append(f"{asked} rows have the verdict of {self.second.model}: no promise.")
        return (*lines, f"{left} rows are undecided: a person should look at them.")

    def lines(self) -> list[str]:
        """The same for the terminal."""
        return [f"{'' if n else 'rule':<13}{text}" for n, text in enumerate(self.told())]

    def other_judges(self, rows: Sequence[Row]) -> dict[int, JudgeSettings]:
        """Who judged a row in place of the first judge, by the row's number."""
        if self.second is None:
            return {}
        both = zip(rows, self.by_row, strict=True)
        return {row.number: self.second for row, one in both if one == SECOND_OPINION}


NO_DECISIONS = Decisions()
