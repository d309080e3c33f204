"""What sways the judge that should not? The same answer, dressed up; Russian against English.

    python mlflow_tracking/validate_judge.py --data graded.csv --probe-rows 60

Each probe changes an answer's dress and nothing that it says. A fair judge's scores hardly shift.
The biases are those of Zheng et al. (2023, arXiv:2306.05685) and of Ye et al. (2024,
arXiv:2410.02736).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow_tracking.agreement import length_excess
from mlflow_tracking.answer_dress import (
    add_markdown,
    claim_expertise,
    pad,
    repeat_question,
    strip_markdown,
)
from mlflow_tracking.consistency_probe import BASE
from mlflow_tracking.estimate import (
    MIN_ROWS,
    Estimate,
    bootstrap_estimate,
    mean_estimate,
    not_enough_data,
)
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import JudgePass, Verdicts, expected_scores, whole_scores
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.paired_statistics import spearman
from mlflow_tracking.row_sample import stratified
from mlflow_tracking.rows import load_rows
from mlflow_tracking.section import BOTH_SCORES, Column, Line, Section
from mlflow_tracking.verdict import Verdict

LANGUAGES = "language"  # the pass over the parallel answers
_PARALLEL = Path(__file__).resolve().parent / "data/right_and_wrong.csv"


Change = Callable[[Question], Question | None]  # None for a row that it cannot change


@dataclass(frozen=True)
class BiasProbe:
    """One way to change an answer's dress."""

    key: str  # as in bias_names.py
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

    russian: Question
    english: Question


def load_parallel(limit: int, path: Path = _PARALLEL) -> list[Parallel]:
    """At most `limit` of the shipped answers, as many right as wrong ones, in both languages."""
    found: dict[tuple[str, str], dict[str, Question]] = {}
    for row in load_rows(path).rows:
        same = found.setdefault((row.columns["topic"], row.columns["human_score"]), {})
        same[row.columns["language"]] = Question(row.question, row.answer, row.reference)
    pairs = [Parallel(pair["ru"], pair["en"]) for pair in found.values()]
    return [pairs[index] for index in stratified([float(truth) for _, truth in found], limit)]


def bias_passes(judge: JudgeSettings, items: Sequence[Question], limit: int) -> list[JudgePass]:
    """One pass a probe, and one over parallel answers: Russian ones first, then English."""
    passes = [JudgePass(p.key, judge, tuple(_changed(p, items).values())) for p in PROBES]
    pairs = load_parallel(limit)
    both = (*(pair.russian for pair in pairs), *(pair.english for pair in pairs))
    return [*passes, JudgePass(LANGUAGES, judge, both)]


def _changed(probe: BiasProbe, items: Sequence[Question]) -> dict[int, Question]:
    """What the probe makes of the items that it can change, by their index."""
    return {i: new for i, item in enumerate(items) if (new := probe.change(item))}


def bias_lines(items: Sequence[Question], verdicts: Verdicts, seed: int) -> list[Line]:
    """The mean shift by each probe, in points of the scale; `items` are the pass BASE's."""
    lines = []
    for probe in PROBES:
        rows = list(_changed(probe, items))
        before = [verdicts[BASE][i] for i in rows]
        line = _shift_line(probe.key, probe.label, before, verdicts[probe.key], seed)
        if probe.key in inapplicable(items):
            none = not_enough_data(len(rows), f"only {len(rows)} of {len(items)} {probe.on}")
            line = replace(line, values=(none, none, None))
        lines.append(line)
    parallel = verdicts[LANGUAGES]
    half = len(parallel) // 2
    russian, english = parallel[:half], parallel[half:]
    return [*lines, _shift_line(LANGUAGES, "in Russian, less in English", english, russian, seed)]


def inapplicable(items: Sequence[Question]) -> set[str]:
    """Probes that change too few rows to be measured on rows that are enough otherwise.

    They say nothing for or against a judge of such rows.
    """
    if len(items) < MIN_ROWS:
        return set()
    return {probe.key for probe in PROBES if len(_changed(probe, items)) < MIN_ROWS}


def length_lines(
    expected: Sequence[float | None],
    whole: Sequence[float | None],
    human: Sequence[float],
    answers: Sequence[str],
    seed: int,
) -> tuple[Line, Line]:
    """How far scores follow length, and how much more than people's: long answers may be better."""
    lengths = [float(len(answer)) for answer in answers]
    follow = [
        bootstrap_estimate(spearman, scores, lengths, seed=seed, names=(name, "the lengths"))
        for scores, name in (
            (expected, "the judge's scores"),
            (whole, "the judge's scores"),
            (human, "the human scores"),
        )
    ]
    excess = [length_excess(scores, human, answers, seed) for scores in (expected, whole)]
    return (
        Line("length_correlation", "Spearman with length", tuple(follow)),
        Line("length_excess", "the same, above people's by", (*excess, None)),
    )


def bias_section(lines: Sequence[Line]) -> Section:
    """What sways the judge, as far as it was measured."""
    return Section(
        "biases",
        "What sways it that should not",
        "Mean shift in points when the same answer is only dressed up: a fair judge is near 0. "
        "The languages are compared on shipped answers that say the same in both.",
        (*BOTH_SCORES, Column("people", "people", beside=True)),
        tuple(lines),
    )


def _shift_line(
    key: str,
    label: str,
    before: Sequence[Verdict | None],
    after: Sequence[Verdict | None],
    seed: int,
) -> Line:
    expected = mean_shift(expected_scores(before), expected_scores(after), seed)
    whole = mean_shift(whole_scores(before), whole_scores(after), seed)
    return Line(f"shift_{key}", label, (expected, whole, None))


def mean_shift(
    before: Sequence[float | None], after: Sequence[float | None], seed: int
) -> Estimate:
    """The mean of after - before, of the rows that have both."""
    both = zip(before, after, strict=True)
    return mean_estimate(
        [new - old for old, new in both if old is not None and new is not None], seed=seed
    )
