"""What is judged? An answer to a question, on its way from a file's row to its verdict.

    row = Row(1, 2, Item("What is 2+2?", "4"), {"inputs": "What is 2+2?", "predictions": "4"})
    messages = settings.messages(row.item)

Read by row_files.py for `python mlflow_tracking/run_experiment.py --data my.csv`.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llm_client.settings import UserMistake
from mlflow_tracking.rows.conversation import answer_text, question_and_answer, rendered

QUESTION, ANSWER, REFERENCE = "inputs", "predictions", "targets"  # the columns of a file
ANSWER_A, ANSWER_B = "answer_a", "answer_b"  # of a file of pairs

Named = tuple[tuple[str, str], ...]  # a column's name here, and the file's header for it

SCALE = (1, 2, 3, 4, 5)  # what judges and people give


class DataError(UserMistake):
    """Rows that cannot be judged; the message is one line with file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is judged: an answer to a question, beside a reference answer ('' for none)."""

    question: str
    answer: str
    reference: str = ""
    more: tuple[tuple[str, str], ...] = ()  # further columns that the prompt uses

    @property
    def texts(self) -> dict[str, str]:
        """By the placeholders of a prompt file."""
        own = {"question": self.question, "answer": self.answer, "reference": self.reference}
        return own | dict(self.more)


@dataclass(frozen=True, slots=True)
class PairItem(Item):
    """Two answers to a question, of which one is to be preferred; `answer` is shown first."""

    second: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """By the placeholders of a prompt file that compares two answers."""
        answers = {"answer_a": self.answer, "answer_b": self.second}
        return {"question": self.question, **answers, "reference": self.reference}


@dataclass(frozen=True)
class Row:
    """One row of a file; nothing in it is interpreted, 'NA' and '007' stay as they are."""

    number: int  # from 1, in the file's order
    line: int  # of the file, where the row starts
    item: Item
    columns: Mapping[str, str]  # every column of the file, and the answer of a conversation

    def asking(self, names: Sequence[str], named: Named = ()) -> "Row":
        """The row with an item that has these columns, too, '' where the row has none.

        A column that has another name here is known by the file's header as well.
        """
        cells = {header: self.columns.get(name, "") for name, header in named}
        cells |= dict(self.columns)
        more = tuple((name, rendered(cells.get(name, ""))) for name in names)
        return replace(self, item=replace(self.item, more=more)) if names else self


@dataclass(frozen=True)
class DataSet:
    """The rows of one file."""

    path: Path
    sha256: str  # of the file's bytes
    delimiter: str  # of a CSV; '' of other files
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # what the user should know of how the file was read
    sheet: str = ""  # of a workbook
    named: Named = ()  # the columns that have other headers in the file

    @property
    def items(self) -> list[Item]:
        """The rows as the judge is asked about them."""
        return [row.item for row in self.rows]

    def asking(self, names: Sequence[str]) -> "DataSet":
        """The same with items that have these columns of the file, too; raises DataError."""
        if self.rows:
            headers = (header for _, header in self.named)
            check_asked(str(self.path), names, [*self.rows[0].columns, *headers])
        return replace(self, rows=tuple(row.asking(names, self.named) for row in self.rows))


def check_asked(where: str, names: Sequence[str], there: Sequence[str]) -> None:
    """Raises DataError for a column that a prompt asks for and the file has not."""
    for name in names:
        if name not in there:
            near = nearest(name, there)
            meant = f"; did you mean {near}?" if near else ""
            has = ", ".join(there)[:200]
            raise DataError(
                f"{where}: no column {name}, which the prompt asks for; it has {has}{meant}"
            )


def nearest(name: str, names: Sequence[str]) -> str:
    """Which of the names is meant; '' if none comes near."""
    folded = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), folded, 1)
    return folded[found[0]] if found else ""


def item_of(columns: Mapping[str, str]) -> Item:
    """What is judged of a row with these columns."""
    question, answer = _judged(columns)
    return Item(question, answer or "", answer_text(columns.get(REFERENCE, "")).strip())


def row_of(number: int, line: int, columns: Mapping[str, str]) -> Row:
    """The row with these columns; an answer that is a conversation's last becomes one of them."""
    answer = _judged(columns)[1] if ANSWER not in columns else None
    columns = columns if answer is None else {**columns, ANSWER: answer}
    return Row(number, line, item_of(columns), columns)


def _judged(columns: Mapping[str, str]) -> tuple[str, str | None]:
    """Question and answer; of a pair, whose answers have columns of their own, the question."""
    if ANSWER_A in columns and ANSWER not in columns:
        return rendered(columns[QUESTION]), None
    return question_and_answer(columns[QUESTION], columns.get(ANSWER))
