"""What is the judge asked for a validation, and how often? Passes over rows, kept in one journal.

    python mlflow_tracking/validate_judge.py --data graded.csv --probe-rows 30 --repeats 3

A pass asks one judge about some rows once. A row that is judged again on purpose has another salt
in its settings; a run that goes on asks for nothing that the journal has.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow_tracking.command.console import warn
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.frame import Judging, check_folder, judging
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import (
    JudgeConnection,
    OnVerdict,
    judge_all,
    keeping,
    known_verdicts,
)
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item

# By the pass's name, one for each of its items; None where the run was stopped before.
Verdicts = Mapping[str, list[Verdict | None]]


@dataclass(frozen=True)
class JudgePass:
    """Some rows, judged once."""

    name: str
    settings: JudgeSettings
    items: tuple[Item, ...]
    concurrency: int | None = None  # None: the connection's


def known_passes(passes: Sequence[JudgePass], connection: JudgeConnection) -> Verdicts:
    """Every pass's verdicts as far as an earlier start made them."""
    journal = connection.journal
    return {one.name: known_verdicts(one.items, one.settings, journal) for one in passes}


def run_passes(
    passes: Sequence[JudgePass], connection: JudgeConnection, verdicts: Verdicts, tell: OnVerdict
) -> None:
    """Put every verdict into its place in `verdicts`, and tell it.

    Raises JudgingStopped and JournalError; what is judged until then is in its place.
    """
    asyncio.run(_run(passes, connection, verdicts, tell))


async def _run(
    passes: Sequence[JudgePass], connection: JudgeConnection, verdicts: Verdicts, tell: OnVerdict
) -> None:
    async with connection.caller() as caller:
        for one in passes:
            judge, keep = Judge(caller, one.settings), keeping(verdicts[one.name], tell)
            await judge_all(one.items, judge, connection.journal, one.concurrency, keep)


def judge_and_keep(
    command: str, plan: Experiment, passes: Sequence[JudgePass], about: str, sha256: str
) -> Verdicts | None:
    """Judge what the journal `about` these rows has not; None, and a line, if that was stopped."""
    folder = plan.run.journal_dir / about
    check_folder(folder)
    journal = Journal(folder / f"{sha256[:16]}.jsonl", {about: sha256})
    verdicts, found = judge_missing(passes, plan.connection(journal))
    if found.stopped:
        warn(f"{command}: stopped: {found.stopped}; the same command again goes on")
        return None
    return verdicts


def judge_missing(
    passes: Sequence[JudgePass], connection: JudgeConnection
) -> tuple[Verdicts, Judging]:
    """Every pass's verdicts, asking for those that the journal has not, and how that ended."""
    verdicts = known_passes(passes, connection)
    with judging(sum(len(one.items) for one in passes)) as found:
        run_passes(passes, connection, verdicts, found.told)
    return verdicts, found


@dataclass(frozen=True)
class Tokens:
    """A row's, on average."""

    prompt: float
    cached: float  # of the prompt's, those from the server's cache
    completion: float


def tokens_a_row(verdicts: Sequence[Verdict | None]) -> Tokens:
    """Of all calls for a row, over all rows."""
    rows, called = max(1, len(verdicts)), [verdict for verdict in verdicts if verdict]
    return Tokens(
        sum(verdict.prompt_tokens for verdict in called) / rows,
        sum(verdict.cached_tokens for verdict in called) / rows,
        sum(verdict.completion_tokens for verdict in called) / rows,
    )


def whole_scores(verdicts: Sequence[Verdict | None]) -> list[float | None]:
    """The overall score of each row, None without a verdict."""
    return [float(v.overall.value) if v and v.overall else None for v in verdicts]


def expected_scores(verdicts: Sequence[Verdict | None]) -> list[float | None]:
    """The expected score of each row, None without a verdict or probabilities."""
    return [v.overall.expected if v and v.overall else None for v in verdicts]


def stratified(values: Sequence[float], limit: int, seed: int = 0) -> list[int]:
    """At most `limit` indices, in the file's order, every different value as often as can be."""
    groups: dict[float, list[int]] = {}
    for index in random.Random(seed).sample(range(len(values)), len(values)):
        groups.setdefault(values[index], []).append(index)
    # One of each value in turn, until the places are taken.
    turns = sorted(
        (turn, value, index)
        for value, indices in groups.items()
        for turn, index in enumerate(indices)
    )
    return sorted(index for _, _, index in turns[:limit])
