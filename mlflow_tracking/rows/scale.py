"""What can a score be? Whole numbers, named levels, or yes and no: words, and what each counts.

    Score: [1-5]     [0-10]     [1-3]       in a prompt file: whole numbers within 0-10
    Score: [poor/fair/good]                 three levels or more, the worst first: 1, 2, 3
    Faithful: [yes/no]                      two words, the good one first: 5 and 1

A prompt file declares it, `python mlflow_tracking/run_experiment.py --prompt my_prompt.txt` keeps
to it: in MLflow's metric, the report, the bounds and the statistics.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from mlflow_tracking.rows.labels import read_label

_TO = r"\s*(?:-|–|—|\.\.|\bдо\b|\bto\b|\bbis\b|\ba\b|\bà\b)\s*"
_RANGE = re.compile(rf"(?<![\d.,–—-])(\d+){_TO}(\d+)(?!\d|[.,]\d|\s*[-–—]\s*\d)", re.I)
_NUMBERS = re.compile(rf"\d{_TO}\d", re.I)
_LEVEL = r"[^\W\d_](?:[^\n/|\[\]{};.,:]{0,28}[^\W_])?"
_LEVELS = re.compile(rf"[ \t]*({_LEVEL}(?:[ \t]*[/|][ \t]*{_LEVEL})+)[ \t]*")
_MOST = 10  # the highest number: what the digits of a token or two can say
_AROUND = " \t\n\r.,;!*_`\"'«»()[]"  # what may stand around a word in a reply


class ScaleError(ValueError):
    """What is declared is no scale; the message says what is wanted."""


@dataclass(frozen=True)
class Scale:
    """The scores that there are: `words` as a reply writes them, worst first, and their values."""

    words: tuple[str, ...]
    values: tuple[int, ...]

    @property
    def low(self) -> int:
        """The worst score."""
        return self.values[0]

    @property
    def high(self) -> int:
        """The best score."""
        return self.values[-1]

    @property
    def span(self) -> int:
        """Points between the two."""
        return self.high - self.low

    @property
    def middle(self) -> float:
        """Halfway between the two."""
        return (self.low + self.high) / 2

    @property
    def point(self) -> float:
        """What a point of 1-5 is here: thresholds in points were measured on that scale."""
        return self.span / 4

    @property
    def for_people(self) -> "Scale":
        """What people grade on: a choice has its two ends only, and they may give 2, 3 and 4."""
        return number_scale(self.low, self.high) if self.is_choice else self

    @property
    def in_cells(self) -> str:
        """As a spreadsheet leaves it alone: 1-3 it would take for the third of January."""
        return f"{self.low} to {self.high}" if self.is_numbers else str(self)

    def shown(self, score: float) -> str:
        """A score for the eye, with its word where it is a level's: 4, 2.33, '2 fair'."""
        number = short(score)
        levels = not (self.is_choice or self.is_numbers)
        return f"{number} {self.word_of(score)}" if levels and score in self.values else number

    @property
    def is_choice(self) -> bool:
        """Whether there are but two scores: yes and no, in whatever words."""
        return len(self.words) == 2 and not self.is_numbers

    @cached_property
    def is_numbers(self) -> bool:
        """Whether a reply writes the score itself, in digits."""
        return self.words == tuple(map(str, self.values))

    @cached_property
    def is_digits(self) -> bool:
        """Whether a reply writes digits, be they the score or a name."""
        return all(word.isdecimal() for word in self.words)

    @cached_property
    def tokens(self) -> int:
        """Tokens of a reply after which it is known which word it writes: 2 for 1 and 10."""
        words = self._folded
        pairs = [(a, b) for a in words for b in words if a < b]
        return 1 + max(len(os.path.commonprefix(pair)) for pair in pairs)

    def word_of(self, value: float) -> str:
        """The word of a score; raises ValueError for what is none."""
        return self.words[self.values.index(int(value))]

    def value_of(self, written: str) -> int | None:
        """The score that a reply writes so, None for all else.

        A number is itself; a word may be broken off where no other word begins so: it can be
        several tokens, of which one may be all that there is.
        """
        if self.is_numbers:
            return self.values[self.words.index(written)] if written in self.words else None
        start = written.strip(_AROUND).casefold()
        fits = self._begun(start)
        if start in fits:
            return self.values[self._folded.index(start)]
        return self.values[self._folded.index(fits[0])] if start and len(fits) == 1 else None

    def value_begun(self, written: str) -> int | None:
        """The score of a reply that begins so and goes on; None if that is open, or none fits."""
        text = written.lstrip(_AROUND).casefold()
        whole = [word for word in self._folded if re.match(rf"{re.escape(word)}(?!\w)", text)]
        if text not in self._folded and whole:  # something follows, which ends the word
            return self.values[self._folded.index(max(whole, key=len))]
        fits = self._begun(text) if text else []
        return self.values[self._folded.index(fits[0])] if len(fits) == 1 else None

    def is_open(self, written: str) -> bool:
        """Whether several words begin so: '1' of 1 and 10."""
        text = written.lstrip(_AROUND).casefold()
        return bool(text) and len(self._begun(text)) > 1

    @property
    def wanted(self) -> str:
        """What a reply must have, in the words of a reason."""
        if self.is_numbers:
            return f"a whole number from {self.low} to {self.high}"
        return f"{' or '.join(reversed(self.words) if self.is_choice else self.words)}"

    def __str__(self) -> str:
        """As a prompt file declares it, without its brackets."""
        if self.is_numbers:
            return f"{self.words[0]}-{self.words[-1]}"
        return "/".join(reversed(self.words) if self.is_choice else self.words)

    @cached_property
    def _folded(self) -> tuple[str, ...]:
        return tuple(word.casefold() for word in self.words)

    def _begun(self, start: str) -> list[str]:
        return [word for word in self._folded if word.startswith(start)]


def number_scale(low: int, high: int) -> Scale:
    """The whole numbers from `low` to `high`."""
    values = tuple(range(low, high + 1))
    return Scale(tuple(map(str, values)), values)


ONE_TO_FIVE = number_scale(1, 5)


def short(score: float) -> str:
    """A score with two places at most: 4, 2.33."""
    return f"{round(score, 2):g}"


def choice(right: str, wrong: str) -> Scale:
    """One of two words: right is a 5, wrong a 1; the expected score is 1 + 4 P(right)."""
    return Scale((wrong, right), (ONE_TO_FIVE.low, ONE_TO_FIVE.high))


def read_scale(declared: str) -> Scale | None:
    """The scale in the brackets of a declaration, None for a text; raises ScaleError.

    A range may stand among words ('число от 1 до 5').
    """
    if levels := _LEVELS.fullmatch(declared):
        return level_scale(re.split(r"[ \t]*[/|][ \t]*", levels[1]))
    ranges = [(int(low), int(high)) for low, high in _RANGE.findall(declared)]
    if not ranges and _NUMBERS.search(declared):
        raise ScaleError("is no scale; take whole numbers within 0-10, such as [1-5]")
    if not ranges:
        return None
    low, high = ranges[0]
    if not 0 <= low < high <= _MOST:
        raise ScaleError(f"{low}-{high} is no scale; take whole numbers within 0-10, such as [1-5]")
    return number_scale(low, high)


def level_scale(words: Sequence[str]) -> Scale:
    """Two words, the good one first, or levels from the worst to the best; raises ScaleError."""
    folded = [word.casefold() for word in words]
    for word in folded:
        if folded.count(word) > 1:
            raise ScaleError(f"'{word}' stands there twice")
    if len(words) == 2:
        return choice(*words)
    if read_label(words[0]) and read_label(words[-1]) is False:
        raise ScaleError(f"the levels stand best first; write {'/'.join(reversed(words))}")
    if len(words) > _MOST:
        raise ScaleError(f"has {len(words)} levels; take {_MOST} at most")
    return Scale(tuple(words), tuple(range(1, len(words) + 1)))
