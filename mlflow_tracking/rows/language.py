"""Is a text Russian or English? Told by its letters and its little words, or not at all.

    language_of("Столица Германии — Берлин.")  # 'ru'
    language_of("Die Hauptstadt von Deutschland ist Berlin.")  # None: neither of the two

Used by the preflight of `python mlflow_tracking/run_experiment.py`, which compares the rows with
the prompt, and by the probes of validate_judge.py, which speak the answer's language.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal

from mlflow_tracking.rows.item import Item

Language = Literal["ru", "en"]
LANGUAGES: dict[Language, str] = {"ru": "Russian", "en": "English"}

_BEGINNING = 600  # characters that tell; 10,000 long rows are told in half a second
_WORD = re.compile(r"[^\W\d_]+")
_RUSSIAN = frozenset("абвгдеёжзийклмнопрстуфхцчшщъыьэюя")
# What English text is made of: 20 to 60 % of its words, and hardly any of other languages' or of
# code's. Hence no 'a' (every eighth word of Hungarian) and no 'in', 'if' and 'not'.
_LITTLE_WORDS = frozenset(
    _WORD.findall(
        "an and the of to from with or for is are was were be been it its that this these those "
        "there they their you your he she his her we our what which who whose how why when where "
        "does did can will would should has have had than then but by on at some any all more most "
        "many very also into about because between"
    )
)
_ENGLISH = 0.2  # of the words
# What a prompt file says to the machine: placeholders, declarations, tags.
_NOT_WORDING = re.compile(r"\{[^{}\n]*\}|\[[^\[\]\n]*\]|</?\w+>")


def language_of(text: str) -> Language | None:
    """The language that most letters are in; None for code, formulas and other languages."""
    beginning = text[:_BEGINNING].lower()
    words = _WORD.findall(beginning)
    letters = "".join(words)
    if 2 * len(letters) <= len("".join(beginning.split())):
        return None
    cyrillic = [letter for letter in letters if "Ѐ" <= letter <= "ӿ"]
    if 2 * len(cyrillic) > len(letters):
        return "ru" if _is_russian(cyrillic) else None
    return "en" if sum(word in _LITTLE_WORDS for word in words) > _ENGLISH * len(words) else None


def _is_russian(cyrillic: list[str]) -> bool:
    """Other alphabets have further letters; Bulgarian has the hard sign where Russian has ы."""
    counts = Counter(cyrillic)
    return (
        _RUSSIAN.issuperset(counts) and counts["ъ"] <= counts["ы"] + counts["э"] + counts["ё"] + 1
    )


def language_of_prompt(text: str) -> Language | None:
    """Of a prompt file's wording, without what it says to the machine."""
    return language_of(_NOT_WORDING.sub(" ", text))


def language_of_row(item: Item) -> Language | None:
    """Of an answer and its question; None if they are in different ones, as a translation is."""
    found = {language_of(text) for text in (item.question, item.answer)} - {None}
    return found.pop() if len(found) == 1 else None


def count_languages(items: Iterable[Item]) -> Counter[Language | None]:
    """How many rows are in each."""
    return Counter(map(language_of_row, items))
