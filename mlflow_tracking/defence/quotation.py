"""What may be quoted of a text, and does a quotation stand in it?

Used by `python mlflow_tracking/run_experiment.py` with a prompt that declares a claim: the judge
quotes what an answer claims, and may neither mend it nor take the reference's words for it.
"""

import os.path
import re

# A word with its marks inside ('O(log', '3.5', "don't"); of a script without blanks, a sign.
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGN}]|[^\s{_SIGN}]+")
_MARKS = ".,:;!?…。，、：；！？«»“”„\"'‘’`*_"  # around a word: a quotation may end before them
_RUSSIAN = re.compile(r"[а-я]+")
_ENDING = 3  # letters that a Russian word's form may differ in


def quotable(text: str) -> list[str]:
    """The text's words, and between each two what separates them there: word, gap, word ..."""
    parts: list[str] = []
    end = 0
    for match in _WORD.finditer(text):
        word = match[0].strip(_MARKS)
        if not word:
            continue
        start = match.start() + match[0].index(word)
        if parts:
            parts.append(text[end:start])
        parts.append(word)
        end = start + len(word)
    return parts


def count_words(text: str) -> int:
    """As `quotable` has them."""
    return (len(quotable(text)) + 1) // 2


def stands_in(quotation: str, text: str) -> bool:
    """Whether every word of the quotation is one of the text's; a quotation of nothing is none.

    Case, punctuation and, in Russian, endings count for nothing.
    """
    words, there = _folded(quotation), set(_folded(text))
    return bool(words) and all(
        word in there or any(_same_stem(word, other) for other in there) for word in words
    )


def _folded(text: str) -> list[str]:
    text = text.casefold().replace("ё", "е")
    return re.findall(rf"[{_SIGN}]|[^\W_{_SIGN}]+", text)


def _same_stem(one: str, other: str) -> bool:
    if not (_RUSSIAN.fullmatch(one) and _RUSSIAN.fullmatch(other)):
        return False
    stem = len(os.path.commonprefix([one, other]))
    return stem >= _ENDING and max(len(one), len(other)) - stem <= _ENDING
