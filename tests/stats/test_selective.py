"""Does a promise hold as often as it says, and is the exact test an exact one?

python -m pytest tests/stats/test_selective.py
"""

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from benchmarks.simulations.promised_risk import draw_many, judges
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.stats.selective import (
    Selection,
    Step,
    fewest_rows,
    select,
    upper_bound,
    walk,
)

RIGHT, WRONG = False, True
POPULATIONS = judges()


def sure(count: int) -> list[float]:
    """Signals, all different, the surest row first."""
    return [float(-place) for place in range(count)]


@pytest.mark.parametrize(
    ("max_wrong", "error", "rows"), [(0.1, 0.05, 29), (0.1, 0.025, 36), (0.2, 0.05, 14)]
)
def test_the_fewest_rows_are_those_that_can_pass(max_wrong: float, error: float, rows: int) -> None:
    assert fewest_rows(max_wrong, error) == rows
    assert (1 - max_wrong) ** rows <= error < (1 - max_wrong) ** (rows - 1)


@pytest.mark.parametrize(("wrong", "rows"), [(0, 29), (1, 46), (3, 40), (39, 40), (40, 40)])
def test_the_bound_is_the_one_of_clopper_and_pearson(wrong: int, rows: int) -> None:
    _, high = proportion_confint(wrong, rows, alpha=0.1, method="beta")  # 5 % on each side
    assert upper_bound(wrong, rows, 0.05) == pytest.approx(high)


@pytest.mark.parametrize("rows", [29, 46, 61, 100, 300])
@pytest.mark.parametrize("max_wrong", [0.05, 0.1, 0.3])
def test_as_many_may_be_wrong_as_the_binomial_test_allows(rows: int, max_wrong: float) -> None:
    step = select({"a": [1.0] * rows}, [WRONG] * rows, max_wrong).failed.get("a")
    if step is None:
        assert (1 - max_wrong) ** rows > 0.05
        return
    allowed = stats.binomtest(max(0, step.most), rows, max_wrong, alternative="less")
    one_more = stats.binomtest(step.most + 1, rows, max_wrong, alternative="less")
    assert allowed.pvalue <= 0.05 < one_more.pvalue
    assert upper_bound(step.most, rows, 0.05) <= max_wrong < upper_bound(step.most + 1, rows, 0.05)


def test_a_judge_that_is_never_wrong_decides_every_row() -> None:
    best = select({"a": sure(50)}, [RIGHT] * 50, 0.1).best
    assert best is not None
    assert (best.decided, best.wrong, best.above) == (50, 0, None)


def test_the_sequence_ends_at_the_first_test_that_fails() -> None:
    """Of 29 rows none is wrong, of 46 two: that later rows are all right changes nothing."""
    wrong = [RIGHT] * 29 + [WRONG] * 2 + [RIGHT] * 69
    found = select({"a": sure(100)}, wrong, 0.1)
    assert found.best is not None
    assert (found.best.decided, found.best.above) == (29, -29.0)
    assert (found.failed["a"].decided, found.failed["a"].wrong, found.failed["a"].most) == (
        46,
        2,
        1,
    )


def test_one_wrong_row_among_the_surest_does_not_end_it_where_there_are_many() -> None:
    wrong = [WRONG] + [RIGHT] * 299
    best = select({"a": sure(300)}, wrong, 0.1).best
    assert best is not None
    assert best.decided == 300


@pytest.mark.parametrize("places", [1, 6], ids=("many ties", "none"))
def test_the_order_of_the_tests_does_not_depend_on_who_was_wrong(places: int) -> None:
    rng = np.random.default_rng(0)
    signal = rng.random(200).round(places)
    whole = [step.decided for step in walk("a", signal, np.zeros(200, dtype=bool), 0.1, 0.05)]
    assert whole[-1] == 200
    for _ in range(50):
        steps = list(walk("a", signal, rng.random(200) < 0.07, 0.1, 0.05))
        assert [step.decided for step in steps] == whole[: len(steps)]
        assert [step.passed for step in steps[:-1]] == [True] * (len(steps) - 1)


def test_rows_of_one_value_stay_together() -> None:
    signal = [2.0] * 40 + [1.0] * 30
    best = select({"a": signal}, [RIGHT] * 40 + [WRONG] * 30, 0.1).best
    assert best is not None
    assert (best.decided, best.above) == (40, 1.0)
    assert select({"a": [1.0] * 70}, [RIGHT] * 40 + [WRONG] * 30, 0.1).best is None


def test_rows_without_a_signal_are_neither_decided_nor_counted_as_right() -> None:
    signal: list[float | None] = [*sure(40), *[None] * 20]
    found = select({"a": signal}, [RIGHT] * 60, 0.1)
    assert found.best is not None
    assert (found.rows, found.known["a"], found.best.decided) == (60, 40, 40)


def test_too_few_rows_promise_nothing() -> None:
    found = select({"a": sure(28)}, [RIGHT] * 28, 0.1)
    assert (found.best, found.fewest, found.failed) == (None, 29, {})


def test_several_signals_share_the_error_and_the_greatest_coverage_wins() -> None:
    rng = np.random.default_rng(0)
    good, noise = sure(100), rng.random(100).tolist()
    wrong = [RIGHT] * 60 + [WRONG] * 40
    found = select({"noise": noise, "good": good}, wrong, 0.1)
    assert found.fewest == 36
    assert found.best is not None
    assert found.best.signal == "good"
    assert found.best.upper == pytest.approx(1 - 0.025 ** (1 / found.best.decided))


DRAWS = 300
# The 99 % point of how often a promise of 95 % may be broken by chance in so many draws.
MOST_BROKEN = stats.binom.ppf(0.99, DRAWS, 0.05) / DRAWS


@pytest.mark.parametrize("n", [50, 120])
@pytest.mark.parametrize("name", POPULATIONS)
def test_a_promise_is_broken_in_at_most_five_per_cent_of_draws(name: str, n: int) -> None:
    assert draw_many(POPULATIONS[name], n, 0.1, DRAWS).broken <= MOST_BROKEN


def test_the_simulation_finds_out_a_rule_that_tests_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As many rows as were wrong often enough among the graded ones breaks most promises."""

    def naive(signals: Mapping[str, Array], wrong: Array, max_wrong: float) -> Selection:
        [(name, column)] = signals.items()
        order = np.argsort(-column)
        shares = np.cumsum(wrong[order]) / np.arange(1, len(wrong) + 1)
        kept = np.flatnonzero(shares <= max_wrong)
        if not len(kept) or kept[-1] + 1 == len(wrong):
            return Selection(len(wrong), max_wrong, 0.95, 1, {}, {}, {})
        step = Step(name, float(column[order][kept[-1] + 1]), int(kept[-1]) + 1, 0, 0, 1.0)
        return Selection(len(wrong), max_wrong, 0.95, 1, {}, {name: step}, {})

    monkeypatch.setattr("benchmarks.simulations.promised_risk.select", naive)
    assert draw_many(POPULATIONS["weak"], 120, 0.1, DRAWS).broken > 0.3


@pytest.mark.parametrize(("name", "least"), [("near perfect", 0.8), ("good", 0.25)])
def test_a_judge_that_knows_where_it_errs_decides_many_rows(name: str, least: float) -> None:
    assert draw_many(POPULATIONS[name], 120, 0.1, 100).coverage >= least
