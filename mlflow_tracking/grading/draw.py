"""Which rows do people grade? Drawn by chance, so that their grades can speak for all rows.

    python mlflow_tracking/grade_rows.py open --run last --rows 100
    python mlflow_tracking/grade_rows.py open --run last --rows 100 --strata
    python mlflow_tracking/grade_rows.py open --run last --rows 100 --cluster inputs

A row's lot follows from the seed and its number, so a greater draw holds the smaller one, and two
runs over one file draw the same rows. Rows come in the order of their lots, the strata in turn:
whoever stops after some has graded a draw as well.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from llm_client.settings import UserMistake
from mlflow_tracking.grading.judged_run import JudgedRun
from mlflow_tracking.judge.verdict import Status, Verdict
from mlflow_tracking.recording.decisions import DECIDED, UNDECIDED
from mlflow_tracking.recording.results import verdict_columns

Strata = Literal["", "score", "decision"]
# Places in the queue of a row of each stratum, against 1 of all others: undecided rows are what
# people are asked for, and the others keep the mean of all rows honest.
_TURNS = {UNDECIDED: 3}
# Nothing may be drawn together by what the judge said: the grader sees which rows belong together.
_OURS = {"row", "decision", "first_score", *verdict_columns(Verdict(Status.OK))}


class DrawError(UserMistake):
    """A draw that cannot be made or gone on with; the message is one line with the remedy."""


@dataclass(frozen=True)
class Design:
    """How rows are drawn."""

    seed: int = 0
    strata: Strata = ""  # '' for one: every row has the same chance
    cluster: str = ""  # a column: rows that are alike in it are drawn together

    def __str__(self) -> str:
        what = f"all of one {self.cluster} together" if self.cluster else "every row"
        how = f"strata by {self.strata}" if self.strata else "with the same chance"
        return f"{what}, {how}, seed {self.seed}"


@dataclass(frozen=True)
class Candidate:
    """A row that might be drawn."""

    row: int  # its number in the run
    unit: str  # what is drawn: the row's number, or its cluster
    stratum: str = ""


@dataclass(frozen=True)
class Draw:
    """Rows to be graded, in this order, and what the chance of each was."""

    digest: str  # of all rows of the run: the draw speaks for these and no others
    of: int  # how many these are
    design: Design
    stratum_units: Mapping[str, int]  # units to draw from
    drawn: tuple[Candidate, ...]

    def __str__(self) -> str:
        return f"{len(self.drawn)} of {self.of} rows: {self.design}"

    @property
    def aliases(self) -> dict[str, str]:
        """Names of the strata for graders, whom the judge's score is not to be told."""
        lots = sorted(self.stratum_units, key=lambda name: _lot(self.design.seed, name))
        return {name: f"s{number}" if name else "" for number, name in enumerate(lots, 1)}

    def chance(self, one: Candidate) -> float:
        """The share of its stratum's units that was drawn."""
        units = {(other.stratum, other.unit) for other in self.drawn}
        taken = Counter(stratum for stratum, _ in units)
        return taken[one.stratum] / self.stratum_units[one.stratum]

    def to_json(self) -> dict[str, Any]:
        """As JSON types, each row with its chance; `from_json` reads it back."""
        chances = {one.stratum: self.chance(one) for one in self.drawn}
        rows = [asdict(one) | {"chance": chances[one.stratum]} for one in self.drawn]
        return asdict(self) | {"drawn": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Draw":
        """Read back `to_json`."""
        drawn = tuple(Candidate(one["row"], one["unit"], one["stratum"]) for one in data["drawn"])
        design = Design(**data["design"])
        return cls(data["digest"], data["of"], design, data["stratum_units"], drawn)


def candidates(run: JudgedRun, design: Design) -> list[Candidate]:
    """Every row of the run with what is drawn of it; raises DrawError for what it has not."""
    table = run.rows
    strata = [""] * len(table)
    if design.strata == "score":
        strata = ["no score" if np.isnan(s) else str(int(s + 0.5)) for s in run.finest]
    elif design.strata == "decision":
        if UNDECIDED not in set(table.get("decision", ())):
            raise DrawError(f"run {run.run_id}: has no undecided rows; run_experiment.py --decide")
        strata = [UNDECIDED if d == UNDECIDED else DECIDED for d in table["decision"]]
    rows = [int(row) for row in table["row"]]
    units = _clusters(run, design.cluster) if design.cluster else rows
    return [
        Candidate(row, str(unit), stratum)
        for row, unit, stratum in zip(rows, units, strata, strict=True)
    ]


def _clusters(run: JudgedRun, column: str) -> list[int]:
    """For each row the number of its cluster's first row; an empty cell is alike to no other."""
    known = [str(name) for name in run.rows.columns if name not in _OURS]
    if column not in known:
        raise DrawError(f"run {run.run_id}: no column {column} of the file; {', '.join(known)}")
    first: dict[str, int] = {}
    rows = zip(run.rows["row"], run.rows[column], strict=True)
    return [
        int(row) if not str(cell).strip() else first.setdefault(str(cell), int(row))
        for row, cell in rows
    ]


def draw_rows(candidates: Sequence[Candidate], digest: str, design: Design, rows: int) -> Draw:
    """Draw at least `rows` rows, whole units, or all where there are no more.

    Every unit of a stratum has the same chance. Strata take turns, so that each gives as many as
    the others while it lasts.
    """
    units: dict[tuple[str, str], list[Candidate]] = {}
    for one in candidates:
        units.setdefault((one.stratum, one.unit), []).append(one)
    there = Counter(stratum for stratum, _ in units)
    turns: list[tuple[float, str, str, str]] = []
    for stratum in there:
        own = sorted((_lot(design.seed, unit), unit) for name, unit in units if name == stratum)
        share = _TURNS.get(stratum, 1)
        turns += [(place / share, lot, stratum, unit) for place, (lot, unit) in enumerate(own, 1)]
    drawn: list[Candidate] = []
    for _, _, stratum, unit in sorted(turns):
        if len(drawn) >= rows:
            break
        drawn += units[stratum, unit]
    return Draw(digest, len(candidates), design, dict(there), tuple(drawn))


def go_on_with(earlier: Draw, now: Draw) -> Draw:
    """The greater of two draws, of which the other is the beginning; raises DrawError if not."""
    if earlier.design != now.design:
        raise DrawError(
            f"this run's rows were drawn otherwise ({earlier.design}) and two draws do not mix; "
            "give the same flags, or draw from a new run"
        )
    if earlier.digest != now.digest or earlier.stratum_units != now.stratum_units:
        raise DrawError(
            "the rows that were drawn earlier are not this run's any more, or its scores changed; "
            "grade those, or draw from a new run"
        )
    return max(earlier, now, key=lambda draw: len(draw.drawn))


def _lot(seed: int, unit: str) -> str:
    return hashlib.sha256(json.dumps([seed, unit]).encode()).hexdigest()
