"""How long does one pass of a client over so many rows take? In a process of its own.

    python -m benchmarks.parts.client_pass ours 1000 256 http://127.0.0.1:9999/v1

Prints JSON: seconds, CPU seconds, and the peak of memory in MB beyond what the process held with
its imports done and the rows in memory. `bare` is a loop that sends the same bytes and looks at
nothing: what server and machine can do.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

os.environ["OPENAI_API_KEY"] = "EMPTY"

import pandas as pd

from benchmarks.parts.instant_server import CONTEXT_LENGTH, MODEL
from llm_client.settings import ROOT
from mlflow_tracking.command.flags import SHIPPED_PROMPT
from mlflow_tracking.custom_metrics import (
    evaluate_with_llm_judge,
    make_stock_metric,
    quiet_deprecations,
)
from mlflow_tracking.judge.call import request_body
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item

_ANSWER = (
    "Water boils at {n} degrees when the pressure is that of the sea's level, because its vapour "
    "then presses as hard as the air. Higher up the air is thinner, so it boils sooner there."
)


def own_folder() -> Path:
    """On the repository's disk, where runs keep their journals; git does not see it."""
    folder = ROOT / ".run"
    folder.mkdir(exist_ok=True)
    return folder


def rows(count: int) -> tuple[list[str], list[str]]:
    """Questions and answers, all different: equal rows are judged once."""
    questions = [f"At which temperature does water boil in pot {n}?" for n in range(count)]
    return questions, [_ANSWER.format(n=n) for n in range(count)]


def _ours(judge: JudgeConnection, count: int) -> Callable[[], int]:
    questions, answers = rows(count)

    def judge_rows() -> int:
        verdicts = evaluate_with_llm_judge(answers, questions, judge=judge)
        return sum(not verdict.failed for verdict in verdicts)

    return judge_rows


def _stock(judge: JudgeConnection, count: int) -> Callable[[], int]:
    questions, answers = (pd.Series(texts) for texts in rows(count))
    metric = make_stock_metric(judge)

    def judge_rows() -> int:
        with quiet_deprecations():
            value = metric.eval_fn(answers, {}, questions, pd.Series([""] * count))
        return sum(score is not None for score in value.scores)

    return judge_rows


def _bare(judge: JudgeConnection, count: int) -> Callable[[], int]:
    [question], [answer] = rows(1)
    messages = judge.settings.messages(Item(question, answer))
    body = json.dumps(request_body(judge.settings, messages)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    waiting = iter(range(count))

    async def work() -> None:
        address = urlsplit(judge.base_url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for _ in waiting:
            writer.write(head.encode() + body)
            told = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(told.rpartition(b"content-length: ")[2]))
        writer.close()

    async def ask_all() -> int:
        await asyncio.gather(*(work() for _ in range(judge.concurrency or 1)))
        return count

    return lambda: asyncio.run(ask_all())


# `ours` has a fixed number in flight, `ours-auto` finds it.
CLIENTS = {"bare": _bare, "ours": _ours, "ours-auto": _ours, "stock": _stock}


def main() -> None:
    """One pass; prints what it took."""
    name, count, concurrency, base_url = sys.argv[1:]
    settings = JudgeSettings(MODEL, load_prompt(SHIPPED_PROMPT), context_length=CONTEXT_LENGTH)
    with tempfile.TemporaryDirectory(dir=own_folder()) as folder:
        journal = Journal(Path(folder) / "journal.jsonl", {})
        at_once = None if name == "ours-auto" else int(concurrency)
        judge = JudgeConnection(base_url, "", settings, journal, at_once)
        judge_rows = CLIENTS[name](judge, int(count))
        held = _resident_bytes("VmRSS")
        # The peak counts from here. Read from /proc, for psutil has neither the peak nor this.
        Path("/proc/self/clear_refs").write_text("5")
        started, cpu = time.perf_counter(), time.process_time()
        scored = judge_rows()
        took = {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu}
        journal.close()
    peak = _resident_bytes("VmHWM") - held
    sys.stdout.write(json.dumps({**took, "scored": scored, "memory_mb": peak / 1e6}) + "\n")


def _resident_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024


if __name__ == "__main__":
    main()
