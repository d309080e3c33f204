"""How do tests judge on other scales than 1-5? Prompts of each kind, and a server that keeps them.

    with serving(ScaleStub()) as stub:
        workspace.run("--prompt", str(prompt_of(tmp_path, "0-10")), base_url=stub.base_url)

The reply follows from the constraint: of each choice the one that the row's number points to.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.verdict import Score, Status, Verdict, checklist_score
from tests.support.judge_stub import Call, JudgeStub, row_of

DECLARED = {
    "1-5": "Score: [1-5]",
    "0-10": "Score: [0-10]",
    "poor/fair/good": "Score: [poor/fair/good]",
    "yes/no": "[yes/no]",
    "checklist": "Faithful: [yes/no] (weight 2)\nClear: [1-3]",
}
_CHOICE = re.compile(r"\((?P<words>[\w|]+)\)|\[(?P<low>\d)-(?P<high>\d)\]|\[(?P<signs>\d+)\]")
_TEXT = re.compile(r"\[\^\\n.*\Z")  # the justification, to the reply's end


def prompt_of(folder: Path, kind: str, more: str = "") -> Path:
    """A prompt file of one of DECLARED; `more` is a paragraph of it, such as '{context}'."""
    path = folder / f"{kind.replace('/', '_')}.txt"
    shown = f"{more}\n\n" if more else ""
    path.write_text(
        f"How good is this answer?\n\n{shown}{{question}}\n\n<answer>\n{{answer}}\n</answer>\n\n"
        f"{DECLARED[kind]}\nWhy: [one sentence]\n",
        encoding="utf-8",
    )
    return path


def read_prompt(folder: Path, kind: str) -> JudgePrompt:
    """The same, read."""
    return load_prompt(prompt_of(folder, kind))


def scored(prompt: JudgePrompt, *values: int) -> Verdict:
    """The verdict with these scores, of a checklist one for each line."""
    form = prompt.format
    given = zip(form.scales.items(), values, strict=True)
    scores = {label: Score(value, values=scale.values) for (label, scale), value in given}
    if form.weights:
        scores[form.overall] = checklist_score(scores, form.weights, form.scale)
    return Verdict(Status.OK, scores=scores, justification="Why.", calls=1, attempts=1)


@dataclass
class ScaleStub(JudgeStub):
    """Keeps to any scale of a constraint."""

    def _text(self, call: Call, fault: str) -> str | None:
        constraint = str((call.body.get("structured_outputs") or {}).get("regex", ""))
        if "?" in call.text and _CHOICE.search(constraint) and not call.begun:
            said = _TEXT.sub("because", constraint)
            said = _CHOICE.sub(lambda choice: chosen(choice, call.text), said)
            return re.sub(r"\\(.)", r"\1", said.replace("\\n", "\n"))
        return super()._text(call, fault)


def chosen(choice: re.Match[str], text: str) -> str:
    """The one of the words or digits that a row gets."""
    words = choice["words"].split("|") if choice["words"] else list(choice["signs"] or "")
    if choice["low"]:
        words = [str(digit) for digit in range(int(choice["low"]), int(choice["high"]) + 1)]
    return words[place_of(text) % len(words)]


def place_of(text: str) -> int:
    """A number that follows from a row's text alone."""
    return zlib.crc32(row_of(text).encode())
