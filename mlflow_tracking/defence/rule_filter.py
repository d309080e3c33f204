"""Which of many rules can match a text at all? Those whose words it has; the others are not tried.

Used by `python mlflow_tracking/run_experiment.py`, on each answer: trying all the rules of
manipulation_rules.py took a third of the client's time.

From each pattern the words are taken of which a match holds one at least (as in Cox, *Regular
Expression Matching with a Trigram Index*, 2012). Looking for a word costs a hundredth of a rule.
"""

import importlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

_sre: Any = importlib.import_module("re._parser")  # private, and the same since Python 3.11
# What re.I takes for a letter of another code: with one of them no rule is left out.
_ODD_LETTERS = re.compile(r"[\u0130\u0131\u017f\u1c80-\u1c8a\u212a\ua64a\ua64b]")
_ENOUGH = 2  # letters: a single one is in every text


class RuleFilter:
    """Rules compiled with re.I, and the words that they need."""

    def __init__(self, rules: Sequence[re.Pattern[str]]) -> None:
        self._rules = rules
        by_words: dict[tuple[str, ...], set[int]] = {}
        for number, rule in enumerate(rules):
            by_words.setdefault(needed_words(rule.pattern), set()).add(number)
        self._always = by_words.pop((), set[int]())
        self._by_words = by_words

    def candidates(self, text: str) -> list[re.Pattern[str]]:
        """The rules that may match in `text` or in a part of it; the others do not."""
        if _ODD_LETTERS.search(text):
            return list(self._rules)
        small, found = text.lower(), set(self._always)
        for words, numbers in self._by_words.items():
            for word in words:
                if word in small:
                    found |= numbers
                    break
        return [self._rules[number] for number in sorted(found)]


def needed_words(pattern: str) -> tuple[str, ...]:
    """Words of which each match of `pattern` holds one, in small letters; () if none is known."""
    words = _of_sequence(_sre.parse(pattern, re.I | re.M))
    # A word that holds another one of them is found with it.
    return tuple(sorted(w for w in words if not any(o in w and o != w for o in words)))


def _of_sequence(parts: Iterable[tuple[Any, Any]]) -> frozenset[str]:
    """Of all that must come one after the other, the words that tell most."""
    known: list[frozenset[str]] = []
    run = ""
    for kind, value in parts:
        if kind is _sre.LITERAL:
            run += chr(value).lower()
            continue
        known.append(frozenset([run]))
        run = ""
        known.append(_of_part(kind, value))
    known.append(frozenset([run]))
    usable = [words for words in known if words and min(map(len, words)) >= _ENOUGH]
    return max(usable, key=lambda words: (min(map(len, words)), -len(words)), default=frozenset())


def _of_part(kind: Any, value: Any) -> frozenset[str]:
    if kind is _sre.SUBPATTERN:
        return _of_sequence(value[-1])
    if kind is _sre.BRANCH:
        branches = [_of_sequence(branch) for branch in value[1]]
        return frozenset().union(*branches) if all(branches) else frozenset()
    if kind in (_sre.MAX_REPEAT, _sre.MIN_REPEAT, _sre.POSSESSIVE_REPEAT) and value[0] >= 1:
        return _of_sequence(value[2])
    return frozenset()
