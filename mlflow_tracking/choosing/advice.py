"""Which judge is to be taken, and what does that rest on? A rule over the measures, in words.

Ends what `python mlflow_tracking/compare_judges.py` prints; docs/which_judge.md has the rule.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_tracking.choosing.family import Favour
from mlflow_tracking.choosing.judges import ComparedJudge, Comparison, Panel
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.table import value_or_least

_QUICKER = 0.9  # of the better judge's time: less of a difference comes and goes with the machine


@dataclass(frozen=True)
class Advice:
    """What to take, and why."""

    judge: str  # its name; '' for none
    reason: str
    panel: str  # whether all of them together are worth their price; '' where that is not known
    doubt: str  # what speaks against the judge that is taken all the same


def advise(found: Comparison, rows: int) -> Advice:
    """The judge to take for `rows` rows: of those that may be the best, the quickest.

    A judge counts only where its agreement with people is told from 0 (its interval lies above),
    and may be the best unless the interval of its difference to the best one, which holds for all
    differences together, says that it is worse.
    """
    if missing := [one.name for one in found.judges if not one.asked]:
        return _none(f"{' and '.join(missing)} did not judge every row yet")
    highest = max(found.judges, key=lambda one: value_or_least(one.agreement))
    if highest.agreement.value is None:
        return _none(f"not enough data ({highest.agreement.note})")
    useful = [one for one in found.judges if _above(one.agreement)]
    if not useful:
        return _none(
            f"no judge's agreement with people is told from 0 on {found.rows} rows (the highest is "
            f"{highest.name}'s, {highest.agreement}); grade more rows, or try another prompt or "
            "judge"
        )
    best = max(useful, key=lambda one: value_or_least(one.agreement))
    over = _over(best, found)
    alike = [one for one in useful if one is best or not _above(over[one.name])]
    taken = min(alike, key=lambda one: _price(one, best))
    reason = _reason(taken, best, alike, found, rows)
    doubts = [one for one in found.favours if one.judge == taken.name]
    return Advice(taken.name, reason, _on_panel(found, rows), _doubt(doubts))


def _none(why: str) -> Advice:
    return Advice("", why, "", "")


def _above(estimate: Estimate) -> bool:
    return estimate.low is not None and estimate.low > 0


def _over(best: ComparedJudge, found: Comparison) -> Mapping[str, Estimate]:
    """By how much the best judge agrees better than each of the others."""
    differences = {one.other: one.estimate for one in found.differences if one.one == best.name}
    for one in found.differences:
        if one.other == best.name:
            differences[one.one] = _turned(one.estimate)
    return differences


def _turned(estimate: Estimate) -> Estimate:
    """The difference seen from the other side."""

    def minus(number: float | None) -> float | None:
        return None if number is None else -number

    value, low, high = minus(estimate.value), minus(estimate.high), minus(estimate.low)
    return Estimate(value, low, high, estimate.n, estimate.note)


def _price(judge: ComparedJudge, best: ComparedJudge) -> float:
    """For the choice among judges that may agree alike: seconds a row, the best one's a tenth less.

    Of judges without a known speed the best one is the cheapest.
    """
    if judge is best:
        return _QUICKER / best.speed.per_second if best.speed else 0.0
    return 1 / judge.speed.per_second if judge.speed else math.inf


def _reason(
    taken: ComparedJudge,
    best: ComparedJudge,
    alike: Sequence[ComparedJudge],
    found: Comparison,
    rows: int,
) -> str:
    over, parts = _over(best, found), list[str]()
    if taken is best:
        parts.append(f"it agrees best with people, {best.agreement}")
    else:
        parts.append(
            f"it may agree with people as well as {best.name}, whose lead may be chance "
            f"({over[taken.name]}), and takes {_hours(taken, rows)} where {best.name} takes "
            f"{_hours(best, rows)}"
        )
    for one in found.judges:
        if one in (taken, best):
            continue
        lead = f"{best.name} leads by {over[one.name]}"
        if not _above(one.agreement):
            parts.append(f"{one.name}'s agreement is not told from 0, {one.agreement}")
        elif one in alike:
            parts.append(f"{one.name} may agree as well ({lead}) but is not a tenth quicker")
        else:
            parts.append(f"{one.name} agrees less ({lead})")
    return "; ".join(parts)


def _hours(judge: ComparedJudge, rows: int) -> str:
    return f"{judge.speed.hours(rows):.1f} hours" if judge.speed else "not timed"


def _on_panel(found: Comparison, rows: int) -> str:
    panel = found.panel
    if panel is None or panel.gain.value is None:
        return ""
    gain = f"the mean of all {len(found.judges)} judges is {panel.gain} over {panel.best} alone"
    if _pays(panel):
        speeds = [one.speed for one in found.judges if one.speed]
        all_of_them = len(speeds) == len(found.judges)
        price = f", for {sum(one.hours(rows) for one in speeds):.1f} hours" if all_of_them else ""
        return f"a panel agrees better with people{price}: {gain}"
    return f"no panel: {gain}; they {worth(panel.votes)}"


def worth(votes: Estimate) -> str:
    """How many independent votes some judges are worth, to be read behind who they are."""
    if votes.value is None:
        return f"are worth an unknown number of independent votes ({votes.note})"
    return f"are worth {votes} independent votes"


def _pays(panel: Panel) -> bool:
    """Whether a panel's gain is told from 0, and its judges from one judge."""
    return _above(panel.gain) and panel.votes.low is not None and panel.votes.low > 1


def _doubt(doubts: Sequence[Favour]) -> str:
    for one in doubts:
        if one.told > 0:
            return (
                f"it gives answers of its own family ({one.family}) {one.points} points more than "
                "others: let another judge compare that family with others"
            )
    return ""


def family_line(one: Favour) -> str:
    """What is known of a judge and its own family."""
    rows = f"{one.own} rows of its family ({one.family}), {one.others} of others"
    if one.points.value is None:
        return f"{one.judge}: cannot tell, {one.points.note} ({rows})"
    word = {1: "favours it", -1: "gives it less", 0: "cannot tell"}[one.told]
    points = f"{one.points} points more for it where people give the same"
    if one.over_judges:
        points += f", {one.over_judges} more than {' and '.join(one.beside)} would"
    elif one.told:
        points += ", who may see these answers otherwise than any judge does"
    return f"{one.judge}: {word}, {points}; {rows}"
