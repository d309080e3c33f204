"""How is people's mean told beside the judge's? Metrics and words, the same wherever it is shown.

python mlflow_tracking/grade_rows.py report --run last
"""

from mlflow_tracking.stats.prediction_powered import HumanMean
from mlflow_tracking.stats.table import two_places

PEOPLE = "llm_judge/human_"  # what its metrics' names begin with
BEGINS = "**People would give"  # the paragraph of a run's description


def human_metrics(human: HumanMean) -> dict[str, float]:
    """`llm_judge/human_mean` with its interval, never without one, and what it rests on."""
    people = human.people
    values: dict[str, float | None] = {"graded_mean": human.graded, "rows": float(people.n)}
    if people.low is not None:
        values |= {"mean": people.value, "mean_low": people.low, "mean_high": people.high}
        values["rows_worth"] = human.worth
    return {f"{PEOPLE}{name}": value for name, value in values.items() if value is not None}


def human_lines(human: HumanMean) -> tuple[str, ...]:
    """Three numbers told apart, for the terminal, and what the judge was worth."""
    people, over_all = human.people, f"what people would give all {human.rows} on average"
    graded = f"{two_places(human.graded)} is their mean over the {people.n} rows that they graded"
    known = (
        f"is {over_all}, 95 % interval" if people.low is not None else f"is a guess at {over_all}"
    )
    lines = [f"the judge    {_judge(human)}", f"people       {graded}"]
    lines.append(f"estimated    {people} {known if people.value is not None else ''}".rstrip())
    if human.labels and people.value is not None:
        lines.append(f"right        {_share_right(human)} of all answers, as people would say")
    if worth(human):
        lines.append(f"worth        {worth(human)}")
    return tuple(lines)


def _judge(human: HumanMean) -> str:
    if human.judge is None:
        return "no row has a score"
    rows = f"all {human.rows} rows"
    if human.scored < human.rows:
        rows = f"the {human.scored} of {human.rows} rows that have a score"
    return f"{two_places(human.judge)} is its mean over {rows}"


def _share_right(human: HumanMean) -> str:
    people, scale = human.people, human.scale
    ends = [people.value, people.low, people.high]
    shares = [f"{(end - scale.low) / scale.span:.0%}" for end in ends if end is not None]
    return f"{shares[0]} ({shares[1]} to {shares[2]})" if len(shares) == 3 else shares[0]


def worth(human: HumanMean) -> str:
    """What the judge saved, in words; '' where that is not known."""
    if human.worth is None or human.people.low is None:
        return ""
    return f"{human.people.n} grades with this judge say as much as {human.worth:.0f} without"


def human_paragraph(human: HumanMean) -> str:
    """The same for a run's description, in Markdown."""
    people = human.people
    graded = f"The {people.n} rows that they graded have {two_places(human.graded)}."
    if people.low is None:
        return f"{BEGINS} another mean, which is not known yet**: {people.note}. {graded}"
    over_all = f"to all {human.rows} rows on average (95 % interval)"
    right = f"; {_share_right(human)} would be right" if human.labels else ""
    return f"{BEGINS} {people}** {over_all}{right}. The judge: {_judge(human)}. {graded}"


def planned(human: HumanMean, margin: float) -> str:
    """How many graded rows an interval of plus or minus `margin` points takes, in words."""
    rows = human.rows_for(margin)
    if rows is None:
        return f"not known yet: {human.people.note}"
    share = f"; {human.people.n} are graded" if rows > human.people.n else ", which are there"
    return f"an interval of ±{margin:g} takes about {rows} graded rows{share}"
