"""How is a comparison told? Lines for the terminal, and Markdown for a README.

python mlflow_tracking/compare_runs.py RUN RUN RUN --markdown comparison.md
"""

from collections.abc import Sequence

from mlflow_tracking.command.console import shorten
from mlflow_tracking.comparing.systems import Comparison, System
from mlflow_tracking.grading.markdown import as_markdown
from mlflow_tracking.rows.scale import short
from mlflow_tracking.stats.several_means import Difference
from mlflow_tracking.stats.table import two_places

ALL_PAIRS = "differences.json"  # the artifact that has every pair
_NAME, _QUESTION = 32, 80  # terminal cells
FEW, LISTED = 10, 20  # pairs: all are listed; at most so many that differ
_HEAD = ("", "system", "judge", "n", "mean", "95 % interval", "win-tie-loss", "no verdict")


def told(compared: Comparison) -> list[str]:
    """The table of systems, who differs from whom, and what people would say."""
    table = [_HEAD, *(_cells(one) for one in compared.ranked)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"paired       {_paired(compared)}", ""]
    for cells in table:
        padded = [
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    listed, rest = _listed(compared)
    lines += ["", f"intervals    {_level(compared)}"]
    lines += [f"{_who(one, compared):<12} {_said(one)}" for one in listed]
    lines += [f"others       {rest}"] if rest else []
    lines += [f"people       {line}" for line in compared.people[:LISTED]]
    more = len(compared.people) - LISTED
    return [*lines, f"people       {more} lines more in comparison.md"] if more > 0 else lines


def most_apart(compared: Comparison, rows: int) -> list[str]:
    """So many of the rows that the systems differ most on, in the order of the command line."""
    found = compared.most_apart.head(rows)
    if found.empty:
        return []
    letters = [one.letter for one in compared.systems]
    width = max(3, *(len(short(score)) for score in found[letters].to_numpy().ravel()))
    lines = [" ".join([f"{'row':>5}", *(f"{name:>{width}}" for name in letters)]) + "  question"]
    for _, row in found.iterrows():
        cells = " ".join(f"{short(row[name]):>{width}}" for name in letters)
        lines.append(f"{row['row']:>5} {cells}  {shorten(str(row['question']), _QUESTION)}")
    return lines


def markdown(compared: Comparison) -> str:
    """The same for a README or a run's description, without the rows."""
    lines = [markdown_table([_HEAD, *(_cells(one) for one in compared.ranked)])]
    listed, rest = _listed(compared)
    lines += ["", f"Means over {_paired(compared)}."]
    lines += [f"Differences, intervals {_level(compared)}:", ""]
    lines += [f"- **{_who(one, compared)}** {_said(one)}" for one in listed]
    lines += [f"- {rest}"] if rest else []
    people = [f"- {line}" for line in compared.people]
    lines += ["", "What people would say, each interval by itself:", "", *people] if people else []
    lines += [line for note in compared.notes for line in ("", f"Note: {_escaped(note)}.")]
    return "\n".join(lines) + "\n"


def markdown_table(cells: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head."""
    head, *rows = (f"| {' | '.join(map(_escaped, row))} |" for row in cells)
    return "\n".join([head, "|" + " --- |" * len(cells[0]), *rows])


def _cells(one: System) -> tuple[str, ...]:
    mean, record = one.mean, f"{one.wins}-{one.ties}-{one.losses}"
    value = two_places(mean.value or 0.0)
    interval = mean.note
    if not interval and mean.low is not None and mean.high is not None:
        interval = f"{two_places(mean.low)} to {two_places(mean.high)}"
    names = (shorten(one.run.name, _NAME), shorten(one.run.judge, _NAME))
    return (one.letter, *names, str(mean.n), value, interval, record, str(one.no_verdict))


def _paired(compared: Comparison) -> str:
    shared, found = compared.shared, compared.found
    rows = f"{len(shared.places)} rows that all scored, by {' and '.join(shared.keys)}"
    if found.grouped:
        return f"{rows}; the intervals are over their {found.units} questions"
    different = len(set(shared.questions))
    if different < len(shared.places):
        return f"{rows}; the intervals are over other answers to their {different} questions"
    return rows


def _level(compared: Comparison) -> str:
    pairs = len(compared.found.differences)
    return f"95 %, all {pairs} together" if pairs > 1 else "95 %"


def _listed(compared: Comparison) -> tuple[Sequence[Difference], str]:
    """The pairs to list, of many the furthest apart first, and what is said of the others."""
    pairs = compared.found.differences
    if len(pairs) <= FEW:
        return pairs, ""
    differ = sorted(filter(lambda one: one.differs, pairs), key=_distance, reverse=True)
    unlisted = f"{len(differ) - LISTED} pairs differ, " if len(differ) > LISTED else ""
    rest = f"{unlisted}{len(pairs) - len(differ)} pairs cannot be told apart; all in {ALL_PAIRS}"
    return differ[:LISTED], rest


def _distance(one: Difference) -> float:
    return abs(one.estimate.value or 0.0)


def _who(one: Difference, compared: Comparison) -> str:
    return f"{compared.systems[one.second].letter} - {compared.systems[one.first].letter}"


def _said(one: Difference) -> str:
    """The difference, its interval, and whether it is one; what is shown agrees with that."""
    found = one.estimate
    between = found.note
    if not between and found.low is not None and found.high is not None:
        between = f"{_signed(found.low)} to {_signed(found.high)}"
    verdict = "differs" if one.differs else "cannot tell"
    return f"{_signed(found.value or 0.0)} ({between}): {verdict}"


def _signed(number: float) -> str:
    """With two places, or so many that what is not 0 does not look like it."""
    places = next((places for places in (2, 3, 4, 9) if round(number, places)), 2)
    return f"{round(number, places) + 0.0:+.{places}f}"


def _escaped(text: str) -> str:
    """Of a table's cell: there it is not a line's beginning that would mean something else."""
    return as_markdown(f".{text}")[1:].replace("|", "\\|")
