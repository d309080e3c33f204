"""In which form must the judge answer? What a prompt file declares, for the server and the parser.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/decision_prompt.txt

A prompt file declares a line `Score: [1-5]` for each score and one line `Justification: [text]`,
in its own order and its own words; `[one sentence on ...]` is held to one. Or a decision in place
of the scores: a line `[yes/no]`, in its own words, the good one first, and the justification after
it; see decision.py.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from mlflow_tracking.decision import DECISION, Decision, read_decision

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
_DECORATION = "*_# \t"  # Markdown around a label in a prompt file is not part of the label


class PromptError(ValueError):
    """A prompt file that cannot be used; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class VerdictFormat:
    """The reply's form: its labels in order, and which of them are scores."""

    labels: tuple[str, ...]
    scores: tuple[str, ...]  # a subset of labels; the last one is the overall score
    justification: str
    decision: Decision | None = None  # the only score is a yes or no, in a line without a label
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
        """A reply up to its first score; '' for a decision."""
        return "" if self.decision else f"{self.labels[0]}: "

    def score_text(self, score: int) -> str:
        """A score as a reply writes it: its digit, or the word that stands for it."""
        return self.decision.word(score) if self.decision else str(score)

    def score_regex(self) -> str:
        """What a score may be, for vLLM's `structured_outputs`."""
        return self.decision.regex() if self.decision else "[1-5]"

    def explanation_prefix(self, score: int) -> str:
        """A reply with its score, up to the justification (no space: words begin with it)."""
        return f"{self.score_prefix}{self.score_text(score)}\n{self.justification}:"

    def explanation_regex(self) -> str:
        """What goes on after `explanation_prefix`."""
        return " " + self._text_regex()

    def regex(self) -> str:
        """The form as a regular expression for vLLM's `structured_outputs`."""
        if self.decision:
            text = f"{_escape(self.justification)}: {self._text_regex()}"
            return rf"{self.decision.regex()}\n{text}"
        return r"\n".join(
            f"{_escape(label)}: "
            + (self.score_regex() if label in self.scores else self._text_regex())
            for label in self.labels
        )

    def _text_regex(self) -> str:
        if self.one_sentence:
            return _SENTENCE
        return r"[^\n]{1,%d}" % JUSTIFICATION_CHARS  # noqa: UP031 (braces of both kinds)


def read_format(path: Path, text: str) -> VerdictFormat:
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
        return VerdictFormat(tuple(kinds), scores, texts[0], one_sentence=short and last)
    words = f"[{decision.right}/{decision.wrong}]"
    if scores:
        raise PromptError(f"{path}: declares {words} and {scores[0]}; a decision is the only score")
    if text.index(f"{texts[0]}:") < text.index(f"[{decision.right}"):
        raise PromptError(f"{path}: {words} is the reply's first line, before '{texts[0]}'")
    return VerdictFormat((DECISION, texts[0]), (DECISION,), texts[0], decision, short)


def _escape(label: str) -> str:
    """Escape for the grammar engines, which know fewer escapes than Python (no '\\ ')."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/-])", r"\\\1", label)
