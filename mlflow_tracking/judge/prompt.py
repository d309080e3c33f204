"""What is the judge asked? Reads a prompt file and renders it for a row.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/judge_prompt_en.txt
    python mlflow_tracking/run_experiment.py --prompt my_prompt.txt --check

A prompt file is text with places for the row: {question}, {answer}, {reference}, and the name of
any other column, such as {context}. What stands before its first line `---` is the system message,
unless a row's text goes there. It declares the form of the reply, see reply_form.py. A line
`Claim: [quotation of up to 8 words]` has the judge first quote what the answer claims, see
ClaimForm. Where a row has nothing for a place, its paragraph is left out, or only its line if
another of the row's texts stands in the same paragraph.
"""

import functools
import hashlib
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from llm_client.settings import ROOT
from mlflow_tracking.defence.quotation import count_words, quotable
from mlflow_tracking.defence.safe_text import TextSafety
from mlflow_tracking.judge.reply_form import PromptError, ReplyForm, read_choice, read_form
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, Item, nearest

# Those of a file's columns that have names of their own, and two answers that are compared.
_PLACES = ("question", "answer", "reference", "answer_a", "answer_b")
_REQUIRED = ("question", "answer", "answer_a", "answer_b")  # a row without one is not asked about
_NAMED = {QUESTION: "question", ANSWER: "answer", REFERENCE: "reference"}
_LONE_WORD = re.compile(r"\{([^\W\d]\w*)\}")
_OF_MLFLOW = ("metrics", "self")  # parameters of the function that it makes of a metric
_NEAR = 0.75  # from which a name is taken for a misspelt one: contxt has 0.92

Counts = Literal["claim", "answer", "mean", "smaller"]

_CLAIM_LINE = re.compile(
    r"^[ \t]*(?P<label>[^\n:：\[\]{}]{1,60}?)[ \t]*[:：][ \t]*"
    r"\[(?P<ask>[ \t]*(?:quotation|цитата)\b[^\]\n;]*)(?:;(?P<rule>[^\]\n]*))?\][ \t]*\n*",
    re.M | re.I,
)
_RULES: Mapping[Counts, str] = {  # in the words of a prompt file, the first that fits
    "mean": r"\bmean\b|average|средн",
    "smaller": r"smaller|lower|\bmin|меньш|низш",
    "answer": r"answer|ответ",
    "claim": r"claim|утвержд|цитат|quot",
}


# A quotation from a longer answer is checked and not enforced: a grammar of so many words (those of
# the answer times those of a quotation) takes vLLM half a second to compile, a longer one more.
_GRAMMAR_WORDS = 4000


@dataclass(frozen=True)
class ClaimForm:
    """What a line `Claim: [quotation of up to 8 words; the smaller score counts]` declares.

    What counts is the score of the claim (also if nothing is said), of the whole answer, their mean
    (of an answer that sounds much better than what it claims, the claim's), or the smaller one.
    """

    label: str
    words: int  # of a quotation, and of the longest reference that a quotation is compared with
    counts: Counts

    def words_for(self, reference: str) -> int:
        """Words of a quotation at most; 0 for a reference that says more than a quotation can.

        Measured (docs/manipulation.md): a quotation of twice as many words as the reference has
        tells right from wrong better than the whole answer, unless the reference is a long one.
        """
        words = count_words(reference)
        return max(self.words, 2 * words) if words <= self.words else 0

    @cached_property
    def question(self) -> str:
        """The judge's first question, with the placeholders {question}, {answer} and {words}."""
        language = "ru" if re.search(r"[а-яё]", self.label, re.I) else "en"
        path = ROOT / f"mlflow_tracking/prompts/claim/question_{language}.txt"
        return path.read_text(encoding="utf-8").strip()

    def ask(self, item: Item, safety: TextSafety, words: int, system: bool) -> "ClaimQuestion":
        """What the judge is asked first about a row; it is not shown the reference.

        What all rows share comes first, as the system message where there may be one.
        """
        safe = {name: safety.neutralise(text) for name, text in item.texts.items()}
        head, _, tail = _split(self.question.replace("{words}", str(words)))
        user = fill(tail, {**safe, "reference": ""})
        parts = [("system", head), ("user", user)] if system else [("user", f"{head}\n\n{user}")]
        messages = [{"role": role, "content": text} for role, text in parts]
        return ClaimQuestion(messages, safe["answer"], words)


@dataclass(frozen=True)
class ClaimQuestion:
    """The question what an answer claims, for one row."""

    messages: list[dict[str, str]]
    answer: str  # as the judge is shown it
    words: int  # of a quotation at most

    @property
    def passages(self) -> tuple[str, ...]:
        """The words and gaps that a reply can be held to; none for an answer of too many."""
        parts = quotable(self.answer)
        return tuple(parts) if len(parts) * self.words <= 2 * _GRAMMAR_WORDS else ()


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt file, read and checked."""

    path: Path
    text: str
    sha256: str
    system: str  # '' for a file without a line `---`
    user: str
    format: ReplyForm
    claim: ClaimForm | None = None
    columns: tuple[str, ...] = ()  # further columns of the rows that it shows, as they stand in it
    notes: tuple[str, ...] = ()  # what the user should know of how the file was read

    @functools.cached_property
    def places(self) -> tuple[str, ...]:
        """The names of the row's texts that it shows, as they first stand in it."""
        found = _pattern((*_PLACES, *self.columns)).findall(f"{self.system}\n{self.user}")
        return tuple(dict.fromkeys(found))

    @property
    def needs(self) -> tuple[str, ...]:
        """The places for which a row must have a text, or there is nothing to judge."""
        optional = ("reference", *self.columns) if "answer" in self.places else ("reference",)
        return tuple(name for name in self.places if name not in optional)

    def shown(self, item: Item) -> dict[str, str]:
        """The texts of a row that the judge is shown, by their places; '' for what it lacks."""
        return {name: item.texts.get(name, "") for name in self.places}

    @property
    def uses_reference(self) -> bool:
        """Whether the file has the placeholder {reference}."""
        return "reference" in self.places

    def render(self, item: Item, safety: TextSafety) -> list[dict[str, str]]:
        """The chat messages for one row: filled in one pass, the row's text made harmless."""
        safe = {name: safety.neutralise(text) for name, text in self.shown(item).items()}
        parts = [("system", self.system), ("user", self.user)]
        return [
            {"role": role, "content": fill(template, safe)} for role, template in parts if template
        ]


def load_prompt(path: Path, columns: Sequence[str] | None = None) -> JudgePrompt:
    """Read the prompt file at `path`; raises PromptError with what is missing.

    `columns` are the names that the rows have; without them every `{word}` is taken for one.
    """
    return _load(path, ("question", "answer"), read_form, columns)


def load_pairwise_prompt(path: Path, columns: Sequence[str] | None = None) -> JudgePrompt:
    """Read a prompt file that compares two answers; raises PromptError with what is missing."""
    return _load(path, ("question", "answer_a", "answer_b"), read_choice, columns)


def _load(
    path: Path,
    needs: Sequence[str],
    read: Callable[[Path, str], ReplyForm],
    columns: Sequence[str] | None,
) -> JudgePrompt:
    """The prompt of a file with those placeholders, its form of the reply as `read` finds it."""
    try:
        text = path.read_text(encoding="utf-8-sig").replace("\r\n", "\n").strip() + "\n"
    except FileNotFoundError:
        raise PromptError(f"{path}: no such prompt file; name another") from None
    except UnicodeDecodeError:
        raise PromptError(f"{path}: is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise PromptError(f"{path}: cannot be read: {error.strerror}") from None
    shown, notes = _columns_in(path, text, columns)
    for name in needs:
        if f"{{{name}}}" not in text and not shown:
            raise PromptError(f"{path}: has no placeholder {{{name}}}; the row's {name} goes there")
    for name in _PLACES[3:]:
        if name not in needs and f"{{{name}}}" in text:
            raise PromptError(f"{path}: {{{name}}} is for a prompt that compares two answers")
    claim, said = _read_claim(path, text)
    head, fence, tail = _split(said, shown)
    system, user = (head, tail) if fence else ("", said.strip())
    digest = hashlib.sha256((text + (claim.question if claim else "")).encode()).hexdigest()
    form = read(path, said)
    return JudgePrompt(path, text, digest, system, user, form, claim, shown, notes)


def _columns_in(
    path: Path, text: str, columns: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The further columns that a file shows, and notes on words in braces that are none.

    Raises PromptError for a name that is nearly a column's.
    """
    words = {word: None for word in _LONE_WORD.findall(text) if word not in _PLACES}
    if columns is None:
        return tuple(words), ()
    notes = []
    for word, line in _lines_of(text, words):
        where = f"{path}:{line}: {{{word}}}"
        if word in _NAMED:
            raise PromptError(f"{where}: that column is called {{{_NAMED[word]}}} in a prompt")
        if word in columns:
            if keyword.iskeyword(word) or word in _OF_MLFLOW:
                raise PromptError(
                    f"{where}: MLflow takes no such name for a column; write {{the_{word}}} and "
                    f"give --columns the_{word}={word}"
                )
            continue
        known = [*_PLACES[:3], *(name for name in columns if name not in _NAMED)]
        if near := nearest(word, known, _NEAR):
            raise PromptError(f"{where} is no column of the rows; is it {{{near}}}?")
        notes.append(f"{where} is no column of the rows; the judge is shown it as it stands")
    for name in filter(None, columns):
        if f"{{{name}}}" in text and not _LONE_WORD.fullmatch(f"{{{name}}}"):
            raise PromptError(
                f"{path}: {{{name}}}: a place is named by one word; write {{passage}} and give "
                f"--columns 'passage={name}'"
            )
    return tuple(word for word in words if word in columns), tuple(notes)


def _lines_of(text: str, words: Mapping[str, object]) -> Iterator[tuple[str, int]]:
    """Each word with the line where it first stands in braces."""
    for word in words:
        yield word, text.count("\n", 0, text.index(f"{{{word}}}")) + 1


def _read_claim(path: Path, text: str) -> tuple[ClaimForm | None, str]:
    """The claim that a file declares, and the file without that line; raises PromptError."""
    match = _CLAIM_LINE.search(text)
    if match is None:
        return None, text
    words, rule = re.search(r"\d+", match["ask"]), match["rule"] or "the claim"
    counts = next((name for name, said in _RULES.items() if re.search(said, rule, re.I)), None)
    if words is None or not 1 <= int(words[0]) <= 100 or counts is None:
        line = text.count("\n", 0, match.start()) + 1
        raise PromptError(
            f"{path}:{line}: '{match[0].strip()}': write [quotation of up to 8 words] or, to say "
            "what counts, [quotation of up to 8 words; the claim] (answer, mean, smaller)"
        )
    claim = ClaimForm(match["label"].strip("*_# \t"), int(words[0]), counts)
    return claim, text[: match.start()] + text[match.end() :]


def check_score_only(prompt: JudgePrompt) -> None:
    """Raises PromptError unless one token can give each of the prompt's scores."""
    if not prompt.format.scores_first:
        labels = ", ".join(prompt.format.labels)
        raise PromptError(
            f"{prompt.path}: --score-only needs a reply that begins with its scores, this one has "
            f"{labels}; take another prompt, or leave --score-only out"
        )


def check_explain_below(prompt: JudgePrompt, score: int) -> None:
    """Raises PromptError unless some scores of the prompt are below `score`, and some are not."""
    scale = prompt.format.scale
    if not scale.low < score <= scale.high:
        raise PromptError(
            f"{prompt.path}: --explain-below {score}: its scores are {scale.low} to {scale.high}; "
            f"give a number from {scale.low + 1} to {scale.high}"
        )


def _split(text: str, columns: Sequence[str] = ()) -> tuple[str, bool, str]:
    """The file before and after its first line `---`."""
    match = re.search(r"^---[ \t]*$", text, re.M)
    if match is None:
        return "", False, text
    head, tail = text[: match.start()].strip(), text[match.end() :].strip()
    # A row's text never speaks as the system, and a chat needs a user.
    if not head or not tail or _pattern((*_PLACES, *columns)).search(head):
        return "", False, text
    return head, True, tail


@functools.cache
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    """Any of the names in braces; of no names nothing."""
    return (
        re.compile("(?!)")
        if not names
        else re.compile(rf"\{{({'|'.join(map(re.escape, names))})\}}")
    )


def fill(template: str, values: Mapping[str, str]) -> str:
    """The template with the row's texts in its placeholders, in one pass.

    A placeholder without a text stays as it is; of a blank text the paragraph is left out.
    """
    filled = {name: text for name, text in values.items() if text.strip() or name in _REQUIRED}
    blank = _pattern(tuple(name for name in values if name not in filled))
    if blank.search(template):
        holds = _pattern(tuple(filled))
        paragraphs = re.split(r"(\n[ \t]*\n)", template)
        kept = [_without(blank, holds, p) if blank.search(p) else p for p in paragraphs]
        template = re.sub(r"\n(?:[ \t]*\n){2,}", "\n\n", "".join(kept)).strip()
    texts = {name: filled.get(name, "") for name in values}  # a blank one stands among others
    return _pattern(tuple(values)).sub(lambda match: texts[match[1]], template)


def _without(blank: re.Pattern[str], holds: re.Pattern[str], paragraph: str) -> str:
    """What is left of a paragraph with a blank text: nothing, or what holds the row's others."""
    if not holds.search(paragraph):
        return ""
    lines = paragraph.split("\n")
    return "\n".join(line for line in lines if not blank.search(line) or holds.search(line))
