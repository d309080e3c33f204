"""Does this server take the requests of a row? They are sent before any row, and put otherwise.

Part of `python mlflow_tracking/run_experiment.py --check`: what a server does not take is left out,
what cannot be left out is a mistake that is told.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llm_client.caller import CallFailed
from llm_client.judge_client import JudgeClient
from llm_client.reply import Reply
from llm_client.settings import UserMistake
from mlflow_tracking.judge.call import (
    claim_body,
    explain_body,
    given_by,
    read_verdict,
    request_body,
)
from mlflow_tracking.judge.dialect import Dialect, Piece, next_constraint
from mlflow_tracking.judge.judge import is_too_long
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item

# Statuses of a request that the server does not take as it is.
# llama.cpp says 500 for what a template itself raises.
_NOT_TAKEN = (400, 404, 415, 422, 500, 501)
_TOO_LONG = "too_long"
_EXAMPLE = Item("What is 2 + 2?", "4", "4")


class PreflightError(UserMistake):
    """The server cannot judge; the message is one line with the cause and the remedy."""


async def find_constraint(
    client: JudgeClient, settings: JudgeSettings, max_tokens: int = 8
) -> tuple[Dialect, Reply]:
    """The first constraint that holds: prose comes back where it is ignored."""
    dialect = settings.dialect
    pieces = [Piece(name="digit", choices=tuple("0123456789"))]
    body = {
        "model": settings.model,
        "messages": [{"role": "user", "content": "Write a sentence about the sea."}],
        "temperature": 0.0,
        "max_tokens": max_tokens,
        "logprobs": True,
        "top_logprobs": 5,
        "stream": False,
    }
    first: Reply | None = None
    while True:
        asked = dialect.constraint
        body["max_tokens"] = max(max_tokens, 24 if asked == "response_format" else 0)
        dialect, reply = await ask_as_taken(client, dialect, lambda now: now.phrase(body, pieces))
        first = first or reply
        held = reply.text.strip() in set("0123456789")
        if asked == "response_format":
            held = bool(re.fullmatch(r'\{\s*"digit"\s*:\s*"?\d"?\s*\}', reply.text.strip()))
        if held and dialect.constraint == asked:
            return dialect, reply
        if not dialect.constraint:
            return dialect, first
        if not reply.text and reply.at_length:  # it thinks, and says nothing of the constraint yet
            return dialect, reply
        if dialect.constraint == asked:
            dialect = replace(dialect, constraint=next_constraint(asked))


async def rehearse(client: JudgeClient, settings: JudgeSettings) -> tuple[JudgeSettings, Reply]:
    """Send the very requests of a row, and leave out what the server does not take.

    Raises PreflightError where that leaves nothing that a row could be judged by.
    """
    columns = settings.prompt.columns
    example = replace(_EXAMPLE, more=tuple((name, "2 + 2 = 4") for name in columns))
    messages = settings.messages(example)

    def asked(dialect: Dialect) -> dict[str, Any]:
        return request_body(replace(settings, dialect=dialect), messages)

    dialect, reply = await ask_as_taken(client, settings.dialect, asked)
    settings = replace(settings, dialect=dialect)
    verdict = read_verdict(reply, settings, example.answer)
    if settings.score_only and verdict.failed and dialect.goes_on:
        # It goes on with the reply as if none were begun: have it write the label, too.
        dialect, reply = await ask_as_taken(client, replace(dialect, goes_on=False), asked)
        settings = replace(settings, dialect=dialect)
        verdict = read_verdict(reply, settings, example.answer)
    known = not reply.declined and reply.finish_reason != _TOO_LONG
    if settings.score_only and verdict.failed and known:
        raise PreflightError(
            f"{client.base_url}: asked for a score alone: {verdict.reason}; this server neither "
            "goes on with a reply nor can be held to a label and its score; leave --score-only "
            "out, or say --no-claim"
        )
    if settings.explain_below and not settings.constrained and not dialect.goes_on:
        raise PreflightError(
            f"{client.base_url}: --explain-below: this server neither goes on with a reply nor can "
            "be held to its score; leave it out"
        )
    if question := settings.claim_question(example):
        asking = settings
        dialect, _ = await ask_as_taken(
            client, dialect, lambda now: claim_body(replace(asking, dialect=now), question)
        )
    justified = settings.claim is not None and settings.for_probes() != settings
    if settings.explain_below or justified:
        given = {name: float(scale.low) for name, scale in settings.prompt.format.scales.items()}
        given |= given_by(verdict, settings)
        dialect, _ = await ask_as_taken(
            client,
            dialect,
            lambda now: explain_body(replace(settings, dialect=now), messages, given),
        )
    return replace(settings, dialect=dialect), reply


async def ask_as_taken(
    client: JudgeClient, dialect: Dialect, asked: Callable[[Dialect], dict[str, Any]]
) -> tuple[Dialect, Reply]:
    """A reply to the request in words that the server takes; raises PreflightError without any."""
    first: CallFailed | None = None
    while True:
        body = asked(dialect)
        try:
            return dialect, await client.chat(body)
        except CallFailed as failure:
            first = first or failure
            named = failure.status >= 500 or failure.status == 404
            taken = failure.status not in _NOT_TAKEN
            less = None if taken else dialect.without(str(failure), body, named)
            if is_too_long(failure):  # of a row of three words: the server's rows will say it, too
                return dialect, Reply("", _TOO_LONG, (), 0, 0, 0)
            if less is None:
                text = _told(client, str(first), first.status)
                raise PreflightError(text) from None
            dialect = less


def key_line(url: str, status: int) -> str:
    """What to do where a key is refused."""
    return f"{url}: HTTP {status}, wrong or missing key; set VLLM_API_KEY as the server has it"


def _told(client: JudgeClient, message: str, status: int) -> str:
    url = f"{client.base_url}/chat/completions"
    if "chat template" in message or "chat_template" in message:
        return (
            f"{url}: the judge has no chat template; start the server with run_vllm_server.sh, "
            "which passes one, or with --chat-template FILE"
        )
    if status in (401, 403):
        return key_line(url, status)
    return f"{url}: cannot judge: {message}"
