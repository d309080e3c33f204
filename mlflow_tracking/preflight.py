"""Can this server judge these rows with this prompt? Found out before any row and any run.

python mlflow_tracking/run_experiment.py --check
python mlflow_tracking/run_experiment.py --check --base-url http://10.0.0.5:8000/v1
python mlflow_tracking/run_experiment.py --check --base-url http://gpu1:8000/v1,http://gpu2:8000/v1
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from llm_client.judge_client import CallFailed, JudgeClient, RetryPolicy, ServerGone
from llm_client.settings import split_base_urls
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.row_text import ControlTokens
from mlflow_tracking.server_check import START, Findings, PreflightError, check_server

__all__ = ["Findings", "PreflightError", "preflight"]


async def preflight(
    base_url: str, api_key: str, wanted: JudgeSettings, items: Sequence[Question]
) -> Findings:
    """Check every server, and the rows against the judge's context; raises PreflightError.

    `base_url` may name several servers, separated by commas: they must serve one judge.
    """
    # Impatient: a server that is down is told within seconds.
    policy = RetryPolicy(attempts=2, timeout_s=120, wait_for_server_s=0)
    found: dict[str, Findings] = {}
    try:
        for url in split_base_urls(base_url):
            async with JudgeClient(url, api_key, policy) as client:
                found[url] = await check_server(client, wanted)
        findings = _one_judge(found)
        async with JudgeClient(base_url, api_key, policy) as client:
            longest, count = await _longest_row(client, findings.settings, items)
    except ServerGone as gone:
        raise PreflightError(f"{gone}; start one: {START}") from None
    context = findings.settings.context_length
    if context and wanted.reply_tokens >= context:
        raise PreflightError(
            f"--max-tokens {wanted.reply_tokens}: the judge's context has {context} tokens, no row "
            "fits beside such a reply; give fewer"
        )
    line = f"longest row  {count} tokens and {wanted.reply_tokens} for the reply (row {longest})"
    warnings = list(findings.warnings)
    if context and count + wanted.reply_tokens > context:
        warnings.append(
            f"row {longest} has {count} tokens and the reply {wanted.reply_tokens}, the judge's "
            f"context has {context}: such rows get the status too_long, or are cut with "
            "--on-too-long truncate; a larger --max-model-len of the server takes them whole"
        )
    return replace(findings, lines=(*findings.lines, line), warnings=tuple(warnings))


async def _longest_row(
    client: JudgeClient, settings: JudgeSettings, items: Sequence[Question]
) -> tuple[int, int]:
    """Number and prompt tokens of the row with the most bytes; 0 tokens for 'cannot count'."""
    sizes = [len((item.question + item.answer + item.reference).encode()) for item in items]
    index = max(range(len(items)), key=sizes.__getitem__)
    try:
        messages = Judge(client, settings).messages(items[index])
        return index + 1, await client.count_tokens(settings.model, messages)
    except (CallFailed, KeyError, TypeError, ValueError):
        return index + 1, 0


def _one_judge(found: Mapping[str, Findings]) -> Findings:
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
        constrained=all(one.settings.constrained for one in found.values()),
        control_tokens=_all_tokens([one.settings.control_tokens for one in found.values()]),
    )
    lines = [one.lines[0] for one in found.values()]  # the line that names the server
    versions = sorted({one.server_version for one in found.values()})
    return Findings(
        settings, ", ".join(versions), (*lines, *smallest.lines[1:]), tuple(dict.fromkeys(warnings))
    )


def _all_tokens(told: Sequence[ControlTokens | None]) -> ControlTokens:
    return ControlTokens(frozenset().union(*(tokens.literals for tokens in told if tokens)))
