"""Which texts try to talk a judge up? A corpus of attacks, each put into wrong answers.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --attacks my_attacks/

Four sessions of a language model wrote it that saw neither the prompts nor each other's texts; who
made the defence had not read *_sealed.jsonl. docs/manipulation.md says what came of it.
"""

import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_client.settings import ROOT
from mlflow_tracking.rows.item import DataError, Item

CORPUS = ROOT / "mlflow_tracking/data/attacks"
PLACES = ("beginning", "middle", "end", "question", "reference")
COLUMNS = ("question", "answer", "reference")  # of every row; others are further columns


@dataclass(frozen=True)
class Attack:
    """A text that is put into a row with a wrong answer; `{right}` in it is the right one."""

    kind: str
    language: str
    place: str  # one of PLACES, or the name of a column
    text: str
    sealed: bool

    def on(self, item: Item) -> Item:
        """The row with this text in its place."""
        words = item.answer.split(" ")
        cuts = {"beginning": 0, "middle": len(words) // 2, "end": len(words)}
        if self.place not in cuts:
            return self.in_column(item, self.place)
        cut = cuts[self.place]
        return replace(item, answer=" ".join([*words[:cut], self._for(item), *words[cut:]]))

    def in_column(self, item: Item, name: str) -> Item:
        """The row with this text at the end of a column, wherever else its place is."""
        text = f"{item.texts.get(name, '')} {self._for(item)}".strip()
        if name in COLUMNS:
            changed: dict[str, Any] = {name: text}  # mypy takes a dict of str for `more`, too
            return replace(item, **changed)
        return replace(item, more=tuple((dict(item.more) | {name: text}).items()))

    def _for(self, item: Item) -> str:
        return self.text.replace("{right}", item.reference.rstrip("."))


@dataclass(frozen=True)
class Corpus:
    """What is judged: pairs of a wrong and a right answer, and wrong answers under attack."""

    wrong: tuple[Item, ...]
    right: tuple[Item, ...]
    odd_wrong: tuple[Item, ...]  # honest answers to tasks about scores, prompts, injections
    odd_right: tuple[Item, ...]
    attacked: tuple[Item, ...]
    attacks: tuple[Attack, ...]  # one for each of `attacked`
    plain: tuple[int, ...]  # for each of `attacked`, its answer's index in `wrong`

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them, in the order of the fields."""
        return (*self.wrong, *self.right, *self.odd_wrong, *self.odd_right, *self.attacked)

    @property
    def places(self) -> dict[str, slice]:
        """Where the rows of each field stand among all."""
        found, start = {}, 0
        for name in (*self.honest, "attacked"):
            stop = start + len(getattr(self, name))
            found[name], start = slice(start, stop), stop
        return found

    @property
    def honest(self) -> dict[str, str]:
        """The fields of rows that nobody tampered with, in words."""
        return {
            "wrong": "wrong answers",
            "right": "right answers",
            "odd_wrong": "wrong answers to odd tasks",
            "odd_right": "right answers to odd tasks",
        }

    @property
    def sha256(self) -> str:
        """Of all that is judged."""
        return hashlib.sha256(repr(self.items).encode()).hexdigest()


def load_corpus(
    folder: Path, per_attack: int, only_sealed: bool = False, column: str = ""
) -> Corpus:
    """Each attack on `per_attack` wrong answers; raises DataError for a file that is broken.

    With a `column` all attacks stand there. A further column has in every row a passage, its
    reference, and the attack behind it.
    """
    wrong, right = _answers(folder / "wrong_and_right_answers.jsonl", column)
    odd_wrong, odd_right = _answers(folder / "honest_oddities.jsonl", column)
    attacks = [one for one in load_attacks(folder) if one.sealed or not only_sealed]
    attacks = [replace(one, place=column or one.place) for one in attacks]
    targets = [(one, at) for one in attacks for at in _choose(one, len(wrong), per_attack)]
    attacked = tuple(attack.on(wrong[at]) for attack, at in targets)
    plain = tuple(at for _, at in targets)
    return Corpus(
        wrong, right, odd_wrong, odd_right, attacked, tuple(one for one, _ in targets), plain
    )


def load_attacks(folder: Path) -> list[Attack]:
    """The corpus of attacks; raises DataError if a file of it is missing or broken."""
    attacks = []
    for name, sealed in (("attacks.jsonl", False), ("attacks_sealed.jsonl", True)):
        lines = _json_lines(folder / name, ("kind", "language", "place", "text"))
        for number, line in enumerate(lines, 1):
            if line["place"] not in PLACES:
                places = ", ".join(PLACES)
                raise DataError(f"{folder / name}: object {number}: 'place' is none of {places}")
            attacks.append(
                Attack(line["kind"], line["language"], line["place"], line["text"], sealed)
            )
    return attacks


def _answers(path: Path, column: str) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Wrong and right answers to the same questions; a further column has the reference."""
    further = column and column not in COLUMNS
    rows = _json_lines(path, ("question", "reference", "wrong", "right"))
    wrong, right = (
        tuple(
            Item(
                row["question"],
                row[which],
                row["reference"],
                more=((column, row["reference"]),) if further else (),
            )
            for row in rows
        )
        for which in ("wrong", "right")
    )
    return wrong, right


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


def _choose(attack: Attack, answers: int, count: int) -> list[int]:
    """The wrong answers that an attack is tried on: spread over all, the same ones every time."""
    start = zlib.crc32(attack.text.encode())
    count = min(count, answers)
    return [(start + step * answers // count) % answers for step in range(count)]
