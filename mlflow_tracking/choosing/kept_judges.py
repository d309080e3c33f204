"""What did each judge say, one after the other? Kept, so that only one need be served at a time.

    python mlflow_tracking/compare_judges.py --data graded.csv --judge a=URL#one --judge b=URL#two

A judge has a journal of its own, whose header says who it was when its first row was judged: while
its server is away its verdicts count, and another model is never asked in its name. Beside it
stands how long its rows took.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from llm_client.caller import Caller
from llm_client.reply import Reply
from llm_client.settings import Settings
from mlflow_tracking.choosing.judge_names import NamedJudge
from mlflow_tracking.command.experiment import Experiment, check_judge
from mlflow_tracking.command.flags import CallFlags, RunFlags
from mlflow_tracking.command.frame import INTERRUPTED, check_folder
from mlflow_tracking.defence.safe_text import ControlTokens
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.journal import Journal, JournalError, read_lines
from mlflow_tracking.judge.judging import JudgeConnection, known_verdicts
from mlflow_tracking.judge.preflight import PreflightError
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.item import Item
from mlflow_tracking.validation.passes import JudgePass, judge_missing


@dataclass(frozen=True)
class Task:
    """What every judge is asked, and where its verdicts are kept."""

    graded: GradedData
    limit: int | None
    wanted: JudgeSettings  # the prompt and how it is asked; no model
    calls: CallFlags
    run: RunFlags
    settings: Settings

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The rows, as a judge is asked about them."""
        return tuple(one.row.item for one in self.graded.rows)

    @cached_property
    def folder(self) -> Path:
        """Of the journals: one for these rows, asked about this way."""
        key = json.dumps([self.graded.data.sha256, self.wanted.fingerprint])
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        return self.run.journal_dir / "judges" / digest

    def path(self, judge: NamedJudge) -> Path:
        """Of the judge's journal."""
        return self.folder / f"{judge.name}.jsonl"


@dataclass(frozen=True)
class FoundJudge:
    """A judge that can be asked now, or why it cannot."""

    named: NamedJudge
    settings: JudgeSettings | None  # None: it was never there
    experiment: Experiment | None = None  # None: not asked now
    away: str = ""  # why it cannot be asked; '' if it can, or need not be


@dataclass(frozen=True)
class Speed:
    """Of the starts that asked the judge, pauses between them left out."""

    rows: int
    seconds: float
    in_flight: int  # rows at once, at most

    @property
    def per_second(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds

    def hours(self, rows: int) -> float:
        """For that many rows at this speed."""
        return rows / self.per_second / 3600


class _NewToItsCache(Caller):
    """A caller whose rows the server has not seen, whatever it was asked before this start.

    The rows of one start share the server's cache, as those of a run do; without the salt (vLLM's
    `cache_salt`) a judge that knows the file would look many times quicker than it is.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller, self._salt = caller, uuid4().hex
        self.limit = caller.limit

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """The reply."""
        return await self._caller.chat({**body, "cache_salt": self._salt})

    async def count_tokens(self, model: str, messages: Sequence[Mapping[str, str]]) -> int:
        """How many tokens the messages have."""
        return await self._caller.count_tokens(model, messages)


class _VllmConnection(JudgeConnection):
    """To a server that knows the salt."""

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        async with super().caller() as caller:
            yield _NewToItsCache(caller)


@dataclass(frozen=True)
class KeptJudge:
    """A judge and what it said of each row; None where it has not come to it."""

    name: str
    settings: JudgeSettings | None
    verdicts: Sequence[Verdict | None]
    speed: Speed | None  # None: no start of its that ended is known

    @property
    def asked(self) -> bool:
        """Whether it was asked about every row."""
        return None not in self.verdicts


def find_judge(judge: NamedJudge, task: Task) -> FoundJudge:
    """Look who is there, unless the journal has every verdict; raises the mistake of a flag."""
    known = _remembered(task.path(judge), task.wanted)
    if known and judge.model and judge.model != known.model:
        raise JournalError(
            f"{judge}: its verdicts on these rows are of {known.model}, not of {judge.model}; give "
            "the other judge another name"
        )
    if known and all(v and not v.failed for v in kept_verdicts(judge, known, task)):
        return FoundJudge(judge, known)
    wanted = replace(task.wanted, model=judge.model or (known.model if known else ""))
    calls = replace(task.calls, base_url=judge.urls)
    try:
        experiment = check_judge(
            task.graded.data, task.items, task.limit, wanted, calls, task.run, task.settings
        )
    except PreflightError as problem:
        return FoundJudge(judge, known, away=_problem(str(problem), judge))
    settings = experiment.judge.settings
    changed = [k for k, v in _identity(settings).items() if known and _identity(known)[k] != v]
    if changed:
        now = f"{judge.urls}: not the judge that began these rows, {', '.join(changed)} changed"
        return FoundJudge(judge, known, away=now)
    return FoundJudge(judge, settings, experiment)


def ask_judge(found: FoundJudge, task: Task) -> str:
    """Judge what the journal has not; why that stopped, '' if it did not."""
    experiment = found.experiment
    assert experiment is not None, "a judge that is there"
    check_folder(task.folder)
    settings = experiment.judge.settings
    journal = _journal(found.named, settings, task)
    connection = experiment.connection(journal)
    if experiment.judge.server_version:
        connection = _VllmConnection(**vars(connection))
    one = JudgePass(found.named.name, settings, task.items)
    _, ended = judge_missing([one], connection)
    journal.close()
    # A start that waited for a server that was gone says nothing about the judge's speed.
    if journal.fresh and ended.stopped in ("", INTERRUPTED):
        reached = max(limit.reached for limit in connection.limits)
        speed = Speed(len(journal.fresh), ended.seconds, reached)
        with _times(journal.path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(speed)) + "\n")
    return ended.stopped


def kept_judge(found: FoundJudge, task: Task) -> KeptJudge:
    """What is known of the judge by now."""
    name, settings = found.named.name, found.settings
    if settings is None:
        return KeptJudge(name, None, [None] * len(task.items), None)
    verdicts = kept_verdicts(found.named, settings, task)
    return KeptJudge(name, settings, verdicts, _speed(task.path(found.named)))


def kept_verdicts(judge: NamedJudge, settings: JudgeSettings, task: Task) -> list[Verdict | None]:
    """Of each row, as far as the judge's journal has them."""
    journal = _journal(judge, settings, task)
    journal.close()
    return known_verdicts(task.items, settings, journal)


def _journal(judge: NamedJudge, settings: JudgeSettings, task: Task) -> Journal:
    return Journal(task.path(judge), {"name": judge.name, "judge": _identity(settings)})


def _identity(settings: JudgeSettings) -> dict[str, Any]:
    """What a server told of the judge, as JSON has it."""
    tokens = settings.control_tokens
    told = {
        "model": settings.model,
        "model_root": settings.model_root,
        "context_length": settings.context_length,
        "dialect": asdict(settings.dialect),
        "control_tokens": sorted(tokens.literals) if tokens else None,
        "ask_claim": settings.ask_claim,
    }
    return dict(json.loads(json.dumps(told)))


def _remembered(path: Path, wanted: JudgeSettings) -> JudgeSettings | None:
    """The judge whose journal it is, as `_identity` wrote it down; None if there is none."""
    lines = list(read_lines(path.read_bytes())) if path.is_file() else []
    if not lines:
        return None
    try:
        told: Mapping[str, Any] = lines[0]["header"]["judge"]
        tokens, dialect = told["control_tokens"], told["dialect"]
        return replace(
            wanted,
            model=told["model"],
            model_root=told["model_root"],
            context_length=told["context_length"],
            dialect=Dialect(**{**dialect, "refused": tuple(dialect["refused"])}),
            control_tokens=None if tokens is None else ControlTokens(frozenset(tokens)),
            ask_claim=told["ask_claim"],
        )
    except (LookupError, TypeError):
        raise JournalError(f"{path}: is no journal of a judge; move it away") from None


def _problem(problem: str, judge: NamedJudge) -> str:
    """What is wrong; what to do about a server that is not there is told in the end."""
    cause, _, remedy = problem.partition("; ")
    if "--model" in remedy and not judge.model:  # which is a run's flag
        return f"{cause}: say which one with {judge.name}=URL#MODEL"
    return cause if "--model" in remedy or "start one" in remedy else problem


def _times(path: Path) -> Path:
    return path.with_suffix(".times")


def _speed(path: Path) -> Speed | None:
    file = _times(path)
    starts = [Speed(**line) for line in read_lines(file.read_bytes())] if file.is_file() else []
    if not starts:
        return None
    rows, seconds = sum(one.rows for one in starts), sum(one.seconds for one in starts)
    return Speed(rows, seconds, max(one.in_flight for one in starts))
