"""What may be quoted of a text, and does a quotation stand in it?

Used by `python mlflow_tracking/run_experiment.py`. With a prompt that declares a claim, the judge
quotes what an answer claims, and may neither mend it nor take the reference's words for it. What
its justification has in quotation marks is looked up in the row, too.
"""

import os.path
import re
import unicodedata
from collections.abc import Iterable, Sequence

# A word with its marks inside ('O(log', '3.5', "don't"); of a script without blanks, a sign.
_SIGN = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_SIGN}]|[^\s{_SIGN}]+")
_MARKS = ".,:;!?…。，、：；！？«»“”„\"'‘’`*_"  # around a word: a quotation may end before them
_RUSSIAN = re.compile(r"[а-я]+")
_ENDING = 3  # letters that a Russian word's form may differ in

# Each pair needs its closing mark: a justification that was cut off ends in no quotation.
_QUOTED = re.compile(
    r"«((?:[^«»]|«[^«»]*»)+)»"
    r"|„([^„“”]+)[“”]|“([^“”]+)”|「([^「」]+)」"
    r"|`+([^`]+)`+"
    r'|(?<!\w)"(?=\S)([^"]+)(?<=\S)"(?!\w)'  # not 5" and 6"
    r"|(?<!\w)['‘](?=\S)([^‘\n]+?)(?<=\S)['’](?!\w)"  # not don't, the cats' and the dogs'
)
_LEFT_OUT = re.compile(r"\[?(?:…|\.{3,})\]?")
# Signs that make other code or another number; * and | are Markdown's, dashes differ for nothing.
_OPERATORS = "%+/=<>&^~@"


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


def invented_quotations(text: str, sources: Iterable[str]) -> list[str]:
    """What `text` has in quotation marks and none of the sources says in one run of words.

    Case, punctuation, blanks and, in Russian, endings count for nothing; operators count, so that
    code is not taken for other code. What is quoted with an ellipsis stands in parts.
    """
    quoted = ["".join(groups).strip() for groups in _QUOTED.findall(text)]
    if not quoted:
        return []
    runs = [_folded_code(source) for source in sources]
    return [
        quotation
        for quotation in dict.fromkeys(quoted)
        if not all(
            any(_has_run(_folded_code(part), run) for run in runs)
            for part in _LEFT_OUT.split(quotation)
        )
    ]


def _has_run(words: Sequence[str], there: Sequence[str]) -> bool:
    """Whether the words stand there one after the other; none stand everywhere."""
    return any(
        all(map(_same_word, words, there[start : start + len(words)]))
        for start in range(len(there) - len(words) + 1)
    )


def _folded(text: str, more: str = "") -> list[str]:
    text = text.casefold().replace("ё", "е")
    return re.findall(rf"[{_SIGN}{more}]|[^\W_{_SIGN}]+", text)


def _folded_code(text: str) -> list[str]:
    """Words and operators. Of one form: 'й' may be one sign or two, '²' is a 2."""
    return _folded(unicodedata.normalize("NFKC", text), _OPERATORS)


def _same_word(one: str, other: str) -> bool:
    return one == other or _same_stem(one, other)


def _same_stem(one: str, other: str) -> bool:
    if not (_RUSSIAN.fullmatch(one) and _RUSSIAN.fullmatch(other)):
        return False
    stem = len(os.path.commonprefix([one, other]))
    return stem >= _ENDING and max(len(one), len(other)) - stem <= _ENDING
