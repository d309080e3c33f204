"""What is the judge asked, and in which form must it answer? Reads a prompt file and renders it.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/judge_prompt_en.txt
    python mlflow_tracking/run_experiment.py --prompt my_prompt.txt --check

A prompt file is text with the placeholders {question}, {answer} and, if it likes, {reference}.
What stands before its first line `---` is the system message, unless a row's text goes there.
It declares the form of the reply:
a line `Score: [1-5]` for each score and one line `Justification: [text]`, in its own order and
its own words. For a row without a reference, the paragraph with {reference} is left out, or only
its line if the question or the answer stands in the same paragraph.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_tracking.row_text import TextSafety

# Characters of a justification that the constraint allows. 400 characters are about 180 tokens of
# Russian with Qwen's tokenizer, which leaves the default --max-tokens 256 room for the score.
JUSTIFICATION_CHARS = 400

# answer_a and answer_b are those of a prompt that compares two answers.
_PLACEHOLDER = re.compile(r"\{(question|answer(?:_[ab])?|reference)\}")
_DECLARATION = re.compile(
    r"^[ \t]*([^\n:：\[\]{}]{1,60}?)[ \t]*[:：][*_ \t]*\[([^\]\n]+)\][*_ \t]*$", re.M
)
_ONE_TO_FIVE = re.compile(r"(?<!\d)1\s*(?:-|–|—|\.\.|до|to|bis|a|à)\s*5(?!\d)", re.I)
_OTHER_RANGE = re.compile(r"\d+\s*(?:-|–|—|\.\.|до|to)\s*\d+", re.I)
# '[1-2 sentences]' is how long a text may be, not a scale
_LENGTH = re.compile(
    r"\d\s*(?:\w+\s+)?(?:sentence|word|line|предложени|слов|строк|фраз|satz|sätze)", re.I
)
_DECORATION = "*_# \t"  # Markdown around a label in a prompt file is not part of the label


class PromptError(ValueError):
    """A prompt file that cannot be used; the message is one line with the file and the remedy."""


@dataclass(frozen=True)
class VerdictFormat:
    """The reply's form: its labels in order, and which of them are scores."""

    labels: tuple[str, ...]
    scores: tuple[str, ...]  # a subset of labels; the last one is the overall score
    justification: str

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
        """A reply up to its first score's digit."""
        return f"{self.labels[0]}: "

    def explanation_prefix(self, score: int) -> str:
        """A reply with its score, up to the justification (no space: words begin with it)."""
        return f"{self.score_prefix}{score}\n{self.justification}:"

    def explanation_regex(self) -> str:
        """What goes on after `explanation_prefix`."""
        return " " + self._text_regex()

    def regex(self) -> str:
        """The form as a regular expression for vLLM's `structured_outputs`."""
        return r"\n".join(
            f"{_escape(label)}: " + (r"[1-5]" if label in self.scores else self._text_regex())
            for label in self.labels
        )

    @staticmethod
    def _text_regex() -> str:
        return r"[^\n]{1,%d}" % JUSTIFICATION_CHARS  # noqa: UP031 (braces of both kinds)


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt file, read and checked."""

    path: Path
    text: str
    sha256: str
    system: str  # '' for a file without a line `---`
    user: str
    format: VerdictFormat

    def without_reminder(self) -> "JudgePrompt":
        """The prompt without what stands after the answer, to measure what that does."""
        head, _, tail = self.user.partition("{answer}")
        return replace(self, user=head + "{answer}" + tail.partition("\n\n")[0])

    @property
    def uses_reference(self) -> bool:
        """Whether the file has the placeholder {reference}."""
        return "{reference}" in self.text

    def render(
        self, question: str, answer: str, reference: str, safety: TextSafety
    ) -> list[dict[str, str]]:
        """The chat messages for one row: filled in one pass, the row's text made harmless."""
        values = {"question": question, "answer": answer, "reference": reference}
        safe = {name: safety.neutralise(text) for name, text in values.items()}
        parts = [("system", self.system), ("user", self.user)]
        return [
            {"role": role, "content": fill(template, safe)} for role, template in parts if template
        ]


def load_prompt(path: Path) -> JudgePrompt:
    """Read the prompt file at `path`; raises PromptError with what is missing."""
    text, digest, system, user = read_prompt(path, ("question", "answer"))
    return JudgePrompt(path, text, digest, system, user, read_format(path, text))


def read_prompt(path: Path, needs: Sequence[str]) -> tuple[str, str, str, str]:
    """Text, sha256, system message and user message of a prompt file with those placeholders."""
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").strip() + "\n"
    except FileNotFoundError:
        raise PromptError(f"{path}: no such prompt file; give one with --prompt") from None
    except UnicodeDecodeError:
        raise PromptError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror}") from None
    for name in needs:
        if f"{{{name}}}" not in text:
            raise PromptError(f"{path}: has no placeholder {{{name}}}; the row's {name} goes there")
    head, fence, tail = _split(text)
    system, user = (head, tail) if fence else ("", text.strip())
    return text, hashlib.sha256(text.encode()).hexdigest(), system, user


def check_score_only(prompt: JudgePrompt) -> None:
    """Raises PromptError unless one token can give the prompt's score."""
    if not prompt.format.scores_first:
        labels = ", ".join(prompt.format.labels)
        raise PromptError(
            f"{prompt.path}: --score-only needs a reply that begins with its only score, this one "
            f"has {labels}; take another prompt, or leave --score-only out"
        )


def read_format(path: Path, text: str) -> VerdictFormat:
    """The declared form of the reply; raises PromptError unless it has a score and a text."""
    kinds: dict[str, bool] = {}
    for match in _DECLARATION.finditer(text):
        label, inside = match[1].strip(_DECORATION), match[2]
        is_length = bool(_LENGTH.search(inside))
        is_score = not is_length and bool(_ONE_TO_FIVE.search(inside))
        if not is_score and not is_length and _OTHER_RANGE.search(inside):
            line = text.count("\n", 0, match.start()) + 1
            raise PromptError(f"{path}:{line}: '{match[0].strip()}': the scale must be [1-5]")
        kinds.setdefault(label, is_score)
    scores = tuple(label for label, is_score in kinds.items() if is_score)
    texts = [label for label, is_score in kinds.items() if not is_score]
    if not scores:
        raise PromptError(f"{path}: declares no score; add a line such as 'Score: [1-5]'")
    if len(texts) != 1:
        found = f"{len(texts)} texts ({', '.join(texts)})" if texts else "no justification"
        raise PromptError(f"{path}: declares {found}; one line 'Justification: [text]' is needed")
    return VerdictFormat(tuple(kinds), scores, texts[0])


def _split(text: str) -> tuple[str, bool, str]:
    """The file before and after its first line `---`."""
    match = re.search(r"^---[ \t]*$", text, re.M)
    if match is None:
        return "", False, text
    head, tail = text[: match.start()].strip(), text[match.end() :].strip()
    # A row's text never speaks as the system, and a chat needs a user.
    if not head or not tail or _PLACEHOLDER.search(head):
        return "", False, text
    return head, True, tail


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with the row's texts in its placeholders, in one pass.

    A placeholder without a text stays as it is; without a reference its paragraph is left out.
    """
    if not values["reference"].strip() and "{reference}" in template:
        paragraphs = re.split(r"(\n[ \t]*\n)", template)
        kept = [_without_reference(p) if "{reference}" in p else p for p in paragraphs]
        template = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "".join(kept)).strip()
        values = {**values, "reference": ""}  # a blank one, where it stands among the others
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _without_reference(paragraph: str) -> str:
    """What is left of a paragraph with {reference}: nothing, or what holds the row's other text."""
    if not any(name in paragraph for name in ("{question}", "{answer}")):
        return ""
    lines = paragraph.split("\n")
    return "\n".join(
        line
        for line in lines
        if "{reference}" not in line or "{question}" in line or "{answer}" in line
    )


def _escape(label: str) -> str:
    """Escape for the grammar engines, which know fewer escapes than Python (no '\\ ')."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/-])", r"\\\1", label)
