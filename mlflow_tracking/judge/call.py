"""What is the judge sent for one row, and what does its reply say?

Used by `python mlflow_tracking/run_experiment.py`, whole replies and `--score-only` alike.

With `score_only` the reply is one token. The judge is given the beginning of its own reply, with
the score's label (a decision has none), and writes the digit: the same digit as in a whole reply,
for the same text stands before it. A justification can be had afterwards the same way, with the
digit given, too.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from llm_client.reply import Reply
from mlflow_tracking.judge.probabilities import score_probabilities, token_at
from mlflow_tracking.judge.reply_form import JUSTIFICATION_CHARS, ReplyForm
from mlflow_tracking.judge.reply_parser import UnparsableReply, parse_decision_reply, parse_reply
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import CUT_MARK, Score, Status, Verdict

Messages = Sequence[dict[str, str]]

# The digit's alternatives are five at most under the constraint; without it other text competes.
_TOP_LOGPROBS_CONSTRAINED, _TOP_LOGPROBS_FREE = 5, 20


def request_body(settings: JudgeSettings, messages: Messages) -> dict[str, Any]:
    """The chat completion that scores a row, by its whole verdict or by one token."""
    if settings.score_only:
        form = settings.prompt.format
        assert form.scores_first, "see check_score_only"
        if not form.score_prefix:
            return _body(settings, messages, 1, form.score_regex())
        begun = [*messages, _begun(form.score_prefix)]
        return _body(settings, begun, 1, form.score_regex()) | _GO_ON
    return _body(settings, messages, settings.max_tokens, settings.prompt.format.regex())


def explain_body(settings: JudgeSettings, messages: Messages, score: int) -> dict[str, Any]:
    """The chat completion that justifies a score which was given by one token."""
    form = settings.prompt.format
    begun = _begun(form.explanation_prefix(score))
    body = _body(settings, [*messages, begun], settings.max_tokens, form.explanation_regex())
    return {name: value for name, value in body.items() if "logprobs" not in name} | _GO_ON


# vLLM's chat API: the last message is gone on with, not answered.
_GO_ON = {"continue_final_message": True, "add_generation_prompt": False}


def _begun(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


def _body(
    settings: JudgeSettings, messages: Messages, max_tokens: int, regex: str
) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "seed": settings.seed,
        "logprobs": True,
        "top_logprobs": _TOP_LOGPROBS_FREE,
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.constrained:
        body["top_logprobs"] = _TOP_LOGPROBS_CONSTRAINED
        body["structured_outputs"] = {"regex": regex}
    return body


def read_verdict(reply: Reply, settings: JudgeSettings, answer: str) -> Verdict:
    """The verdict in the reply to `request_body`; `answer` is the judged text, against quotations.

    A reply without a verdict gives one with a status and a reason, never an exception.
    """
    return _read_digit(reply, settings) if settings.score_only else _read(reply, settings, answer)


def read_explanation(
    reply: Reply, scored: Verdict, settings: JudgeSettings, answer: str
) -> Verdict:
    """`scored` with the justification in the reply to `explain_body`; its scores stay."""
    assert scored.overall is not None, "only a score can be justified"
    whole = settings.prompt.format.explanation_prefix(scored.overall.value) + reply.text
    verdict = _read(replace(reply, text=whole, tokens=()), settings, answer)
    if verdict.failed:
        return replace(scored, raw_reply=whole, reason=f"no justification: {verdict.reason}")
    return replace(verdict, status=Status.OK, scores=scored.scores)


def _outcome(reply: Reply, status: Status, raw_reply: str) -> Verdict:
    """What a reply cost, without scores yet."""
    return Verdict(
        status,
        raw_reply=raw_reply,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        cached_tokens=reply.cached_tokens,
        latency_s=round(reply.latency_s, 4),
        calls=1,
        attempts=reply.attempts,
        ended_at=round(time.time(), 3),
    )


def _read_digit(reply: Reply, settings: JudgeSettings) -> Verdict:
    form, written = settings.prompt.format, reply.text.strip()
    verdict = _outcome(reply, Status.OK, form.score_prefix + reply.text)
    value = form.score_value(written)
    if value is None:
        reason = f"{form.score_wanted}: {reply.text[:40]!r}"
        return replace(verdict, status=Status.UNPARSABLE, reason=reason)
    place = reply.text.index(written)
    return replace(verdict, scores={form.overall: _score(value, reply, place, form)})


def _score(value: int, reply: Reply, place: int, form: ReplyForm) -> Score:
    """The score whose text is at `place` of the reply, with its probabilities."""
    if form.decision is None:
        return Score(value, score_probabilities(reply.tokens, reply.text, place))
    found = token_at(reply.tokens, reply.text, place)
    return Score(value, form.decision.probabilities(found[0]) if found else None)


def _read(reply: Reply, settings: JudgeSettings, answer: str) -> Verdict:
    form, cut = settings.prompt.format, reply.finish_reason == "length"
    verdict = _outcome(reply, Status.TRUNCATED if cut else Status.OK, reply.text)
    try:
        if form.decision:
            parsed = parse_decision_reply(reply.text, form, cut)
        else:
            parsed = parse_reply(reply.text, form, answer, cut)
    except UnparsableReply as error:
        if not cut:
            return replace(verdict, status=Status.UNPARSABLE, reason=str(error))
        reason = f"the reply was cut at {settings.max_tokens} tokens (--max-tokens): {error}"
        return replace(verdict, reason=reason)
    scores = {
        label: _score(value, reply, parsed.places[label], form)
        for label, value in parsed.scores.items()
    }
    scored = replace(verdict, scores=scores, justification=parsed.justification)
    if cut and not parsed.complete:
        reason = f"the justification was cut at {settings.max_tokens} tokens (--max-tokens)"
        return replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    bounded = settings.constrained and not form.one_sentence
    if bounded and len(parsed.justification) >= JUSTIFICATION_CHARS:
        reason = f"the justification was cut at {JUSTIFICATION_CHARS} characters, the form's end"
        scored = replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    return replace(scored, status=Status.OK)
