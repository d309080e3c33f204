"""What is the model under test sent? The row's question, in the words of a prompt file if any.

    python mlflow_tracking/run_experiment.py --answers-from URL --answer-prompt answer_prompt.txt

What stands before the file's first line `---` is the system message, what stands behind it the
user's, with {question} and any column as places. A file without {question} is a system message
alone. A conversation is sent as the messages that it is: the system message stands first unless it
has one of its own, and the user's template goes around its last user turn.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow_tracking.judge.prompt import fill
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.rows.conversation import messages_of
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, Named, Row, nearest

Messages = list[dict[str, Any]]

_FENCE = re.compile(r"^---[ \t]*$", re.M)
_PLACE = re.compile(r"\{([^\W\d]\w*)\}")
_OURS = {QUESTION: "question", ANSWER: "answer", REFERENCE: "reference"}
_ASKED = "question"
_NEAR = 0.75  # from which a name is taken for a misspelt one, as in the judge's prompts


@dataclass(frozen=True)
class AnswerPrompt:
    """A prompt file for the model under test; without one the question alone is sent."""

    name: str = ""  # of the file
    text: str = ""
    system: str = ""
    user: str = ""
    columns: tuple[str, ...] = ()  # those of the rows that it shows
    notes: tuple[str, ...] = ()  # what the user should know of how the file was read

    @property
    def sha256(self) -> str:
        """Of the text; '' without a file."""
        return hashlib.sha256(self.text.encode()).hexdigest() if self.text else ""

    def messages(self, row: Row, named: Named = ()) -> Messages:
        """The chat messages for a row: filled in one pass, what is filled in is not read again."""
        cells = dict(row.showing(self.columns, named).item.more)
        told = fill(self.system, cells)  # nothing is left where all that it shows is blank
        system = [{"role": "system", "content": told}] if told else []
        chat = messages_of(row.columns[QUESTION])
        if not chat:
            return [*system, {"role": "user", "content": self._asked(row.item.question, cells)}]
        if str(chat[0]["role"]).lower() in ("system", "developer"):
            system = []
        if self.user:
            self._ask_last(chat, cells)
        return [*system, *chat]

    def _asked(self, question: str, cells: dict[str, str]) -> str:
        return fill(self.user, {**cells, _ASKED: question}) if self.user else question

    def _ask_last(self, chat: Messages, cells: dict[str, str]) -> None:
        """Put the template around the last text of the user's, which may stand beside pictures."""
        last = next((one for one in reversed(chat) if str(one["role"]).lower() == "user"), None)
        if last is None:
            return
        content = last.get("content")
        if isinstance(content, str):
            last["content"] = self._asked(content, cells)
        elif isinstance(content, list):
            parts = [{"type": "text", "text": p} if isinstance(p, str) else p for p in content]
            for part in [part for part in parts if isinstance(part.get("text"), str)][-1:]:
                part["text"] = self._asked(part["text"], cells)
            last["content"] = parts


def load_answer_prompt(path: Path | None, columns: Sequence[str]) -> AnswerPrompt:
    """Read the file at `path`, if any, for rows with these columns; raises PromptError."""
    if path is None:
        return AnswerPrompt()
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").strip()
    except UnicodeDecodeError:
        raise PromptError(f"--answer-prompt {path}: is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise PromptError(f"--answer-prompt {path}: {error.strerror}; name another file") from None
    if not text:
        raise PromptError(f"--answer-prompt {path}: is empty; leave the flag out")
    fence = _FENCE.search(text)
    if fence:
        system, user = text[: fence.start()].strip(), text[fence.end() :].strip()
    else:
        system, user = ("", text) if f"{{{_ASKED}}}" in text else (text, "")
    if fence and f"{{{_ASKED}}}" not in user:
        raise PromptError(f"{path}: has no {{{_ASKED}}} behind its line ---; the row's goes there")
    if f"{{{_ASKED}}}" in system:
        raise PromptError(f"{path}: has {{{_ASKED}}} before its line ---; put it behind")
    shown, notes = _places(path, text, columns)
    return AnswerPrompt(path.name, text, system, user, shown, notes)


def _places(
    path: Path, text: str, columns: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The columns that a file shows, and notes on words in braces that are none."""
    shown, notes = [], []
    for word in dict.fromkeys(_PLACE.findall(text)):
        line = text.count("\n", 0, text.index(f"{{{word}}}")) + 1
        where = f"{path}:{line}: {{{word}}}"
        if word in ("answer", ANSWER):
            raise PromptError(f"{where}: is what the model is asked for; take it out")
        if word == QUESTION:
            raise PromptError(f"{where}: that column is called {{{_ASKED}}} in a prompt")
        if word == _ASKED:
            continue
        if word in columns:
            shown.append(word)
        elif near := nearest(word, [_ASKED, *(c for c in columns if c not in _OURS)], _NEAR):
            raise PromptError(f"{where} is no column of the rows; is it {{{near}}}?")
        else:
            notes.append(f"{where} is no column of the rows; the model is sent it as it stands")
    return tuple(shown), tuple(notes)
