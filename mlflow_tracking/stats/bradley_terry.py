"""How strong is each system, by comparisons of two at a time? Win rates, also at equal lengths.

Used by `python mlflow_tracking/compare_runs.py RUN RUN RUN --pairwise`.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mlflow_tracking.stats.estimate import LEVEL, MIN_ROWS, Array, Estimate

Places = NDArray[np.int64]
_RESAMPLES, _FEWEST, _CELLS = 1_000, 400, 2_000_000
_PRIOR = 0.5  # of a win, and of a loss: Jeffreys' prior of a share
_STEPS, _LONGEST_STEP, _NEAR = 60, 2.0, 1e-4  # in log odds; the step after _NEAR is _NEAR^2
_LEAST = 1e-6  # strengths are known up to a constant: with this they sum to 0
_MEDIAN_TO_DEVIATION = 1.4826
_LEAST_SPREAD = 0.05  # of the length term for two systems; with less it is all their strengths'


@dataclass(frozen=True)
class Comparisons:
    """Which of two systems had the better answer, comparison by comparison; arrays of one length.

    Those of one `question` are drawn together, since they are not independent.
    """

    systems: int
    first: Places  # the systems compared, from 0
    second: Places
    wins: Array  # of the first one: 1, 0.5 for a tie, 0
    longer: Array  # by how much the first one's answer is, in characters
    question: Places  # from 0

    @property
    def spread(self) -> float:
        """A usual difference of lengths in characters, 0 where all are of one length.

        By the median, scaled to what a deviation is of normal differences: beside one answer that
        runs on to its limit the others must not seem to be of one length.
        """
        apart = np.abs(self.longer[self.longer != 0])
        return _MEDIAN_TO_DEVIATION * float(np.median(apart)) if len(apart) else 0.0


@dataclass(frozen=True)
class Strengths:
    """How often each system wins, ties as half; 0.5 is as good as the others."""

    systems: tuple[Estimate, ...]  # against the others, each alike
    pairs: tuple[Estimate, ...]  # combinations(systems, 2): the first; all intervals hold at once


@dataclass(frozen=True)
class BradleyTerry:
    """Strengths as they are, and as they were had all answers of a question one length."""

    raw: Strengths
    controlled: Strengths | None  # None: the lengths cannot be told from the systems
    longer: Estimate | None  # of two equally good answers, how often one longer by `spread` wins

    @property
    def best(self) -> Strengths:
        """The strengths to go by."""
        return self.controlled or self.raw


def bradley_terry(found: Comparisons, seed: int = 0) -> BradleyTerry:
    """Strengths by Bradley and Terry (1952) with 95 % bootstrap intervals over the questions.

    A logistic regression of wins on the difference of two strengths. With `controlled` it has the
    term b * tanh(difference of lengths / its spread) as well, and wins are predicted at no
    difference: AlpacaEval 2's control (Dubois et al., 2024, arXiv:2404.04475). What differs from
    theirs: one term for all systems in place of one each, its spread about zero, since no system is
    the baseline, and by the median (see `spread`); and no term for a question's difficulty, which
    they know from a leaderboard.

    The bootstrap is the Bayesian one (Rubin, 1981) with half a win and half a loss for each pair of
    systems, and for the longer answer, as its prior (Muliere and Secchi, 1996): a system that
    always wins has a finite strength, and its interval a width. Of one pair that is Jeffreys'
    interval. Intervals are percentiles of log odds, widened for few questions as Student's are
    (Hesterberg, 2015). Those of pairs hold at once, with 95 %, by Bonferroni's correction.
    """
    versus = np.zeros((len(found.wins), found.systems))
    rows = np.arange(len(versus))
    versus[rows, found.first], versus[rows, found.second] = 1, -1
    raw = _strengths(_resample(found, versus, seed), found)
    if not found.spread:
        return BradleyTerry(raw, None, None)
    length = np.tanh(found.longer / found.spread)
    pair = found.first * found.systems + found.second
    usual = np.bincount(pair, length) / np.maximum(np.bincount(pair), 1)
    if np.std(length - usual[pair]) < _LEAST_SPREAD:
        return BradleyTerry(raw, None, None)
    draws = _resample(found, np.column_stack([versus, length]), seed)
    longer = _interval(_chance(draws[:, -1:] * np.tanh(1)), found)
    return BradleyTerry(raw, _strengths(draws[:, :-1], found), longer[0])


def _strengths(draws: Array, found: Comparisons) -> Strengths:
    """Of strengths of shape (1 + resamples, systems)."""
    chance = _chance(draws[:, :, None] - draws[:, None, :])
    against = (chance.sum(axis=2) - 0.5) / (found.systems - 1)  # without itself
    first, second = np.array(list(combinations(range(found.systems), 2))).T
    return Strengths(
        _interval(against, found), _interval(chance[:, first, second], found, at_once=True)
    )


def _interval(draws: Array, found: Comparisons, at_once: bool = False) -> tuple[Estimate, ...]:
    """The first draw with percentiles of the others, for each column."""
    value, resamples = draws[0], draws[1:]
    n = int(found.question.max()) + 1
    if n < MIN_ROWS:
        note = f"fewer than {MIN_ROWS} questions"
        return tuple(Estimate(float(one), None, None, n, note) for one in value)
    tail = (1 - LEVEL) / 2
    odds = np.log(np.maximum(resamples, _LEAST) / np.maximum(1 - resamples, _LEAST))
    low, middle, high = np.quantile(odds, [tail, 0.5, 1 - tail], axis=0)
    wanted = tail / len(value) if at_once else tail
    wider = stats.t.ppf(wanted, n - 1) * np.sqrt(n / (n - 1)) / stats.norm.ppf(tail)
    low, high = (_chance(middle + wider * (end - middle)) for end in (low, high))
    ends = zip(value, low, high, strict=True)
    return tuple(Estimate(float(v), float(a), float(b), n) for v, a, b in ends)


def _resample(found: Comparisons, design: Array, seed: int) -> Array:
    """Parameters of shape (1 + resamples, columns of the design); the first are the data's own."""
    prior = _prior_rows(found.systems, design.shape[1])
    rows, count = np.concatenate([design, prior, prior]), len(prior)
    wins = np.concatenate([found.wins, np.ones(count), np.zeros(count)])
    weights = np.concatenate([np.ones(len(design)), np.full(2 * count, _PRIOR)])
    drawn = [_fit(rows, wins, weights[None], np.zeros(design.shape[1]))]
    rng, batch = np.random.default_rng(seed), max(1, _CELLS // len(rows))
    left = int(min(_RESAMPLES, max(_FEWEST, 2 * _CELLS // len(rows))))
    while left > 0:
        size = min(batch, left)
        questions = rng.standard_exponential((size, int(found.question.max()) + 1))
        half = rng.standard_gamma(_PRIOR, (size, 2 * count))
        drawn.append(_fit(rows, wins, np.hstack([questions[:, found.question], half]), drawn[0][0]))
        left -= size
    return np.concatenate(drawn)


def _prior_rows(systems: int, columns: int) -> Array:
    """A comparison of every two systems at equal lengths, and one by the length alone."""
    pairs = list(combinations(range(systems), 2))
    rows = np.zeros((len(pairs) + columns - systems, columns))
    for row, (first, second) in enumerate(pairs):
        rows[row, first], rows[row, second] = 1, -1
    rows[len(pairs) :, systems:] = 1
    return rows


def _fit(design: Array, wins: Array, weights: Array, start: Array) -> Array:
    """Logistic regressions by Newton's method, one for each line of `weights`.

    statsmodels and sklearn fit one a call, a millisecond each: the 1,000 resamples of two models
    would take seconds. The tests hold it to statsmodels.
    """
    columns = design.shape[1]
    squares = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    found = np.tile(start, (len(weights), 1))
    for _ in range(_STEPS):
        chance = _chance(found @ design.T)
        slope = (weights * (wins - chance)) @ design - _LEAST * found
        curve = ((weights * chance * (1 - chance)) @ squares).reshape(-1, columns, columns)
        step = np.linalg.solve(curve + _LEAST * np.eye(columns), slope[:, :, None])[:, :, 0]
        longest = np.abs(step).max(axis=1, keepdims=True)
        found += step * np.minimum(1, _LONGEST_STEP / np.maximum(longest, _LEAST))
        if longest.max() < _NEAR:
            break
    return found


def _chance(log_odds: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
