"""In which form must the judge answer? What a prompt file declares, for the server and the parser.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/decision_prompt.txt

A prompt file declares a line `Score: [1-5]` for each score and one line `Justification: [text]`,
in its own order and its own words; `[one sentence on ...]` is held to one. rows/scale.py has the
other scales. The last score is the overall one.

Or a decision in place of the scores: a line `[yes/no]`, in its own words, the good one first, and
the justification after it. A small judge tells right from wrong better than a 2 from a 3: the
probability of its first word ranks answers better than the five of a digit (docs/trust.md). It
stands without a label: after one ('Correct: yes') the same judge agreed less with people.

Or a checklist: lines with a weight, `Faithful: [yes/no] (weight 2)`. The overall score is their
weighted mean, which no reply writes.

A prompt that compares two answers declares `Better: [1 or 2]`: a decision for the first of them.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from llm_client.settings import UserMistake
from mlflow_tracking.judge.dialect import Piece, regex_of
from mlflow_tracking.rows.scale import (
    ONE_TO_FIVE,
    Scale,
    ScaleError,
    choice,
    level_scale,
    read_scale,
)

DECISION = "decision"  # the label of a yes or no, which the reply does not write
OVERALL = "overall"  # the label of a checklist's mean, which the reply does not write either

_OR = r"[ \t]*(?:/|\||\bor\b|\bили\b)[ \t]*"
_DECISION_LINE = re.compile(
    rf"^[ \t]*\[([^\W\d_]{{1,20}}(?:{_OR}[^\W\d_]{{1,20}})+)\][ \t]*$", re.M
)
_CHOICE_LINE = re.compile(r"^([^\n:\[\]{}]{1,60}): \[[^\]\n]*1[^\]\n]*2[^\]\n]*\]$", re.M)


_DECLARATION = re.compile(
    r"^[ \t]*([^\n:：\[\]{}]{1,60}?)[ \t]*[:：][*_ \t]*\[([^\]\n]+)\][*_ \t]*"
    r"(?:\((?:weight|вес)[ \t]*[:=]?[ \t]*([^)\n]+)\)[*_ \t]*)?$",
    re.M | re.I,
)
# A score's line with something behind its brackets that is no weight
_NEARLY = re.compile(
    r"^[ \t]*[^\n:：\[\]{}]{1,60}?[ \t]*[:：][*_ \t]*\[([^\]\n]+)\][*_ \t]*"
    r"(?!\((?:weight|вес)\b)([^\s*_].*)$",
    re.M | re.I,
)
# '[1-2 sentences]' is how long a text may be, not a scale
_LENGTH = re.compile(
    r"\d\s*(?:\w+\s+)?(?:sentence|word|line|character|token|предложени|слов|строк|фраз|знак|символ|satz|sätze)",
    re.I,
)
# '[one short sentence on ...]': the justification ends with its first full stop.
_ONE_SENTENCE = re.compile(
    r"\s*(?:(?:1|one)\s+(?:\w+\s+)?sentence\b(?!\s+(?:or|per|for\s+each|to)\b)"
    r"|(?:1|одно|одним)\s+(?:\w+\s+)?предложени(?:е|ем)\b(?!\s+(?:или\b|на\s+кажд|для\s+кажд)))",
    re.I,
)
_DECORATION = "*_# \t"  # Markdown around a label in a prompt file is not part of the label


class PromptError(UserMistake):
    """A prompt file that cannot be used; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class ReplyForm:
    """The reply's form: its labels in order, and which of them are scores."""

    labels: tuple[str, ...]
    scales: Mapping[str, Scale]  # of the labels that are scores, in order
    justification: str
    one_sentence: bool = False  # the justification is declared as one, and comes last
    weights: Mapping[str, float] = field(default_factory=dict)  # of a checklist's labels

    @property
    def scores(self) -> tuple[str, ...]:
        """The labels of all scores; the last one is the overall score."""
        return (*self.scales, OVERALL) if self.weights else tuple(self.scales)

    @property
    def overall(self) -> str:
        """The label of the score that `llm_judge_accuracy` reports."""
        return self.scores[-1]

    @property
    def scale(self) -> Scale:
        """The scale of the overall score.

        Of a checklist the one that its lines share, beside those of yes and no; otherwise 1-5.
        """
        if not self.weights:
            return self.scales[self.overall]
        finer = {str(scale): scale for scale in self.scales.values() if not scale.is_choice}
        return finer.popitem()[1] if len(finer) == 1 else ONE_TO_FIVE

    @property
    def decision(self) -> Scale | None:
        """The words of a decision, which stand without a label."""
        return self.scales.get(DECISION)

    @property
    def scores_first(self) -> bool:
        """Whether a reply begins with all its scores, so that one token can give each."""
        return self.labels[: len(self.scales)] == tuple(self.scales)

    @property
    def score_tokens(self) -> int:
        """Tokens of the longest score, as far as they tell which one it is."""
        return max(scale.tokens for scale in self.scales.values())

    def begun(self, given: Mapping[str, float], then: str) -> str:
        """A reply with the scores `given`, up to what stands behind the label `then`.

        Words begin with their space, digits do not.
        """
        lines = [
            ("" if label == DECISION else f"{label}: ") + self.scales[label].word_of(value)
            for label, value in given.items()
        ]
        if then and then != DECISION:
            digits = then in self.scales and self.scales[then].is_digits
            lines.append(f"{then}: " if digits else f"{then}:")
        return "\n".join(lines)

    def pieces(self) -> list["Piece"]:
        """A whole reply."""
        return self._pieces(self.labels)

    def score_pieces(self, label: str = "") -> list["Piece"]:
        """The score of `label` in a reply that is `begun`, or all scores behind their labels."""
        if not label:
            return self._pieces(tuple(self.scales))
        scale = self.scales[label]
        space = [Piece(literal=" ")] if label != DECISION and not scale.is_digits else []
        # A line's end tells 1 from 10; the reply's end is not what a judge expects there.
        end = [Piece(literal="\n")] if scale.tokens > 1 else []
        return [*space, self._value(label), *end]

    def ending_pieces(self, label: str, beginning: str) -> list["Piece"]:
        """What is left of a score that is begun, or the line's end behind it."""
        words = [word for word in self.scales[label].words if word.startswith(beginning)]
        return [Piece(choices=tuple(word.removeprefix(beginning) or "\n" for word in words))]

    def explanation_pieces(self, given: Mapping[str, float], begun: bool) -> list["Piece"]:
        """The justification of scores, to a reply that is `begun` or as a whole reply."""
        if begun:
            return [Piece(literal=" "), self._value(self.justification)]
        return self._pieces((*given, self.justification), given)

    def regex(self) -> str:
        """The form as a regular expression."""
        return regex_of(self.pieces())

    def _pieces(self, labels: Sequence[str], given: Mapping[str, float] = {}) -> list["Piece"]:
        pieces: list[Piece] = []
        for label in labels:
            name = "" if label == DECISION else f"{label}: "
            if literal := ("\n" if pieces else "") + name:
                pieces.append(Piece(literal=literal))
            if label in given:
                word = self.scales[label].word_of(given[label])
                pieces.append(Piece(name=label, choices=(word,)))
            else:
                pieces.append(self._value(label))
        return pieces

    def _value(self, label: str) -> "Piece":
        if label == self.justification:
            return Piece(name=label, one_sentence=self.one_sentence)
        scale = self.scales[label]
        words = reversed(scale.words) if scale.is_choice else scale.words
        return Piece(name=label, choices=tuple(words))


def read_form(path: Path, text: str) -> ReplyForm:
    """The declared form of the reply; raises PromptError unless it has a score and a text."""
    scales: dict[str, Scale] = {}
    weights: dict[str, float] = {}
    labels: dict[str, bool] = {}  # each with whether it is a text of one sentence
    places: dict[str, int] = {}
    for match in _DECLARATION.finditer(text):
        label, inside, weight = match[1].strip(_DECORATION), match[2], match[3]
        if label in labels:
            continue
        try:
            scale = None if _LENGTH.search(inside) else read_scale(inside)
            if weight is not None:
                weights[label] = _weight(weight, scale)
        except ScaleError as error:
            line = text.count("\n", 0, match.start()) + 1
            raise PromptError(f"{path}:{line}: '{match[0].strip()}': {error}") from None
        labels[label] = scale is None and bool(_ONE_SENTENCE.match(inside))
        places[label] = match.start()
        if scale:
            scales[label] = scale
    _check_weights(path, text, bool(weights))
    texts = [label for label in labels if label not in scales]
    decision = _DECISION_LINE.search(text)
    if not scales and not decision:
        raise PromptError(f"{path}: declares no score; add a line such as 'Score: [1-5]'")
    if len(texts) != 1:
        found = f"{len(texts)} texts ({', '.join(texts)})" if texts else "no justification"
        raise PromptError(f"{path}: declares {found}; one line 'Justification: [text]' is needed")
    if decision:
        words = decision[0].strip()
        if places[texts[0]] < decision.start():
            raise PromptError(f"{path}: {words} is the reply's first line, before '{texts[0]}'")
        return _decision_form(path, decision, scales, texts[0], labels[texts[0]])
    if weights:
        weights = {label: weights.get(label, 1.0) for label in scales}
        if taken := next((label for label in scales if label.casefold() == OVERALL), ""):
            raise PromptError(
                f"{path}: '{taken}' is the name of the mean of lines with a weight; name that line "
                "otherwise"
            )
    short = labels[texts[0]] and next(reversed(labels)) == texts[0]
    return ReplyForm(tuple(labels), scales, texts[0], short, weights)


def _check_weights(path: Path, text: str, weighted: bool) -> None:
    """Raises PromptError for what is nearly a line of a checklist: `Clear: [yes/no], weight 3`."""
    for match in _NEARLY.finditer(text):
        meant = weighted or re.search(r"w[ei]{2}gh|вес", match[2], re.I)
        with suppress(ScaleError):
            if meant and not _LENGTH.search(match[1]) and read_scale(match[1]):
                line = text.count("\n", 0, match.start()) + 1
                raise PromptError(
                    f"{path}:{line}: '{match[0].strip()}': nothing stands behind the brackets of a "
                    "score but its weight, (weight 2)"
                )


def _weight(written: str, scale: Scale | None) -> float:
    """A line's weight; raises ScaleError."""
    try:
        weight = float(written.strip().replace(",", "."))
    except ValueError:
        weight = 0.0
    if not 0 < weight < 1e6:
        raise ScaleError(f"the weight is '{written.strip()}'; write a number above 0")
    if scale is None:
        raise ScaleError("only a score has a weight; write a scale such as [yes/no] or [1-5]")
    return weight


def _decision_form(
    path: Path,
    decision: re.Match[str],
    scales: Mapping[str, Scale],
    justification: str,
    short: bool,
) -> ReplyForm:
    words = decision[0].strip()
    if scales:
        score = next(iter(scales))
        raise PromptError(f"{path}: declares {words} and {score}; a decision is the only score")
    try:
        scale = level_scale(re.split(_OR, decision[1]))
    except ScaleError as error:
        raise PromptError(f"{path}: {words}: {error}") from None
    return ReplyForm((DECISION, justification), {DECISION: scale}, justification, short)


def read_choice(path: Path, text: str) -> ReplyForm:
    """The declared choice between two answers; raises PromptError unless there is one."""
    found = _CHOICE_LINE.search(text)
    if found is None:
        raise PromptError(f"{path}: declares no choice; add a line such as 'Better: [1 or 2]'")
    label = found[1].strip()
    return ReplyForm((label,), {label: choice("1", "2")}, "")
