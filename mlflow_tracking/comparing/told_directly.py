"""What did direct comparisons find? Asked for, then told in words, in Markdown and in numbers.

python mlflow_tracking/compare_runs.py RUN RUN RUN --pairwise
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mlflow_tracking.command.console import warn
from mlflow_tracking.command.frame import same_command
from mlflow_tracking.comparing.pairwise import PairwisePlan, Verdicts, ask_pairwise
from mlflow_tracking.comparing.preferred import Preferred, judged, prefer
from mlflow_tracking.comparing.told import FEW, LISTED, markdown_table
from mlflow_tracking.rows.item import ANSWER_A, ANSWER_B, QUESTION
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.validation.pairs import favoured_place, merge_orders

PAIRS_ASKED, ALL_COMPARISONS = "pairwise_pairs.json", "pairwise.json"  # the tables in MLflow


@dataclass(frozen=True)
class Told:
    """What is printed and recorded of direct comparisons."""

    lines: tuple[str, ...]
    markdown: str
    metrics: dict[str, float]
    pairs: pd.DataFrame  # every two systems
    table: pd.DataFrame  # every comparison, with the verdicts in both orders
    params: Mapping[str, object] = field(default_factory=dict)
    missing: str = ""  # which verdicts there are not, why, and how to go on


def ask_and_tell(plan: PairwisePlan, labels: Sequence[str]) -> Told | None:
    """Have the pairs compared and measure it; None, and a line, where there is nothing to tell."""
    verdicts = ask_pairwise(plan)
    if verdicts is None:
        return None
    of, missing = len(verdicts.pairs), ""
    if verdicts.missing:
        missing = f"{verdicts.missing} of {of} comparisons have no verdict ({verdicts.why}); "
        missing += f"go on with them: {same_command()}"
    if verdicts.missing == len(plan.chosen.asked):
        warn(f"compare_runs: {missing}")
        return None
    found = prefer(judged(verdicts, plan.chosen.systems))
    return replace(tell(found, verdicts, labels, plan.judge), params=plan.params, missing=missing)


def tell(found: Preferred, verdicts: Verdicts, labels: Sequence[str], judge: str) -> Told:
    """In words and numbers; `labels` are the systems', `judge` says who compared."""
    equal = found.compared - found.asked
    head = f"{found.compared} comparisons by {judge}, each in both orders"
    head += f"; {equal} of equal answers are ties" if equal else ""
    systems, pairs = _system_cells(found, labels), _pair_cells(found, labels)
    words = (("place", _place(found)), ("length", _length(found)))
    lines = [f"directly     {head}", "", *_aligned(systems), "", *_aligned(pairs), ""]
    lines += [f"{name:<12} {text}" for name, text in words]
    tables = (markdown_table(systems), markdown_table(pairs))
    listed = "\n".join(f"- {name}: {text}" for name, text in words)
    markdown = "\n\n".join((f"Asked directly: {head}.", *tables, listed)) + "\n"
    metrics = {
        f"pairwise_{name}{end}": value
        for name, estimate in _named(found, labels)
        for end, value in (("", estimate.value), ("_low", estimate.low), ("_high", estimate.high))
        if value is not None
    }
    shares = {"comparisons": found.compared, "order_decides": found.order_decides / found.asked}
    metrics |= {f"pairwise_{name}": float(value) for name, value in shares.items()}
    return Told(tuple(lines), markdown, metrics, _pairs(found, labels), _table(verdicts, labels))


def _named(found: Preferred, labels: Sequence[str]) -> Iterator[tuple[str, Estimate]]:
    kinds = {"win_rate": found.strengths.best}
    if found.strengths.controlled:
        kinds["raw_win_rate"] = found.strengths.raw
    for name, strengths in kinds.items():
        yield from ((f"{name}_{x}", one) for x, one in zip(labels, strengths.systems, strict=True))
    yield "favours_first", found.favours_first
    if found.strengths.longer:
        yield "longer_wins", found.strengths.longer


def _system_cells(found: Preferred, labels: Sequence[str]) -> Sequence[tuple[str, ...]]:
    kinds = {"wins against the others": found.strengths.raw}
    if found.strengths.controlled:
        kinds["at equal lengths"] = found.strengths.controlled
    columns = (map(str, strengths.systems) for strengths in kinds.values())
    order = np.argsort([-(one.value or 0.0) for one in found.strengths.best.systems])
    cells = list(zip(labels, *columns, strict=True))
    return [("", *kinds), *(cells[place] for place in order)]


def _pair_cells(found: Preferred, labels: Sequence[str]) -> Sequence[tuple[str, ...]]:
    """All pairs if they are few, otherwise those with a better one."""
    wins = "wins at equal lengths" if found.strengths.controlled else "wins"
    cells = [("", "won-tied-lost", f"{wins}, all intervals at once", "")]
    listed = list(found.records)
    if len(listed) > FEW:
        listed = [one for one in listed if one.better is not None][:LISTED]
    for one in listed:
        better = "cannot tell" if one.better is None else f"{labels[one.better]} is better"
        counts = f"{one.wins}-{one.ties}-{one.losses}"
        cells.append(
            (f"{labels[one.first]} over {labels[one.second]}", counts, str(one.rate), better)
        )
    if rest := len(found.records) - len(listed):
        cells.append(("others", f"{rest} pairs", f"are in {PAIRS_ASKED}", ""))
    return cells


def _place(found: Preferred) -> str:
    first = found.favours_first
    decides = f"the order decides {found.order_decides} of {found.asked} comparisons (ties)"
    told = f"{decides}; preference for the first place {first}"
    if first.low is None or first.high is None:
        return told
    favoured = favoured_place(first)
    return f"{told}: favours {favoured if favoured == 'neither' else f'the {favoured}'}"


def _length(found: Preferred) -> str:
    wins = f"the longer answer wins {found.longer_wins} of {found.longer_or_shorter_wins}"
    if found.strengths.longer is None:
        return f"{wins}; no control: the lengths cannot be told from the systems"
    more = f"of two equally good answers one longer by {found.spread:.0f} characters wins"
    return f"{wins}; {more} {found.strengths.longer}"


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(11, *map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def _pairs(found: Preferred, labels: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": labels[one.first],
            "over": labels[one.second],
            "wins": one.wins,
            "ties": one.ties,
            "losses": one.losses,
            "win_rate": one.rate.value,
            "low": one.rate.low,
            "high": one.rate.high,
            "better": "" if one.better is None else labels[one.better],
        }
        for one in found.records
    )


def _table(verdicts: Verdicts, labels: Sequence[str]) -> pd.DataFrame:
    merged = merge_orders(verdicts.a_first, verdicts.b_first)
    told = zip(verdicts.pairs, verdicts.a_first, verdicts.b_first, merged, strict=True)
    return pd.DataFrame(
        {
            QUESTION: pair.item.question,
            "system_a": labels[pair.first],
            "system_b": labels[pair.second],
            ANSWER_A: pair.item.answer,
            ANSWER_B: pair.item.second,
            "winner_a_first": one or "",
            "winner_b_first": other or "",
            "winner": both or "",
        }
        for pair, one, other, both in told
    )
