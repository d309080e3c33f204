"""Which rows are shown where not all can be? The worst first, then a sample of the rest.

python mlflow_tracking/run_experiment.py --traces 100
"""

import random
from collections.abc import Sequence

from mlflow_tracking.verdict import Verdict


def worst_first(verdicts: Sequence[Verdict | None]) -> list[int]:
    """Indices of the judged rows: failed ones, then by score, equal ones by expected score."""

    def badness(index: int) -> tuple[float, float, int]:
        verdict = verdicts[index]
        score = verdict.overall if verdict else None
        if score is None:
            return 0.0, 0.0, index
        expected = score.expected
        return float(score.value), expected if expected is not None else score.value, index

    return sorted((i for i, verdict in enumerate(verdicts) if verdict), key=badness)


def choose_rows(verdicts: Sequence[Verdict | None], limit: int, seed: int = 0) -> list[int]:
    """At most `limit` indices of judged rows, in the file's order.

    All if they are no more; else half of the places go to the worst, and a seeded sample of the
    rest fills the other half, so that what is shown is not only what went wrong.
    """
    ordered = worst_first(verdicts)
    if len(ordered) <= limit:
        return sorted(ordered)
    worst, rest = ordered[: (limit + 1) // 2], ordered[(limit + 1) // 2 :]
    return sorted(worst + random.Random(seed).sample(rest, limit - len(worst)))


def stratified(values: Sequence[float], limit: int, seed: int = 0) -> list[int]:
    """At most `limit` indices, in the file's order, every different value as often as can be."""
    groups: dict[float, list[int]] = {}
    for index in random.Random(seed).sample(range(len(values)), len(values)):
        groups.setdefault(values[index], []).append(index)
    # One of each value in turn, until the places are taken.
    turns = sorted(
        (turn, value, index)
        for value, indices in groups.items()
        for turn, index in enumerate(indices)
    )
    return sorted(index for _, _, index in turns[:limit])
