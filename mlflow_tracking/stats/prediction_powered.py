"""What would people give on average, over all rows? A few graded rows correct a judge's scores.

Used by `python mlflow_tracking/grade_rows.py report`.

Prediction-powered inference (Angelopoulos et al., 2023, Science 382) with power tuning (PPI++,
arXiv:2311.01453): the judge's mean over all rows, corrected by what people gave on rows that were
drawn by chance. How far the judge is used is tuned, so a worthless judge costs nothing. Survey
statistics knows it as the regression estimator with the optimal coefficient (Montanari, 1987), here
for a finite population: the mean of these rows, not of others like them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale
from mlflow_tracking.stats.estimate import LEVEL, Array, Estimate

MIN_UNITS = 15  # graded rows (or clusters) below which no interval of ours was seen to hold
_ROUNDING = 1e-12  # points: a spread below it is none


@dataclass(frozen=True)
class DrawnGrades:
    """What people gave on rows drawn by chance, one element a graded row.

    `units` are what was drawn: the rows themselves, or clusters of them; a drawn unit is graded
    whole. Within a stratum every unit had the same chance.
    """

    rows: Sequence[int]  # indices into all rows
    grades: Sequence[float]
    units: Sequence[str]
    strata: Sequence[str]  # names, one for each row
    stratum_units: Mapping[str, int]  # how many units there are to draw from, by stratum
    all_units: int = 0  # in all strata, those too of which nothing is graded; 0: no others


@dataclass(frozen=True)
class HumanMean:
    """The judge's mean, people's mean of the graded rows, and people's mean of all rows."""

    judge: float | None  # over the rows that have a score; None: no row has one
    scored: int  # rows that have one
    graded: float  # plain mean over the graded rows
    people: Estimate  # over all rows, if each can be spoken for; its `n` is that of graded rows
    rows: int
    power: float  # how far the judge is used: 0 not at all, 1 as it stands
    worth: float | None  # graded rows that would be needed for this interval without a judge
    error: float | None = None  # standard error of `people`, and its degrees of freedom
    freedom: float = 0.0
    spread: float = 0.0  # `error` squared is spread / n - given, as far as n rows are graded
    given: float = 0.0
    labels: bool = False  # grades are right or wrong, the best and the worst of the scale
    scale: Scale = ONE_TO_FIVE  # that people graded on

    def rows_for(self, margin: float) -> int | None:
        """Rows to be graded for an interval of plus or minus `margin`; None: not known."""
        if self.error is None:
            return None
        n = float(self.people.n)
        for _ in range(4):  # t depends on n, a little
            t = _t(self.freedom * n / self.people.n)
            n = max(MIN_UNITS, self.spread / ((margin / t) ** 2 + self.given))
        return min(self.rows, math.ceil(n))


def prediction_powered_mean(judged: Array, drawn: DrawnGrades) -> HumanMean:
    """People's mean over all rows from the judge's scores `judged` of shape (rows,).

    NaN stands for a row without a score, which enters with the judge's mean: the correction makes
    any number right. The interval is Student's t, with the degrees of freedom that the fourth
    moment leaves (Satterthwaite): few rows, few strata or rare large errors make it wider.
    """
    known = judged[~np.isnan(judged)]
    judge = float(known.mean()) if len(known) else None
    scores = np.where(np.isnan(judged), judge or 0.0, judged)
    grades = np.asarray(drawn.grades, dtype=float)
    # Totals of each drawn unit: rows (1 each), the judge's scores, people's grades.
    columns = np.column_stack([np.ones(len(grades)), scores[list(drawn.rows)], grades])
    sample = _Sample(columns, drawn, len(judged))
    fit = sample.regression(np.array([1.0, scores.mean()]))
    n, rows = len(grades), len(judged)
    return HumanMean(
        judge,
        len(known),
        float(grades.mean()),
        fit.estimate(n, len(sample.units)),
        rows,
        fit.power,
        None if fit.error is None else _worth(fit.error, sample.variance(grades), rows),
        fit.error,
        fit.freedom,
        fit.spread * n,
        fit.given,
    )


def _worth(error: float, variance: float, rows: int) -> float:
    """Rows that a simple random sample would need for this standard error."""
    return variance / (error**2 + variance / rows) if variance else 0.0


def human_difference(first: HumanMean, second: HumanMean) -> Estimate:
    """First minus second, of two draws that know nothing of each other (Welch's t)."""
    n = first.people.n + second.people.n
    if first.people.value is None or second.people.value is None:
        return Estimate(None, None, None, n, "one of the two has no mean")
    value = first.people.value - second.people.value
    note = first.people.note or second.people.note
    if note or first.error is None or second.error is None:
        return Estimate(value, None, None, n, note)
    one, other = first.error**2, second.error**2
    if not one + other:  # every row of both is graded
        return Estimate(value, value, value, n)
    freedom = (one + other) ** 2 / (one**2 / first.freedom + other**2 / second.freedom)
    half = _t(freedom) * math.sqrt(one + other)
    return Estimate(value, value - half, value + half, n)


@dataclass(frozen=True)
class _Fit:
    value: float | None
    power: float
    error: float | None
    freedom: float
    spread: float  # the variance is spread - given, with spread as 1 / (units drawn)
    given: float
    note: str

    def estimate(self, rows: int, units: int) -> Estimate:
        note, what = self.note, "" if units == rows else "clusters "
        if not note and units < MIN_UNITS:
            note = f"{units} {what}graded; an interval needs {MIN_UNITS}"
        if note or self.error is None or self.value is None:
            return Estimate(self.value, None, None, rows, note)
        half = _t(self.freedom) * self.error
        return Estimate(self.value, self.value - half, self.value + half, rows)


class _Sample:
    """Totals of the drawn units, weighted up to all rows, and how they vary within strata."""

    def __init__(self, columns: Array, drawn: DrawnGrades, rows: int) -> None:
        names = list(zip(drawn.strata, drawn.units, strict=True))
        self.units = sorted(set(names))
        place = {unit: index for index, unit in enumerate(self.units)}
        self._row_units = [place[name] for name in names]
        totals = np.zeros((len(self.units), columns.shape[1]))
        np.add.at(totals, self._row_units, columns)
        strata = [stratum for stratum, _ in self.units]
        self.total = np.zeros(columns.shape[1])  # of all rows, estimated, over the rows
        self.scaled = np.zeros_like(totals)  # its sum of squares is the variance of `total`
        self.shares = np.zeros(len(self.units))  # drawn of the stratum
        self.weights = np.zeros(len(self.units))
        self.freedom, self.note = 0, ""
        spoken_for = sum(drawn.stratum_units[stratum] for stratum in set(strata))
        self.unseen = max(0, drawn.all_units - spoken_for)  # units of strata without a grade
        for stratum in sorted(set(strata)):
            here = np.array([name == stratum for name in strata])
            drawn_units, there = int(here.sum()), drawn.stratum_units[stratum]
            self.total += totals[here].mean(axis=0) * there / rows
            self.shares[here], self.weights[here] = drawn_units / there, there / drawn_units / rows
            if drawn_units == there:
                continue  # no chance was in it
            if drawn_units == 1:
                self.note = f"only one is graded of the {there} of '{stratum}'"
                continue
            scale = math.sqrt(drawn_units / (drawn_units - 1) * (1 - drawn_units / there))
            apart = totals[here] - totals[here].mean(axis=0)
            self.scaled[here] = apart * scale * there / drawn_units / rows
            self.freedom += drawn_units - 1
        self.scaled[:, np.abs(self.scaled).max(axis=0) < _ROUNDING] = 0.0

    def regression(self, aim: Array) -> _Fit:
        """The mean of the last column, corrected by the others, whose means `aim` are known."""
        known, grades = self.scaled[:, :-1], self.scaled[:, -1]
        inverse = np.linalg.pinv(known)  # a column without spread gets the factor 0
        factors, missed = inverse @ grades, aim - self.total[:-1]
        value, power = float(self.total[-1] + missed @ factors), float(factors[-1])
        if self.unseen:
            note = f"nothing is graded of a stratum with {self.unseen} of the rows"
            return _Fit(None, power, None, 1.0, 0.0, 0.0, note)
        if self.freedom == 0 and not self.note:  # every row is graded
            return _Fit(value, power, 0.0, 1.0, 0.0, 0.0, "")
        # Each unit as far from the line as it would be if the line did not know it: the jackknife
        # (HC3; MacKinnon and White, 1985). Plain residuals are too small where units are few.
        leverage = np.minimum(np.sum(known * inverse.T, axis=1), 1 - _ROUNDING)
        rest = (grades - known @ factors) / (1 - leverage)
        squares, left = float(rest @ rest), self.freedom - round(float(leverage.sum()))
        if left < 1 or squares < _ROUNDING**2 or self.note:
            note = self.note or "no graded row differs from the others"
            return _Fit(value, power, None, 1.0, 0.0, 0.0, note)
        off = float(np.sum((inverse.T @ missed) ** 2)) / self.freedom  # the sample is off by chance
        by_unit = rest**2 * (1 + off)
        variance = float(by_unit.sum())
        chance = self.shares < 1
        spread = float(np.sum(by_unit[chance] / (1 - self.shares[chance])))
        kurtosis = self.freedom * float(np.sum(rest**4)) / squares**2
        freedom = min(float(left), 2 * self.freedom / max(kurtosis - 1, _ROUNDING))
        return _Fit(value, power, math.sqrt(variance), freedom, spread, spread - variance, "")

    def variance(self, grades: Array) -> float:
        """Of one row's grade over all rows, as far as the drawn ones tell."""
        weights = self.weights[self._row_units]
        mean = float(np.average(grades, weights=weights))
        spread = float(np.average((grades - mean) ** 2, weights=weights))
        return spread * len(grades) / max(1, len(grades) - 1)


def _t(freedom: float) -> float:
    from scipy import stats  # half a second, which no run without grades needs

    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))
