"""What is judged? An answer to a question, on its way from a file's row to its verdict.

    row = Row(1, 2, Item("What is 2+2?", "4"), {"inputs": "What is 2+2?", "predictions": "4"})
    messages = settings.messages(row.item)

Read by row_files.py for `python mlflow_tracking/run_experiment.py --data my.csv`.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llm_client.settings import UserMistake
from mlflow_tracking.rows.conversation import answer_text, question_and_answer, rendered

QUESTION, ANSWER, REFERENCE = "inputs", "predictions", "targets"  # the columns of a file
ANSWER_A, ANSWER_B = "answer_a", "answer_b"  # of a file of pairs

Named = tuple[tuple[str, str], ...]  # a column's name here, and the file's header for it


class DataError(UserMistake):
    """Rows that cannot be judged; the message is one line with file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Item:
    """What is judged: an answer to a question, beside a reference answer ('' for none)."""

    question: str
    answer: str
    reference: str = ""
    # Further columns that the prompt shows, by name.
    more: tuple[tuple[str, str], ...] = field(default=(), kw_only=True)

    @property
    def texts(self) -> dict[str, str]:
        """By the placeholders of a prompt file."""
        named = {"question": self.question, "answer": self.answer, "reference": self.reference}
        return named | dict(self.more)


@dataclass(frozen=True, slots=True)
class PairItem(Item):
    """Two answers to a question, of which one is to be preferred; `answer` is shown first."""

    second: str = ""

    @property
    def texts(self) -> dict[str, str]:
        """By the placeholders of a prompt file that compares two answers."""
        answers = {"answer_a": self.answer, "answer_b": self.second}
        named = {"question": self.question, **answers, "reference": self.reference}
        return named | dict(self.more)


@dataclass(frozen=True)
class Row:
    """One row of a file; nothing in it is interpreted, 'NA' and '007' stay as they are."""

    number: int  # from 1, in the file's order
    line: int  # of the file, where the row starts
    item: Item
    columns: Mapping[str, str]  # every column of the file, and the answer of a conversation

    def showing(self, names: Sequence[str], named: Named = ()) -> "Row":
        """The row as it is judged by a prompt that shows further columns, '' for what it lacks.

        A column that has another name here is known by the file's header as well.
        """
        cells = {header: self.columns.get(name, "") for name, header in named}
        cells |= dict(self.columns)
        more = tuple((name, rendered(cells.get(name, ""))) for name in names)
        return replace(self, item=replace(self.item, more=more))


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
    answers_sha256: str = ""  # of answers that are not the file's

    @property
    def items(self) -> list[Item]:
        """The rows as the judge is asked about them."""
        return [row.item for row in self.rows]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, with the file's own for those that have others here."""
        headers = (header for _, header in self.named)
        return tuple(dict.fromkeys((*self.rows[0].columns, *headers))) if self.rows else ()

    def asking(self, names: Sequence[str]) -> "DataSet":
        """The rows as they are judged by a prompt that shows these further columns."""
        return replace(self, rows=tuple(row.showing(names, self.named) for row in self.rows))


def nearest(name: str, names: Sequence[str], alike: float = 0.6) -> str:
    """Which of the names is meant; '' if none comes near, by difflib's ratio."""
    folded = {known.casefold(): known for known in names}
    found = difflib.get_close_matches(name.casefold(), folded, 1, alike)
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
