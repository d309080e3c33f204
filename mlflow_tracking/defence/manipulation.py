"""Which parts of an answer speak to the judge instead of answering the question?

Used by `python mlflow_tracking/run_experiment.py`; what it catches and what it wrongly flags is
measured by `python mlflow_tracking/probe_injection.py`.

A small judge follows such text whatever the prompt says (measured: wrong answers at 2.0 rise to
4.3-5.0), so it is found by rules, before the judge sees it. They read a folded text: no invisible
characters or accents, no look-alike letters of another alphabet, no spaced-out or l33t words.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence

from mlflow_tracking.defence.rules import TAKEOVER, TALK, candidates
from mlflow_tracking.defence.safe_text import ControlTokens

Span = tuple[int, int]  # start and end in the answer
OMISSION = "[…]"

_TO_LATIN = str.maketrans("асеорхукмтнвзАСЕОРХУКМТНВ", "aceopxykmtHb3ACEOPXYKMTHB")
_TO_CYRILLIC = str.maketrans("aceopxykmuHBTKMACEOPXY", "асеорхукмиНВТКМАСЕОРХУ")
# A longer word is none, and rules that look for word endings would take minutes over it.
_WORD_CHARS = 60
_CODE = re.compile(r"`[^`\n]+`[ \t]+")
_LEET = str.maketrans("013457@$", "oieastas")


def find_spans(answer: str) -> list[Span]:
    """The parts of `answer` that speak to the judge, in order, without overlap; usually none."""
    folded, places = _fold(answer)
    rules = candidates(folded)
    found = [
        (_behind_code(folded, start, end, rules), end)
        for start, end in _segments(folded)
        if _speaks(folded, start, end, rules)
    ]
    found += _takeovers(answer, folded, places)
    blocks = [match.span() for match in re.finditer(r"```.*?(?:```|\Z)|\{[^{}]*\}", folded, re.S)]
    found = [_widen(span, blocks) for span in found]
    return _merge([(places[start], places[end]) for start, end in found], answer)


def leave_out(answer: str, spans: list[Span]) -> str:
    """The answer with each span replaced by the mark `[…]`."""
    kept, position = [], 0
    for start, end in spans:
        kept += [answer[position:start], OMISSION]
        position = end
    return "".join([*kept, answer[position:]])


def _segments(text: str) -> Iterator[Span]:
    """Sentences, lines, and what follows a tag: no longer than what one rule speaks of."""
    position = 0
    for match in re.finditer(r"(?<=[.!?。！？;])[\s)\"]+|\n+|(?=[<\[]/?[|｜\w])|\Z", text):
        if match.start() > position:
            yield position, match.start()
        position = match.end()


def _speaks(folded: str, start: int, end: int, rules: Sequence[re.Pattern[str]]) -> bool:
    return any(rule.search(folded, start, end) for rule in rules)


def _behind_code(folded: str, start: int, end: int, rules: Sequence[re.Pattern[str]]) -> int:
    """A sentence may begin with `code` that is the answer: where the rest begins, if it speaks."""
    code = _CODE.match(folded, start, end)
    return code.end() if code and _speaks(folded, code.end(), end, rules) else start


def _takeovers(answer: str, folded: str, places: list[int]) -> list[Span]:
    marks = [match.span() for match in TAKEOVER.finditer(folded)]
    defused = ControlTokens().defuse(answer)
    if defused != answer:
        signs = enumerate(zip(answer, defused, strict=True))
        changed = next(at for at, (old, new) in signs if old != new)
        at = next((at for at, place in enumerate(places) if place >= changed), 0)
        marks.append((at, at))
    if not marks:
        return []
    talk = max((match.start() for match in TALK.finditer(folded)), default=-1)
    return [(start, len(folded)) for start, end in marks if end <= talk]


def _widen(span: Span, blocks: list[Span]) -> Span:
    """A span inside a code block or a JSON object takes all of it."""
    for start, end in blocks:
        if start <= span[0] < end:
            return start, max(end, span[1])
    return span


def _merge(spans: list[Span], answer: str) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and not answer[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _fold(text: str) -> tuple[str, list[int]]:
    """The text as the rules read it, and for each of its characters the place in `text`."""
    signs: list[str] = [*text] if text.isascii() else []
    places: list[int] = [*range(len(signs))]
    for place, sign in enumerate(text if not signs else ""):
        if sign == "\u0306" and signs and signs[-1] in "иИ":
            signs[-1] = "й"  # in two characters, as macOS writes it
        for part in _fold_sign(sign):
            signs.append(part)
            places.append(place)
    places.append(len(text))
    folded = _join_spaced("".join(signs), places)
    return re.sub(r"[\w@$]+", lambda match: _fold_word(match[0]), folded), places


@functools.lru_cache(maxsize=4096)
def _fold_sign(sign: str) -> str:
    if unicodedata.category(sign) in ("Cf", "Me", "Mn"):
        return ""  # zero-width characters, soft hyphens, direction marks, keycaps, accents
    parts = unicodedata.normalize("NFKC", sign)
    parts = parts if len(parts) < 5 else "·"  # U+FDFA is 18 letters, of no word here
    return "".join(p if p in "йЙ" else unicodedata.normalize("NFD", p)[0] for p in parts)


def _join_spaced(text: str, places: list[int]) -> str:
    """Close up words that are written letter by letter; `places` is changed along with it."""
    drop: set[int] = set()
    for match in re.finditer(r"(?<!\w)(?:[^\W\d_][ .\-_\n]){3,}[^\W\d_](?!\w)", text):
        drop.update(range(match.start() + 1, match.end(), 2))
    if not drop:
        return text
    places[:] = [place for at, place in enumerate(places) if at not in drop]
    return "".join(sign for at, sign in enumerate(text) if at not in drop)


def _fold_word(word: str) -> str:
    """Same length as `word`: one alphabet, no digits for letters."""
    if word.isascii() and word.isalpha() and len(word) <= _WORD_CHARS:
        return word
    if len(word) > _WORD_CHARS:
        return "·" * len(word)
    latin = bool(re.search(r"[a-z]", word, re.I))
    cyrillic = bool(re.search(r"[а-я]", word, re.I))
    if latin and cyrillic:
        as_cyrillic = word.translate(_TO_CYRILLIC)
        return (
            as_cyrillic if not re.search(r"[a-z]", as_cyrillic, re.I) else word.translate(_TO_LATIN)
        )
    if latin and re.search(r"[a-z]\d|\d[a-z]|[@$]", word, re.I):
        return word.translate(_LEET)
    return word
