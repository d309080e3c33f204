"""What did the judge see and say on a row? One MLflow trace a row, with the verdict on it.

    python mlflow_tracking/run_experiment.py --traces 500
    python mlflow_tracking/run_experiment.py --traces 0

Made from the verdicts there are: the judge is not called again. Written straight to the tracking
store: 6 ms a row, where `mlflow.genai.evaluate` with a scorer that returns stored verdicts takes
340 ms (41 ms of them CPU) and MLflow's spans with `log_feedback` 29 ms (100 rows, SQLite), and the
first of them does not know when the calls really were.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
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
    TraceLocation,
    TraceState,
)
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import (
    TRACE_SCHEMA_VERSION_KEY,
    AssessmentMetadataKey,
    SpanAttributeKey,
    TraceMetadataKey,
    TraceTagKey,
)

from mlflow_tracking.custom_metrics import metric_name
from mlflow_tracking.judge.call import claim_body, explain_body, request_body
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Score, Verdict
from mlflow_tracking.recording.results import storable
from mlflow_tracking.rows.item import Row

_PREVIEW_CHARS = 1000  # of a text in the list of traces; the spans have all of it
_AT_ONCE = 50  # traces whose spans are written together
_DELETED_AT_ONCE = 100  # MLflow's own bound


def log_traces(
    run_id: str,
    rows: Sequence[tuple[Row, Verdict]],
    judge: JudgeSettings,
    prompt: Mapping[str, str],
    others: Mapping[int, JudgeSettings] | None = None,
) -> None:
    """Give each row a trace of the run `run_id`, in place of those that the run has already.

    `prompt` is the prompt's {'name', 'version'} in MLflow's registry, or empty. `others` judged the
    rows of these numbers in place of `judge`.
    """
    client = TracingClient()
    experiment_id = MlflowClient().get_run(run_id).info.experiment_id
    _delete_traces(client, experiment_id, run_id)
    spans: list[Span] = []
    for number, (row, verdict) in enumerate(rows, 1):
        trace = _RowTrace(row, verdict, (others or {}).get(row.number, judge))
        client.start_trace(trace.info(run_id, experiment_id, prompt))
        spans += trace.spans()
        if number % _AT_ONCE == 0 or number == len(rows):
            client.log_spans(experiment_id, spans)
            spans = []


def _delete_traces(client: TracingClient, experiment_id: str, run_id: str) -> None:
    """A resumed run would show its rows twice."""
    while True:
        found = client.search_traces(
            locations=[experiment_id],
            run_id=run_id,
            max_results=_DELETED_AT_ONCE,
            include_spans=False,
        )
        ids = [trace.info.trace_id for trace in found]
        if not ids or not client.delete_traces(experiment_id, trace_ids=ids):
            return


class _RowTrace:
    """The trace of one row: a span for the row and, inside, one for the call to the judge."""

    def __init__(self, row: Row, verdict: Verdict, judge: JudgeSettings) -> None:
        self.row, self.verdict, self.judge = row, verdict, judge
        self._id = secrets.token_hex(16)
        self._root_id = secrets.token_hex(8)
        end_s = verdict.ended_at or time.time()
        self._end_ns = int(end_s * 1e9)
        self._start_ns = int((end_s - verdict.latency_s) * 1e9)

    def info(self, run_id: str, experiment_id: str, prompt: Mapping[str, str]) -> TraceInfo:
        """What the list of traces shows."""
        row, verdict = self.row, self.verdict
        tags = {TraceTagKey.TRACE_NAME: f"row {row.number}", "row": str(row.number)}
        tags["status"] = str(verdict.status)
        if verdict.suspected_manipulation:
            tags["suspected_manipulation"] = "true"
        if prompt:
            tags[TraceTagKey.LINKED_PROMPTS] = json.dumps([dict(prompt)])
        return TraceInfo(
            trace_id=f"tr-{self._id}",
            trace_location=TraceLocation.from_experiment_id(experiment_id),
            request_time=self._start_ns // 1_000_000,
            execution_duration=(self._end_ns - self._start_ns) // 1_000_000,
            state=TraceState.ERROR if verdict.failed else TraceState.OK,
            request_preview=storable(row.item.question)[:_PREVIEW_CHARS],
            response_preview=storable(row.item.answer)[:_PREVIEW_CHARS],
            trace_metadata={TraceMetadataKey.SOURCE_RUN: run_id, TRACE_SCHEMA_VERSION_KEY: "3"},
            tags=tags,
            assessments=assessments(verdict, self.judge, run_id),
        )

    def spans(self) -> list[Span]:
        """The row with its question, reference and answer, and the call with prompt and reply."""
        row, verdict = self.row, self.verdict
        inputs = {"question": row.item.question}
        if row.item.reference:
            inputs["reference"] = row.item.reference
        root = self._span(
            self._root_id, f"row {row.number}", SpanType.EVALUATOR, inputs, row.item.answer
        )
        if not verdict.attempts:
            return [root]
        return [root, *self._calls()]

    def _calls(self) -> Iterator[Span]:
        """The calls as they were sent: of several, one after the other."""
        # What they cost together, which MLflow adds up, stands on the first.
        for number, (name, request, said) in enumerate(self._asked()):
            cost = {} if number else self._cost()
            kind, reply = SpanType.CHAT_MODEL, self._reply(said)
            yield self._span(
                secrets.token_hex(8), name, kind, request, reply, self._root_id, **cost
            )

    def _asked(self) -> Iterator[tuple[str, object, str]]:
        """Name, request and the reply's text of each call."""
        verdict, judge, whole = self.verdict, self.judge, self.row.item
        judged = replace(whole, answer=verdict.judged_answer or whole.answer)
        question = None if verdict.answer_truncated else judge.claim_question(whole)
        score, form, scored = verdict.overall, judge.prompt.format, judge.for_probes()
        if question and verdict.claim:
            yield "claim", claim_body(judge, question), verdict.claim
        if question and verdict.claim_score and scored.score_only:
            justified = bool(verdict.justification)
            texts = [("claim", verdict.claim, verdict.claim_score)]
            texts += [("whole answer", whole.answer, one) for one in [verdict.answer_score] if one]
        else:
            justified = bool(judge.explain_below and score and score.value < judge.explain_below)
            texts = [("", judged.answer, score)] if justified and score else []
        for name, answer, one in texts:
            request = request_body(scored, judge.messages(replace(whole, answer=answer)))
            said = form.score_prefix + form.score_text(one.value)
            yield f"judge {name}".strip(), request, said
        if not texts:
            yield "judge", request_body(judge, judge.messages(judged)), verdict.raw_reply
        elif justified and score:
            body = explain_body(judge, judge.messages(judged), score.value)
            yield "justification", body, verdict.raw_reply if verdict.justification else ""

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
            SpanAttributeKey.CHAT_USAGE: {
                "input_tokens": verdict.prompt_tokens,
                "output_tokens": verdict.completion_tokens,
                "total_tokens": verdict.prompt_tokens + verdict.completion_tokens,
                "cache_read_input_tokens": verdict.cached_tokens,
            },
            "calls": verdict.calls,
            "attempts": verdict.attempts,
            "latency_s": verdict.latency_s,
        }

    def _span(
        self,
        span_id: str,
        name: str,
        kind: str,
        inputs: object,
        outputs: object,
        parent_id: str | None = None,
        **attributes: object,
    ) -> Span:
        values = {
            SpanAttributeKey.REQUEST_ID: f"tr-{self._id}",
            SpanAttributeKey.SPAN_TYPE: kind,
            SpanAttributeKey.INPUTS: inputs,
            SpanAttributeKey.OUTPUTS: outputs,
            **attributes,
        }
        failed = self.verdict.failed
        return Span.from_dict(
            {
                "trace_id": _base64(self._id),
                "span_id": _base64(span_id),
                "parent_span_id": _base64(parent_id) if parent_id else None,
                "name": name,
                "start_time_unix_nano": self._start_ns,
                "end_time_unix_nano": self._end_ns,
                "status": {
                    "code": "STATUS_CODE_ERROR" if failed else "STATUS_CODE_OK",
                    "message": storable(self.verdict.reason) if failed else "",
                },
                "attributes": {key: _json(value) for key, value in values.items()},
            }
        )


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False))


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
    if score and score.expected is not None and score.entropy is not None:
        values["expected_score"] = f"{score.expected:.3f}"
        values["entropy_bits"] = f"{score.entropy:.3f}"
    values["claim"] = verdict.claim
    for name in ("claim_score", "answer_score"):
        beside: Score | None = getattr(verdict, name)
        values[name] = f"{beside.finest:.3f}" if beside else ""
    if verdict.claim_not_in_answer:
        values["claim_not_in_answer"] = "true"
    if verdict.suspected_manipulation:
        values["suspected_manipulation"] = "true"
    return {name: storable(str(value))[:_PREVIEW_CHARS] for name, value in values.items() if value}
