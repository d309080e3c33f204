"""Which kind of graded file is this? Told from the columns that it has.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv` through graded_rows.py.
"""

import re
from pathlib import Path

from mlflow_tracking.graded_cells import shown
from mlflow_tracking.rows import ANSWER, QUESTION, DataError

GRADE, FEEDBACK = "human_score", "human_feedback"
ANSWER_A, ANSWER_B, WINNER = "answer_a", "answer_b", "winner"
_SCORED, _PAIRED = (QUESTION, ANSWER, GRADE), (QUESTION, ANSWER_A, ANSWER_B, WINNER)


def is_paired(path: Path, header: list[str]) -> bool:
    """True for pairs, False for single answers; raises DataError for both or half of the first."""
    lacking = [name for name in _PAIRED if name not in header]
    scored = ANSWER in header and any(name == GRADE or _is_rater(name) for name in header)
    if not lacking and scored:
        raise DataError(
            f"{path}:1: has the columns of scored answers and of pairs; split it into two files"
        )
    if lacking and not scored and (ANSWER_A in header or ANSWER_B in header):
        raise DataError(_no_column(path, lacking, header, _PAIRED))
    return not lacking


def rater_columns(path: Path, header: list[str]) -> tuple[str, ...]:
    """The columns of several raters, by their number; raises DataError if a column is lacking."""
    numbered = [name for name in header if _is_rater(name)]
    lacking = [name for name in _SCORED if name not in header]
    if numbered and GRADE in lacking:
        lacking.remove(GRADE)
    if lacking:
        raise DataError(_no_column(path, lacking, header, _SCORED))
    return tuple(sorted(numbered, key=lambda name: int(name.rsplit("_", 1)[1])))


def _is_rater(name: str) -> bool:
    return re.fullmatch(rf"{GRADE}_[0-9]+", name) is not None


def _no_column(path: Path, lacking: list[str], header: list[str], needs: tuple[str, ...]) -> str:
    names = shown(", ".join(header), 200)
    return f"{path}:1: no column {' and '.join(lacking)}; it has {names}, needs {','.join(needs)}"
