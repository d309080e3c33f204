"""How are many rows judged? Bounded, each different row once, every verdict journaled first.

python mlflow_tracking/run_experiment.py --concurrency 64
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.batch_file import BatchReplies, BatchResult
from llm_client.caller import Caller, RetryPolicy
from llm_client.judge_client import JudgeClient
from mlflow_tracking.judge.journal import Journal, Record, RecordJournal
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item

_LONG, _MANY = 300, 10  # characters of a text, and rows, from which on their order matters

OnVerdict = Callable[[Verdict, Sequence[int]], None]  # a verdict, and the indices of its items
_Asked = TypeVar("_Asked")
_Record = TypeVar("_Record", bound=Record)
OnRecord = Callable[[_Record, Sequence[int]], None]


@dataclass(frozen=True)
class JudgeConnection:
    """Where the judge is, who it is, and how hard it may be asked."""

    base_url: str  # of several servers: separated by commas
    api_key: str
    settings: JudgeSettings
    journal: Journal
    concurrency: int | None = None  # rows in flight; None: as many as make it faster
    policy: RetryPolicy = RetryPolicy()
    replies: Mapping[str, BatchResult] | None = None  # of a batch job, in place of a server's
    limits: list[AdaptiveLimit] = field(default_factory=list)  # of the callers so far
    # Verdicts that count in place of this judge's, which is not asked, by its key of the item.
    instead: Mapping[str, Verdict] = field(default_factory=dict)

    @asynccontextmanager
    async def caller(self) -> AsyncIterator[Caller]:
        """Whom to ask, as long as the block lasts."""
        if self.replies is not None:
            yield BatchReplies(self.replies)
            return
        client = JudgeClient(self.base_url, self.api_key, self.policy, self.concurrency)
        self.limits.append(client.limit)
        async with client:
            yield client


def known_verdicts(
    items: Sequence[Item], settings: JudgeSettings, journal: Journal
) -> list[Verdict | None]:
    """What an earlier start left in the journal, None for what it has not."""
    kept = journal.records
    return [kept.get(settings.key(item)) if kept else None for item in items]


def keeping(records: list[_Record | None], tell: OnRecord[_Record] | None) -> OnRecord[_Record]:
    """What puts each verdict into its places in `records`, and tells it on."""

    def keep(record: _Record, places: Sequence[int]) -> None:
        for place in places:
            records[place] = record
        if tell:
            tell(record, places)

    return keep


async def judge_all(
    items: Sequence[Item],
    judge: Judge,
    journal: Journal,
    concurrency: int | None = None,
    on_verdict: OnVerdict | None = None,
) -> list[Verdict]:
    """Judge every item that the journal has not settled; a verdict for each item.

    At most `concurrency` items are in flight (None: as the caller's limit has it, which all who
    judge with this caller share). Items that share what the prompt shows first, such as a long
    passage, follow each other: the server has it in its cache then. See `ask_each` for the rest.
    """
    limit = judge.caller.limit
    if concurrency is not None:
        limit = AdaptiveLimit(concurrency, concurrency)
    order = by_shared(items, judge.settings.prompt.places)
    keys = [judge.settings.key(item) for item in items]
    return await ask_each(items, keys, order, judge.judge, journal, limit, on_verdict)


async def ask_each(
    asked: Sequence[_Asked],
    keys: Sequence[str],
    order: Sequence[int],
    ask: Callable[[_Asked], Awaitable[_Record]],
    journal: RecordJournal[_Record],
    limit: AdaptiveLimit,
    on_record: OnRecord[_Record] | None = None,
) -> list[_Record]:
    """What came of each of `asked`, which `ask` is called about once for each unsettled key.

    `order` has their indices in the order in which they are asked. `on_record` is told each record
    and the indices of what it is for: equal keys share it. Raises JudgingStopped and JournalError;
    what was told is in the journal.
    """
    found: list[_Record | None] = [None] * len(asked)
    tell = keeping(found, on_record)
    waiting = _unsettled(keys, order, journal, tell)
    untold: dict[str, tuple[_Record, Sequence[int]]] = {}  # on their way to the disk

    async def work() -> None:
        """Ask one after the other, as long as there are any and while the limit has room."""
        for key, places in waiting:
            async with limit:  # with one in hand: who shares the limit need not wait for the idle
                record = await ask(asked[places[0]])
                untold[key] = record, places
                await journal.add(key, record)
                if not record.failed:
                    limit.ended()
            tell(*untold.pop(key))

    tasks = [asyncio.create_task(work()) for _ in range(min(limit.most, len(asked)))]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.flush()
        for key, (record, places) in untold.items():
            if key in journal.fresh:  # it reached the disk after its task was cancelled
                tell(record, places)
    return [record for record in found if record]  # none is missing


def _unsettled(
    keys: Sequence[str],
    order: Sequence[int],
    journal: RecordJournal[_Record],
    tell: OnRecord[_Record],
) -> Iterator[tuple[str, Sequence[int]]]:
    """Each different key that is not settled, once, with the places where it stands."""
    places: dict[str, list[int]] = {}
    for place in order:
        places.setdefault(keys[place], []).append(place)
    for key, same in places.items():
        known = journal.settled(key)
        if known is None:
            yield key, same
        else:
            tell(known, same)


def by_shared(items: Sequence[Item], places: Sequence[str]) -> list[int]:
    """The indices of the items, those that share the first of their texts together, at its first's.

    `places` names the texts in the order of the prompt; within those that share the first one, the
    same holds for the second, and so on.
    """
    first: dict[tuple[str, ...], int] = {}  # where each beginning stands first
    order = []
    for place, item in enumerate(items):
        texts = tuple(item.texts.get(name, "") for name in places)
        beginnings = (texts[:end] for end in range(1, len(texts) + 1))
        order.append(tuple(first.setdefault(one, place) for one in beginnings))
    return sorted(range(len(items)), key=order.__getitem__)


def order_notes(items: Sequence[Item], places: Sequence[str]) -> list[str]:
    """A line for a long text that rows share and the prompt shows behind one that they do not."""
    notes, own = [], ""
    for name in places if len(items) >= _MANY else ():
        texts = [item.texts.get(name, "") for item in items]
        different = len(set(texts))
        if 2 * different > len(texts):
            own = own or name
        elif own and sum(map(len, texts)) > _LONG * len(texts):
            notes.append(
                f"{len(texts)} rows have {different} different {{{name}}}, which stands behind "
                f"{{{own}}} in the prompt: put it first, and the server computes each once"
            )
    return notes
