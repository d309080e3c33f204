"""How is a judge asked that nobody can reach? Requests as lines of a file, replies as lines of one.

OpenAI's batch format, as `vllm run-batch` reads and writes it. Used by
`python mlflow_tracking/batch_requests.py`: one Caller writes down what it is asked, the other
answers from what a batch job wrote.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.caller import CallFailed
from llm_client.reply import BadReply, Reply, read_reply
from llm_client.settings import UserMistake

_AT_ONCE = 64  # rows whose replies are looked up together, so that their verdicts share an fsync
_SHAPES = (LookupError, TypeError, AttributeError, ValueError)


class BatchError(UserMistake):
    """A file of results that cannot be used; the message is one line with file and line."""


def custom_id(body: Mapping[str, Any]) -> str:
    """What a request and its reply are matched by: a hash of the request, equal ones are one."""
    canonical = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return "judge-" + hashlib.sha256(canonical.encode("utf-8", "replace")).hexdigest()[:32]


def request_line(body: Mapping[str, Any]) -> str:
    """The line of a batch file that asks for `body`."""
    request = {
        "custom_id": custom_id(body),
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": dict(body),
    }
    return json.dumps(request, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class BatchResult:
    """What a job wrote about one request."""

    place: str  # file:line
    status: int  # HTTP's, 0 for none
    reply: Reply | None
    error: str  # why there is no reply


class BatchRecorder:
    """A Caller that keeps what it is asked, once each, and answers what a job has answered."""

    def __init__(self, results: Mapping[str, "BatchResult"]) -> None:
        self.limit = AdaptiveLimit.of(1)
        self.bodies: dict[str, Mapping[str, Any]] = {}
        self._results = results

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """Write the request down; raises CallFailed as long as it has no reply."""
        name = custom_id(body)
        self.bodies.setdefault(name, body)
        found = self._results.get(name)
        if found is None or found.reply is None:
            raise CallFailed("not answered yet", 0, 1)
        return found.reply

    async def count_tokens(self, model: str, messages: object) -> int:
        """Nobody is there who could count."""
        raise CallFailed("a batch file counts no tokens", 501, 1)


class BatchReplies:
    """A Caller that answers from a job's results, by custom_id."""

    def __init__(self, results: Mapping[str, BatchResult]) -> None:
        self.limit = AdaptiveLimit.of(_AT_ONCE)
        self._results = results

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """The reply that the job got; raises CallFailed where it got none."""
        found = self._results.get(custom_id(body))
        if found is None:
            raise CallFailed(f"the results have no line for {custom_id(body)}", 0, 1)
        if found.reply is None:
            raise CallFailed(f"{found.error} ({found.place})", found.status, 1)
        return found.reply

    async def count_tokens(self, model: str, messages: object) -> int:
        """Nobody is there who could count."""
        raise CallFailed("a batch file counts no tokens", 501, 1)


def read_results(paths: Iterable[Path]) -> dict[str, BatchResult]:
    """The results by custom_id; raises BatchError for what is no result or is there twice.

    Of a request that failed and was tried again, the reply counts, wherever it stands.
    """
    results: dict[str, BatchResult] = {}
    for path in paths:
        for place, line in _lines(path):
            name, result = _read_line(place, line)
            known = results.get(name)
            if known and known.reply and result.reply:
                raise BatchError(f"{place}: a second reply to {name}, see {known.place}; keep one")
            if known is None or known.reply is None:
                results[name] = result
    if not results:
        raise BatchError(f"{', '.join(map(str, paths))}: no results there")
    return results


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, 1):
                line = line.lstrip("\ufeff")  # a byte-order mark, as Windows programs write it
                if line.strip():
                    yield f"{path}:{number}", line
    except OSError as error:
        raise BatchError(f"{path}: cannot be read: {error.strerror}; --results names it") from None
    except UnicodeDecodeError:
        raise BatchError(f"{path}: is not UTF-8; give what the job wrote") from None


def _read_line(place: str, line: str) -> tuple[str, BatchResult]:
    try:
        answer = json.loads(line)
        name, response = str(answer["custom_id"]), answer.get("response") or {}
        status, body = int(response.get("status_code") or 0), response.get("body")
        error = answer.get("error")
    except _SHAPES:
        raise BatchError(
            f"{place}: is no result of a batch (custom_id, response, error); was the job stopped "
            "while it wrote?"
        ) from None
    if status != 200 or error or body is None:
        return name, BatchResult(place, status, None, _error_text(status, error, body))
    try:
        return name, BatchResult(place, status, read_reply(body), "")
    except BadReply as fault:
        return name, BatchResult(place, status, None, str(fault))


def _error_text(status: int, error: Any, body: Any) -> str:
    for found in (error, body):
        while isinstance(found, dict):
            found = found.get("message") or found.get("error")
        if found:
            return f"HTTP {status}: {' '.join(str(found).split())[:300]}"
    return f"HTTP {status}: without a reason"
