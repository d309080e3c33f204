"""Does a judge favour answers of its own family? By the column `model`, which names who wrote each.

Told by `python mlflow_tracking/compare_judges.py --data graded.csv --judge ...`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_tracking.stats.estimate import (
    MIN_ROWS,
    Array,
    Estimate,
    Values,
    bootstrap_estimate,
    not_enough_data,
)

AUTHOR = "model"  # the column
# By the words that their models' names begin with, or have behind a dash.
_FAMILIES: Mapping[str, tuple[str, ...]] = {
    "qwen": ("qwen", "qwq"),
    "llama": ("llama", "codellama", "tinyllama", "vicuna"),
    "gemma": ("gemma", "codegemma"),
    "gemini": ("gemini",),
    "mistral": ("mistral", "mixtral", "ministral", "magistral", "codestral", "devstral", "zephyr"),
    "gpt": ("gpt", "chatgpt"),
    "claude": ("claude",),
    "deepseek": ("deepseek",),
    "phi": ("phi",),
}
_WORDS = {word: family for family, words in _FAMILIES.items() for word in words}
_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join(sorted(_WORDS, key=len, reverse=True))})")


@dataclass(frozen=True)
class Favour:
    """Points by which a judge is more generous to its own family than to others.

    At the same score by people: a judge that shrinks towards the middle is more generous to the
    worse answers, whoever wrote them.
    """

    judge: str
    family: str
    own: int  # rows of its family
    others: int
    points: Estimate
    beside: tuple[str, ...]  # the judges of other families
    over_judges: Estimate | None  # more of these points than they give; None without any

    @property
    def told(self) -> int:
        """1 for more than others get, -1 for less, 0 where that cannot be told.

        Both have to say so. Beside people alone, answers that any judge overrates would look like a
        favour; beside one other judge alone, what that one gives its own family would.
        """
        signs = {_sign(one) for one in (self.points, self.over_judges) if one}
        return signs.pop() if len(signs) == 1 else 0


def family_of(*names: str) -> str:
    """Of a model, by the first of its names that has a known family, else by leading letters."""
    bases = [name.rstrip("/").rpartition("/")[2].lower() for name in names if name]
    for base in bases:
        if word := _WORD.search(base):
            return _WORDS[word[0]]
    found = re.match(r"[^\W\d_]+", bases[0]) if bases else None
    return found[0] if found else ""


def favours(
    scores: Mapping[str, Values],
    human: Values,
    families: Mapping[str, str],
    authors: Sequence[str],
    seed: int = 0,
) -> list[Favour]:
    """For each judge, by its name, whose family wrote some of the rows.

    `scores` and `human` have a column's scores by row. Rows without an author are left out.
    """
    wrote = [family_of(author) for author in authors]
    found = []
    for name, family in families.items():
        own = np.array([np.nan if not one else float(one == family) for one in wrote])
        sides = int(np.nansum(own)), int(np.nansum(1 - own))
        if not sides[0]:
            continue
        beside = tuple(other for other, theirs in families.items() if theirs != family)
        mine, people = np.asarray(scores[name], dtype=float), np.asarray(human, dtype=float)
        points, over = _favour(mine, people, own, sides, seed), None
        if beside:
            others = np.mean([np.asarray(scores[other], dtype=float) for other in beside], axis=0)
            over = _favour(mine - others, people, own, sides, seed)
        found.append(Favour(name, family, *sides, points, beside, over))
    return found


def _favour(scores: Array, human: Array, own: Array, sides: tuple[int, int], seed: int) -> Estimate:
    if min(sides) < MIN_ROWS:
        return not_enough_data(min(sides), f"fewer than {MIN_ROWS} rows of its family or of others")
    return bootstrap_estimate(_at_same_score, scores, human, own, seed=seed)


def _at_same_score(scores: Array, human: Array, own: Array, axis: int = -1) -> Array:
    """The coefficient of `own` in the regression of the scores on people's and on it."""

    def centred(column: Array) -> Array:
        return np.asarray(column - column.mean(axis=axis, keepdims=True))

    people, mine = centred(human), centred(own)
    spread = (people**2).sum(axis=axis, keepdims=True)
    slope = (people * mine).sum(axis=axis, keepdims=True) / np.where(spread > 0, spread, 1)
    left = mine - slope * people  # what people's scores do not tell of who wrote it
    return np.asarray((left * scores).sum(axis=axis) / (left**2).sum(axis=axis))


def _sign(estimate: Estimate) -> int:
    if estimate.low is None or estimate.high is None:
        return 0
    return (estimate.low > 0) - (estimate.high < 0)
