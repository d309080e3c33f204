"""How is people's mean told beside the judge's? Metrics and words, the same wherever it is shown.

python mlflow_tracking/grade_rows.py report --run last
"""

from mlflow_tracking.rows.item import SCALE
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.prediction_powered import HumanMean
from mlflow_tracking.stats.table import two_places

BEGINS = "**People would give"  # the paragraph of a run's description


def human_metrics(human: HumanMean) -> dict[str, float]:
    """`llm_judge/human_mean`, its ends, and what it rests on; only what there is."""
    people = human.people
    values = {
        "human_mean": people.value,
        "human_mean_low": people.low,
        "human_mean_high": people.high,
        "human_graded_mean": human.graded,
        "human_rows": float(people.n),
        "human_rows_worth": human.worth if people.low is not None else None,
    }
    return {f"llm_judge/{name}": value for name, value in values.items() if value is not None}


def human_lines(human: HumanMean, labels: bool = False) -> tuple[str, ...]:
    """Three numbers told apart, for the terminal, and what the judge was worth.

    Of `labels` the share of right answers is told as well: right is 5 and wrong is 1.
    """
    people, judge = human.people, "no row has a score"
    if human.judge is not None:
        judge = f"{two_places(human.judge)} is its mean over all {human.rows} rows"
    graded = f"{two_places(human.graded)} is their mean over the {people.n} rows that they graded"
    level = ", 95 % interval" if people.low is not None else ""
    lines = [
        f"the judge    {judge}",
        f"people       {graded}",
        f"estimated    {people} is what people would give all {human.rows} on average{level}",
    ]
    if labels:
        lines.append(f"right        {_share_right(people)} of all answers, as people would say")
    if worth(human):
        lines.append(f"worth        {worth(human)}")
    return tuple(lines)


def _share_right(people: Estimate) -> str:
    low, *_, high = SCALE
    ends = [people.value, people.low, people.high]
    shares = [f"{(end - low) / (high - low):.0%}" for end in ends if end is not None]
    return f"{shares[0]} ({shares[1]} to {shares[2]})" if len(shares) == 3 else shares[0]


def worth(human: HumanMean) -> str:
    """What the judge saved, in words; '' where that is not known."""
    if human.worth is None or human.people.low is None:
        return ""
    return f"{human.people.n} grades with this judge say as much as {human.worth:.0f} without"


def human_paragraph(human: HumanMean) -> str:
    """The same for a run's description, in Markdown."""
    people = human.people
    level = " (95 % interval)" if people.low is not None else ""
    judge = f" The judge gave {two_places(human.judge)}." if human.judge is not None else ""
    return (
        f"{BEGINS} {people}** to all {human.rows} rows on average{level}.{judge} "
        f"The {people.n} rows that they graded have {two_places(human.graded)}."
    )


def planned(human: HumanMean, margin: float) -> str:
    """How many graded rows an interval of plus or minus `margin` points takes, in words."""
    rows = human.rows_for(margin)
    if rows is None:
        return f"not known yet: {human.people.note}"
    share = f"; {human.people.n} are graded" if rows > human.people.n else ", which are there"
    return f"an interval of ±{margin:g} takes about {rows} graded rows{share}"
