"""Which verdict does the judge's reply hold, if any? Strict: a score is read, never guessed.

Tried on the table of replies in tests/judge/test_reply_parser.py.

A verdict is every label of the prompt's format, each at the start of a line, in the format's order,
each score alone on its line, on its own scale. Of several verdicts the last one counts,
but a quotation of the judged answer does not, and one that is broken off or out of order is no
verdict: if the reply ends with such a one, which score was meant is not known.
"""

import functools
import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mlflow_tracking.judge.reply_form import DECISION, ReplyForm
from mlflow_tracking.rows.scale import Scale

# Markdown that unconstrained judges put around labels, a byte-order mark, a hard space; not '>',
# which marks a quotation
_DECORATION = r"[ \t\u00a0\ufeff*_#`]*"
_SCORE_CHARS = 40  # a longer line holds more than a score, and its pattern would take minutes
_THOUGHTS = re.compile(r"</think(?:ing)?>", re.I)
_THOUGHTS_OPEN = re.compile(r"^[ \t]*<think(?:ing)?>", re.I | re.M)
CUT_CHARACTER = "�"


@dataclass(frozen=True)
class ParsedReply:
    """Scores by label with the place of each digit (an index into the reply), and the text."""

    scores: dict[str, int]
    places: dict[str, int]
    justification: str
    complete: bool  # False: the reply was cut inside the justification or before it


class UnparsableReply(ValueError):
    """The reply holds no verdict; the message says why in one line."""


class _CutShort(UnparsableReply):
    """The reply was cut inside a verdict. `seen`: the scores that it has, by label."""

    def __init__(self, message: str, seen: dict[str, int]) -> None:
        super().__init__(message)
        self.seen = seen


@functools.cache
def _score_line(scale: Scale) -> re.Pattern[str]:
    """A line with a score and nothing else: '4', '4.', '**4**', '[4]', '4/5', '4 out of 5'."""
    words = "|".join(re.escape(word) for word in sorted(scale.words, key=len, reverse=True))
    of = rf"(?:(?:/|из|out of)\s*{scale.high})?[*_`\])\s]*" if scale.is_numbers else ""
    return re.compile(rf"^[*_`\[(\s]*({words})[*_`\])\s]*{of}[.,;]?[*_`\s]*$", re.I)


def final_answer(reply: str) -> str:
    """The reply after the judge's thoughts (`<think>…</think>`), which end with the last tag."""
    ends = [match.end() for match in _THOUGHTS.finditer(reply)]
    answer = reply[ends[-1] :] if ends else reply
    if _THOUGHTS_OPEN.search(answer):
        raise UnparsableReply("the reply ends inside <think>; give the judge more --max-tokens")
    return answer


def parse_reply(reply: str, form: ReplyForm, material: str = "", cut: bool = False) -> ParsedReply:
    """Find the verdict in `reply`.

    `material` is the judged answer, against quotations of it. `cut` says that the server stopped at
    max_tokens: then a verdict whose scores are complete counts without its text.
    Raises UnparsableReply.
    """
    answer = final_answer(reply)
    offset = len(reply) - len(answer)
    verdicts: list[ParsedReply] = []
    fault: UnparsableReply | None = UnparsableReply("no line starts with its labels")
    runs = list(_runs(answer, form))
    for fields in runs:
        try:
            verdicts.append(_read(fields, form, offset, cut and fields is runs[-1]))
            fault = None
        except UnparsableReply as error:
            fault = error
    # A judge whose last word is no verdict gave none: what stands before may be a quotation.
    if fault and not (verdicts and isinstance(fault, _CutShort)):
        raise UnparsableReply(f"{fault} (expected {' / '.join(form.labels)}): {_brief(answer)}")
    if isinstance(fault, _CutShort) and not fault.seen.items() <= verdicts[-1].scores.items():
        raise UnparsableReply(f"{fault}, in a verdict that contradicts the one before")
    broken = len(runs) - len(verdicts) - isinstance(fault, _CutShort)
    return _choose(verdicts, broken, form, _flat(material), _flat(answer))


def _choose(
    verdicts: list[ParsedReply], broken: int, form: ReplyForm, material: str, answer: str
) -> ParsedReply:
    """The verdict that counts, of at least one; `material` and `answer` are flat."""
    if not broken and all(v.scores == verdicts[-1].scores for v in verdicts):
        # A fooled judge may say what the answer says; prose around it makes it a quotation.
        lone = verdicts[-1]
        if _as_written(lone, form) != answer and all(
            _is_quotation(verdict, form, material) for verdict in verdicts
        ):
            raise UnparsableReply("the only verdict in the reply is a quotation of the answer")
        return lone
    own = [verdict for verdict in verdicts if not _is_quotation(verdict, form, material)]
    if not own:
        raise UnparsableReply("the only verdicts in the reply are quotations of the answer")
    chosen = own[-1]
    before = next((verdict for verdict in own if verdict.scores != chosen.scores), None)
    if before and not chosen.complete:
        raise UnparsableReply("the reply was cut in a verdict that contradicts the one before")
    # Its score stands in the answer, its words do not: quoted or meant, nobody can tell.
    if all(_flat(f"{label}:{_word(chosen, label, form)}") in material for label in form.scales):
        raise UnparsableReply("the reply contradicts itself, with a score that the answer names")
    return chosen


@dataclass(frozen=True)
class _Field:
    label: str
    text: str
    start: int  # of the text in the answer


def _runs(answer: str, form: ReplyForm) -> Iterator[list[_Field]]:
    """Runs of labels in the format's order; a score's label out of order is a run of its own."""
    labels = "|".join(re.escape(label) for label in sorted(form.labels, key=len, reverse=True))
    pattern = re.compile(rf"^{_DECORATION}({labels}){_DECORATION}[:：]", re.M | re.I)
    marks = list(pattern.finditer(answer))
    ends = [mark.start() for mark in marks[1:]] + [len(answer)]
    run: list[_Field] = []
    for mark, end in zip(marks, ends, strict=False):  # without marks there is an end all the same
        field = _Field(_label(mark[1], form), answer[mark.end() : end], mark.end())
        if run and len(run) < len(form.labels) and field.label == form.labels[len(run)]:
            run.append(field)
        elif field.label == form.labels[0] or field.label in form.scales:
            if run:
                yield run
            run = [field]
    if run:
        yield run


def _label(written: str, form: ReplyForm) -> str:
    """The format's label that the reply writes in its own case."""
    return next(
        label for label in form.labels if re.fullmatch(re.escape(label), written, re.IGNORECASE)
    )


def _read(fields: list[_Field], form: ReplyForm, offset: int, cut: bool) -> ParsedReply:
    """The verdict of a run; `cut` says that the reply was cut at its end."""
    if fields[0].label != form.labels[0]:
        raise UnparsableReply(f"'{fields[0].label}' is out of order")
    scores: dict[str, int] = {}
    places: dict[str, int] = {}
    justification = ""
    for field in fields:
        if field.label == form.justification:
            justification = _plain(field.text)
            continue
        line, newline, _ = field.text.lstrip().partition("\n")
        line, scale = line.strip(), form.scales[field.label]
        match = _score_line(scale).match(line) if len(line) <= _SCORE_CHARS else None
        value = scale.value_of(match[1]) if match else None
        if cut and not newline and field is fields[-1]:  # '1' may have been about to become '10'
            seen = scores | ({field.label: value} if value is not None else {})
            raise _CutShort(f"the reply was cut at '{field.label}'", seen)
        if match is None or value is None:
            raise UnparsableReply(f"'{field.label}' is not {scale.wanted}")
        scores[field.label] = value
        places[field.label] = offset + field.start + field.text.index(match[1])
    whole = len(fields) == len(form.labels) and fields[-1].label != form.justification
    if cut and not whole and len(scores) == len(form.scales):
        return ParsedReply(scores, places, justification.rstrip(CUT_CHARACTER + " "), False)
    if len(fields) < len(form.labels):
        missing = f"'{form.labels[len(fields)]}' is missing"
        if cut:
            raise _CutShort(f"the reply was cut, {missing}", scores)
        raise UnparsableReply(missing)
    if not justification:
        raise UnparsableReply(f"'{form.justification}' is empty")
    return ParsedReply(scores, places, justification, True)


def _plain(text: str) -> str:
    """A justification without what is left of Markdown around its label or of a code fence."""
    text = re.sub(r"\n```\s*$", "", text.strip()).strip()
    text = re.sub(r"^[*_]{1,3}(?=\s|$)", "", text).strip()
    return text[:-2].rstrip() if text.endswith("**") and text.count("**") % 2 else text


def _is_quotation(verdict: ParsedReply, form: ReplyForm, material: str) -> bool:
    """Whether the flat `material` says this verdict, word for word, to its text's first line."""
    return _as_written(verdict, form) in material


def _as_written(verdict: ParsedReply, form: ReplyForm) -> str:
    """The verdict in its form, flat, with the first line of its text."""
    text = verdict.justification.partition("\n")[0]
    said = {label: _word(verdict, label, form) for label in verdict.scores}
    return _flat("".join(f"{label}{said.get(label, text)}" for label in form.labels))


def _word(verdict: ParsedReply, label: str, form: ReplyForm) -> str:
    return form.scales[label].word_of(verdict.scores[label])


def _flat(text: str) -> str:
    """Without white space, punctuation, Markdown and case."""
    return re.sub(r"[\W_]+", "", text.casefold())


def _brief(text: str) -> str:
    shown = " ".join(text.split())
    return f"'{shown[:80]}…'" if len(shown) > 80 else f"'{shown}'"


def parse_decision_reply(reply: str, form: ReplyForm, cut: bool = False) -> ParsedReply:
    """Find the decision in `reply`; raises UnparsableReply.

    `cut` says that the server stopped at max_tokens: then a decision counts without its text.
    """
    assert form.decision is not None, "a form with a decision"
    answer = final_answer(reply)
    line, _, rest = answer.lstrip().partition("\n")
    score = form.decision.value_of(line)
    word = form.decision.word_of(score) if score else ""
    if not score or word.casefold() not in line.casefold():
        raise UnparsableReply(f"the first line is not {form.decision.wanted}: {line[:80]!r}")
    scores = {form.overall: score}
    places = {
        form.overall: len(reply) - len(answer.lstrip()) + line.casefold().index(word.casefold())
    }
    label = re.match(rf"[\s*_#`]*{re.escape(form.justification)}[*_`]*[:：](.*)", rest, re.I | re.S)
    justification = label[1].strip().strip("*").strip() if label else ""
    if cut:
        text = justification.rstrip(CUT_CHARACTER + " ")
        return ParsedReply(scores, places, text, complete=False)
    if not justification:
        raise UnparsableReply(f"'{form.justification}' is missing or empty")
    return ParsedReply(scores, places, justification, complete=True)


def read_score(reply: str, form: ReplyForm, label: str) -> tuple[int, int]:
    """The score of `label` and its place in a reply of nothing else; raises UnparsableReply."""
    scale, written = form.scales[label], reply.strip(" \t\r\n.,;*_`")
    value = scale.value_of(written)
    if value is None:
        raise UnparsableReply(f"{_not_wanted(form, label)}: {reply[:40]!r}")
    return value, reply.rindex(written)


def read_scores(reply: str, form: ReplyForm) -> dict[str, tuple[int, int]]:
    """The scores and their places in a reply of a line for each; raises UnparsableReply."""
    answer = final_answer(reply)
    lines = [line for line in answer.split("\n") if line.strip()]
    found: dict[str, tuple[int, int]] = {}
    start = len(reply) - len(answer)
    for label, line in itertools.zip_longest(form.scales, lines[: len(form.scales)], fillvalue=""):
        name, _, written = line.partition(":" if ":" in line else "：")
        if label == DECISION:
            name, written = DECISION, line
        written = written.strip("*_` \t\r")
        value = form.scales[label].value_of(written)
        if name.strip("*_#` \t").casefold() != label.casefold() or value is None:
            raise UnparsableReply(f"{_not_wanted(form, label)}: {reply[:40]!r}")
        start = reply.index(line, start)
        found[label] = value, start + line.rindex(written)
        start += len(line)
    return found


def _not_wanted(form: ReplyForm, label: str) -> str:
    after = "" if label == DECISION else f" after '{label}:'"
    return f"not {form.scales[label].wanted}{after}"


def parse_json_reply(reply: str, form: ReplyForm) -> ParsedReply:
    """Find the verdict in a reply that is held to an object of the form's labels.

    Raises UnparsableReply.
    """
    found = read_object(reply, form, form.labels)
    scores = {label: found[label][0] for label in form.scales}
    places = {label: found[label][1] for label in form.scales}
    text = str(json.loads(final_answer(reply))[form.justification]).strip()
    if not text:
        raise UnparsableReply(f"'{form.justification}' is empty")
    return ParsedReply(scores, places, " ".join(text.split()), complete=True)


def read_object(reply: str, form: ReplyForm, labels: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The scores of a JSON object with those labels and no others, each with its place in `reply`.

    Raises UnparsableReply.
    """
    answer = final_answer(reply)
    try:
        content = json.loads(answer)
    except ValueError:
        raise UnparsableReply(f"not JSON: {_brief(answer)}") from None
    if not isinstance(content, dict) or set(content) != set(labels):
        raise UnparsableReply(f"not an object with {' and '.join(labels)}: {_brief(answer)}")
    found, start = {}, 0
    for label, scale in form.scales.items():
        value = scale.value_of(str(content[label]))
        if value is None or isinstance(content[label], bool):
            raise UnparsableReply(f"'{label}' is {content[label]!r}, {_not_wanted(form, label)}")
        # The label may be written with escapes.
        written = re.search(rf':\s*"?(?={re.escape(str(content[label]))})', answer[start:])
        if written is None:
            raise UnparsableReply(f"'{label}' is out of order: {_brief(answer)}")
        start += written.end()
        found[label] = value, len(reply) - len(answer) + start
    if form.justification in labels and not isinstance(content[form.justification], str):
        raise UnparsableReply(f"'{form.justification}' is no text")
    return found
