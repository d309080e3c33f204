"""Which prompts are there, and what does each ask? A line for each file; no server is needed.

    python mlflow_tracking/list_prompts.py
    python mlflow_tracking/list_prompts.py my_prompts/

A file that is no prompt is told on stderr, with what it lacks, and the exit code is 2.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mlflow_tracking.command.console import say, shorten, warn
from mlflow_tracking.command.flags import SHIPPED_PROMPT, FlagParser
from mlflow_tracking.command.frame import run_command

if TYPE_CHECKING:
    from mlflow_tracking.judge.prompt import JudgePrompt
    from mlflow_tracking.judge.reply_form import ReplyForm

_WIDTH = 160  # of a line
_MOST = (33, 5, 40, 29)  # of a column; what it asks gets the rest
_QUESTION = re.compile(r"(?:(?<=[.!?:]\s)|(?<=\n)|\A)[^\n.!?]*\?", re.M)


def main() -> int:
    """List the prompts; returns the exit code."""
    return run_command("list_prompts", list_prompts)


def list_prompts() -> int:
    """Print a line for each prompt file of the folder."""
    folder = read_flags()
    from mlflow_tracking.judge.reply_form import PromptError

    files, code = sorted(folder.glob("*.txt")), 0
    if not files:
        raise PromptError(f"{folder}: has no prompt files (*.txt)")
    lines: list[tuple[str, ...]] = [("file", "lang", "places", "reply", "asks")]
    for path in files:
        try:
            lines.append(described(path))
        except PromptError as mistake:
            warn(f"list_prompts: {mistake}")
            code = 2
    print_aligned(lines)
    return code


def described(path: Path) -> tuple[str, ...]:
    """A prompt file's cells; raises PromptError."""
    from mlflow_tracking.judge.prompt import load_pairwise_prompt, load_prompt
    from mlflow_tracking.rows.language import language_of_prompt

    pairs = path.is_file() and b"{answer_a}" in path.read_bytes()
    prompt = load_pairwise_prompt(path) if pairs else load_prompt(path)
    language = language_of_prompt(prompt.text)
    return (
        path.name,
        language or "other",
        " ".join(prompt.places),
        reply_of(prompt.format),
        question_of(prompt),
    )


def reply_of(form: "ReplyForm") -> str:
    """What a reply's scores are, as a prompt file declares them: 'Score [1-5]', '[yes/no]'."""
    from mlflow_tracking.judge.reply_form import DECISION

    told = []
    for scale, scored in groupby(form.scales.items(), key=lambda one: str(one[1])):
        names = [label for label, _ in scored if label != DECISION]
        shown = ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
        told.append(f"{shown} [{scale}]".strip())
    return ", ".join(told)


def question_of(prompt: "JudgePrompt") -> str:
    """The file's first sentence that is a question."""
    found = _QUESTION.search(prompt.text)
    return found[0].strip() if found else ""


def print_aligned(lines: Sequence[tuple[str, ...]]) -> None:
    """The cells in columns, the last one as long as there is room."""
    short = [
        [shorten(cell, most) for cell, most in zip(line[:-1], _MOST, strict=True)] for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*short, strict=True)]
    for cells, line in zip(short, lines, strict=True):
        begun = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        say(f"{begun}  {shorten(line[-1], _WIDTH - len(begun) - 2)}".rstrip())


def read_flags() -> Path:
    """The folder that the command line names."""
    parser = FlagParser("list_prompts", __doc__)
    shipped = SHIPPED_PROMPT.parent
    text = "the prompt files' folder (default: the shipped prompts)"
    parser.add("folder", text, nargs="?", type=Path, default=shipped)
    return Path(parser.parse_args().folder)


if __name__ == "__main__":
    raise SystemExit(main())
