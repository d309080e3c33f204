"""How is one row judged? Renders the prompt, calls the judge, reads its verdict.

Used by `python mlflow_tracking/run_experiment.py`; `evaluate_with_llm_judge` of custom_metrics.py
is the way in.
"""

import math
import re
import time
from dataclasses import replace

from llm_client.caller import Caller, CallFailed
from mlflow_tracking.defence.addressed import addressing
from mlflow_tracking.defence.quotation import invented_quotations
from mlflow_tracking.judge.call import (
    claim_body,
    cost_of,
    explain_body,
    given_by,
    open_scores,
    read_claim,
    read_explanation,
    read_verdict,
    request_body,
)
from mlflow_tracking.judge.prompt import Counts
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import (
    SUSPECT_SHARE,
    Status,
    Verdict,
    checklist_score,
    weigh,
)
from mlflow_tracking.rows.item import Item

Messages = list[dict[str, str]]

# 'Too long' in the words of vLLM, SGLang, llama.cpp, TGI, LiteLLM, LM Studio, OpenAI and others.
_TOO_LONG_WORDS = re.compile(
    r"context[_ ]?(?:length|size|window|limit)|maximum context|ContextWindowExceeded|max_model_len"
    r"|(?<!max_)(?<!max_completion_)\btokens?\b.{0,80}(?:exceed|longer than|greater than|more than"
    r"|must (?:have|be)|too many|maximum)|too many tokens|(?:exceed|longer|less)\b.{0,60}\btokens\b"
    r"|(?:prompt|input|inputs|request|sequence)\b.{0,30}\btoo (?:long|large|big)",
    re.I | re.S,
)


class Judge:
    """One judge model behind one caller."""

    def __init__(self, caller: Caller, settings: JudgeSettings) -> None:
        self.caller, self.settings = caller, settings
        self._rendered: tuple[Item, Messages] | None = None
        self._counts = True  # whether tokens can be counted

    async def judge(self, item: Item) -> Verdict:
        """The verdict on `item`; any fault but ServerGone is the verdict's status."""
        verdict = await self._judge(item)
        # A judge may quote its rubric: «эталон», "Score".
        sources = (*item.texts.values(), self.settings.prompt.text)
        invented = invented_quotations(verdict.justification, sources)
        shown = self.settings.prompt.shown(item)
        addressed = {name: said for name, text in shown.items() if (said := addressing(text))}
        return replace(verdict, invented_quote="; ".join(invented), addressed=addressed)

    async def _judge(self, item: Item) -> Verdict:
        """The verdict as the judge gave it."""
        shown = self.settings.prompt.shown(item)
        for name in self.settings.prompt.needs:
            if not shown[name].strip():
                return Verdict(Status.EMPTY_INPUT, f"the row has no {name}")
        try:
            fitted = await self._fit(item)
            if isinstance(fitted, Verdict):
                return fitted
            verdict = await self._judge_fitted(fitted)
        except CallFailed as failure:
            return _failed_call(failure)
        if fitted is item:
            return verdict
        judged = verdict.judged_answer or fitted.answer
        cut = f"the answer's {len(item.answer)} characters do not fit, its middle was cut"
        reason = "; ".join(text for text in (cut, verdict.reason) if text)
        return replace(verdict, answer_truncated=True, judged_answer=judged, reason=reason)

    async def _judge_fitted(self, item: Item) -> Verdict:
        """The verdict on what the answer claims, as far as the prompt has that asked first."""
        question, form = self.settings.claim_question(item), self.settings.claim
        if question is None or form is None:
            return await self._call(item)
        reply = await self.caller.chat(claim_body(self.settings, question))
        claim, found = read_claim(reply, self.settings, question)
        try:
            if found:
                verdict = await self._judge_claim(item, replace(item, answer=claim), form.counts)
            else:
                verdict = await self._call(item)
        except CallFailed as failure:
            verdict = _failed_call(failure)
        verdict = replace(verdict, claim=claim, claim_not_in_answer=not found)
        return _sum_cost(verdict, cost_of(reply), verdict)

    async def _judge_claim(self, whole: Item, claim: Item, counts: Counts) -> Verdict:
        """The verdict on the claim, weighed against the whole answer's where that could matter."""
        verdict = await self._score(claim)
        score = verdict.overall
        if score is None:
            return verdict
        verdict = replace(verdict, claim_score=score, judged_answer=claim.answer)
        # No answer could be suspected above a high claim.
        if counts != "claim" or score.finest < score.values[-1] - SUSPECT_SHARE * score.span:
            try:
                beside = await self._score(whole)
            except CallFailed as failure:
                beside = _failed_call(failure)
            weighed = self._with_overall(weigh(verdict, beside, counts))
            verdict = _sum_cost(weighed, verdict, beside)
        judged = replace(whole, answer=verdict.judged_answer or whole.answer)
        return await self._justify(judged, verdict)

    async def _call(self, item: Item) -> Verdict:
        """The verdict on one text, with a justification as far as it is asked for."""
        if not self.settings.score_only:
            return self._with_overall(await self._ask(self.settings, item, {}))
        return await self._justify(item, await self._score(item))

    async def _score(self, item: Item) -> Verdict:
        """The scores of one text, each in one token where the form allows it."""
        asked = self.settings.for_probes()
        verdict, form = await self._ask(asked, item, {}), asked.prompt.format
        while not verdict.failed and len(verdict.scores) < len(form.scales):
            more = await self._ask(asked, item, given_by(verdict, asked))
            scores = verdict.scores | more.scores if more.scores else {}
            verdict = _sum_cost(replace(more, scores=scores), verdict, more)
        return self._with_overall(verdict)

    async def _ask(self, settings: JudgeSettings, item: Item, given: dict[str, float]) -> Verdict:
        """What one reply says; where a score could have gone on, the judge is asked how."""
        messages = self._messages(item)
        reply = await self.caller.chat(request_body(settings, messages, given))
        material = self._material(item)
        verdict = read_verdict(reply, settings, material, given)
        for one in open_scores(reply, settings, material, given):
            bodies = one.bodies(settings, messages)
            try:
                replies = {at: await self.caller.chat(body) for at, body in bodies.items()}
            except CallFailed:  # the score stands, without probabilities
                continue
            known = replace(verdict.scores[one.label], probabilities=one.read(replies))
            verdict = replace(verdict, scores=verdict.scores | {one.label: known})
            verdict = _sum_cost(verdict, verdict, *map(cost_of, replies.values()))
        return verdict

    def _with_overall(self, verdict: Verdict) -> Verdict:
        """With the mean of a checklist, which no reply writes."""
        form = self.settings.prompt.format
        if verdict.failed or not form.weights:
            return verdict
        overall = checklist_score(verdict.scores, form.weights, form.scale)
        return replace(verdict, scores=verdict.scores | {form.overall: overall})

    async def _justify(self, item: Item, verdict: Verdict) -> Verdict:
        """The verdict with a justification, if it has none and one is wanted."""
        below = self.settings.explain_below if self.settings.score_only else math.inf
        score = verdict.overall
        if below is None or score is None or score.value >= below or verdict.justification:
            return verdict
        given = given_by(verdict, self.settings)
        body = explain_body(self.settings, self._messages(item), given)
        try:
            more = await self.caller.chat(body)
        except CallFailed as failure:  # the score stands without it
            reasons = (verdict.reason, f"no justification: {failure}")
            reason = "; ".join(text for text in reasons if text)
            return replace(_sum_cost(verdict, verdict, _failed_call(failure)), reason=reason)
        explained = read_explanation(more, verdict, self.settings, self._material(item))
        return _sum_cost(explained, verdict, explained)

    def _material(self, item: Item) -> str:
        """What a reply may quote, and is no verdict then."""
        return "\n".join(self.settings.prompt.shown(item).values())

    def _messages(self, item: Item) -> Messages:
        if self._rendered is None or self._rendered[0] is not item:  # asked for twice in a row
            self._rendered = item, self.settings.messages(item)
        return self._rendered[1]

    async def _fit(self, item: Item) -> Item | Verdict:
        """The row as it fits the judge's context, or its verdict `too_long`."""
        limit = self.settings.context_length
        if limit is None or not self._counts:
            return item
        room = limit - self.settings.reply_tokens
        if _surely_fits(self._messages(item), room):
            return item
        try:
            tokens = await self.caller.count_tokens(self.settings.model, self._messages(item))
        except CallFailed:  # not every engine counts, and some proxies refuse: the judge will tell
            self._counts = False
            return item
        if tokens <= room:
            return item
        if self.settings.on_too_long == "truncate":
            return await self._truncate(item, tokens, room) or _too_long(
                tokens, limit, self.settings
            )
        return _too_long(tokens, limit, self.settings)

    async def _truncate(self, item: Item, tokens: int, room: int) -> Item | None:
        """Cut the answer's middle until the row fits; None if the rest alone is too long."""
        keep = len(item.answer)
        while keep > 0 and tokens > room:
            # By the share of tokens that is too many, and a little more, so that it ends soon.
            keep = int(keep * max(0.0, 1 - (tokens - room) / tokens) * 0.95)
            shorter = replace(item, answer=cut_middle(item.answer, keep))
            tokens = await self.caller.count_tokens(self.settings.model, self._messages(shorter))
        return shorter if keep > 0 else None


def cut_middle(text: str, keep: int) -> str:
    """The first and last `keep` / 2 characters, with a mark that says what is missing."""
    head = keep - keep // 2
    tail = text[len(text) - keep // 2 :]
    return f"{text[:head]}\n[… {len(text) - keep} …]\n{tail}"


def _surely_fits(messages: list[dict[str, str]], room: int) -> bool:
    """A token has a byte at least; 200 tokens are more than any chat template adds."""
    return sum(len(message["content"].encode()) for message in messages) + 200 <= room


def _too_long(tokens: int, limit: int, settings: JudgeSettings) -> Verdict:
    return Verdict(
        Status.TOO_LONG,
        f"{tokens} prompt tokens and {settings.reply_tokens} for the reply, the judge's context "
        f"has {limit}; --on-too-long truncate cuts the answer's middle",
        prompt_tokens=tokens,
    )


def is_too_long(failure: CallFailed) -> bool:
    """Whether a server says that the row does not fit the judge's context."""
    return failure.status in (400, 413, 422, 500) and bool(_TOO_LONG_WORDS.search(str(failure)))


def _failed_call(failure: CallFailed) -> Verdict:
    if is_too_long(failure):
        return Verdict(Status.TOO_LONG, str(failure), calls=1, attempts=failure.attempts)
    status = Status.TIMEOUT if failure.timed_out else Status.HTTP_ERROR
    now = round(time.time(), 3)
    return Verdict(status, str(failure), calls=1, attempts=failure.attempts, ended_at=now)


def _sum_cost(kept: Verdict, *calls: Verdict) -> Verdict:
    return replace(
        kept,
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        cached_tokens=sum(call.cached_tokens for call in calls),
        calls=sum(call.calls for call in calls),
        attempts=sum(call.attempts for call in calls),
        ended_at=max(call.ended_at for call in calls),
    )
