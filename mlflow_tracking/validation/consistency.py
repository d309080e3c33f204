"""Does the judge say the same of the same row? Judged again, hotter, in another order, both ways.

    python mlflow_tracking/validate_judge.py --data graded.csv --repeats 5

At temperature 0 nothing is left to chance but the server's arithmetic, which depends on which rows
it computes together. The judge's own temperature is the one that its model asks for.

Both ways: 'Is the answer correct?' and 'Is the answer wrong?', two prompts that differ in nothing
else. A judge that says yes to both says yes to the question and nothing of the answer.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llm_client.settings import ROOT
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.language import language_of_prompt
from mlflow_tracking.rows.scale import ONE_TO_FIVE
from mlflow_tracking.stats.estimate import Estimate, mean_estimate, share_estimate
from mlflow_tracking.stats.table import Table, TableColumn, TableLine, value_or_least
from mlflow_tracking.validation.passes import JudgePass, Verdicts, whole_scores

BASE = "probe base"
_COLD, _OWN, _ORDER, _LOAD = "same again", "own temperature", "other order", "other concurrency"

_BOTH_WAYS = ("is_it_right", "is_it_wrong")  # the passes, and the files of their prompts
_PROMPTS = ROOT / "mlflow_tracking/prompts/both_ways"

RowScores = Sequence[float | None]  # one score a row; None: no verdict in this pass


@dataclass(frozen=True)
class Repeats:
    """Over rows that have a verdict in two passes at least; spreads in points of the scale."""

    passes: int
    flips: Estimate  # share of rows whose scores are not all the same
    deviation: Estimate  # mean standard deviation of a row's scores (n - 1)
    spread: Estimate  # mean of a row's highest less its lowest score


@dataclass(frozen=True)
class Consistency:
    """The same rows judged in four ways; shares of rows whose score changes."""

    cold: Repeats  # at temperature 0
    own: Repeats  # at the judge's own
    order: Estimate
    load: Estimate  # at another concurrency

    @property
    def worst_flips(self) -> Estimate:
        """Of the ways in which rows are judged again at temperature 0, at which rows are judged."""
        return max((self.cold.flips, self.order, self.load), key=value_or_least)


@dataclass(frozen=True)
class BothWays:
    """Shares of the rows that get the same word to a question and to its reverse."""

    yes_twice: Estimate
    no_twice: Estimate


def consistency_passes(
    judge: JudgeSettings, items: Sequence[Item], repeats: int, concurrency: int | None
) -> list[JudgePass]:
    """Beside the pass BASE, the same `items` again; `repeats` times in all at each temperature."""
    rows = tuple(items)

    def again(salt: str) -> JudgeSettings:
        return replace(judge, salt=salt)

    passes = [
        JudgePass(name, again(name), rows)
        for name in (f"{_COLD} {nth}" for nth in range(2, repeats + 1))
    ]
    for nth in range(1, repeats + 1):
        # Another seed each time, or a server would draw the same sample again.
        own = replace(again(_OWN), temperature=None, seed=judge.seed + nth)
        passes.append(JudgePass(f"{_OWN} {nth}", own, rows))
    passes.append(JudgePass(_ORDER, again(_ORDER), tuple(_shuffled(rows, judge.seed))))
    passes.append(JudgePass(_LOAD, again(_LOAD), rows, other_concurrency(concurrency)))
    return passes


def both_ways_passes(judge: JudgeSettings, items: Sequence[Item]) -> list[JudgePass]:
    """The same `items`, asked whether they are right and whether they are wrong.

    In the language of the judge's own prompt; English, where that is in neither.
    """
    language = language_of_prompt(judge.prompt.text) or "en"
    prompts = {name: load_prompt(_PROMPTS / f"{name}_{language}.txt") for name in _BOTH_WAYS}
    return [
        JudgePass(name, replace(judge, prompt=prompt).for_probes(), tuple(items))
        for name, prompt in prompts.items()
    ]


def other_concurrency(concurrency: int | None) -> int:
    """What differs most: one row at a time, or several where that is the rule already."""
    return 8 if concurrency == 1 else 1


def measure_consistency(items: Sequence[Item], verdicts: Verdicts, seed: int) -> Consistency:
    """From the passes' verdicts; `items` are the pass BASE's."""

    def repeated(start: str) -> list[RowScores]:
        return [whole_scores(verdicts[name]) for name in verdicts if name.startswith(start)]

    base = whole_scores(verdicts[BASE])
    shuffled = dict(zip(_shuffled(items, seed), whole_scores(verdicts[_ORDER]), strict=True))
    return Consistency(
        repeats([base, *repeated(_COLD)], seed),
        repeats(repeated(_OWN), seed),
        changed_share(base, [shuffled[item] for item in items]),
        changed_share(base, whole_scores(verdicts[_LOAD])),
    )


def measure_both_ways(verdicts: Verdicts) -> BothWays:
    """From the two passes' verdicts, over the rows that have both."""
    both = zip(*(whole_scores(verdicts[name]) for name in _BOTH_WAYS), strict=True)
    said = [pair for pair in both if None not in pair]
    yes, no = (ONE_TO_FIVE.high,) * 2, (ONE_TO_FIVE.low,) * 2  # what the words count
    return BothWays(
        share_estimate([pair == yes for pair in said]),
        share_estimate([pair == no for pair in said]),
    )


def repeats(passes: Sequence[RowScores], seed: int = 0) -> Repeats:
    """From k passes over the same rows."""
    rows = [[score for score in row if score is not None] for row in zip(*passes, strict=True)]
    rows = [row for row in rows if len(row) > 1]
    return Repeats(
        len(passes),
        share_estimate([len(set(row)) > 1 for row in rows]),
        mean_estimate([float(np.std(row, ddof=1)) for row in rows], seed=seed),
        mean_estimate([float(max(row) - min(row)) for row in rows], seed=seed),
    )


def changed_share(first: RowScores, other: RowScores) -> Estimate:
    """The share of rows whose score is another in `other`: in another order, at another speed."""
    both = zip(first, other, strict=True)
    return share_estimate([a != b for a, b in both if a is not None and b is not None])


def consistency_table(found: Consistency) -> Table:
    """Flips and spread of each way."""
    cold, own = found.cold, found.own
    flips = (cold.flips, own.flips, found.order, found.load)
    return Table(
        "consistency",
        "Does it say the same twice",
        f"The same rows judged {cold.passes} times at temperature 0 and {own.passes} times at the "
        "judge's own, once in another order and once at another concurrency.",
        (
            TableColumn("temperature_0", "temperature 0"),
            TableColumn("own_temperature", "its own temperature"),
            TableColumn("other_order", "other order"),
            TableColumn("other_concurrency", "other concurrency"),
        ),
        (
            TableLine("flips", "share of rows whose score changes", flips),
            TableLine(
                "deviation",
                "standard deviation of a row's scores",
                (cold.deviation, own.deviation, None, None),
            ),
            TableLine(
                "spread",
                "highest less lowest score of a row",
                (cold.spread, own.spread, None, None),
            ),
        ),
    )


def both_ways_table(found: BothWays) -> Table:
    """The two shares."""
    return Table(
        "both_ways",
        "Does it say yes either way",
        "The same rows asked whether the answer is correct and whether it is wrong: how many get "
        "one word to both. No twice can be said of a half-right answer, yes twice of none.",
        (TableColumn("", "share of rows"),),
        (
            TableLine("yes_twice", "correct: yes, wrong: yes", (found.yes_twice,)),
            TableLine("no_twice", "correct: no, wrong: no", (found.no_twice,)),
        ),
    )


def _shuffled(items: Sequence[Item], seed: int) -> list[Item]:
    return random.Random(seed).sample(items, len(items))
