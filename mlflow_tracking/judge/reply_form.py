"""In which form must the judge answer? What a prompt file declares, for the server and the parser.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/decision_prompt.txt

A prompt file declares a line `Score: [1-5]` for each score and one line `Justification: [text]`,
in its own order and its own words; `[one sentence on ...]` is held to one.

Or a decision in place of the scores: a line `[yes/no]`, in its own words, the good one first, and
the justification after it. A small judge tells right from wrong better than a 2 from a 3: the
probability of its first word ranks answers better than the five of a digit (docs/trust.md). The
word right is a 5 and the word wrong a 1, so that the expected score is 1 + 4 P(right). It stands
without a label: after one ('Correct: yes') the same judge agreed less with people.

A prompt that compares two answers declares `Better: [1 or 2]`: a decision for the first of them.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_client.reply import TokenLogprobs
from llm_client.settings import UserMistake
from mlflow_tracking.rows.item import SCALE

DECISION = "decision"  # the label of a yes or no, which the reply does not write

_DECISION_LINE = re.compile(
    r"^[ \t]*\[([^\W\d_]{1,20})[ \t]*(?:/|\||or|или)[ \t]*([^\W\d_]{1,20})\][ \t]*$", re.M
)
_CHOICE_LINE = re.compile(r"^([^\n:\[\]{}]{1,60}): \[[^\]\n]*1[^\]\n]*2[^\]\n]*\]$", re.M)
_LOWEST, _HIGHEST = SCALE[0], SCALE[-1]


@dataclass(frozen=True)
class Decision:
    """The two words that the judge may begin its reply with."""

    right: str
    wrong: str

    def word(self, score: int) -> str:
        """The word that stands for the lowest or the highest score."""
        return self.right if score == _HIGHEST else self.wrong

    def score(self, written: str) -> int | None:
        """The score of a word, or of a beginning that only one of the words has; None for others.

        A word can be several tokens, of which one may be all that there is.
        """
        start = written.strip(" \t\n.,!*_`").casefold()
        fits = [word.casefold().startswith(start) for word in (self.right, self.wrong)]
        if not start or sum(fits) != 1:
            return None
        return _HIGHEST if fits[0] else _LOWEST

    def probabilities(self, token: TokenLogprobs) -> tuple[float, ...] | None:
        """Of 1..5, at the reply's first token; all of it lies on 1 and 5. None if nothing fits."""
        if not token.alternatives:  # one word alone says nothing about the other's probability
            return None
        mass = dict.fromkeys(SCALE, 0.0)
        for text, logprob in {token.text: token.logprob, **dict(token.alternatives)}.items():
            score = self.score(text.decode(errors="ignore"))
            if score is not None:
                mass[score] += math.exp(logprob)
        total = sum(mass.values())
        return tuple(mass[score] / total for score in SCALE) if total > 0 else None


def read_decision(text: str) -> Decision | None:
    """The decision that a prompt file declares, if it declares one."""
    match = _DECISION_LINE.search(text)
    return Decision(match[1], match[2]) if match else None


# Characters of a justification that the constraint allows. 400 characters are about 180 tokens of
# Russian with Qwen's tokenizer, which leaves the default --max-tokens 256 room for the score.
JUSTIFICATION_CHARS = 400

_DECLARATION = re.compile(
    r"^[ \t]*([^\n:：\[\]{}]{1,60}?)[ \t]*[:：][*_ \t]*\[([^\]\n]+)\][*_ \t]*$", re.M
)
_ONE_TO_FIVE = re.compile(r"(?<!\d)1\s*(?:-|–|—|\.\.|до|to|bis|a|à)\s*5(?!\d)", re.I)
_OTHER_RANGE = re.compile(r"\d+\s*(?:-|–|—|\.\.|до|to)\s*\d+", re.I)
# '[1-2 sentences]' is how long a text may be, not a scale
_LENGTH = re.compile(
    r"\d\s*(?:\w+\s+)?(?:sentence|word|line|предложени|слов|строк|фраз|satz|sätze)", re.I
)
# '[one short sentence on ...]': the justification ends with its first full stop.
_ONE_SENTENCE = re.compile(
    r"\s*(?:(?:1|one)\s+(?:\w+\s+)?sentence\b(?!\s+(?:or|per|for\s+each|to)\b)"
    r"|(?:1|одно|одним)\s+(?:\w+\s+)?предложени(?:е|ем)\b(?!\s+(?:или\b|на\s+кажд|для\s+кажд)))",
    re.I,
)
# A stop inside it is one of a number or of a single letter (Л. Н. Толстой), and nothing else: where
# a judge of 1.5B may write any sign after a stop, its next sentence begins there ('Франции.Э.тот').
# --max-tokens is the bound: a bound of such a group, or a list of abbreviations, costs xgrammar
# more than 50 ms a token (this 0.6).
_SENTENCE = r"[^\n.!?](?:[^\n.!?]|[0-9]\.[0-9]|[ («][A-Za-zА-Яа-яЁё]\.)*[.!?]?"
_SENTENCE_GBNF = r'[^\n.!?] ([^\n.!?] | [0-9] "." [0-9] | [ («] [A-Za-zА-Яа-яЁё] ".")* [.!?]?'
_DECORATION = "*_# \t"  # Markdown around a label in a prompt file is not part of the label


class PromptError(UserMistake):
    """A prompt file that cannot be used; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class ReplyForm:
    """The reply's form: its labels in order, and which of them are scores."""

    labels: tuple[str, ...]
    scores: tuple[str, ...]  # a subset of labels; the last one is the overall score
    justification: str
    decision: Decision | None = None  # the only score is one of two words, and not a digit
    one_sentence: bool = False  # the justification is declared as one, and comes last

    @property
    def overall(self) -> str:
        """The label of the score that `llm_judge_accuracy` reports."""
        return self.scores[-1]

    @property
    def scores_first(self) -> bool:
        """Whether a reply begins with its only score, so that one token can give it."""
        return len(self.scores) == 1 and self.labels[0] == self.overall

    @property
    def score_prefix(self) -> str:
        """A reply up to its first score; '' for a yes or no."""
        return "" if self.labels[0] == DECISION else f"{self.labels[0]}: "

    def score_text(self, score: int) -> str:
        """A score as a reply writes it: its digit, or the word that stands for it."""
        return self.decision.word(score) if self.decision else str(score)

    def score_value(self, written: str) -> int | None:
        """The score that a reply writes so, None for all else."""
        if self.decision:
            return self.decision.score(written)
        return int(written) if written in map(str, SCALE) else None

    @property
    def score_wanted(self) -> str:
        """What must stand where the score is, in the words of a reason."""
        if self.decision is None:
            return f"not a whole number from 1 to 5 after '{self.overall}:'"
        if self.score_prefix:
            words = f"neither {self.decision.right} nor {self.decision.wrong}"
            return f"{words} after '{self.overall}:'"
        return f"not ({self.decision.right}|{self.decision.wrong})"

    def explanation_prefix(self, score: int) -> str:
        """A reply with its score, up to the justification (no space: words begin with it)."""
        return f"{self.score_prefix}{self.score_text(score)}\n{self.justification}:"

    def pieces(self) -> list["Piece"]:
        """A whole reply."""
        if self.labels[0] == DECISION:
            between = Piece(literal=f"\n{self.justification}: ")
            return [self._score(DECISION), between, self._text()]
        pieces: list[Piece] = []
        for label in self.labels:
            pieces.append(Piece(literal=("\n" if pieces else "") + f"{label}: "))
            pieces.append(self._score(label) if label in self.scores else self._text())
        return pieces

    def score_pieces(self, with_label: bool) -> list["Piece"]:
        """The only score of a reply, behind its label or alone."""
        label = [Piece(literal=self.score_prefix)] if with_label and self.score_prefix else []
        return [*label, self._score(self.overall)]

    def explanation_pieces(self, score: int, begun: bool) -> list["Piece"]:
        """The justification of a score, to a reply that is `begun` or as a whole reply."""
        if begun:
            return [Piece(literal=" "), self._text()]
        given = Piece(name=self.overall, choices=(self.score_text(score),))
        label = Piece(literal=f"\n{self.justification}: ")
        return [Piece(literal=self.score_prefix), given, label, self._text()]

    def regex(self) -> str:
        """The form as a regular expression."""
        return regex_of(self.pieces())

    def _score(self, label: str) -> "Piece":
        words = (self.decision.right, self.decision.wrong) if self.decision else map(str, SCALE)
        return Piece(name=label, choices=tuple(words))

    def _text(self) -> "Piece":
        return Piece(name=self.justification, one_sentence=self.one_sentence)


@dataclass(frozen=True)
class Piece:
    """A part of a reply: a literal text, one of some choices, or (without either) free text."""

    name: str = ""  # in a reply of JSON; a literal has none
    literal: str = ""
    choices: tuple[str, ...] = ()
    one_sentence: bool = False
    passages: tuple[str, ...] = ()  # words and gaps of a text, of which it quotes a run
    words: int = 0  # of such a run at most


def regex_of(pieces: Sequence[Piece]) -> str:
    """What the pieces allow as a regular expression, for vLLM's `structured_outputs` and SGLang."""
    return "".join(_parts(pieces, _escape, lambda one: _choices(one, "|", str), _SENTENCE, ""))


def gbnf_of(pieces: Sequence[Piece]) -> str:
    """The same as llama.cpp's grammar (GBNF), which xgrammar reads as EBNF, too."""
    parts = _parts(pieces, _quoted, lambda one: _choices(one, " | ", _quoted), _SENTENCE_GBNF, " ")
    return "root ::= " + " ".join(parts)


def _parts(
    pieces: Sequence[Piece],
    literal: Callable[[str], str],
    choices: Callable[[Sequence[str]], str],
    sentence: str,
    then: str,
) -> Iterator[str]:
    for piece in pieces:
        if piece.literal:
            yield literal(piece.literal)
        elif piece.passages:
            yield _passages(piece, literal, then)
        elif piece.choices:
            yield choices(piece.choices)
        else:
            yield sentence if piece.one_sentence else rf"[^\n]{{1,{JUSTIFICATION_CHARS}}}"


def _passages(piece: Piece, literal: Callable[[str], str], then: str) -> str:
    """Any run of the words, with the gaps between them; `then` stands between two parts."""
    words, gaps = piece.passages[::2], ("", *piece.passages[1::2])

    def from_word(start: int) -> str:
        text = ""
        for place in reversed(range(start, min(start + piece.words, len(words)))):
            gap = gaps[place] if place > start else ""
            text = literal(gap + words[place]) + (f"{then}({text})?" if text else "")
        return text

    bar = f"{then}|{then}"
    return f"({bar.join(from_word(start) for start in range(len(words)))})"


def json_schema_of(pieces: Sequence[Piece]) -> dict[str, Any]:
    """The same as an object with the labels as its names, for `response_format`."""

    def value(piece: Piece) -> dict[str, Any]:
        if not piece.choices:
            return {"type": "string"}
        if all(choice.isdecimal() for choice in piece.choices):
            return {"type": "integer", "enum": [int(choice) for choice in piece.choices]}
        return {"type": "string", "enum": list(piece.choices)}

    named = {piece.name: value(piece) for piece in pieces if not piece.literal and piece.name}
    closed = {"required": list(named), "additionalProperties": False}
    return {"type": "object", "properties": named, **closed}


def _choices(choices: Sequence[str], bar: str, written: Callable[[str], str]) -> str:
    if tuple(choices) == tuple(map(str, SCALE)):
        return f"[{choices[0]}-{choices[-1]}]"
    if all(len(choice) == 1 for choice in choices):
        return f"[{''.join(choices)}]"
    return f"({bar.join(map(written, choices))})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def read_form(path: Path, text: str) -> ReplyForm:
    """The declared form of the reply; raises PromptError unless it has a score and a text."""
    decision = read_decision(text)
    kinds: dict[str, bool] = {}
    short = False
    for match in _DECLARATION.finditer(text):
        label, inside = match[1].strip(_DECORATION), match[2]
        is_length = bool(_LENGTH.search(inside))
        is_score = not is_length and bool(_ONE_TO_FIVE.search(inside))
        if not is_score and not is_length and _OTHER_RANGE.search(inside):
            line = text.count("\n", 0, match.start()) + 1
            raise PromptError(f"{path}:{line}: '{match[0].strip()}': the scale must be [1-5]")
        if not is_score:
            short = bool(_ONE_SENTENCE.match(inside))
        kinds.setdefault(label, is_score)
    scores = tuple(label for label, is_score in kinds.items() if is_score)
    texts = [label for label, is_score in kinds.items() if not is_score]
    if not scores and not decision:
        raise PromptError(f"{path}: declares no score; add a line such as 'Score: [1-5]'")
    if len(texts) != 1:
        found = f"{len(texts)} texts ({', '.join(texts)})" if texts else "no justification"
        raise PromptError(f"{path}: declares {found}; one line 'Justification: [text]' is needed")
    if decision is None:
        last = next(reversed(kinds)) == texts[0]
        return ReplyForm(tuple(kinds), scores, texts[0], one_sentence=short and last)
    words = f"[{decision.right}/{decision.wrong}]"
    if scores:
        raise PromptError(f"{path}: declares {words} and {scores[0]}; a decision is the only score")
    if text.index(f"{texts[0]}:") < text.index(f"[{decision.right}"):
        raise PromptError(f"{path}: {words} is the reply's first line, before '{texts[0]}'")
    return ReplyForm((DECISION, texts[0]), (DECISION,), texts[0], decision, short)


def read_choice(path: Path, text: str) -> ReplyForm:
    """The declared choice between two answers; raises PromptError unless there is one."""
    choice = _CHOICE_LINE.search(text)
    if choice is None:
        raise PromptError(f"{path}: declares no choice; add a line such as 'Better: [1 or 2]'")
    label = choice[1].strip()
    return ReplyForm((label,), (label,), "", Decision("1", "2"))


def _escape(text: str) -> str:
    """Escape for the grammar engines, which know fewer escapes than Python (no '\\ ')."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/-])", r"\\\1", text).replace("\n", r"\n")
