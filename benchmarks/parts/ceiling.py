"""How many of our very requests can this server answer at all? Sends them without doing anything
else: nothing is parsed, checked, retried or kept, and the bytes are made before.

    python benchmarks/judge_speed.py --only ceiling ceiling-score-only
"""

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from benchmarks.parts.passes import Tally, count_reasons
from mlflow_tracking.judge.call import request_body
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item


def request_bodies(items: Sequence[Item], settings: JudgeSettings) -> list[dict[str, Any]]:
    """What our judge sends for these rows where it is not asked first what they claim."""
    return [request_body(settings, settings.messages(item)) for item in items]


def send_all(items: Sequence[Item], connection: JudgeConnection, at_once: int) -> Tally:
    """Send the rows' requests, `at_once` in flight, and read each reply's bytes."""
    bodies = request_bodies(items, connection.settings)
    return asyncio.run(_send_all([json.dumps(b).encode() for b in bodies], connection, at_once))


async def _send_all(bodies: list[bytes], connection: JudgeConnection, at_once: int) -> Tally:
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
            except (aiohttp.ClientError, TimeoutError) as error:
                faults.append(type(error).__name__)
                continue
            if response.status == 200:
                latencies.append(time.monotonic() - started)
            else:
                faults.append(f"HTTP {response.status}")

    limit = aiohttp.ClientTimeout(total=connection.policy.timeout_s)
    connector = aiohttp.TCPConnector(limit=at_once)
    async with aiohttp.ClientSession(timeout=limit, connector=connector) as session:
        started = time.monotonic()
        await asyncio.gather(*(send() for _ in range(min(at_once, len(bodies)))))
        seconds = time.monotonic() - started
    return Tally(len(bodies), len(latencies), seconds, tuple(latencies), count_reasons(faults))
