"""Which graded rows does a prompt show as examples, and where? Picks them, and writes the file.

    python mlflow_tracking/compare_prompts.py --data graded.csv --examples graded.csv my_prompt.txt
    python mlflow_tracking/compare_prompts.py --data rest.csv --examples graded.csv --shots 8 my.txt

The examples stand before the row, in the system message if there is one, so that all rows share
them and the server computes them once. An example looks as the prompt's own row does, and after it
stands the reply that was wanted. There is no chance in it: the same file gives the same examples.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from mlflow_tracking.defence.safe_text import ControlTokens, TextSafety, delimiters_around
from mlflow_tracking.judge.dialect import JUSTIFICATION_CHARS
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.reply_form import (
    DECISION,
    PromptError,
    ReplyForm,
)
from mlflow_tracking.rows.graded import GradedData, GradedRow
from mlflow_tracking.rows.item import DataError, Item

_FENCE = re.compile(r"^---[ \t]*$", re.M)
# What a prompt file may declare a reply's line with: brackets that begin a line or follow a colon.
_DECLARED = re.compile(r"(^[^\w\n\[]*|[:：][^\w\n\[]*)\[([^\]\n]*)\]", re.M)
_FRAME = re.compile(r"\s*(?:</?[^<>]+>|.*[:：])\s*")  # a line that belongs to the text below it
_CLOSING = re.compile(r"\s*</[^<>]+>\s*")
_HEADINGS = {"en": "Examples, graded by people:", "ru": "Примеры, оценённые людьми:"}


@dataclass(frozen=True)
class Example:
    """A graded row that a prompt shows."""

    row: GradedRow
    score: int  # on the prompt's scale


def pick_examples(graded: GradedData, prompt: JudgePrompt, shots: int) -> list[Example]:
    """Rows spread over the scale, no two of one question; raises DataError if there are too few.

    They come from the ends of the scale inwards, low and high in turn, so that the reply shown last
    is none of the extremes where there are others: a small judge repeats what it saw last.
    """
    if len(prompt.format.scores) > 1:
        asked = ", ".join(prompt.format.scores)
        raise PromptError(
            f"{prompt.path}: has the scores {asked}; people gave one, so examples are for a prompt "
            "with one score"
        )
    free = _by_level(graded, prompt.format.scale.values)
    picked: list[Example] = []
    tasks: set[tuple[str, ...]] = set()
    while free and len(picked) < shots:
        for level in _spread(sorted(free), shots - len(picked)):
            row = next((one for one in free[level] if _task(one.row.item) not in tasks), None)
            if row is None:
                del free[level]
                continue
            picked.append(Example(row, level))
            tasks.add(_task(row.row.item))
    if len(picked) < shots:
        raise DataError(
            f"{graded.data.path}: --shots {shots}: found {len(picked)} rows with an answer, a "
            "clear grade and a question of their own; ask for fewer"
        )
    return picked


def left_to_judge(graded: GradedData, examples: Sequence[Example]) -> GradedData:
    """The rows of other questions than the examples'; raises DataError if there are none.

    All answers to a picked question go: the judge has seen its reference.
    """
    shown = {_task(example.row.row.item) for example in examples}
    kept = tuple(row for row in graded.rows if _task(row.row.item) not in shown)
    if not kept:
        raise DataError(
            f"{graded.data.path}: every row shares its question with one of the {len(examples)} "
            "examples; give other rows, or fewer --shots"
        )
    lost = len(graded.rows) - len(kept)
    note = f"{lost} of {len(graded.rows)} rows share a question with an example and are left out"
    return replace(graded, rows=kept, notes=(*graded.notes, *([note] if lost else [])))


def write_with_examples(
    path: Path, prompt: JudgePrompt, examples: Sequence[Example], tokens: ControlTokens | None
) -> JudgePrompt:
    """The prompt of the file at `path`, which is `prompt` with the examples; raises PromptError.

    `tokens` are the served model's. Nothing else is changed: if the reply's form, the row's place
    or what stands around it is read otherwise than in the original, the file is taken back.
    """
    text = with_examples(prompt, examples, tokens)
    try:
        path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        written = load_prompt(path, prompt.columns)
        if _skeleton(written) != _skeleton(prompt):
            raise _no_place(prompt)
    except PromptError:
        path.unlink()
        raise
    return written


def with_examples(
    prompt: JudgePrompt, examples: Sequence[Example], tokens: ControlTokens | None
) -> str:
    """The text of the prompt's file with the examples in it, before the row."""
    lines = prompt.user.split("\n")
    first, last = _row_lines(lines, examples[0].row.row.item)
    start, end = first, last + 1
    while start and _FRAME.fullmatch(lines[start - 1]):
        start -= 1
    while end < len(lines) and _CLOSING.fullmatch(lines[end]):
        end += 1
    shape = "\n".join(line for line in lines[start:end] if not _DECLARED.search(line))
    shown = _shown(replace(prompt, system="", user=shape), prompt, examples, tokens)
    fence = _FENCE.search(prompt.text) if prompt.system else None
    at = fence.start() if fence else _before_row(prompt, lines, first, start)
    head, tail = prompt.text[:at].rstrip(), prompt.text[at:]
    language = "ru" if re.search(r"[а-яё]", prompt.format.justification, re.I) else "en"
    return "\n\n".join(part for part in (head, _HEADINGS[language], *shown, tail) if part)


def _by_level(graded: GradedData, levels: Sequence[int]) -> dict[int, list[GradedRow]]:
    """The rows by the level that is nearest to what people gave, the best examples first.

    Of a level the rows that people put right on it, and of those the shortest; but answers of less
    than half the usual length come last: an 'I do not know' shows nothing of how answers look.
    """
    short = median(len(row.row.item.answer) for row in graded.rows) / 2
    found: dict[int, list[tuple[bool, bool, int, int, GradedRow]]] = {}
    for number, row in enumerate(graded.rows):
        point = row.human
        if graded.kind == "binary":
            point = levels[-1] if row.human else levels[0]
        nearest, next_one = sorted(levels, key=lambda level: abs(level - point))[:2]
        off, texts = abs(nearest - point), row.row.item.texts
        if not texts["answer"].strip() or off == abs(next_one - point):
            continue  # between two levels it is an example of neither
        length, unsure = sum(map(len, texts.values())), off > abs(nearest - next_one) / 4
        is_short = len(texts["answer"]) < short
        found.setdefault(nearest, []).append((unsure, is_short, length, number, row))
    return {level: [one[-1] for one in sorted(rows)] for level, rows in found.items()}


def _spread(levels: list[int], count: int) -> Iterator[int]:
    """At most `count` of the levels, evenly spread, from the ends inwards."""
    last = len(levels) - 1
    if count == 1:
        levels = [levels[last // 2]]
    elif count <= last:
        levels = [levels[round(n * last / (count - 1))] for n in range(count)]
    for low, high in zip(levels, reversed(levels), strict=True):
        if low <= high:
            yield low
        if low < high:
            yield high


def _task(item: Item) -> tuple[str, ...]:
    """What an answer is about: the question, and further columns that the judge is shown."""
    about = (text for name, text in item.texts.items() if name not in ("answer", "reference"))
    return tuple(" ".join(text.split()).casefold() for text in about)


def _row_lines(lines: Sequence[str], item: Item) -> tuple[int, int]:
    """The first and the last line with a row's text."""
    places = [f"{{{name}}}" for name in item.texts]
    found = [n for n, line in enumerate(lines) if any(place in line for place in places)]
    return found[0], found[-1]


def _before_row(prompt: JudgePrompt, lines: Sequence[str], first: int, start: int) -> int:
    """Where the row begins in the file's text, with the line above it, which delimits it."""
    if start == first:
        above = [n for n in range(first) if lines[n].strip()]
        if not above:
            raise _no_place(prompt)
        start = above[-1]
        while start and lines[start - 1].strip():
            start -= 1
    at = prompt.text.rfind("\n".join(lines[start:]))
    if at < 0:  # the line of a claim stands in the midst of it
        raise _no_place(prompt)
    return at


def _shown(
    row_of: JudgePrompt,
    prompt: JudgePrompt,
    examples: Sequence[Example],
    tokens: ControlTokens | None,
) -> list[str]:
    """Each example as the judge would be shown it, and the reply that was wanted.

    A reply has the grader's reason if all have one. It is there for --score-only, too: the file
    that was measured is the file that is used, and what all rows share is computed once.
    """
    around = delimiters_around(prompt.user, prompt.places)
    safety = TextSafety(tokens, replace(around, lines=(*around.lines, "---")))
    reasons = all(example.row.feedback for example in examples)
    shown = []
    for example in examples:
        content = row_of.render(example.row.row.item, safety)[0]["content"]
        reason = safety.neutralise(example.row.feedback) if reasons else ""
        reply = _reply(prompt.format, example.score, reason)
        shown.append(_inert(f"{content.strip()}\n\n{reply}"))
    return shown


def _reply(form: ReplyForm, score: int, reason: str) -> str:
    """A reply in the prompt's form, without a justification if there is no reason."""
    # A judge copies what it sees: round brackets, not the look-alikes of _inert.
    one_line = " ".join(reason.replace("[", "(").replace("]", ")").split())
    if form.one_sentence:
        one_line = re.split(r"(?<=[.!?])\s", one_line, maxsplit=1)[0]
    given = {form.justification: one_line[:JUSTIFICATION_CHARS]}
    given[form.overall] = form.scale.word_of(score)
    labels = [label for label in form.labels if given[label]]
    return "\n".join(
        given[label] if label == DECISION else f"{label}: {given[label]}" for label in labels
    )


def _inert(text: str) -> str:
    """The text as a part of a file that is a template: no placeholder, no declaration."""
    text = re.sub(r"\r\n?", "\n", text)  # as the file will be read
    text = re.sub(r"\n(?:[^\S\n]*\n){2,}", "\n\n", text)
    return re.sub(r"\{(?=\w)", "{ ", _DECLARED.sub(r"\1⟦\2⟧", text))


def _skeleton(prompt: JudgePrompt) -> tuple[object, ...]:
    """What a prompt and the same prompt with examples have in common."""
    row = prompt.user if prompt.system else delimiters_around(prompt.user, prompt.places)
    return prompt.format, prompt.claim, prompt.places, bool(prompt.system), row


def _no_place(prompt: JudgePrompt) -> PromptError:
    return PromptError(
        f"{prompt.path}: has no place for examples before the row; put the instructions first, "
        "then a line ---, then the row"
    )
