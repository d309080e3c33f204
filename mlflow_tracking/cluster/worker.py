"""Who judges the blocks? One of these in each Ray worker, with one client for all its blocks.

Started by `python mlflow_tracking/run_distributed.py --workers 2`.

A block's verdicts are journaled one by one, as those of run_experiment.py are, then written as one
file, and then the journal is done with. A worker that dies in a block leaves the journal to the one
that Ray starts in its place, so that at most the calls in flight are made a second time.
"""

import asyncio
import pickle
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.caller import RetryPolicy, ServerGone
from llm_client.judge_client import JudgeClient
from mlflow_tracking.cluster.verdict_files import OutputError, VerdictFolder
from mlflow_tracking.judge.journal import Journal, JournalError, JournalInUse
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import judge_all
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.row_files import RowBlock

# The workers of a driver that was killed outlive it for seconds and hold their blocks' journals.
_LOCK_TRIES, _LOCK_PAUSE_S = 60, 0.5


@dataclass(frozen=True)
class BlockJob:
    """What a worker needs to know; it travels to other machines."""

    base_url: str
    api_key: str
    settings: JudgeSettings
    policy: RetryPolicy
    concurrency: int | None  # rows in flight, of one worker; None: as many as make it faster
    results: VerdictFolder
    journals: Path  # a folder of the worker's machine


class BlockJudge:
    """Judges blocks, several at once, so that the server is busy while a block comes to its end.

    They share the places of the worker's client: a block that ends leaves none empty.
    """

    def __init__(self, job: BlockJob) -> None:
        self._job, self._name = job, secrets.token_hex(8)
        self._judge: Judge | None = None

    async def __call__(self, batch: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Judge the blocks of a batch; a row of counts for each, or with why it has to stop."""
        for data in batch["block"]:
            block: RowBlock = pickle.loads(data)
            failed, judged, stopped = 0, 0, ""
            try:
                failed, judged = await self._judge_block(await self._connected(), block)
            except (ServerGone, JournalError, OutputError, OSError) as fault:
                # As a value: of an exception Ray hands on its own account, and not the cause.
                stopped = " ".join(str(fault).split())
            counts = {"rows": len(block.rows), "failed": failed, "judged": judged}
            limit = self._judge.caller.limit if self._judge else AdaptiveLimit.of(1)
            reached = {"worker": self._name, "in_flight": limit.limit, "most": limit.reached}
            told = {**counts, **reached, "stopped": stopped}
            yield {name: [value] for name, value in told.items()}

    async def _connected(self) -> Judge:
        """The judge behind this worker's one client."""
        if self._judge is None:
            job = self._job
            client = JudgeClient(job.base_url, job.api_key, job.policy, job.concurrency)
            await client.__aenter__()  # for as long as the worker lives
            self._judge = Judge(client, job.settings)
        return self._judge

    async def _judge_block(self, judge: Judge, block: RowBlock) -> tuple[int, int]:
        """Rows without a score, and different rows that were judged now."""
        job, items = self._job, [row.item for row in block.rows]
        journal = await self._open_journal(block)
        try:
            verdicts = await judge_all(items, judge, journal)
            keys = [job.settings.key(item) for item in items]
            form = job.settings.prompt.format
            await asyncio.to_thread(job.results.write, block, keys, verdicts, form)
            judged = len(journal.fresh)
        finally:
            journal.close()
        journal.path.unlink()
        return sum(verdict.failed for verdict in verdicts), judged

    async def _open_journal(self, block: RowBlock) -> Journal:
        """The block's journal, with what an earlier start could score of the block."""
        path = self._job.journals / f"{block.name}.jsonl"
        header = {"judge": self._job.settings.fingerprint}
        for attempt in range(_LOCK_TRIES):
            try:
                journal = Journal(path, header)
                break
            except JournalInUse:
                if attempt == _LOCK_TRIES - 1:
                    raise
                await asyncio.sleep(_LOCK_PAUSE_S)
        for key, verdict in (await asyncio.to_thread(self._written, block)).items():
            if not verdict.failed:
                journal.records.setdefault(key, verdict)
        return journal

    def _written(self, block: RowBlock) -> dict[str, Verdict]:
        if not self._job.results.has(block.name):
            return {}
        old = self._job.results.read(block.name)
        return dict(zip(old.keys, old.verdicts, strict=True))
