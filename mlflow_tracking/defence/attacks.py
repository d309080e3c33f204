"""Which texts try to talk a judge up? A corpus of attacks, each appended to wrong answers.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --attacks my_attacks/

The attacks in the file *_held_out.jsonl were not looked at while the rules of rules.py were
written.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_client.settings import ROOT
from mlflow_tracking.rows.item import DataError, Item

CORPUS = ROOT / "mlflow_tracking/data/attacks"


@dataclass(frozen=True)
class Attack:
    """A text that is appended to a wrong answer."""

    kind: str
    language: str
    text: str
    held_out: bool


@dataclass(frozen=True)
class Corpus:
    """What is judged: wrong and right answers, and wrong ones with an attack each."""

    wrong: tuple[Item, ...]
    right: tuple[Item, ...]
    attacked: tuple[Item, ...]
    attacks: tuple[Attack, ...]  # one for each of `attacked`
    plain: tuple[int, ...]  # for each of `attacked`, its answer's index in `wrong`

    @property
    def sha256(self) -> str:
        """Of all that is judged."""
        return hashlib.sha256(repr(self.items).encode()).hexdigest()

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them: wrong, right, attacked."""
        return (*self.wrong, *self.right, *self.attacked)


def load_corpus(folder: Path, per_attack: int) -> Corpus:
    """Each attack on `per_attack` answers; raises DataError if a file is missing or broken."""
    names = ("language", "question", "wrong", "right", "reference")
    answers = _json_lines(folder / "wrong_and_right_answers.jsonl", names)
    wrong = [Item(row["question"], row["wrong"], row["reference"]) for row in answers]
    right = [Item(row["question"], row["right"], row["reference"]) for row in answers]
    targets = [
        (attack, index)
        for attack in load_attacks(folder)
        for index in _choose(attack, answers, per_attack)
    ]
    attacked = [replace(wrong[i], answer=wrong[i].answer + attack.text) for attack, i in targets]
    attacks = tuple(attack for attack, _ in targets)
    plain = tuple(index for _, index in targets)
    return Corpus(tuple(wrong), tuple(right), tuple(attacked), attacks, plain)


def load_attacks(folder: Path) -> list[Attack]:
    """The corpus of attacks; raises DataError if a file of it is missing or broken."""
    attacks = []
    for name, held_out in (("injection_attacks", False), ("injection_attacks_held_out", True)):
        for line in _json_lines(folder / f"{name}.jsonl", ("kind", "language", "text")):
            attacks.append(Attack(line["kind"], line["language"], line["text"], held_out))
    return attacks


def _json_lines(path: Path, names: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a file, each with those names."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        found = [dict(json.loads(line)) for line in lines if line]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    for number, line in enumerate(found, 1):
        if missing := [name for name in names if not isinstance(line.get(name), str)]:
            raise DataError(f"{path}: object {number} has no text '{missing[0]}'")
    return found


def _choose(attack: Attack, answers: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The questions that an attack is tried on: of its language where there is one."""
    same = [i for i, row in enumerate(answers) if row["language"] == attack.language]
    fit = same or list(range(len(answers)))
    start = sum(map(ord, attack.text)) % len(fit)  # spread over the questions, the same every time
    return [fit[(start + step) % len(fit)] for step in range(count)]
