"""What did the judge see and say on a row? One MLflow trace a row, with the verdict on it.

    python mlflow_tracking/run_experiment.py --traces 500
    python mlflow_tracking/run_experiment.py --traces 0

Made from the verdicts there are: the judge is not called again. What people said about a trace
stays: of a row that they graded, the trace is brought up to date and never deleted.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import (
    Assessment,
    AssessmentError,
    AssessmentSource,
    Feedback,
    Span,
    SpanType,
    TraceInfo,
)
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import (
    AssessmentMetadataKey,
    SpanAttributeKey,
    TraceMetadataKey,
    TraceTagKey,
)

from mlflow_tracking.answering.answer import Answer
from mlflow_tracking.answering.answers import Exchange
from mlflow_tracking.custom_metrics import metric_name
from mlflow_tracking.judge.call import (
    claim_body,
    explain_body,
    given_before,
    given_by,
    request_body,
    score_calls,
)
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Score, Verdict
from mlflow_tracking.recording.results import storable
from mlflow_tracking.recording.trace_store import (
    PREVIEW_CHARS,
    ROW_TAG,
    TraceDraft,
    delete_traces,
    find_traces,
    new_span_id,
    new_trace_id,
    queued_traces,
    write_traces,
)
from mlflow_tracking.rows.item import Row


def log_traces(
    run_id: str,
    rows: Sequence[tuple[Row, Verdict]],
    judge: JudgeSettings,
    prompt: Mapping[str, str],
    others: Mapping[int, JudgeSettings] | None = None,
    answers: Mapping[int, Exchange] | None = None,
) -> None:
    """Give each row a trace of the run `run_id`, in place of those that the run has already.

    `prompt` is the prompt's {'name', 'version'} in MLflow's registry, or empty. `others` judged the
    rows of these numbers in place of `judge`; `answers` is what a model under test was asked there.
    """
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    judges, asked = others or {}, answers or {}
    kept = {_shown(info): info for info in _delete_but_what_people_touched(experiment_id, run_id)}
    new = [
        _RowTrace(row, verdict, judges.get(row.number, judge), asked.get(row.number))
        for row, verdict in rows
        if _as_shown(row) not in kept
    ]
    write_traces(
        experiment_id,
        ((trace.info(run_id, experiment_id, prompt), trace.spans()) for trace in new),
    )
    for row, verdict in rows:
        if before := kept.get(_as_shown(row)):
            by = judges.get(row.number, judge)
            new_trace = _RowTrace(row, verdict, by, asked.get(row.number), before.trace_id)
            _bring_up_to_date(before, new_trace, run_id, prompt)


def _delete_but_what_people_touched(experiment_id: str, run_id: str) -> list[TraceInfo]:
    """A resumed run would show its rows twice; returns the traces that people graded or queued."""
    found = list(find_traces(experiment_id, f"attribute.run_id = '{run_id}'"))
    queued = queued_traces(experiment_id) if found else set()
    kept = [
        info
        for info in found
        if info.trace_id in queued or any(a.source.source_type == "HUMAN" for a in info.assessments)
    ]
    ids = {info.trace_id for info in found} - {info.trace_id for info in kept}
    delete_traces(experiment_id, sorted(ids))
    return kept


def _shown(info: TraceInfo) -> tuple[str, ...]:
    """What tells a row from others: files that are judged together each have a row 1."""
    return info.tags.get(ROW_TAG, ""), info.request_preview or "", info.response_preview or ""


def _as_shown(row: Row) -> tuple[str, ...]:
    return str(row.number), *_previews(row)


def _previews(row: Row) -> tuple[str, str]:
    texts = row.item.question, row.item.answer
    question, answer = (storable(text)[:PREVIEW_CHARS] for text in texts)
    return question, answer


def _bring_up_to_date(
    before: TraceInfo, trace: "_RowTrace", run_id: str, prompt: Mapping[str, str]
) -> None:
    """Write over a trace whose row has another verdict now; what people said about it stays."""
    # Neither what people said, nor another judge that they asked in MLflow.
    said = [a for a in before.assessments if _by_judge(a) and a.run_id == run_id]
    if _values(said) == _values(assessments(trace.verdict, trace.judge, run_id)):
        return
    client = TracingClient()
    spans = client.get_trace(before.trace_id).data.spans
    trace.keep_ids([span.span_id for span in spans])
    info = trace.info(run_id, before.experiment_id, prompt)
    write_traces(before.experiment_id, [(info, trace.spans())])
    for assessment in said:
        client.delete_assessment(before.trace_id, assessment.assessment_id)


def _by_judge(assessment: Assessment) -> bool:
    return assessment.source.source_type == "LLM_JUDGE" and assessment.feedback is not None


def _values(said: Iterable[Assessment]) -> set[tuple[object, ...]]:
    return {(a.name, a.value, a.rationale or "", a.error and a.error.error_message) for a in said}


class _RowTrace:
    """The trace of one row: a span for the row and, inside, one for each call."""

    def __init__(
        self,
        row: Row,
        verdict: Verdict,
        judge: JudgeSettings,
        asked: Exchange | None = None,
        over: str = "",
    ) -> None:
        """`asked` is what a model under test was; `over` the id of a trace that is written over."""
        self.row, self.verdict, self.judge, self._asked_before = row, verdict, judge, asked
        answer = asked.answer if asked else Answer()
        end_s = verdict.ended_at or answer.ended_at or time.time()
        # An answer may be of yesterday: its span stands right before the judge's, as if nobody had
        # waited, and says itself when it ended.
        self._judged_ns = int((end_s - verdict.latency_s) * 1e9)
        start_ns = self._judged_ns - int(answer.latency_s * 1e9)
        fault = verdict.reason if verdict.failed else None
        id_ = over or new_trace_id()
        self._draft = TraceDraft(row.number, start_ns, int(end_s * 1e9), fault, id_)
        self._span_ids = iter(list[str]())

    def keep_ids(self, span_ids: Sequence[str]) -> None:
        """Write over these spans."""
        self._span_ids = iter(span_ids)

    def info(self, run_id: str, experiment_id: str, prompt: Mapping[str, str]) -> TraceInfo:
        """What the list of traces shows."""
        verdict = self.verdict
        tags = {"status": str(verdict.status)}
        if verdict.suspected_manipulation:
            tags["suspected_manipulation"] = "true"
        if verdict.addressed:
            tags["speaks_to_judge"] = ", ".join(verdict.addressed)
        if prompt:
            tags[TraceTagKey.LINKED_PROMPTS] = json.dumps([dict(prompt)])
        metadata = {TraceMetadataKey.SOURCE_RUN: run_id}
        if verdict.attempts or self._asked_before:
            # MLflow adds it up from the spans, but not for a trace that is written over.
            metadata[TraceMetadataKey.TOKEN_USAGE] = json.dumps(self._whole_usage())
        said = assessments(verdict, self.judge, run_id)
        return self._draft.info(experiment_id, _previews(self.row), tags, metadata, said)

    def spans(self) -> list[Span]:
        """The row with its question, reference and answer, and the calls with prompt and reply."""
        row, verdict = self.row, self.verdict
        texts = row.item.texts
        inputs = {name: text for name, text in texts.items() if text and name != "answer"}
        kind, root_id = SpanType.EVALUATOR, self._span_id()
        root = self._draft.span(root_id, self._draft.name, kind, inputs, row.item.answer)
        answer = [self._answer(root_id, self._asked_before)] if self._asked_before else []
        return [root, *answer, *(self._calls(root_id) if verdict.attempts else ())]

    def _answer(self, root_id: str, asked: Exchange) -> Span:
        """The call to the model under test."""
        answer, kind = asked.answer, SpanType.CHAT_MODEL
        message = {"role": "assistant", "content": answer.text}
        choice = {"message": message, "finish_reason": answer.finish_reason}
        cost = {
            SpanAttributeKey.MESSAGE_FORMAT: "openai",
            SpanAttributeKey.MODEL: answer.model,
            SpanAttributeKey.CHAT_USAGE: _usage(answer.prompt_tokens, answer.completion_tokens),
            "attempts": answer.attempts,
            "latency_s": answer.latency_s,
            "ended_at": datetime.fromtimestamp(answer.ended_at, UTC).isoformat(),
        }
        said = {"error": answer.reason} if answer.failed else {"choices": [choice]}
        draft = replace(self._draft, end_ns=self._judged_ns, fault=answer.reason or None)
        return draft.span(self._span_id(), "answer", kind, asked.request, said, root_id, **cost)

    def _calls(self, root_id: str) -> Iterator[Span]:
        """The calls as they were sent: of several, one after the other."""
        draft = replace(self._draft, start_ns=self._judged_ns)
        # What they cost together, which MLflow adds up, stands on the first.
        for number, (name, request, said) in enumerate(self._asked()):
            cost = {} if number else self._cost()
            kind, reply = SpanType.CHAT_MODEL, self._reply(said)
            yield draft.span(self._span_id(), name, kind, request, reply, root_id, **cost)

    def _asked(self) -> Iterator[tuple[str, object, str]]:
        """Name, request and the reply's text of each call."""
        verdict, judge, whole = self.verdict, self.judge, self.row.item
        judged = replace(whole, answer=verdict.judged_answer or whole.answer)
        question = None if verdict.answer_truncated else judge.claim_question(whole)
        scored, given, form = judge.for_probes(), given_by(verdict, judge), judge.prompt.format
        if question and verdict.claim:
            yield "claim", claim_body(judge, question), verdict.claim
        if question and verdict.claim_score and scored.score_only:
            texts = [("claim", verdict.claim, verdict.claim_score)]
            texts += [("whole answer", whole.answer, one) for one in [verdict.answer_score] if one]
            # Of several scores those of each text are not kept.
            several = len(form.scales) > 1
            asked = [] if several else [(n, t, {form.overall: s.value}) for n, t, s in texts]
        elif judge.score_only and given:
            asked = [("", judged.answer, given)]
        else:
            before, messages = given_before(verdict, judge), judge.messages(judged)
            for label, request, said in score_calls(judge, messages, before):
                yield f"judge {label}".strip(), request, said
            yield "judge", request_body(judge, messages, before), verdict.raw_reply
            return
        for name, answer, scores in asked:
            messages = judge.messages(replace(whole, answer=answer))
            for label, request, said in score_calls(scored, messages, scores):
                yield f"judge {name or label}".strip(), request, said
        if verdict.justification or self._wanted_justification():
            body = explain_body(judge, judge.messages(judged), given)
            yield "justification", body, verdict.raw_reply if verdict.justification else ""

    def _wanted_justification(self) -> bool:
        """Whether one was asked for, whatever came of it."""
        below, score = self.judge.explain_below, self.verdict.overall
        return bool(self.judge.score_only and below and score and score.value < below)

    def _reply(self, text: str) -> dict[str, Any]:
        if not text:
            return {"error": self.verdict.reason}
        message = {"role": "assistant", "content": text}
        return {"choices": [{"message": message, "finish_reason": self.verdict.finish_reason}]}

    def _cost(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            SpanAttributeKey.MESSAGE_FORMAT: "openai",
            SpanAttributeKey.MODEL: self.judge.model,
            SpanAttributeKey.CHAT_USAGE: self._usage(),
            "calls": verdict.calls,
            "attempts": verdict.attempts,
            "latency_s": verdict.latency_s,
        }

    def _usage(self) -> dict[str, int]:
        verdict = self.verdict
        return {
            **_usage(verdict.prompt_tokens, verdict.completion_tokens),
            "cache_read_input_tokens": verdict.cached_tokens,
        }

    def _whole_usage(self) -> dict[str, int]:
        """Of all its calls."""
        usage, answer = self._usage(), self._asked_before.answer if self._asked_before else Answer()
        of_answer = _usage(answer.prompt_tokens, answer.completion_tokens)
        return {name: count + of_answer.get(name, 0) for name, count in usage.items()}

    def _span_id(self) -> str:
        return next(self._span_ids, "") or new_span_id()


def _usage(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


def assessments(verdict: Verdict, settings: JudgeSettings, run_id: str) -> list[Assessment]:
    """The verdict as MLflow's assessments: one for each score, or one with the reason for none."""
    source = AssessmentSource("LLM_JUDGE", settings.model)
    form = settings.prompt.format
    if verdict.failed:
        fault = AssessmentError(str(verdict.status).upper(), storable(verdict.reason))
        name = metric_name(settings.prompt, form.overall)
        metadata = _metadata(verdict, None, run_id)
        return [Feedback(name, error=fault, source=source, metadata=metadata)]
    return [
        Feedback(
            metric_name(settings.prompt, label),
            value=score.value,
            source=source,
            rationale=storable(verdict.justification),
            metadata=_metadata(verdict, score, run_id),
        )
        for label, score in reversed(verdict.scores.items())
    ]


def _metadata(verdict: Verdict, score: Score | None, run_id: str) -> dict[str, str]:
    """MLflow takes text only."""
    values: dict[str, object] = {"status": verdict.status, "reason": verdict.reason}
    values[AssessmentMetadataKey.SOURCE_RUN_ID] = run_id
    if score and score.expected is not None:
        values["expected_score"] = f"{score.expected:.3f}"
    if score and score.entropy is not None:  # a checklist's mean has none
        values["entropy_bits"] = f"{score.entropy:.3f}"
    values["claim"] = verdict.claim
    for name in ("claim_score", "answer_score"):
        beside: Score | None = getattr(verdict, name)
        values[name] = f"{beside.finest:.3f}" if beside else ""
    if verdict.claim_not_in_answer:
        values["claim_not_in_answer"] = "true"
    if verdict.suspected_manipulation:
        values["suspected_manipulation"] = "true"
    values["invented_quote"] = verdict.invented_quote
    values["speaks_to_judge"] = verdict.speaks_to_judge
    return {name: storable(str(value))[:PREVIEW_CHARS] for name, value in values.items() if value}
