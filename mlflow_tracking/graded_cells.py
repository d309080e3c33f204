"""What did a person write into a cell: a score, a label, a winner? Several spellings of each.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv` through graded_rows.py.
"""

import re
from typing import Literal

Winner = Literal["a", "b", "tie"]

LABELS = {
    **dict.fromkeys(("true", "yes", "right", "correct", "да", "верно", "правильно"), True),
    **dict.fromkeys(("false", "no", "wrong", "incorrect", "нет", "неверно", "неправильно"), False),
}
# The Cyrillic а and В look the same; 'tie (bothbad)' and 'model_a' are Chatbot Arena's.
_WINNERS: dict[str, Winner] = {
    **dict.fromkeys(("a", "answer_a", "answer a", "model_a", "а"), "a"),
    **dict.fromkeys(("b", "answer_b", "answer b", "model_b", "в", "б"), "b"),
    **dict.fromkeys(("tie", "draw", "equal", "tie (bothbad)", "ничья", "равны"), "tie"),
}


def read_number(cell: str) -> float | None:
    """'4', '4.5' and '4,5' (a decimal comma); None for all else, 'nan' and '1e9' included."""
    text = cell.strip().replace(",", ".")
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{0,30})?", text) else None


def read_label(cell: str) -> bool | None:
    """1/0, true/false, yes/no, right/wrong, да/нет, верно/неверно; None for all else."""
    number = read_number(cell)
    if number is not None:
        return bool(number) if number in (0, 1) else None
    return LABELS.get(cell.strip().casefold())


def read_winner(cell: str) -> Winner | None:
    """a, b or tie, as `answer_a`, 'ничья' and the like, too; None for all else."""
    return _WINNERS.get(" ".join(cell.split()).casefold())


def shown(cell: str, width: int = 40) -> str:
    """A cell on one line of a message, whatever is in it."""
    text = " ".join(cell.split())
    return f"{text[:width]}…" if len(text) > width else text
