"""What is each judge worth, what are they worth together, and what does each cost? The measures.

    python mlflow_tracking/compare_judges.py --data graded.csv --judge a=URL --judge b=URL

advice.py says what follows from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_tracking.choosing.family import AUTHOR, Favour, family_of, favours
from mlflow_tracking.choosing.kept_judges import KeptJudge, Speed
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.stats.estimate import (
    Array,
    Estimate,
    Values,
    bootstrap_estimate,
    difference_estimate,
)
from mlflow_tracking.stats.paired import bias, exact_share, spearman
from mlflow_tracking.stats.simultaneous import all_differences
from mlflow_tracking.stats.table import value_or_least
from mlflow_tracking.stats.votes import effective_votes
from mlflow_tracking.validation.agreement import Scores
from mlflow_tracking.validation.passes import Tokens, expected_scores, tokens_a_row, whole_scores


@dataclass(frozen=True)
class ComparedJudge:
    """A judge beside people, and its price."""

    name: str
    model: str  # as its server names it; '' for a judge that was never there
    asked: bool  # about every row
    scored: int  # rows
    whole: Estimate  # Spearman of the whole score
    expected: Estimate  # of the expected one
    agreement: Estimate  # of the finer of the two
    same_score: Estimate  # the share of rows
    generous: Estimate  # score less people's, in points
    tokens: Tokens
    speed: Speed | None

    @property
    def cached(self) -> float:
        """The share of the prompts' tokens that its server had in its cache."""
        return self.tokens.cached / self.tokens.prompt if self.tokens.prompt else 0.0


@dataclass(frozen=True)
class Difference:
    """Spearman of one judge less the other's; the intervals of all differences hold together."""

    one: str
    other: str
    estimate: Estimate


@dataclass(frozen=True)
class Panel:
    """All judges, whose mean score counts."""

    agreement: Estimate
    best: str  # of the judges alone
    gain: Estimate  # the panel's Spearman less that one's
    votes: Estimate  # independent ones that the judges are worth


@dataclass(frozen=True)
class Comparison:
    """All that was measured on `rows` graded rows."""

    rows: int
    prompt: str
    judges: tuple[ComparedJudge, ...]
    differences: tuple[Difference, ...] = ()  # of judges that were asked about every row
    panel: Panel | None = None  # None while a judge is missing
    favours: tuple[Favour, ...] = ()
    named_authors: bool = False  # whether the rows say who wrote the answers


def compare(kept: Sequence[KeptJudge], graded: GradedData, prompt: str) -> Comparison:
    """Measure every judge, and what they are worth beside each other as far as they are done."""
    judges = tuple(_measure(one, graded) for one in kept)
    done = {one.name: _finest(one) for one in kept if one.asked}
    authors = [row.row.columns.get(AUTHOR, "") for row in graded.rows]
    found = Comparison(len(graded.rows), prompt, judges, named_authors=any(authors))
    if len(done) < 2:
        return found
    differences = all_differences(spearman, done, graded.human)
    errors = {name: _errors(scores, graded.points) for name, scores in done.items()}
    families = {one.name: _family(one) for one in kept if one.asked}
    return Comparison(
        found.rows,
        prompt,
        judges,
        tuple(Difference(*pair, estimate) for pair, estimate in differences.items()),
        _panel(judges, done, errors, graded) if len(done) == len(kept) else None,
        tuple(favours(done, graded.points, families, authors)),
        found.named_authors,
    )


def _measure(judge: KeptJudge, graded: GradedData) -> ComparedJudge:
    whole, expected = whole_scores(judge.verdicts), expected_scores(judge.verdicts)
    return ComparedJudge(
        judge.name,
        judge.settings.model if judge.settings else "",
        judge.asked,
        sum(score is not None for score in whole),
        bootstrap_estimate(spearman, whole, graded.human),
        bootstrap_estimate(spearman, expected, graded.human),
        bootstrap_estimate(spearman, _finest(judge), graded.human),
        bootstrap_estimate(exact_share, whole, graded.points),
        bootstrap_estimate(bias, whole, graded.points),
        tokens_a_row(judge.verdicts),
        judge.speed,
    )


def _finest(judge: KeptJudge) -> Sequence[float | None]:
    return Scores(expected_scores(judge.verdicts), whole_scores(judge.verdicts)).finest


def _errors(scores: Values, points: Values) -> Array:
    return np.asarray(np.asarray(scores, dtype=float) - np.asarray(points, dtype=float))


def _family(judge: KeptJudge) -> str:
    """By the weights' own name, since the served one may be an alias."""
    settings = judge.settings
    return family_of(settings.model_root, settings.model, judge.name) if settings else ""


def _panel(
    judges: Sequence[ComparedJudge],
    scores: Mapping[str, Values],
    errors: Mapping[str, Array],
    graded: GradedData,
) -> Panel:
    best = max(judges, key=lambda one: value_or_least(one.agreement)).name
    mean = np.mean([np.asarray(column, dtype=float) for column in scores.values()], axis=0)
    names = [f"{name}'s errors" for name in errors]
    return Panel(
        bootstrap_estimate(spearman, mean, graded.human),
        best,
        difference_estimate(spearman, mean, scores[best], graded.human),
        effective_votes(list(errors.values()), names),
    )
