"""Which verdict does the judge's reply hold, if any? Strict: a score is read, never guessed.

Used by `python mlflow_tracking/run_experiment.py`; see the table in tests/test_reply_parser.py.

A verdict is every label of the prompt's format, each at the start of a line, in the format's order,
each score a whole number from 1 to 5 alone on its line. Of several verdicts the last one counts;
if they contradict each other, one that is a quotation of the judged answer does not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from mlflow_tracking.judge_prompt import VerdictFormat

# Markdown that unconstrained judges put around labels; '>' is not in it, it marks a quotation
_DECORATION = r"[ \t*_#`]*"
# '4', '4.', '**4**', '[4]', '4/5', '4 из 5', '4 out of 5'; nothing else may stand on the line
_SCORE = re.compile(
    r"^[*_`\[(\s]*([1-5])[*_`\])\s]*(?:(?:/|из|out of)\s*5)?[*_`\])\s]*[.,;]?[*_`\s]*$", re.I
)
_CUT_CHARACTER = "�"


@dataclass(frozen=True)
class ParsedReply:
    """Scores by label with the place of each digit (an index into the reply), and the text."""

    scores: dict[str, int]
    places: dict[str, int]
    justification: str
    complete: bool  # False: the reply was cut after its last score


class UnparsableReply(ValueError):
    """The reply holds no verdict; the message says why in one line."""


def final_answer(reply: str) -> str:
    """The reply after the judge's thoughts (`<think>…</think>`), which end with the last tag."""
    if "</think>" in reply:
        return reply.rpartition("</think>")[2]
    if reply.lstrip().startswith("<think>"):
        raise UnparsableReply("the reply ends inside <think>; give the judge more --max-tokens")
    return reply


def parse_reply(
    reply: str, form: VerdictFormat, material: str = "", cut: bool = False
) -> ParsedReply:
    """Find the verdict in `reply`.

    `material` is the judged answer, against quotations of it. `cut` says that the server stopped at
    max_tokens: then a verdict whose scores are complete counts without its text.
    Raises UnparsableReply.
    """
    answer = final_answer(reply)
    offset = len(reply) - len(answer)
    verdicts, problem, groups = [], "no line starts with its labels", 0
    for fields in _groups(answer, form):
        groups += 1
        problem = ""
        try:
            verdicts.append(_read(fields, form, offset, cut))
        except UnparsableReply as error:
            problem = str(error)
    # A judge whose last word is no verdict gave none: what stands before may be a quotation.
    if not verdicts or (problem and not cut):
        raise UnparsableReply(f"{problem} (expected {' / '.join(form.labels)}): {_brief(answer)}")
    agree = all(first.scores == second.scores for first, second in pairwise(verdicts))
    if groups == len(verdicts) and agree:
        return verdicts[-1]
    own = [verdict for verdict in verdicts if not _is_quotation(verdict, form, material)]
    if not own:
        raise UnparsableReply("the only verdicts in the reply are quotations of the answer")
    return own[-1]


@dataclass(frozen=True)
class _Field:
    label: str
    text: str
    start: int  # of the text in the answer


def _groups(answer: str, form: VerdictFormat) -> Iterator[list[_Field]]:
    """The runs of labels that begin with the format's first label, in the format's order."""
    labels = "|".join(re.escape(label) for label in sorted(form.labels, key=len, reverse=True))
    pattern = re.compile(rf"^{_DECORATION}({labels}){_DECORATION}[:：]", re.M | re.I)
    marks = list(pattern.finditer(answer))
    names = {label.casefold(): label for label in form.labels}
    ends = [mark.start() for mark in marks[1:]] + [len(answer)]
    group: list[_Field] = []
    for mark, end in zip(marks, ends, strict=True):
        label = names[mark[1].casefold()]
        if label == form.labels[0]:
            group = []
        group.append(_Field(label, answer[mark.end() : end], mark.end()))
        # A group is yielded while it grows, so that a reply that was cut shows what it has.
        if [field.label for field in group] == list(form.labels[: len(group)]):
            last = mark is marks[-1]
            if len(group) == len(form.labels) or last:
                yield group


def _read(fields: list[_Field], form: VerdictFormat, offset: int, cut: bool) -> ParsedReply:
    scores: dict[str, int] = {}
    places: dict[str, int] = {}
    justification = ""
    for field in fields:
        if field.label == form.justification:
            justification = field.text.strip().strip("*").strip()
            continue
        line, newline, _ = field.text.lstrip().partition("\n")
        match = _SCORE.match(line.strip())
        if match is None:
            raise UnparsableReply(f"'{field.label}' is not a whole number from 1 to 5")
        if cut and not newline:  # '1' may have been about to become '10'
            raise UnparsableReply(f"the reply was cut at '{field.label}'")
        scores[field.label] = int(match[1])
        places[field.label] = offset + field.start + field.text.index(match[1])
    if cut and len(scores) == len(form.scores):
        return ParsedReply(scores, places, justification.rstrip(_CUT_CHARACTER + " "), False)
    if len(fields) < len(form.labels):
        raise UnparsableReply(f"'{form.labels[len(fields)]}' is missing")
    if not justification:
        raise UnparsableReply(f"'{form.justification}' is empty")
    return ParsedReply(scores, places, justification, True)


def _is_quotation(verdict: ParsedReply, form: VerdictFormat, material: str) -> bool:
    """Whether the judged answer itself says this verdict, whatever the white space and marks."""
    flat = _flat(material)
    return (
        all(_flat(f"{label}:{verdict.scores[label]}") in flat for label in form.scores)
        and _flat(verdict.justification[:60]) in flat
    )


def _flat(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def _brief(text: str) -> str:
    shown = " ".join(text.split())
    return f"'{shown[:80]}…'" if len(shown) > 80 else f"'{shown}'"
