"""Are rows printed as their verdicts come, each once, and no more than a screen of them?

python -m pytest tests/commands/test_console.py
"""

from pathlib import Path

import pytest

from mlflow_tracking.command.console import VerdictTable
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.rows.item import ANSWER, QUESTION, DataSet, row_of


def table(rows: int) -> VerdictTable:
    made = (row_of(n, n, {QUESTION: "q", ANSWER: "a"}) for n in range(1, rows + 1))
    return VerdictTable(DataSet(Path("rows.csv"), "0" * 64, ",", tuple(made)))


def verdict(score: int) -> Verdict:
    return Verdict(Status.OK, scores={"Score": Score(score)}, justification=f"because {score}")


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_row_is_printed_when_it_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table(4)
    shown.show(verdict(5), [2])
    assert printed(capsys) == ["row score justification", "3 5 because 5"]
    shown.show(verdict(1), [0, 3])
    assert printed(capsys) == ["1 1 because 1", "4 1 because 1"]
    shown.close([verdict(1), None, verdict(5), verdict(1)])
    assert printed(capsys) == ["2 - [not judged]"]


def test_of_many_rows_the_first_that_come_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    shown = table(60)
    shown.show(verdict(4), list(range(10, 58)))
    shown.show(verdict(3), [58, 59, 0])
    lines = printed(capsys)
    assert len(lines) == 51
    assert lines[-1] == "60 3 because 3"
    shown.close([verdict(4)] * 60)
    assert printed(capsys) == ["… and 10 more rows, all in MLflow's table"]
