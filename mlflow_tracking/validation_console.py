"""What does the user see of a validation in the terminal? Short tables, and the verdict in words.

Printed by `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

from collections.abc import Sequence

from mlflow_tracking.console import say
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.section import Column, Section, two_places
from mlflow_tracking.validation_outcome import Outcome

# What each level allows, in words; trust.py says what it takes.
USES = {
    "gate": "its score alone may stop or pass an answer",
    "ranking": "its mean over many answers may rank systems; no single score of it decides",
    "triage": "it may choose which answers a person looks at first, and decide nothing",
    "nothing": "on this evidence none of its scores should decide or rank anything",
}


def print_outcome(outcome: Outcome) -> None:
    """Every section, then the named biases and what the judge may be used for."""
    for section in outcome.sections:
        say()
        print_section(section)
    say()
    say("biases       " + ("\n             ".join(outcome.faults) or "none that stands out"))
    level = outcome.trust.level
    say(f"good for     {level}: {USES[level]}")
    for index, reason in enumerate(outcome.trust.reasons):
        say(f"{'because' if not index else '':<13}{reason}")


def print_section(section: Section) -> None:
    """The section as a table; what was not enough data is said below it, once for each cause."""
    say(section.title)
    cells = [[line.label, *map(_cell, section.columns, line.values)] for line in section.lines]
    heads = ["", *(column.heading for column in section.columns)]
    widths = [max(len(row[place]) for row in [heads, *cells]) for place in range(len(heads))]
    for row in [heads, *cells]:
        first = row[0].ljust(widths[0])
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        say("  " + "  ".join((first, *rest)).rstrip())
    for text in (*section.findings, *missing(section)):
        say(f"  {text}")


def missing(section: Section) -> list[str]:
    """Why numbers or intervals are not there, each cause once, with what it is the cause for."""
    causes: dict[str, list[str]] = {}
    for line in section.lines:
        for column, value in zip(section.columns, line.values, strict=True):
            if value is None or column.beside:
                continue
            if value.value is None or value.low is None:
                names = causes.setdefault(_cause(value), [])
                names += [line.label] if line.label not in names else []
    total = len(section.lines)
    return [
        f"{cause}: {'all of these' if len(names) == total > 1 else ', '.join(names)}"
        for cause, names in causes.items()
    ]


def _cause(value: Estimate) -> str:
    what = "not enough data" if value.value is None else "no interval"
    return f"{what} ({value.note})"


def _cell(column: Column, value: Estimate | None) -> str:
    if value is None:
        return ""
    if value.value is None:
        return "-"
    if column.beside or value.low is None or value.high is None:
        return two_places(value.value)
    low, high = two_places(value.low), two_places(value.high)
    return f"{two_places(value.value)} ({low} to {high})"


def print_unfinished(judged: int, total: int) -> None:
    """What a run that was stopped can say: nothing about the judge."""
    say(f"judged       {judged} of {total}; what the judge is good for is not known yet")


def print_place(run_id: str, experiment_id: str, notes: Sequence[str] = ()) -> None:
    """Where all of it is to be looked at."""
    for note in notes:
        say(note)
    say(f"run          {run_id}")
    say("look at it   mlflow ui   (from the repo's root), then")
    say(f"             http://127.0.0.1:5000/#/experiments/{experiment_id}/runs/{run_id}")
