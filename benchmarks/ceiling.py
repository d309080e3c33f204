"""How many of our very requests can this server answer at all? Sends them without doing anything
else: nothing is parsed, checked, retried or kept.

Measured by `python benchmarks/judge_speed.py --only ceiling vllm-client`: once by a bare loop that
sends bytes which were made before, once by vLLM's own benchmark client (the one of `vllm bench
serve`), whose replies are streamed.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.speed_pass import Outcome, failures_of
from llm_client.judge_client import JudgeClient
from llm_client.reply import Reply
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.rows.item import Item

_CLIENT = Path(__file__).resolve().parent / "vllm_client.py"

Body = dict[str, Any]


class BenchmarkFailed(Exception):
    """A contestant that could not run at all; the message is one line."""


class _Recorder(JudgeClient):
    """Keeps what it is told to send and answers nothing."""

    bodies: list[Body]

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        self.bodies.append(dict(body))
        return Reply("", "stop", (), 0, 0, 0)


def request_bodies(items: Sequence[Item], connection: JudgeConnection) -> list[Body]:
    """The bodies that our judge sends for these rows, whatever its settings make of them."""
    return asyncio.run(_record(items, connection))


async def _record(items: Sequence[Item], connection: JudgeConnection) -> list[Body]:
    recorder = _Recorder(connection.base_url, connection.api_key, connection.policy)
    recorder.bodies = []
    async with recorder:
        judge = Judge(recorder, connection.settings)
        for item in items:
            await judge.judge(item)
    return recorder.bodies


def load_loop(bodies: Sequence[Body], connection: JudgeConnection, at_once: int) -> Outcome:
    """Send the bodies, `at_once` in flight, and read each reply's bytes."""
    return asyncio.run(_send_all([json.dumps(b).encode() for b in bodies], connection, at_once))


async def _send_all(bodies: list[bytes], connection: JudgeConnection, at_once: int) -> Outcome:
    headers = {"Content-Type": "application/json"}
    if connection.api_key:
        headers["Authorization"] = f"Bearer {connection.api_key}"
    url = f"{connection.base_url}/chat/completions"
    latencies: list[float] = []
    faults: list[str] = []
    waiting = iter(bodies)

    async def send() -> None:
        for body in waiting:
            started = time.monotonic()
            try:
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()
                    if response.status != 200:
                        faults.append(f"HTTP {response.status}")
                        continue
            except (aiohttp.ClientError, TimeoutError) as error:
                faults.append(type(error).__name__)
                continue
            latencies.append(time.monotonic() - started)

    limit = aiohttp.ClientTimeout(total=connection.policy.timeout_s)
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(timeout=limit, connector=connector) as session:
        started = time.monotonic()
        await asyncio.gather(*(send() for _ in range(min(at_once, len(bodies)))))
        seconds = time.monotonic() - started
    return Outcome(len(bodies), len(latencies), seconds, tuple(latencies), failures_of(faults))


def vllm_client(bodies: Sequence[Body], connection: JudgeConnection, at_once: int) -> Outcome:
    """The same bodies, sent by vLLM's own client; raises BenchmarkFailed with its last line."""
    rest = [{name: v for name, v in body.items() if name != "messages"} for body in bodies]
    if any(other != rest[0] for other in rest):
        raise BenchmarkFailed("the requests differ in more than their messages")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "requests.jsonl"
        lines = (json.dumps({"prompt": body["messages"]}) for body in bodies)
        data.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = _client_command(data, rest[0], connection, len(bodies), at_once)
        # The key is in the environment: a command line is there for every user to read.
        environment = os.environ | {"OPENAI_API_KEY": connection.api_key or "EMPTY"}
        done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        result = Path(folder) / "result.json"
        if done.returncode or not result.is_file():
            raise BenchmarkFailed(" ".join((done.stderr.strip() or "no result").split("\n")[-1:]))
        told = json.loads(result.read_text())
    errors = [text for text in told["errors"] if text]
    return Outcome(
        asked=len(bodies),
        scored=int(told["completed"]),
        seconds=float(told["duration"]),
        latencies=_latencies(told),
        failures=failures_of(errors),
    )


def _client_command(
    data: Path, body: Body, connection: JudgeConnection, number: int, at_once: int
) -> list[str]:
    # It sends max_completion_tokens by itself, 1 without a tokenizer: the extra body has the last
    # word.
    extra = {name: value for name, value in body.items() if name != "model"}
    extra["max_completion_tokens"] = body["max_tokens"]
    flags = {
        "--backend": "openai-chat",
        "--base-url": connection.base_url.removesuffix("/v1"),
        "--endpoint": "/v1/chat/completions",
        "--model": str(body["model"]),
        "--dataset-name": "custom",
        "--dataset-path": str(data),
        "--num-prompts": str(number),
        "--max-concurrency": str(at_once),
        "--extra-body": json.dumps(extra),
        "--ready-check-timeout-sec": "0",  # or it sends one more request
        "--result-dir": str(data.parent),
        "--result-filename": "result.json",
    }
    switches = ["--skip-tokenizer-init", "--skip-chat-template", "--disable-shuffle"]
    switches += ["--disable-tqdm", "--save-result", "--save-detailed"]
    pairs = [text for pair in flags.items() for text in pair]
    return [sys.executable, str(_CLIENT), *pairs, *switches]


def _latencies(told: Mapping[str, Any]) -> tuple[float, ...]:
    """First token and the gaps after it, which is a call's whole time, of each request."""
    calls = zip(told.get("ttfts") or [], told.get("itls") or [], strict=True)
    return tuple(first + sum(gaps) for first, gaps in calls if first)
