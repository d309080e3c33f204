"""Which text are these bytes? Strictly: what is not in the named encoding is refused with a guess.

python mlflow_tracking/run_experiment.py --data my.csv --encoding koi8-r
"""

import codecs
import re
import unicodedata
from pathlib import Path

from charset_normalizer import CharsetMatch, from_bytes

from mlflow_tracking.rows.item import DataError

# In the order in which one is named where several read the bytes alike.
_SINGLE_BYTE = (
    *("cp1251", "koi8_r", "koi8_u", "cp866", "mac_cyrillic", "iso8859_5"),
    *("cp1252", "cp1250", "cp1254", "mac_roman", "cp850", "cp1253", "cp1255", "cp1256"),
)
_GUESSED = (*_SINGLE_BYTE, "gb18030", "cp932", "euc_kr", "big5", "euc_jp")
_LATIN = {"cp1252", "cp1250", "cp1254", "mac_roman", "cp850"}
_SAMPLE = 20_000  # bytes of lines that are not ASCII; more changes no guess and takes longer

_LETTERS = set("абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґў")  # Russian, Ukrainian, Belarusian
_FREQUENT = set("оеаинтсрвлк")  # two thirds of a Russian text
_ASIAN = {"CJK", "HIRAGANA", "KATAKANA", "HANGUL"}
_SIGNS = set("«»„“”’–—…№°§€¿¡£©®·\u00a0、。？！「」，：；")


def decode(path: Path, data: bytes, encoding: str) -> str:
    """The text of a file's bytes; raises DataError, with a guess at what else they may be."""
    try:
        is_utf8 = codecs.lookup(encoding).name == "utf-8"  # 'UTF8' and the like, too
    except (LookupError, ValueError):
        raise DataError(f"--encoding: '{encoding}' is not a known encoding") from None
    if is_utf8 and data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError(f"{path}: is UTF-16, not UTF-8; read it with --encoding utf-16")
    try:
        return data.decode("utf-8-sig" if is_utf8 else encoding).removeprefix("\ufeff")
    except LookupError:
        raise DataError(f"--encoding: '{encoding}' is not an encoding of text") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = _hint(data) if is_utf8 else "; try another --encoding"
        raise DataError(f"{path}:{line}: is not {encoding}{hint}") from None
    except UnicodeError:
        raise DataError(f"{path}: is not {encoding}; try another --encoding") from None


def _hint(data: bytes) -> str:
    """Name cp1251 where nothing else fits; what else may fit is named as a guess."""
    guessed = guess_encodings(data)
    high = [byte for byte in data if byte >= 0x80]
    # In cp1251 the letters are 0xC0-0xFF; other encodings spread over the lower half too. Letters
    # of a Western encoding (latin-1) stand there as well, but not three of them in a row.
    russian = re.search(rb"[\xc0-\xff]{3}", data)
    if guessed == ["cp1251"] and russian and sum(byte >= 0xC0 for byte in high) > 0.9 * len(high):
        return ", it looks like cp1251 (Windows); read it with --encoding cp1251"
    told = "; save it as UTF-8 or name its encoding with --encoding"
    return f"{told}; it may be {' or '.join(guessed)}" if guessed else told


def guess_encodings(data: bytes) -> list[str]:
    """What the bytes may be, the likeliest first; none where too much fits, or nothing does.

    charset-normalizer's measures are 0 for everything that decodes a few words, so what it finds
    is held to how words are written: one script, no capital within, frequent letters.
    """
    lines = [line for line in data.splitlines(keepends=True) if not line.isascii()]
    sample = b"".join(lines)[:_SAMPLE]
    whole = sample.decode("utf-8", "replace")
    if whole.count("\ufffd") < 0.1 * sum(not sign.isascii() for sign in whole):
        return []  # UTF-8 with a fault in it
    found = [(_likeness(str(match)), match) for match in _matches(sample)]
    if any(_name(match) in _SINGLE_BYTE for like, match in found if like > 0.8):
        # A few bytes of any kind are characters of an Asian encoding.
        found = [(k, m) for k, m in found if _name(m) in _SINGLE_BYTE or m.coherence > 0]
    best = max((like for like, _ in found), default=0.0)
    names = [_name(match) for like, match in found if like >= best - 0.03]
    if len(names) > 2 and _LATIN.issuperset(names):
        names = sorted(names, key=_GUESSED.index)[:2]
    if best < 0.6 or len(names) > 2:
        return []
    return [name.replace("_", "-") for name in names]


def _matches(sample: bytes) -> list[CharsetMatch]:
    found = from_bytes(sample, cp_isolation=list(_GUESSED), threshold=0.5)
    return sorted(found, key=lambda m: (m.chaos - m.coherence, _GUESSED.index(_name(m))))


def _name(match: CharsetMatch) -> str:
    """The usual one of those that read the bytes alike."""
    alike = [name for name in match.could_be_from_charset if name in _GUESSED]
    letters = any(sign.isalpha() and not sign.isascii() for sign in str(match))
    # Quotation marks and dashes alone are an English text's.
    western = [name for name in alike if name in ("cp1252", "mac_roman") and not letters]
    return min(western or alike, key=_GUESSED.index)


def _likeness(text: str) -> float:
    """How far the signs beyond ASCII stand in words as people write them, from 0 to 1."""
    strange = [sign for sign in text if not sign.isascii()]
    words = re.findall(r"[^\W\d_]+", text)
    good = sum(sign in _SIGNS for sign in strange) + sum(map(_of_word, words))
    return good / len(strange) if strange else 0.0


def _of_word(word: str) -> float:
    beyond = sum(not sign.isascii() for sign in word)
    scripts = {unicodedata.name(sign, "?").split()[0] for sign in word if sign != "ー"}
    low = word.lower()
    cased = word == low or word[1:] == low[1:] or word == word.upper()
    if not beyond or not cased or (len(scripts) > 1 and not scripts <= _ASIAN):
        return 0.0
    if scripts == {"CYRILLIC"}:
        known = sum(sign in _LETTERS for sign in low) / len(low)
        frequent = sum(sign in _FREQUENT for sign in low) / len(low)
        capitals = word != low and len(word) > 1 and word == word.upper()
        return beyond * (0.8 * known + 0.2 * frequent - 0.05 * capitals)
    if scripts == {"LATIN"}:  # marks stand between plain letters
        return beyond * (1.0 if 2 * beyond <= len(word) or len(word) == 1 else 0.5)
    if scripts <= _ASIAN:
        return beyond * 0.95
    return beyond * (0.85 if len(word) > 1 else 0.4)
