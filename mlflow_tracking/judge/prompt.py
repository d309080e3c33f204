"""What is the judge asked? Reads a prompt file and renders it for a row.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/judge_prompt_en.txt
    python mlflow_tracking/run_experiment.py --prompt my_prompt.txt --check

A prompt file is text with the placeholders {question}, {answer} and, if it likes, {reference}.
What stands before its first line `---` is the system message, unless a row's text goes there.
It declares the form of the reply, see reply_form.py. For a row without a reference, the
paragraph with {reference} is left out, or only its line if the question or the answer stands in
the same paragraph.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_tracking.defence.safe_text import TextSafety
from mlflow_tracking.judge.reply_form import PromptError, ReplyForm, read_choice, read_form
from mlflow_tracking.rows.item import Item

# answer_a and answer_b are those of a prompt that compares two answers.
_PLACEHOLDER = re.compile(r"\{(question|answer(?:_[ab])?|reference)\}")


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt file, read and checked."""

    path: Path
    text: str
    sha256: str
    system: str  # '' for a file without a line `---`
    user: str
    format: ReplyForm

    def without_reminder(self) -> "JudgePrompt":
        """The prompt without what stands after the answer, to measure what that does."""
        head, _, tail = self.user.partition("{answer}")
        user = head + "{answer}" + tail.partition("\n\n")[0]
        # Another prompt than the file's: verdicts on it are kept apart.
        return replace(self, user=user, sha256=hashlib.sha256(user.encode()).hexdigest())

    @property
    def uses_reference(self) -> bool:
        """Whether the file has the placeholder {reference}."""
        return "{reference}" in self.text

    def render(self, item: Item, safety: TextSafety) -> list[dict[str, str]]:
        """The chat messages for one row: filled in one pass, the row's text made harmless."""
        safe = {name: safety.neutralise(text) for name, text in item.texts.items()}
        parts = [("system", self.system), ("user", self.user)]
        return [
            {"role": role, "content": _fill(template, safe)} for role, template in parts if template
        ]


def load_prompt(path: Path) -> JudgePrompt:
    """Read the prompt file at `path`; raises PromptError with what is missing."""
    return _load(path, ("question", "answer"), read_form)


def load_pairwise_prompt(path: Path) -> JudgePrompt:
    """Read a prompt file that compares two answers; raises PromptError with what is missing."""
    return _load(path, ("question", "answer_a", "answer_b"), read_choice)


def _load(path: Path, needs: Sequence[str], read: Callable[[Path, str], ReplyForm]) -> JudgePrompt:
    """The prompt of a file with those placeholders, its form of the reply as `read` finds it."""
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
    digest = hashlib.sha256(text.encode()).hexdigest()
    return JudgePrompt(path, text, digest, system, user, read(path, text))


def check_score_only(prompt: JudgePrompt) -> None:
    """Raises PromptError unless one token can give the prompt's score."""
    if not prompt.format.scores_first:
        labels = ", ".join(prompt.format.labels)
        raise PromptError(
            f"{prompt.path}: --score-only needs a reply that begins with its only score, this one "
            f"has {labels}; take another prompt, or leave --score-only out"
        )


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


def _fill(template: str, values: Mapping[str, str]) -> str:
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
