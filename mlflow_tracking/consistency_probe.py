"""Does the judge say the same of the same row? Judged again, hotter, in another order and load.

    python mlflow_tracking/validate_judge.py --data graded.csv --repeats 5

At temperature 0 nothing is left to chance but the server's arithmetic, which depends on which rows
it computes together. The judge's own temperature is the one that its model asks for.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from mlflow_tracking.consistency import changed_share, consistency
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import JudgePass, Verdicts, whole_scores
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.section import Column, Line, Section

BASE = "probe base"
_COLD, _OWN, _ORDER, _LOAD = "same again", "own temperature", "other order", "other concurrency"


def consistency_passes(
    judge: JudgeSettings, items: Sequence[Question], repeats: int, concurrency: int | None
) -> list[JudgePass]:
    """Beside the pass BASE, the same `items` again; `repeats` times in all at each temperature."""
    rows = tuple(items)
    passes = [
        JudgePass(f"{_COLD} {nth}", judge, rows, f"{_COLD} {nth}") for nth in range(2, repeats + 1)
    ]
    for nth in range(1, repeats + 1):
        # Another seed each time, or a server would draw the same sample again.
        own = replace(judge, temperature=None, seed=judge.seed + nth)
        passes.append(JudgePass(f"{_OWN} {nth}", own, rows, _OWN))
    passes.append(JudgePass(_ORDER, judge, tuple(_shuffled(rows, judge.seed)), _ORDER))
    other = other_concurrency(concurrency)
    passes.append(JudgePass(_LOAD, judge, rows, _LOAD, other))
    return passes


def other_concurrency(concurrency: int | None) -> int:
    """What differs most: one row at a time, or several where that is the rule already."""
    return 8 if concurrency == 1 else 1


def consistency_section(items: Sequence[Question], verdicts: Verdicts, seed: int) -> Section:
    """Flips and spread; `items` are the pass BASE's."""

    def scores(name: str) -> list[int | None]:
        return [None if value is None else int(value) for value in whole_scores(verdicts[name])]

    def repeated(start: str) -> list[list[int | None]]:
        return [scores(name) for name in verdicts if name.startswith(start)]

    cold = consistency([scores(BASE), *repeated(_COLD)], seed)
    own = consistency(repeated(_OWN), seed)
    shuffled = dict(zip(_shuffled(items, seed), scores(_ORDER), strict=True))
    order = changed_share(scores(BASE), [shuffled[item] for item in items])
    load = changed_share(scores(BASE), scores(_LOAD))
    return Section(
        "consistency",
        "Does it say the same twice",
        f"The same rows judged {cold.passes} times at temperature 0 and {own.passes} times at the "
        "judge's own, once in another order and once at another concurrency.",
        (
            Column("temperature_0", "temperature 0"),
            Column("own_temperature", "its own temperature"),
            Column("other_order", "other order"),
            Column("other_concurrency", "other concurrency"),
        ),
        (
            Line(
                "flips", "share of rows whose score changes", (cold.flips, own.flips, order, load)
            ),
            Line(
                "deviation",
                "standard deviation of a row's scores",
                (cold.deviation, own.deviation, None, None),
            ),
            Line(
                "spread",
                "highest less lowest score of a row",
                (cold.spread, own.spread, None, None),
            ),
        ),
    )


def _shuffled(items: Sequence[Question], seed: int) -> list[Question]:
    return random.Random(seed).sample(items, len(items))
