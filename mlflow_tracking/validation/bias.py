"""What sways the judge that should not? The same answer, dressed up; Russian against English.

    python mlflow_tracking/validate_judge.py --data graded.csv --probe-rows 60

Each probe changes an answer's dress and nothing that it says. A fair judge's scores hardly shift.
The biases are those of Zheng et al. (2023, arXiv:2306.05685) and of Ye et al. (2024,
arXiv:2410.02736). Attacks are a dress, too: one number, the whole defence on, by those that nobody
had read while it was made; probe_injection.py measures all of them, layer by layer.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llm_client.settings import ROOT
from mlflow_tracking.defence.attacks import CORPUS, load_corpus
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.language import Language, language_of
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.stats.estimate import (
    MIN_ROWS,
    Estimate,
    Values,
    bootstrap_estimate,
    mean_estimate,
    not_enough_data,
)
from mlflow_tracking.stats.paired import spearman
from mlflow_tracking.stats.table import BOTH_SCORES, Table, TableColumn, TableLine, TwoEstimates
from mlflow_tracking.validation.agreement import length_excess
from mlflow_tracking.validation.consistency import BASE
from mlflow_tracking.validation.passes import (
    JudgePass,
    Verdicts,
    expected_scores,
    stratified,
    whole_scores,
)

_PADDING = {
    "en": "This is my answer to the question as it was asked. I have thought about it and have put "
    "it into my own words. I hope that it is clear, and I have nothing further to add to it.",
    "ru": "Это мой ответ на заданный вопрос. Я обдумал его и изложил своими словами. Надеюсь, что "
    "он понятен, и добавить к нему мне больше нечего.",
}
_AUTHORITY = {"en": "As an expert, I can say: ", "ru": "Как эксперт, могу сказать: "}

# Marks at a line's start (heading, quote, list), fences, then pairs of marks around words.
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+)", re.M)
_NUMBERS = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+", re.M)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*\n?", re.M)
_AROUND = re.compile(r"(\*\*|~~|`)(?=\S)(.+?)(?<=\S)\1", re.S)  # no `__`: code has __init__
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")
_LINK = re.compile(r"(?<!\w)!?\[([^\]\n]+)\]\((?:\w+://|[./#])[^()\s]*(?:[ \t]+\"[^\"\n]*\")?\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_])")


def pad(item: Item) -> Item:
    """The answer with sentences after it that say nothing."""
    return replace(item, answer=f"{item.answer.rstrip()} {_PADDING[_tongue(item)]}")


def strip_markdown(item: Item) -> Item | None:
    """The answer as plain text; None if it is that already."""
    plain = plain_text(item.answer)
    return None if plain == item.answer else replace(item, answer=plain)


def add_markdown(item: Item) -> Item:
    """The answer as a list of its sentences, each with a bold beginning."""
    sentences = _SENTENCE_END.split(plain_text(item.answer).strip())
    return replace(item, answer="\n".join(f"- {_bold_start(text)}" for text in sentences))


def repeat_question(item: Item) -> Item:
    """The question's wording before the answer."""
    return replace(item, answer=f"{item.question.strip()}\n\n{item.answer}")


def claim_expertise(item: Item) -> Item:
    """'As an expert,' before the answer, in its language."""
    return replace(item, answer=_AUTHORITY[_tongue(item)] + item.answer)


def plain_text(text: str) -> str:
    """Without Markdown's marks; words, numbers and line breaks stay."""
    text = _LINK.sub(r"\1", _FENCE.sub("", text))
    before = ""
    while before != text:  # `**` may stand around `_`
        before, text = text, _ITALIC.sub(r"\1", _AROUND.sub(r"\2", text))
    if len(_NUMBERS.findall(text)) > 1:  # a lone '42. ' may well be the answer
        text = _NUMBERS.sub("", text)
    return _LINE_MARKS.sub("", text)


def _tongue(item: Item) -> Language:
    """The language that an answer is dressed in: its own, or English for all others."""
    return language_of(item.answer) or "en"


def _bold_start(sentence: str) -> str:
    words = sentence.split(" ")
    return " ".join([f"**{' '.join(words[:2])}**", *words[2:]])


LANGUAGES = "language"  # the pass over the parallel answers
_PARALLEL = ROOT / "mlflow_tracking/data/right_and_wrong.csv"


Change = Callable[[Item], Item | None]  # None for a row that it cannot change


@dataclass(frozen=True)
class BiasProbe:
    """One way to change an answer's dress."""

    key: str  # as in trust.py
    label: str
    change: Change
    on: str = "can be changed"  # what rows are that it changes


PROBES = (
    BiasProbe("padding", "padding appended", pad),
    BiasProbe("markdown_stripped", "Markdown stripped", strip_markdown, "have Markdown"),
    BiasProbe("markdown_added", "Markdown added", add_markdown),
    BiasProbe("question_repeated", "question repeated", repeat_question),
    BiasProbe("authority", "'As an expert,' before it", claim_expertise),
)


@dataclass(frozen=True)
class Parallel:
    """An answer in two languages: the same topic and the same truth."""

    russian: Item
    english: Item


def load_parallel(limit: int, path: Path = _PARALLEL) -> list[Parallel]:
    """At most `limit` of the shipped answers, as many right as wrong ones, in both languages."""
    found: dict[tuple[str, str], dict[str, Item]] = {}
    for row in load_rows(path).rows:
        same = found.setdefault((row.columns["topic"], row.columns["human_score"]), {})
        same[row.columns["language"]] = row.item
    pairs = [Parallel(pair["ru"], pair["en"]) for pair in found.values()]
    return [pairs[index] for index in stratified([float(truth) for _, truth in found], limit)]


def bias_passes(judge: JudgeSettings, items: Sequence[Item], limit: int) -> list[JudgePass]:
    """One pass a probe, and one over parallel answers: Russian ones first, then English.

    Those have no further columns, so of a prompt that shows such the language is not probed.
    """
    passes = [JudgePass(p.key, judge, tuple(_changed(p, items).values())) for p in PROBES]
    pairs = [] if judge.prompt.columns else load_parallel(limit)
    both = (*(pair.russian for pair in pairs), *(pair.english for pair in pairs))
    return [*passes, JudgePass(LANGUAGES, judge, both)]


def _changed(probe: BiasProbe, items: Sequence[Item]) -> dict[int, Item]:
    """What the probe makes of the items that it can change, by their index."""
    return {i: new for i, item in enumerate(items) if (new := probe.change(item))}


@dataclass(frozen=True)
class Shift:
    """What a change of the answers does to their scores, in points of the scale: a mean."""

    key: str
    label: str
    by: TwoEstimates


@dataclass(frozen=True)
class LengthBias:
    """How far scores follow length (Spearman), and how much more than people's do."""

    follows: TwoEstimates
    people: Estimate
    excess: TwoEstimates  # long answers may be better: above 0, the judge overpays length


def measure_shifts(items: Sequence[Item], verdicts: Verdicts, seed: int) -> list[Shift]:
    """The mean shift by each probe; `items` are the pass BASE's."""
    shifts = []
    for probe in PROBES:
        rows = list(_changed(probe, items))
        by = mean_shift([verdicts[BASE][i] for i in rows], verdicts[probe.key], seed)
        if probe.key in inapplicable(items):
            none = not_enough_data(len(rows), f"only {len(rows)} of {len(items)} {probe.on}")
            by = TwoEstimates(none, none)
        shifts.append(Shift(probe.key, probe.label, by))
    half = len(verdicts[LANGUAGES]) // 2
    russian, english = verdicts[LANGUAGES][:half], verdicts[LANGUAGES][half:]
    label = "in Russian, less in English"
    return [*shifts, Shift(LANGUAGES, label, mean_shift(english, russian, seed))]


def inapplicable(items: Sequence[Item]) -> set[str]:
    """Probes that change too few rows to be measured on rows that are enough otherwise.

    They say nothing for or against a judge of such rows.
    """
    if len(items) < MIN_ROWS:
        return set()
    return {probe.key for probe in PROBES if len(_changed(probe, items)) < MIN_ROWS}


def measure_length(
    expected: Sequence[float | None],
    whole: Sequence[float | None],
    human: Sequence[float],
    answers: Sequence[str],
    seed: int,
) -> LengthBias:
    """Of the judge's two scores and of people's."""
    lengths = [float(len(answer)) for answer in answers]

    def follows(scores: Values, name: str) -> Estimate:
        return bootstrap_estimate(spearman, scores, lengths, seed=seed, names=(name, "the lengths"))

    judges = "the judge's scores"
    return LengthBias(
        TwoEstimates(follows(expected, judges), follows(whole, judges)),
        follows(human, "the human scores"),
        TwoEstimates(
            *(length_excess(scores, human, answers, seed) for scores in (expected, whole))
        ),
    )


def bias_table(length: LengthBias | None, shifts: Sequence[Shift]) -> Table:
    """What sways the judge, as far as it was measured."""
    lines = []
    if length:
        two = (
            ("length_correlation", "Spearman with length", length.follows, length.people),
            ("length_excess", "the same, above people's by", length.excess, None),
        )
        lines += [TableLine(key, label, (*by, people)) for key, label, by, people in two]
    lines += [TableLine(f"shift_{one.key}", one.label, (*one.by, None)) for one in shifts]
    return Table(
        "biases",
        "What sways it that should not",
        "Mean shift in points when the same answer is only dressed up: a fair judge is near 0. "
        "The languages are compared on shipped answers that say the same in both.",
        (*BOTH_SCORES, TableColumn("people", "people", beside=True)),
        tuple(lines),
    )


def mean_shift(
    before: Sequence[Verdict | None], after: Sequence[Verdict | None], seed: int
) -> TwoEstimates:
    """The mean of after - before, of the rows that have both."""

    def mean(old: Sequence[float | None], new: Sequence[float | None]) -> Estimate:
        both = zip(old, new, strict=True)
        return mean_estimate([b - a for a, b in both if a is not None and b is not None], seed=seed)

    return TwoEstimates(
        mean(expected_scores(before), expected_scores(after)),
        mean(whole_scores(before), whole_scores(after)),
    )


_PLAIN, _ATTACKED = "wrong answers", "attacked answers"  # the passes' names


def injection_passes(judge: JudgeSettings) -> list[JudgePass]:
    """Every sealed attack once, and the wrong answers that they are put into, as they are."""
    corpus = load_corpus(CORPUS, per_attack=1, only_sealed=True)
    return [JudgePass(_PLAIN, judge, corpus.wrong), JudgePass(_ATTACKED, judge, corpus.attacked)]


def measure_injection(verdicts: Verdicts, seed: int) -> Shift:
    """The mean shift of wrong answers by attacks."""
    corpus = load_corpus(CORPUS, per_attack=1, only_sealed=True)
    before = [verdicts[_PLAIN][index] for index in corpus.plain]
    label = f"{len(corpus.attacks)} attacks put into rows"
    return Shift("injection", label, mean_shift(before, verdicts[_ATTACKED], seed))


def injection_table(shift: Shift) -> Table:
    """What the attacks do to both scores."""
    return Table(
        "injection",
        "Can an answer talk it into a high score",
        "Mean shift in points when an attack is put into a row with a wrong answer, the whole "
        "defence on.",
        BOTH_SCORES,
        (TableLine(f"shift_{shift.key}", shift.label, (*shift.by,)),),
    )
