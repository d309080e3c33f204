"""What is the judge asked for a validation, and how often? Passes over rows, kept in one journal.

    python mlflow_tracking/validate_judge.py --data graded.csv --probe-rows 30 --repeats 3

A pass asks one judge about some rows once. A row that is judged again on purpose has another salt,
under which its verdict is kept; a resumed run asks for none that the journal has.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.judging import judge_all
from mlflow_tracking.verdict import Verdict

OnVerdict = Callable[[Verdict, int], None]
# By the pass's name, one for each of its items; None where the run was stopped before.
Verdicts = Mapping[str, Sequence[Verdict | None]]


@dataclass(frozen=True)
class JudgePass:
    """Some rows, judged once."""

    name: str
    settings: JudgeSettings
    items: tuple[Question, ...]
    salt: str = ""
    concurrency: int | None = None  # None: the connection's
    kind: type[Judge] = Judge


def probe_settings(judge: JudgeSettings) -> JudgeSettings:
    """The judge as the probes ask it: for one token where the prompt's form allows it.

    A probe compares scores and shows no justification. One token costs a fraction of the time
    a row. The digit may differ from the whole reply's, so that a probe's base is asked this way,
    too.
    """
    if judge.constrained and judge.prompt.format.scores_first:
        return replace(judge, score_only=True)
    return judge


def run_passes(
    passes: Sequence[JudgePass], connection: JudgeConnection, on_verdict: OnVerdict | None = None
) -> None:
    """Judge what the journal has not; raises ServerGone and JournalError, what is judged stays."""
    asyncio.run(_run(passes, connection, on_verdict))


async def _run(
    passes: Sequence[JudgePass], connection: JudgeConnection, on_verdict: OnVerdict | None
) -> None:
    async with connection.client() as client:
        for one in passes:
            judge = one.kind(client, one.settings, one.salt)
            await judge_all(one.items, judge, connection.journal, one.concurrency, on_verdict)


def read_passes(passes: Sequence[JudgePass], connection: JudgeConnection) -> Verdicts:
    """Every pass's verdicts as the journal has them."""
    known = connection.journal.verdicts
    found = {}
    for one in passes:
        judge = one.kind(connection.client(), one.settings, one.salt)
        found[one.name] = [known.get(judge.key(item)) for item in one.items]
    return found


def whole_scores(verdicts: Sequence[Verdict | None]) -> list[float | None]:
    """The overall score of each row, None without a verdict."""
    return [float(v.overall.value) if v and v.overall else None for v in verdicts]


def expected_scores(verdicts: Sequence[Verdict | None]) -> list[float | None]:
    """The expected score of each row, None without a verdict or probabilities."""
    return [v.overall.expected if v and v.overall else None for v in verdicts]
