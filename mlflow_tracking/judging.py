"""How are many rows judged? Bounded, each different row once, every verdict journaled first.

python mlflow_tracking/run_experiment.py --concurrency 64
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from llm_client.adaptive_limit import AdaptiveLimit
from mlflow_tracking.journal import Journal
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.verdict import Verdict


async def judge_all(
    items: Sequence[Question],
    judge: Judge,
    journal: Journal,
    concurrency: int | None = None,
    on_verdict: Callable[[Verdict, int], None] | None = None,
) -> None:
    """Judge every item that the journal has not settled; the verdicts are in the journal then.

    At most `concurrency` items are in flight (None: as the client's limit has it, which all who
    judge with this client share). `on_verdict` is told each verdict and how many of the items it
    is for. Raises ServerGone and JournalError; what is journaled stays.
    """
    limit = judge.client.limit
    if concurrency is not None:
        limit = AdaptiveLimit(concurrency, concurrency)
    waiting = _unjudged(items, judge, journal, on_verdict)
    tasks = [
        asyncio.create_task(_work(waiting, judge, journal, limit, on_verdict))
        for _ in range(min(limit.most, len(items)))
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await journal.flush()


def _unjudged(
    items: Sequence[Question],
    judge: Judge,
    journal: Journal,
    on_verdict: Callable[[Verdict, int], None] | None,
) -> Iterator[tuple[str, Question, int]]:
    """Each different item that is not settled, once, with the number of rows that it stands for."""
    keys = [judge.key(item) for item in items]
    copies = Counter(keys)
    for key, item in zip(keys, items, strict=True):
        count = copies.pop(key, 0)
        if not count:
            continue  # an equal row came before
        known = journal.settled(key)
        if known is None:
            yield key, item, count
        elif on_verdict:
            on_verdict(known, count)


async def _work(
    waiting: Iterator[tuple[str, Question, int]],
    judge: Judge,
    journal: Journal,
    limit: AdaptiveLimit,
    on_verdict: Callable[[Verdict, int], None] | None,
) -> None:
    """Judge one item after the other, as long as there are any and while the limit has room."""
    for key, item, copies in waiting:
        async with limit:  # with an item in hand: who shares the limit need not wait for the idle
            verdict = await judge.judge(item)
            await journal.add(key, verdict)
            if not verdict.failed:
                limit.ended()
        if on_verdict:
            on_verdict(verdict, copies)
