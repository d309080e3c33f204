"""What is the judge sent for one row, and what does its reply say? Claims, scores, justifications.

Used by `python mlflow_tracking/run_experiment.py`, whole replies and `--score-only` alike.

With `score_only` the reply is one token. The judge is given the beginning of its own reply, with
the score's label (a decision has none), and writes the digit: the same digit as in a whole reply,
for the same text stands before it. A justification can be had afterwards the same way, with the
digit given, too.
"""

import json
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from llm_client.reply import Reply
from mlflow_tracking.defence.quotation import stands_in
from mlflow_tracking.judge.prompt import ClaimQuestion
from mlflow_tracking.judge.reply_form import JUSTIFICATION_CHARS, Piece, ReplyForm
from mlflow_tracking.judge.reply_parser import (
    UnparsableReply,
    final_answer,
    parse_decision_reply,
    parse_json_reply,
    parse_reply,
    read_object,
    read_score,
)
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import (
    CUT_MARK,
    Score,
    Status,
    Verdict,
    score_probabilities,
    token_at,
)

Messages = Sequence[dict[str, str]]

# Under vLLM's constraint the digit's alternatives are five at most; elsewhere other text competes.
_TOP_LOGPROBS_CONSTRAINED, _TOP_LOGPROBS_FREE = 5, 20
_LABEL_TOKENS = 24  # for a label and its score, or an object with both
_WORD_TOKENS = 8  # of a word, more than Qwen's tokenizer needs for any but the longest Russian ones


def request_body(settings: JudgeSettings, messages: Messages) -> dict[str, Any]:
    """The chat completion that scores a row, by its whole verdict or by its score alone."""
    form, dialect = settings.prompt.format, settings.dialect
    if not settings.score_only:
        return _request(settings, messages, settings.max_tokens, form.pieces())
    assert form.scores_first, "see check_score_only"
    begun = form.score_prefix if dialect.goes_on and not dialect.as_json else ""
    alone = bool(begun or not form.score_prefix) and not dialect.as_json
    pieces = form.score_pieces(with_label=not alone)
    return _request(settings, messages, 1 if alone else _LABEL_TOKENS, pieces, begun)


def claim_body(settings: JudgeSettings, question: ClaimQuestion) -> dict[str, Any]:
    """The chat completion that quotes what an answer claims; the reply can be nothing else."""
    assert settings.claim is not None, "the prompt declares a claim"
    piece = Piece(settings.claim.label, passages=question.passages, words=question.words)
    tokens = _WORD_TOKENS * question.words + _LABEL_TOKENS
    return _without_logprobs(_request(settings, question.messages, tokens, [piece]))


def read_claim(reply: Reply, settings: JudgeSettings, question: ClaimQuestion) -> tuple[str, bool]:
    """What the judge quotes, and whether it stands in the answer, as the judge was shown it."""
    assert settings.claim is not None, "the prompt declares a claim"
    said = reply.text
    with suppress(UnparsableReply):
        said = final_answer(said)
    as_json = settings.dialect.as_json
    if as_json:
        with suppress(ValueError, AttributeError):
            said = str(json.loads(said).get(settings.claim.label, said))
    if as_json or not (settings.constrained and question.passages):  # else it can be nothing else
        label = rf"^\W*{re.escape(settings.claim.label)}\W*[:：]"
        said = re.sub(label, "", said.strip(), flags=re.I).strip().partition("\n\n")[0]
        said = said.strip('«»“”"[]* ')
    claim = " ".join(said.split())
    return claim, stands_in(claim, question.answer)


def explain_body(settings: JudgeSettings, messages: Messages, score: int) -> dict[str, Any]:
    """The chat completion that justifies a score which was given without a justification."""
    form, dialect = settings.prompt.format, settings.dialect
    goes_on = dialect.goes_on and not dialect.as_json
    begun = form.explanation_prefix(score) if goes_on else ""
    pieces = form.explanation_pieces(score, begun=goes_on)
    return _without_logprobs(_request(settings, messages, settings.max_tokens, pieces, begun))


def _without_logprobs(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if "logprobs" not in name}


def _request(
    settings: JudgeSettings,
    messages: Messages,
    max_tokens: int,
    pieces: Sequence[Piece],
    begun: str = "",
) -> dict[str, Any]:
    dialect = settings.dialect
    constrained = dialect.constraint == "structured_outputs"
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "seed": settings.seed,
        "logprobs": True,
        "top_logprobs": _TOP_LOGPROBS_CONSTRAINED if constrained else _TOP_LOGPROBS_FREE,
        "stream": False,  # some servers stream unless they are told not to
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if begun:  # vLLM's chat API: the last message is gone on with, not answered
        body["messages"].append({"role": "assistant", "content": begun})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return dialect.phrase(body, pieces)


def read_verdict(reply: Reply, settings: JudgeSettings, answer: str) -> Verdict:
    """The verdict in the reply to `request_body`; `answer` is the judged text, against quotations.

    A reply without a verdict gives one with a status and a reason, never an exception.
    """
    if reply.declined:
        return replace(_outcome(reply, Status.UNPARSABLE, reply.text), reason=reply.declined)
    return _read_digit(reply, settings) if settings.score_only else _read(reply, settings, answer)


def read_explanation(
    reply: Reply, scored: Verdict, settings: JudgeSettings, answer: str
) -> Verdict:
    """`scored` with the justification in the reply to `explain_body`; its scores stay."""
    assert scored.overall is not None, "only a score can be justified"
    begun = settings.dialect.goes_on and not settings.dialect.as_json
    prefix = settings.prompt.format.explanation_prefix(scored.overall.value) if begun else ""
    whole = prefix + reply.text
    verdict = _read(replace(reply, text=whole, tokens=()), settings, answer)
    said = f"no justification: {verdict.reason}" if verdict.failed else verdict.reason
    return replace(
        verdict,
        status=scored.status if verdict.failed else verdict.status,
        reason="; ".join(text for text in (scored.reason, said) if text),
        scores=scored.scores,
        claim_score=scored.claim_score,
        answer_score=scored.answer_score,
        judged_answer=scored.judged_answer,
    )


def cost_of(reply: Reply) -> Verdict:
    """What a reply cost that holds no score."""
    return _outcome(reply, Status.OK, reply.text)


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
    form, dialect = settings.prompt.format, settings.dialect
    begun = form.score_prefix if dialect.goes_on and not dialect.as_json else ""
    verdict = _outcome(reply, Status.OK, begun + reply.text)
    try:
        if dialect.as_json:
            [(value, place)] = read_object(reply.text, form, form.scores).values()
        else:
            value, place = read_score(reply.text, form, with_label=not begun)
    except UnparsableReply as error:
        return replace(verdict, status=Status.UNPARSABLE, reason=str(error))
    return replace(verdict, scores={form.overall: _score(value, reply, place, form)})


def _score(value: int, reply: Reply, place: int, form: ReplyForm) -> Score:
    """The score whose text is at `place` of the reply, with its probabilities."""
    if form.decision is None:
        return Score(value, score_probabilities(reply.tokens, reply.text, place))
    found = token_at(reply.tokens, reply.text, place)
    return Score(value, form.decision.probabilities(found[0]) if found else None)


def _read(reply: Reply, settings: JudgeSettings, answer: str) -> Verdict:
    form, cut = settings.prompt.format, reply.cut
    verdict = _outcome(reply, Status.TRUNCATED if cut else Status.OK, reply.text)
    where = f"was cut at {settings.max_tokens} tokens (--max-tokens)"
    if not reply.at_length:
        where = f"breaks off (finish_reason {reply.finish_reason or 'not told'})"
    try:
        if settings.dialect.as_json:
            parsed = parse_json_reply(reply.text, form)
        elif form.decision:
            parsed = parse_decision_reply(reply.text, form, cut)
        else:
            parsed = parse_reply(reply.text, form, answer, cut)
    except UnparsableReply as error:
        if not cut:
            return replace(verdict, status=Status.UNPARSABLE, reason=str(error))
        return replace(verdict, reason=f"the reply {where}: {error}")
    scores = {
        label: _score(value, reply, parsed.places[label], form)
        for label, value in parsed.scores.items()
    }
    scored = replace(verdict, scores=scores, justification=parsed.justification)
    if cut and not parsed.complete:
        reason = f"the justification {where}"
        return replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    bounded = settings.constrained and not form.one_sentence
    if bounded and len(parsed.justification) >= JUSTIFICATION_CHARS:
        reason = f"the justification was cut at {JUSTIFICATION_CHARS} characters, the form's end"
        scored = replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    return replace(scored, status=Status.OK)
