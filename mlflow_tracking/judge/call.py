"""What is the judge sent for one row, and what does its reply say? Claims, scores, justifications.

Used by `python mlflow_tracking/run_experiment.py`, whole replies and `--score-only` alike.

With `score_only` a reply is one token. The judge is given the beginning of its own reply, with the
score's label (a decision has none), and writes the digit: the same digit as in a whole reply, for
the same text stands before it. Of several scores each is one such call, behind those before it. A
justification can be had afterwards the same way, with the scores given.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from llm_client.reply import Reply
from mlflow_tracking.defence.quotation import stands_in
from mlflow_tracking.judge.dialect import JUSTIFICATION_CHARS, Piece
from mlflow_tracking.judge.prompt import ClaimQuestion
from mlflow_tracking.judge.reply_form import DECISION
from mlflow_tracking.judge.reply_parser import (
    ParsedReply,
    UnparsableReply,
    final_answer,
    parse_decision_reply,
    parse_json_reply,
    parse_reply,
    read_object,
    read_score,
    read_scores,
)
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import (
    CUT_MARK,
    Distribution,
    Score,
    Status,
    Verdict,
    score_distribution,
)

Messages = Sequence[dict[str, str]]


# Under vLLM's constraint a score's alternatives are its scale's; elsewhere other text competes.
_TOP_LOGPROBS_CONSTRAINED, _TOP_LOGPROBS_FREE = 5, 20
_LABEL_TOKENS = 24  # for a label and its score, or an object with both
_WORD_TOKENS = 8  # of a word, more than Qwen's tokenizer needs for any but the longest Russian ones


def request_body(
    settings: JudgeSettings, messages: Messages, given: Mapping[str, float] = {}
) -> dict[str, Any]:
    """The chat completion that scores a row, by its whole verdict or by its next score alone.

    `given` are the scores that it has; a server that does not go on with a reply is asked for all.
    """
    form = settings.prompt.format
    if not settings.score_only:
        return _request(settings, messages, settings.max_tokens, form.pieces())
    assert form.scores_first, "see check_score_only"
    label = _asked_alone(settings, given)
    if not label:
        tokens = _LABEL_TOKENS * len(form.scales)
        return _request(settings, messages, tokens, form.score_pieces())
    begun, tokens = form.begun(given, label), form.scales[label].tokens
    return _request(settings, messages, tokens, form.score_pieces(label), begun)


def _asked_alone(settings: JudgeSettings, given: Mapping[str, float]) -> str:
    """The label of the score that a reply is to be; '' for a reply with all of them."""
    label = next(label for label in settings.prompt.format.scales if label not in given)
    alone = settings.dialect.goes_on or label == DECISION
    return label if alone and not settings.dialect.as_json else ""


def score_calls(
    settings: JudgeSettings, messages: Messages, scores: Mapping[str, float]
) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The calls that gave these scores, a token each: label, request, and the reply from its start.

    A server that is asked for all at once has one call, without a label.
    """
    form, given = settings.prompt.format, dict[str, float]()
    for label, value in scores.items():
        alone = _asked_alone(settings, given)
        body = request_body(settings, messages, given)
        given[label] = value
        said = form.begun(given if alone else scores, "")
        yield alone if len(scores) > 1 else "", body, said
        if not alone:
            return


@dataclass(frozen=True)
class OpenScore:
    """A score whose probabilities depend on how a beginning of it would go on: '1' of 1 and 10."""

    label: str
    before: str  # the reply up to the score
    known: Distribution

    def bodies(self, settings: JudgeSettings, messages: Messages) -> dict[str, dict[str, Any]]:
        """For each beginning the chat completion that goes on with it."""
        form = settings.prompt.format
        return {
            beginning: _request(
                settings,
                messages,
                1,
                form.ending_pieces(self.label, beginning),
                self.before + beginning,
            )
            for beginning in self.known.open
        }

    def read(self, replies: Mapping[str, Reply]) -> tuple[float, ...] | None:
        """The probabilities, by what the judge says to each beginning."""
        known = self.known
        for beginning, reply in replies.items():
            then = score_distribution(reply.tokens, reply.text, 0, known.scale, beginning)
            if then:
                known = known.split(beginning, then)
        return known.probabilities


def open_scores(
    reply: Reply, settings: JudgeSettings, material: str, given: Mapping[str, float] = {}
) -> list[OpenScore]:
    """The scores in a reply that more has to be asked about, where the server goes on with it."""
    scales = settings.prompt.format.scales
    several = any(scale.tokens > 1 for scale in scales.values())
    if not several or settings.dialect.as_json or not settings.dialect.goes_on:
        return []
    try:
        parsed = _parse(reply, settings, material, given)
    except UnparsableReply:
        return []
    begun = _begun(settings, given)
    found = []
    for label, place in parsed.places.items():
        known = score_distribution(reply.tokens, reply.text, place, scales[label])
        if known and known.open and known.probabilities is None:
            found.append(OpenScore(label, begun + reply.text[:place], known))
    return found


def _begun(settings: JudgeSettings, given: Mapping[str, float]) -> str:
    """What the reply was begun with."""
    label = _asked_alone(settings, given) if settings.score_only else ""
    return settings.prompt.format.begun(given, label) if label else ""


def claim_body(settings: JudgeSettings, question: ClaimQuestion) -> dict[str, Any]:
    """The chat completion that quotes what an answer claims; the reply can be nothing else."""
    assert settings.claim is not None, "the prompt declares a claim"
    piece = Piece(settings.claim.label, passages=question.passages, words=question.words)
    tokens = _WORD_TOKENS * question.words + _LABEL_TOKENS
    return _without_logprobs(_request(settings, question.messages, tokens, [piece]))


def read_claim(reply: Reply, settings: JudgeSettings, question: ClaimQuestion) -> tuple[str, bool]:
    """What the judge quotes, and whether it stands in the material, as the judge was shown it."""
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


def explain_body(
    settings: JudgeSettings, messages: Messages, given: Mapping[str, float]
) -> dict[str, Any]:
    """The chat completion that justifies scores which were given without a justification."""
    form, dialect = settings.prompt.format, settings.dialect
    goes_on = dialect.goes_on and not dialect.as_json
    begun = form.begun(given, form.justification) if goes_on else ""
    pieces = form.explanation_pieces(given, begun=goes_on)
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
    least = _TOP_LOGPROBS_CONSTRAINED if constrained else _TOP_LOGPROBS_FREE
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": list(messages),
        "max_tokens": max_tokens,
        "seed": settings.seed,
        "logprobs": True,
        "top_logprobs": max(least, *(len(piece.choices) for piece in pieces)),
        "stream": False,  # some servers stream unless they are told not to
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if begun:  # vLLM's chat API: the last message is gone on with, not answered
        body["messages"].append({"role": "assistant", "content": begun})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return dialect.phrase(body, pieces)


def read_verdict(
    reply: Reply, settings: JudgeSettings, material: str, given: Mapping[str, float] = {}
) -> Verdict:
    """The verdict in the reply to `request_body`; `material` is the row's text, for quotations.

    A reply without a verdict gives one with a status and a reason, never an exception.
    """
    if reply.declined:
        return replace(_outcome(reply, Status.UNPARSABLE, reply.text), reason=reply.declined)
    return _read(reply, settings, material, given)


def read_explanation(
    reply: Reply, scored: Verdict, settings: JudgeSettings, material: str
) -> Verdict:
    """`scored` with the justification in the reply to `explain_body`; its scores stay."""
    assert scored.overall is not None, "only a score can be justified"
    form, dialect = settings.prompt.format, settings.dialect
    goes_on = dialect.goes_on and not dialect.as_json
    prefix = form.begun(given_by(scored, settings), form.justification) if goes_on else ""
    spoken = replace(reply, text=prefix + reply.text, tokens=())
    verdict = _read(spoken, replace(settings, score_only=False), material)
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


def given_by(verdict: Verdict, settings: JudgeSettings) -> dict[str, float]:
    """The scores of a verdict that a reply writes."""
    scales = settings.prompt.format.scales
    return {label: score.value for label, score in verdict.scores.items() if label in scales}


def given_before(verdict: Verdict, settings: JudgeSettings) -> dict[str, float]:
    """The scores, a token each, that a reply without a verdict goes on from."""
    found: dict[str, float] = {}
    lines = verdict.raw_reply.split("\n")[:-1] if settings.score_only else []
    for (label, scale), line in zip(settings.prompt.format.scales.items(), lines, strict=False):
        value = scale.value_of(line.removeprefix(f"{label}:").strip())
        if value is None:
            break
        found[label] = value
    return found


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


def _parse(
    reply: Reply, settings: JudgeSettings, material: str, given: Mapping[str, float]
) -> ParsedReply:
    """The scores of a reply, and its text; raises UnparsableReply."""
    form = settings.prompt.format
    if not settings.score_only:
        if settings.dialect.as_json:
            return parse_json_reply(reply.text, form)
        if form.decision:
            return parse_decision_reply(reply.text, form, reply.cut)
        return parse_reply(reply.text, form, material, reply.cut)
    if label := _asked_alone(settings, given):
        found = {label: read_score(reply.text, form, label)}
    elif settings.dialect.as_json:
        found = read_object(reply.text, form, tuple(form.scales))
    else:
        found = read_scores(reply.text, form)
    values = {name: value for name, (value, _) in found.items()}
    return ParsedReply(values, {name: place for name, (_, place) in found.items()}, "", True)


def _read(
    reply: Reply, settings: JudgeSettings, material: str, given: Mapping[str, float] = {}
) -> Verdict:
    form, cut = settings.prompt.format, reply.cut and not settings.score_only
    text = _begun(settings, given) + reply.text
    verdict = _outcome(reply, Status.TRUNCATED if cut else Status.OK, text)
    where = f"was cut at {settings.max_tokens} tokens (--max-tokens)"
    if not reply.at_length:
        where = f"breaks off (finish_reason {reply.finish_reason or 'not told'})"
    try:
        parsed = _parse(reply, settings, material, given)
    except UnparsableReply as error:
        if not cut:
            return replace(verdict, status=Status.UNPARSABLE, reason=str(error))
        return replace(verdict, reason=f"the reply {where}: {error}")
    scores: dict[str, Score] = {}
    for label, value in parsed.scores.items():
        scale, place = form.scales[label], parsed.places[label]
        known = score_distribution(reply.tokens, reply.text, place, scale)
        scores[label] = Score(value, known.probabilities if known else None, scale.values)
    scored = replace(verdict, scores=scores, justification=parsed.justification)
    if cut and not parsed.complete:
        reason = f"the justification {where}"
        return replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    bounded = settings.constrained and not form.one_sentence
    if bounded and len(parsed.justification) >= JUSTIFICATION_CHARS:
        reason = f"the justification was cut at {JUSTIFICATION_CHARS} characters, the form's end"
        scored = replace(scored, reason=reason, justification=parsed.justification + CUT_MARK)
    return replace(scored, status=Status.OK)
