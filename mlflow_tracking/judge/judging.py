"""How are many rows judged? Bounded, each different row once, every verdict journaled first.

python mlflow_tracking/run_experiment.py --concurrency 64
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.batch_file import BatchReplies, BatchResult
from llm_client.caller import Caller, RetryPolicy
from llm_client.judge_client import JudgeClient
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item

_LONG, _MANY = 300, 10  # characters of a text, and rows, from which on their order matters

OnVerdict = Callable[[Verdict, Sequence[int]], None]  # a verdict, and the indices of its items
_Waiting = Iterator[tuple[str, Item, Sequence[int]]]


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
    # Verdicts that count in place of this judge's, by its key of the item.
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
    kept = journal.verdicts
    return [kept.get(settings.key(item)) if kept else None for item in items]


def keeping(verdicts: list[Verdict | None], tell: OnVerdict | None) -> OnVerdict:
    """What puts each verdict into its places in `verdicts`, and tells it on."""

    def keep(verdict: Verdict, places: Sequence[int]) -> None:
        for place in places:
            verdicts[place] = verdict
        if tell:
            tell(verdict, places)

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
    judge with this caller share). `on_verdict` is told each verdict and the indices of the items
    that it is for: equal ones share it. Raises JudgingStopped and JournalError; what was told is in
    the journal.
    """
    found: list[Verdict | None] = [None] * len(items)
    tell = keeping(found, on_verdict)
    limit = judge.caller.limit
    if concurrency is not None:
        limit = AdaptiveLimit(concurrency, concurrency)
    waiting = _unjudged(items, judge, journal, tell)
    untold: dict[str, tuple[Verdict, Sequence[int]]] = {}  # on their way to the disk
    tasks = [
        asyncio.create_task(_work(waiting, judge, journal, limit, tell, untold))
        for _ in range(min(limit.most, len(items)))
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.flush()
        for key, (verdict, places) in untold.items():
            if key in journal.fresh:  # it reached the disk after its task was cancelled
                tell(verdict, places)
    return [verdict for verdict in found if verdict]  # none is missing


def _unjudged(items: Sequence[Item], judge: Judge, journal: Journal, tell: OnVerdict) -> _Waiting:
    """Each different item that is not settled, once, with the places where it stands.

    Those that share what the prompt shows first, such as a long passage, follow each other: the
    server has it in its cache then.
    """
    places: dict[str, list[int]] = {}
    for place in by_shared(items, judge.settings.prompt.places):
        places.setdefault(judge.settings.key(items[place]), []).append(place)
    for key, same in places.items():
        known = journal.settled(key)
        if known is None:
            yield key, items[same[0]], same
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


async def _work(
    waiting: _Waiting,
    judge: Judge,
    journal: Journal,
    limit: AdaptiveLimit,
    tell: OnVerdict,
    untold: dict[str, tuple[Verdict, Sequence[int]]],
) -> None:
    """Judge one item after the other, as long as there are any and while the limit has room."""
    for key, item, places in waiting:
        async with limit:  # with an item in hand: who shares the limit need not wait for the idle
            verdict = await judge.judge(item)
            untold[key] = verdict, places
            await journal.add(key, verdict)
            if not verdict.failed:
                limit.ended()
        tell(*untold.pop(key))
