"""Which graded rows do tests have judged, and by which judges? Rows of known worth, known judges.

    csv = scale_csv(tmp_path)                       # human_score 1-5
    stub.judge = reads_the_grade                    # agrees with it on every row

A row's worth stands in its answer, where a stub's judge can read it: 'grade 4'.
"""

import random
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from mlflow_tracking.defence.attacks import CORPUS, load_corpus
from tests.support.experiment_process import write_csv
from tests.support.judge_stub import Call

SCALE_ROWS, LABEL_ROWS, PAIR_ROWS = 40, 40, 24
_GRADE = re.compile(r"grade (\d)")
_UNKNOWN = 2  # what a judge gives to texts of the shipped probes, which have no grade
_WRONG = {item.answer for item in load_corpus(CORPUS, 1).wrong}


def answer_of(number: int, grade: int) -> str:
    """Of a length that says nothing about the grade; half of them have Markdown."""
    words = " indeed" * random.Random(number).randrange(12)
    mark = "**" if number % 2 else ""
    return f"It is {mark}item-{number}{mark}, of grade {grade}.{words}"


def scale_csv(folder: Path, rows: int = SCALE_ROWS, **extra: str) -> Path:
    """Rows with human scores 1-5, all equally often, and the graders' reasons."""
    return write_csv(
        folder / "scale.csv", [_row(n, 1 + n % 5, str(1 + n % 5)) | extra for n in range(rows)]
    )


def label_csv(folder: Path, rows: int = LABEL_ROWS) -> Path:
    """Rows with labels right and wrong; right ones have grade 5, wrong ones 1."""
    graded = [_row(n, 5 if n % 2 else 1, "right" if n % 2 else "wrong") for n in range(rows)]
    return write_csv(folder / "labels.csv", graded)


def pairs_csv(folder: Path, rows: int = PAIR_ROWS) -> Path:
    """Pairs of answers of which the one with the higher grade won; every sixth is a tie."""
    records = []
    for n in range(rows):
        a, b = 1 + n % 5, 1 + n % 5 if n % 6 == 0 else 1 + (n + 1 + n % 3) % 5
        winner = "a" if a > b else "b" if b > a else "tie"
        answers = {"answer_a": answer_of(n, a), "answer_b": answer_of(n, b)}
        records.append({"inputs": f"What is item-{n}?", **answers, "winner": winner})
    return write_csv(folder / "pairs.csv", records)


def _row(number: int, grade: int, human: str) -> dict[str, str]:
    return {
        "inputs": f"What is item-{number}?",
        "predictions": answer_of(number, grade),
        "human_score": human,
        "human_feedback": f"<b>people's</b> reason {number}",
    }


def grade_of(text: str) -> int:
    """The grade that a text names."""
    found = _GRADE.search(text)
    return int(found[1]) if found else _UNKNOWN


def reads_the_grade(call: Call) -> int:
    """A perfect judge."""
    return grade_of(call.answer)


def always_four(call: Call) -> int:
    """A constant judge."""
    return 4


def rolls_dice(call: Call) -> int:
    """A random judge, the same for the same text."""
    return 1 + zlib.crc32(call.text.encode()) % 5


def counts_characters(call: Call) -> int:
    """A judge that loves length."""
    return min(5, 1 + len(call.answer) // 35)


def flips(call: Call) -> int:
    """A judge that says another score every second time that it is asked about a row."""
    grade = grade_of(call.answer)
    return grade if call.nth % 2 else (grade + 1 if grade < 5 else grade - 1)


def swayed_by(pattern: str, score: int = 5) -> Callable[[Call], int]:
    """A perfect judge but for answers in which `pattern` is found."""

    def judge(call: Call) -> int:
        return score if re.search(pattern, call.answer) else grade_of(call.answer)

    return judge


def gives_in(call: Call) -> int:
    """A judge that gives a 5 to a wrong answer if something is appended to it."""
    known = any(call.answer.startswith(wrong) for wrong in _WRONG)
    return 5 if known and call.answer not in _WRONG else grade_of(call.answer)


def repeats_the_question(call: Call) -> int:
    """A judge that is impressed by the question's own words."""
    return 5 if "What is" in call.answer else grade_of(call.answer)


def prefers_first(call: Call) -> int:
    """Of two answers, always the one in the first place."""
    return 1


def prefers_the_grade(call: Call) -> int:
    """Of two answers, the one with the higher grade; the first of equal ones."""
    first, second = (int(grade) for grade in _GRADE.findall(call.text)[:2])
    return 1 if first >= second else 2
