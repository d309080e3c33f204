"""Can this server judge these rows with this prompt? Found out before any row and any run.

    python mlflow_tracking/run_experiment.py --check
    python mlflow_tracking/run_experiment.py --check --base-url http://gpu1:8000/v1,http://gpu2:8000/v1

Every server is asked what it is: its model, health, constraint, log probabilities and key.
"""

import ipaddress
import re
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_client.caller import CallFailed, JudgingStopped, RetryPolicy, ServerGone
from llm_client.judge_client import JudgeClient
from llm_client.server_faults import START_SERVER
from llm_client.settings import split_base_urls
from mlflow_tracking.defence.safe_text import ControlTokens
from mlflow_tracking.judge.dialect import common
from mlflow_tracking.judge.judging import order_notes
from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.rehearsal import PreflightError, find_constraint, key_line, rehearse
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.language import (
    LANGUAGES,
    Language,
    count_languages,
    language_of_prompt,
)

# What asking a server for a page raises when it has no such page, or one of another shape.
_NOT_TOLD = (CallFailed, ValueError, LookupError, TypeError, AttributeError)


# Models that are plainly for something else.
_NO_CHAT = re.compile(
    r"embed|rerank|whisper|\btts\b|text-to-speech|transcri|moderation|dall-e|stable-?diffusion|flux"
    r"|clip\b|\b(?:bge|gte|e5|minilm|colbert|siglip|ocr|vae)\b",
    re.I,
)


@dataclass(frozen=True)
class CheckedJudge:
    """What the preflight found, for the user and for the run's params."""

    settings: JudgeSettings
    server_version: str
    lines: tuple[str, ...]  # what was found, one thing a line
    warnings: tuple[str, ...]


async def preflight(
    base_url: str,
    api_key: str,
    wanted: JudgeSettings,
    items: Sequence[Item],
    probes: bool = False,
) -> CheckedJudge:
    """Check every server, and the rows against the judge's context; raises PreflightError.

    `base_url` may name several servers, separated by commas: they must serve one judge. With
    `probes` the judge will also be asked as `JudgeSettings.for_probes` has it.
    """
    # Impatient: a server that is down is told within seconds.
    policy = RetryPolicy(attempts=4, timeout_s=120, wait_for_server_s=0)
    found: dict[str, CheckedJudge] = {}
    try:
        for url in split_base_urls(base_url):
            async with JudgeClient(url, api_key, policy) as client:
                found[url] = await check_server(client, wanted, probes)
        findings = _one_judge(found)
        async with JudgeClient(base_url, api_key, policy) as client:
            longest, count = await _longest_row(client, findings.settings, items)
    except ServerGone as gone:
        raise PreflightError(f"{gone}; start one: {START_SERVER}") from None
    except JudgingStopped as stopped:
        raise PreflightError(str(stopped)) from None
    context = findings.settings.context_length
    if context and wanted.reply_tokens >= context:
        raise PreflightError(
            f"--max-tokens {wanted.reply_tokens}: the judge's context has {context} tokens, no row "
            "fits beside such a reply; give fewer"
        )
    line = f"longest row  {count} tokens and {wanted.reply_tokens} for the reply (row {longest})"
    languages = language_notes(wanted.prompt, count_languages(items))
    orders = order_notes(items, wanted.prompt.places)
    warnings = [*wanted.prompt.notes, *findings.warnings, *languages, *orders]
    if context and count + wanted.reply_tokens > context:
        warnings.append(
            f"row {longest} has {count} tokens and the reply {wanted.reply_tokens}, the judge's "
            f"context has {context}: such rows get the status too_long, or are cut with "
            "--on-too-long truncate; a larger --max-model-len of the server takes them whole"
        )
    return replace(findings, lines=(*findings.lines, line), warnings=tuple(warnings))


async def check_server(
    client: JudgeClient, wanted: JudgeSettings, probes: bool = False
) -> CheckedJudge:
    """Complete `wanted` by what the server says of itself and takes; raises PreflightError.

    `wanted.model` may be '' for the one chat model that the server serves.
    """
    card = await find_model(client, wanted.model)
    await check_health(client)
    version = await _version(client)
    tokens, tokens_found = await _control_tokens(client)
    length = card.get("max_model_len")
    settings = replace(
        wanted,
        model=str(card["id"]),
        model_root=str(card.get("root") or ""),
        context_length=length if isinstance(length, int) else None,
        control_tokens=tokens,
    )
    warnings = [*host_warning(client.base_url)]
    dialect, canary = await find_constraint(client, settings)
    if not canary.text and canary.at_length:
        dialect, canary = await find_constraint(client, settings, max_tokens=2048)
        warnings.append(
            "the judge thinks before it answers: give it --max-tokens 2048 or more, or start the "
            """server with --default-chat-template-kwargs '{"enable_thinking": false}'"""
        )
    if not dialect.constraint:
        warnings.append(
            f"{client.base_url}: ignores structured_outputs (asked for a digit, got "
            f"{canary.text[:30]!r}) and its like; the strict parser alone holds replies to the form"
        )
    settings, reply = await rehearse(client, replace(settings, dialect=dialect))
    if (probes or settings.claim) and settings.for_probes() != settings:
        try:
            probe, _ = await rehearse(client, replace(settings.for_probes(), ask_claim=False))
            settings = replace(settings, dialect=probe.dialect)
        except PreflightError:
            if probes:
                raise
            settings = replace(settings, ask_claim=False)
            warnings.append(
                f"{client.base_url}: gives no score alone, which a claim needs; whole answers are "
                "scored, without asking what they claim"
            )
    if not (reply.tokens or canary.tokens):
        warnings.append(
            f"{client.base_url}: sends no log probabilities; expected scores are left out"
        )
    if told := settings.dialect.told():
        warnings.append(f"{client.base_url}: {told}")
    lines = [
        f"server       {client.base_url} (vLLM {version or 'version unknown'})",
        f"judge        {settings.model} (root {settings.model_root or 'unknown'})",
        f"context      {settings.context_length or 'unknown'} tokens",
        f"constraint   {'honoured' if settings.constrained else 'IGNORED'}",
        f"logprobs     {'yes' if reply.tokens or canary.tokens else 'NO'}",
        f"control text {tokens_found}",
    ]
    return CheckedJudge(settings, version, tuple(lines), tuple(warnings))


async def find_model(client: JudgeClient, name: str) -> dict[str, Any]:
    """The server's card of the model."""
    url = f"{client.base_url}/models"
    try:
        cards = (await client.get(url))["data"]
        served = [str(card["id"]) for card in cards]
    except CallFailed as failure:
        raise PreflightError(_status_line(url, failure)) from None
    except (ValueError, LookupError, TypeError):
        raise PreflightError(
            f"{url}: answers, but not as an OpenAI-compatible server; give its root, which ends "
            "in /v1, with --base-url"
        ) from None
    if not served:
        raise PreflightError(f"{url}: serves no model; start one: {START_SERVER}")
    if name and name not in served:
        raise PreflightError(
            f"{url}: serves {', '.join(served)}, not {name}; give --model {served[0]}, or serve "
            f"the other: JUDGE_MODEL={name} {START_SERVER}"
        )
    return dict(cards[served.index(name) if name else _only_judge(url, cards)])


def _only_judge(url: str, cards: Sequence[Mapping[str, Any]]) -> int:
    """The place of the one model that can chat; raises PreflightError if there are more."""
    chat = [place for place, card in enumerate(cards) if not _NO_CHAT.search(str(card["id"]))]
    chat = chat or list(range(len(cards)))
    roots = {card.get("root") for card in (cards[place] for place in chat)}
    if len(chat) > 1 and (len(roots) > 1 or None in roots):  # vLLM names one model several times
        names = ", ".join(str(cards[place]["id"]) for place in chat)
        first = cards[chat[0]]["id"]
        raise PreflightError(f"{url}: serves {names}; say which judges, such as --model {first}")
    return chat[0]


async def check_health(client: JudgeClient) -> None:
    """vLLM's /health answers 503 once its engine is dead; other servers may not have the page."""
    url = f"{client.root_url}/health"
    try:
        await client.get(url)
    except CallFailed as failure:
        if failure.status >= 500:
            raise PreflightError(
                f"{url}: HTTP {failure.status}, the engine is dead; restart it: {START_SERVER}"
            ) from None
    except ValueError:
        return


def _status_line(url: str, failure: CallFailed) -> str:
    if not failure.status:
        on_the_way = any(word in str(failure) for word in ("certificate", "through the proxy"))
        mend = "" if on_the_way else f"; start one: {START_SERVER}"
        return f"{url}: no server answers ({failure}){mend}"
    if failure.status in (401, 403):
        return key_line(url, failure.status)
    if 300 <= failure.status < 400:
        return f"{url}: redirects to another address; give the final one with --base-url"
    return f"{url}: HTTP {failure.status} ({failure}); is --base-url right? It ends in /v1"


async def _version(client: JudgeClient) -> str:
    """vLLM's version; '' for servers that are not vLLM."""
    try:
        return str((await client.get(f"{client.root_url}/version"))["version"])
    except _NOT_TOLD:
        return ""


async def _control_tokens(client: JudgeClient) -> tuple[ControlTokens, str]:
    """The served tokenizer's own control tokens (vLLM's /tokenizer_info), or the known families."""
    try:
        info = await client.get(f"{client.root_url}/tokenizer_info")
        added = info.get("added_tokens_decoder") or {}
        # vLLM 0.32 gives the text itself, transformers' own file an object with it.
        literals = frozenset(
            token if isinstance(token, str) else str(token["content"]) for token in added.values()
        )
    except _NOT_TOLD:
        literals = frozenset()
    literals = frozenset(text for text in literals if text.strip())
    if literals:
        return ControlTokens(
            literals
        ), f"{len(literals)} tokens of the tokenizer are kept out of rows"
    return ControlTokens(), "the known families are kept out of rows (no /tokenizer_info)"


def host_warning(base_url: str) -> list[str]:
    """Rows leave this machine and its network only if that was meant: say so."""
    host = urlsplit(base_url).hostname or ""
    try:
        address = ipaddress.ip_address(socket.gethostbyname(host))
    except (OSError, ValueError):
        return []
    if address.is_loopback or address.is_private:
        return []
    return [f"rows are sent to {host} ({address}), which is outside this machine and its network"]


# Of fewer rows nothing is said: the tests of a prompt, and a server asked about the longest row.
_FEWEST_ROWS, _MOSTLY = 10, 0.8


def language_notes(prompt: JudgePrompt, rows: Counter[Language | None]) -> list[str]:
    """A line on rows that are mostly in another language than the prompt; else none.

    Of 120 answers in English a 1.5B judge agreed with people at 0.02 by the Russian prompt and at
    0.22 by its English twin (Spearman).
    """
    asked, total = language_of_prompt(prompt.text), rows.total()
    language, count = next(iter(rows.most_common(1)), (None, 0))
    if not asked or not language or asked == language:
        return []
    if total < _FEWEST_ROWS or count < _MOSTLY * total:
        return []
    path = prompt.path
    stem = path.stem.removesuffix("_en") if asked == "en" else f"{path.stem}_en"
    twin = path.with_name(stem + path.suffix)
    if twin == path or not twin.is_file():
        advice = f"{path.name} has no twin, write one in {LANGUAGES[language]}"
    else:
        shown = twin.relative_to(Path.cwd()) if twin.is_relative_to(Path.cwd()) else twin
        advice = f"--{'pairwise-prompt' if 'answer_b' in prompt.places else 'prompt'} {shown}"
    return [
        f"{count} of {total} rows are in {LANGUAGES[language]}, {path.name} is in "
        f"{LANGUAGES[asked]}; a small judge agrees more with people in the rows' own language: "
        f"{advice}"
    ]


__all__ = ["CheckedJudge", "PreflightError", "language_notes", "preflight"]


async def _longest_row(
    client: JudgeClient, settings: JudgeSettings, items: Sequence[Item]
) -> tuple[int, int]:
    """Number and prompt tokens of the row with the most bytes; 0 tokens for 'cannot count'."""
    sizes = [len("".join(item.texts.values()).encode()) for item in items]
    index = max(range(len(items)), key=sizes.__getitem__)
    try:
        messages = settings.messages(items[index])
        return index + 1, await client.count_tokens(settings.model, messages)
    except (CallFailed, KeyError, TypeError, ValueError):
        return index + 1, 0


def _one_judge(found: Mapping[str, CheckedJudge]) -> CheckedJudge:
    """What holds for all servers; raises PreflightError if they serve different models."""
    (first_url, first), *others = found.items()
    warnings = [warning for findings in found.values() for warning in findings.warnings]
    for url, other in others:
        if other.settings.model != first.settings.model:
            raise PreflightError(
                f"{first_url} serves {first.settings.model}, {url} serves {other.settings.model}: "
                "rows of one run need one judge; serve the same model on both, or give the name "
                "that both serve with --model"
            )
        for what in ("model_root", "context_length", "constrained"):
            here, there = getattr(first.settings, what), getattr(other.settings, what)
            if here != there:
                warnings.append(f"{first_url} has {what} {here}, {url} has {there}")
        if other.server_version != first.server_version:
            warnings.append(
                f"{first_url} is vLLM {first.server_version}, {url} vLLM {other.server_version}: "
                "scores may differ between the two"
            )
    smallest = min(found.values(), key=lambda one: one.settings.context_length or sys.maxsize)
    settings = replace(
        smallest.settings,
        model_root=first.settings.model_root,
        dialect=common([one.settings.dialect for one in found.values()]),
        control_tokens=_all_tokens([one.settings.control_tokens for one in found.values()]),
    )
    lines = [one.lines[0] for one in found.values()]  # the line that names the server
    versions = sorted({one.server_version for one in found.values()})
    return CheckedJudge(
        settings, ", ".join(versions), (*lines, *smallest.lines[1:]), tuple(dict.fromkeys(warnings))
    )


def _all_tokens(told: Sequence[ControlTokens | None]) -> ControlTokens:
    return ControlTokens(frozenset().union(*(tokens.literals for tokens in told if tokens)))
