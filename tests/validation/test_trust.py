"""Is a judge told what it may be used for, and are its faults named? Judges of known quality.

python -m pytest tests/validation/test_trust.py
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mlflow_tracking.rows.graded import Winner
from mlflow_tracking.rows.scale import ONE_TO_FIVE
from mlflow_tracking.stats.estimate import (
    Array,
    Estimate,
    bootstrap_estimate,
    difference_estimate,
    mean_estimate,
    not_enough_data,
    share_estimate,
)
from mlflow_tracking.stats.paired import mean_absolute_error, spearman
from mlflow_tracking.validation.agreement import (
    STATISTICS,
    constant_judge,
    length_excess,
    length_judge,
)
from mlflow_tracking.validation.consistency import repeats
from mlflow_tracking.validation.labels import binary_agreement
from mlflow_tracking.validation.pairs import over_length, pair_agreement, prefer_the_longer
from mlflow_tracking.validation.trust import Evidence, name_biases, trust

ROWS = 120
NEEDED = ("spearman", "quadratic_weighted_kappa", "within_one_share", "bias")
RANDOM = np.random.default_rng(11)
HUMAN = RANDOM.integers(1, 6, size=ROWS).astype(float)
ANSWERS = ["x" * int(n) for n in RANDOM.integers(5, 400, size=ROWS)]
STEADY = share_estimate([False] * ROWS)
STILL = Estimate(0.0, -0.1, 0.1, ROWS)
ALL_STILL = {name: STILL for name in ("padding", "authority", "language")}


def noisy(deviation: float, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).normal(0, deviation, size=ROWS)
    return np.clip(np.floor(HUMAN + noise + 0.5), 1, 5)


def evidence_of(
    scores: Sequence[float | None] | Array,
    human: Sequence[float] | Array = HUMAN,
    answers: Sequence[str] = ANSWERS,
) -> Evidence:
    """What the verdict rests on, of a judge without any other fault."""
    constant, length = constant_judge(list(human)), length_judge(answers, ONE_TO_FIVE)
    return Evidence(
        agreement={name: bootstrap_estimate(STATISTICS[name], scores, human) for name in NEEDED},
        over_constant=difference_estimate(mean_absolute_error, constant, scores, human),
        over_length=difference_estimate(spearman, scores, length, human),
        flips=STEADY,
        shifts=ALL_STILL,
        injection=STILL,
        length_excess=length_excess(scores, list(human), answers),
        scores=[int(score) for score in scores if score is not None],
    )


@pytest.mark.parametrize(
    ("deviation", "level"),
    [(0.0, "gate"), (0.5, "gate"), (1.7, "ranking"), (2.8, "triage"), (20.0, "nothing")],
)
def test_the_noisier_the_judge_the_lower_its_level(deviation: float, level: str) -> None:
    verdict = trust(evidence_of(noisy(deviation)))
    assert verdict.level == level
    assert (len(verdict.reasons) == 1) == (level == "gate"), "what else is there to reach?"


@pytest.mark.parametrize("seed", range(4))
def test_a_random_judge_is_worth_nothing(seed: int) -> None:
    scores = np.random.default_rng(seed).integers(1, 6, size=ROWS).astype(float)
    verdict = trust(evidence_of(scores))
    assert verdict.level == "nothing"
    assert any("Spearman may be as low as" in reason for reason in verdict.reasons)


def test_a_constant_judge_is_worth_nothing_and_named() -> None:
    evidence = evidence_of([4.0] * ROWS)
    verdict = trust(evidence)
    assert verdict.level == "nothing"
    assert "Spearman: not enough data (the judge's scores are all 4)" in verdict.reasons
    assert name_biases(evidence) == ["always says 4: on 120 of 120 rows"]


def test_a_judge_of_length_is_worth_nothing_and_named() -> None:
    evidence = evidence_of(length_judge(ANSWERS, ONE_TO_FIVE))
    assert trust(evidence).level == "nothing"
    assert any(name.startswith("loves length: scores follow it") for name in name_biases(evidence))


def test_a_judge_of_length_is_worth_nothing_even_where_long_answers_are_better() -> None:
    answers = ["x" * int(100 * score + i) for i, score in enumerate(HUMAN)]
    evidence = evidence_of(length_judge(answers, ONE_TO_FIVE), HUMAN, answers)
    low = evidence.agreement["spearman"].low
    assert low is not None
    assert low > 0.9
    verdict = trust(evidence)
    assert verdict.level == "nothing"
    assert any("beat a judge that sees only length" in reason for reason in verdict.reasons)


@pytest.mark.parametrize("rows", [3, 9])
def test_few_rows_are_worth_nothing_however_good(rows: int) -> None:
    verdict = trust(evidence_of(HUMAN[:rows], HUMAN[:rows], ANSWERS[:rows]))
    assert verdict.level == "nothing"
    assert "Spearman: not enough data (fewer than 10 rows)" in verdict.reasons


def test_no_evidence_is_worth_nothing() -> None:
    assert trust(Evidence()).level == "nothing"
    assert trust(Evidence()).reasons == ("not enough data: no agreement with people was measured",)
    assert name_biases(Evidence()) == []


def flipping(share: float) -> Estimate:
    return share_estimate([row < share * ROWS for row in range(ROWS)])


def shift(size: float) -> Estimate:
    return Estimate(size, size - 0.1, size + 0.1, ROWS)


GOOD = evidence_of(noisy(0.5))


@pytest.mark.parametrize(
    ("fault", "level", "reason"),
    [
        ({"flips": flipping(0.1)}, "ranking", "rows that flip: 10%, more than 5%"),
        ({"flips": flipping(0.4)}, "triage", "rows that flip: 40%, more than 25%"),
        ({"flips": None}, "ranking", "rows that flip: not measured"),
        ({"flips": share_estimate([])}, "ranking", "rows that flip: not enough data"),
        ({"injection": shift(0.45)}, "ranking", "attacks in the answer may be as large as 0.55"),
        ({"injection": shift(1.5)}, "triage", "shift by attacks in the answer is +1.50"),
        ({"injection": None}, "ranking", "shift by attacks in the answer was not measured"),
        ({"shifts": {"padding": shift(0.6)}}, "triage", "shift by padding is +0.60"),
        ({"shifts": {"language": shift(-0.6)}}, "triage", "shift by language is -0.60"),
        ({"shifts": {}}, "ranking", "biases were not measured"),
        ({"over_constant": shift(-0.2)}, "ranking", "not shown to beat a constant judge"),
        ({"over_length": None}, "nothing", "not compared with a judge that sees only length"),
        (
            {"agreement": {**GOOD.agreement, "bias": shift(0.8)}},
            "ranking",
            "difference from people's mean score may be as large as 0.90",
        ),
        (
            {"agreement": {**GOOD.agreement, "within_one_share": shift(0.95)}},
            "ranking",
            "share within one point may be as low as 0.85, below 0.9",
        ),
        (
            {"agreement": {**GOOD.agreement, "quadratic_weighted_kappa": shift(0.69)}},
            "ranking",
            "quadratic-weighted kappa may be as low as 0.59, below 0.6",
        ),
        ({"order_decided": flipping(0.2)}, "ranking", "pairs that the order decides: 20%"),
    ],
)
def test_a_fault_lowers_the_level_and_is_the_reason(
    fault: dict[str, object], level: str, reason: str
) -> None:
    assert trust(GOOD).level == "gate"
    verdict = trust(replace(GOOD, **fault))  # type: ignore[arg-type]
    assert verdict.level == level
    assert any(reason in text for text in verdict.reasons), verdict.reasons


@pytest.mark.parametrize(
    ("deviation", "level"), [(0.6, "gate"), (2.5, "ranking"), (3.6, "triage"), (40, "nothing")]
)
def test_labels_have_levels_too(deviation: float, level: str) -> None:
    labels = [float(row % 2) for row in range(200)]
    noise = np.random.default_rng(4).normal(0, deviation, size=200)
    scores = np.clip([1 + 4 * label for label in labels] + noise, 1, 5)
    found = binary_agreement(
        scores, labels, ["x" * (1 + i * 7 % 50) for i in range(200)], ONE_TO_FIVE
    )
    evidence = Evidence(
        auc=found.auc,
        auc_over_length=found.auc_over_length,
        accuracy=found.accuracy,
        over_majority=found.over_majority,
        flips=STEADY,
        shifts=ALL_STILL,
        injection=STILL,
    )
    assert trust(evidence).level == level


@pytest.mark.parametrize(
    ("share", "level"), [(0.95, "gate"), (0.8, "ranking"), (0.65, "triage"), (0.5, "nothing")]
)
def test_pairs_have_levels_too(share: float, level: str) -> None:
    evidence = Evidence(
        pair_accuracy=share_estimate([row < share * 200 for row in range(200)]),
        pairs_over_length=shift(0.2),
        flips=STEADY,
        shifts=ALL_STILL,
        injection=STILL,
    )
    assert trust(evidence).level == level


def test_a_preference_for_the_longer_answer_is_worth_nothing_even_where_it_is_right() -> None:
    long, short = ["x" * 90] * 100, ["x" * 10] * 100
    human: list[Winner] = ["a" if pair < 90 else "b" for pair in range(100)]
    judge = prefer_the_longer(long, short)
    evidence = Evidence(
        pair_accuracy=pair_agreement(judge, human).accuracy,
        pairs_over_length=over_length(judge, human, long, short),
        flips=STEADY,
        shifts=ALL_STILL,
        injection=STILL,
    )
    assert evidence.pair_accuracy is not None
    assert evidence.pair_accuracy.value == 0.9
    assert trust(evidence).level == "nothing"
    assert "prefers the longer answer: better by 0.00" in trust(evidence).reasons[-1]


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        ({"shifts": {"padding": shift(0.5)}}, "loves length: padding raises the score (+0.50"),
        ({"shifts": {"padding": shift(-0.5)}}, "dislikes length: padding lowers the score (-0.50"),
        ({"shifts": {"authority": shift(0.3)}}, "impressed by claims of expertise (+0.30"),
        ({"shifts": {"language": shift(-0.4)}}, "scores Russian lower than English (-0.40"),
        ({"shifts": {"question_repeated": shift(0.4)}}, "loves the question's words repeated"),
        ({"shifts": {"markdown_stripped": shift(-0.4)}}, "loves Markdown: without it the score"),
        ({"shifts": {"emoji": shift(0.4)}}, "emoji raises the score (+0.40"),
        ({"injection": shift(1.0)}, "gives in to attacks (+1.00 points, 95 % +0.90 to +1.10)"),
        ({"yes_twice": flipping(0.3)}, "says yes to 'is it correct?' and to 'is it wrong?' on 30%"),
        ({"flips": flipping(0.5)}, "flips: 50% of the rows get another score when repeated"),
        ({"scores": [4] * 119 + [3]}, "almost always says 4: on 119 of 120 rows"),
        (
            {"favours_first": shift(0.3), "order_decided": flipping(0.4)},
            "prefers the first position: the order decides 40% of the pairs",
        ),
        (
            {"favours_first": shift(-0.3), "order_decided": flipping(0.4)},
            "prefers the second position: the order decides 40% of the pairs",
        ),
    ],
)
def test_a_fault_is_named(measured: dict[str, object], name: str) -> None:
    names = name_biases(replace(Evidence(), **measured))  # type: ignore[arg-type]
    assert len(names) == 1
    assert names[0].startswith(name)


def test_a_fair_judge_has_no_fault_to_name() -> None:
    assert name_biases(GOOD) == []


@pytest.mark.parametrize(
    "measured",
    [
        {"shifts": {"padding": Estimate(0.5, -0.1, 1.1, 12)}},
        {"shifts": {"padding": Estimate(0.1, 0.05, 0.15, 900)}},
        {"shifts": {"padding": not_enough_data(3, "fewer than 10 rows")}},
        {"injection": not_enough_data(0, "fewer than 10 rows")},
        {"flips": share_estimate([True] * 3)},
        {"favours_first": STILL, "order_decided": flipping(0.4)},
        {"favours_first": not_enough_data(3, ""), "order_decided": not_enough_data(3, "")},
        {"scores": [4, 3] * 60},
    ],
    ids=["chance", "tiny", "few", "no-attack", "three-flips", "both-sides", "few-pairs", "mixed"],
)
def test_what_may_be_chance_or_does_not_matter_is_not_named(measured: dict[str, object]) -> None:
    assert name_biases(replace(Evidence(), **measured)) == []  # type: ignore[arg-type]


def test_a_judge_that_flips_is_found_from_its_passes() -> None:
    random = np.random.default_rng(0)
    passes = [[int(s) for s in np.clip(HUMAN + random.integers(-1, 2, ROWS), 1, 5)] for _ in "123"]
    flips = repeats(passes).flips
    evidence = replace(GOOD, flips=flips)
    assert trust(evidence).level == "triage"
    assert name_biases(evidence)[0].startswith("flips: ")


def test_a_padding_lover_is_found_from_its_scores() -> None:
    padded = np.clip(noisy(0.5) + 1, 1, 5)
    evidence = replace(GOOD, shifts={"padding": mean_estimate(padded - noisy(0.5))})
    assert trust(evidence).level == "triage"
    assert name_biases(evidence)[0].startswith("loves length: padding raises the score")
