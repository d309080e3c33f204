"""How does a trace get into MLflow's store, and how are traces found there again?

Written straight to the tracking store: 6 ms a row, where `mlflow.genai.evaluate` with a scorer that
returns stored verdicts takes 340 ms (41 ms of them CPU) and MLflow's spans with `log_feedback`
29 ms (100 rows, SQLite), and the first of them does not know when the calls really were.

Of `python mlflow_tracking/run_experiment.py --traces 500`. What people put into a review queue is
found, too: such a trace is not deleted. The queues are experimental; here they are only read,
grading/review_queue.py makes them.
"""

import base64
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow.entities import Assessment, Span, TraceInfo, TraceLocation, TraceState
from mlflow.exceptions import MlflowException
from mlflow.genai.review_queues import ReviewQueue, list_review_queue_items, list_review_queues
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import TRACE_SCHEMA_VERSION_KEY, SpanAttributeKey, TraceTagKey

from mlflow_tracking.recording.results import storable

PREVIEW_CHARS = 1000  # of a text in the list of traces; the spans have all of it
ROW_TAG = "row"
_UNKNOWN_ENDPOINT = ("ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED")
_AT_ONCE = 50  # traces whose spans are written together
_FOUND_AT_ONCE = 500  # MLflow's own bound
_DELETED_AT_ONCE = 100  # MLflow's own bound


@dataclass(frozen=True)
class TraceDraft:
    """A row's trace before it is written: when it was, and why it failed (None: it did not)."""

    row: int
    start_ns: int
    end_ns: int
    fault: str | None
    trace_id: str

    @property
    def name(self) -> str:
        """Of the trace and of its outer span."""
        return f"row {self.row}"

    def info(
        self,
        experiment_id: str,
        previews: tuple[str, str],
        tags: Mapping[str, str],
        metadata: Mapping[str, str],
        assessments: Sequence[Assessment] = (),
    ) -> TraceInfo:
        """What the list of traces shows; `previews` are of the question and the answer."""
        request, response = previews
        return TraceInfo(
            trace_id=self.trace_id,
            trace_location=TraceLocation.from_experiment_id(experiment_id),
            request_time=self.start_ns // 1_000_000,
            execution_duration=(self.end_ns - self.start_ns) // 1_000_000,
            state=TraceState.OK if self.fault is None else TraceState.ERROR,
            request_preview=request,
            response_preview=response,
            trace_metadata={TRACE_SCHEMA_VERSION_KEY: "3", **metadata},
            tags={TraceTagKey.TRACE_NAME: self.name, ROW_TAG: str(self.row), **tags},
            assessments=list(assessments),
        )

    def span(
        self,
        span_id: str,
        name: str,
        kind: str,
        inputs: object,
        outputs: object,
        parent_id: str | None = None,
        **attributes: object,
    ) -> Span:
        """One of its spans; without a parent the outer one."""
        values = {
            SpanAttributeKey.REQUEST_ID: self.trace_id,
            SpanAttributeKey.SPAN_TYPE: kind,
            SpanAttributeKey.INPUTS: inputs,
            SpanAttributeKey.OUTPUTS: outputs,
            **attributes,
        }
        return Span.from_dict(
            {
                "trace_id": _base64(self.trace_id.removeprefix("tr-")),
                "span_id": _base64(span_id),
                "parent_span_id": _base64(parent_id) if parent_id else None,
                "name": name,
                "start_time_unix_nano": self.start_ns,
                "end_time_unix_nano": self.end_ns,
                "status": {
                    "code": "STATUS_CODE_OK" if self.fault is None else "STATUS_CODE_ERROR",
                    "message": storable(self.fault or ""),
                },
                "attributes": {key: _json(value) for key, value in values.items()},
            }
        )


def new_trace_id() -> str:
    """An id that no other trace has."""
    return f"tr-{secrets.token_hex(16)}"


def new_span_id() -> str:
    """An id that no other span has."""
    return secrets.token_hex(8)


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


def _json(value: object) -> str:
    return storable(json.dumps(value, ensure_ascii=False))


def write_traces(experiment_id: str, traces: Iterable[tuple[TraceInfo, Sequence[Span]]]) -> None:
    """Write traces with their spans; one whose id is there already is written over.

    MLflow keeps the assessments of a trace that is written over, and adds the new ones.
    """
    client = TracingClient()
    waiting: list[Span] = []
    for number, (info, spans) in enumerate(traces, 1):
        client.start_trace(info)
        waiting += spans
        if number % _AT_ONCE == 0:
            client.log_spans(experiment_id, waiting)
            waiting = []
    if waiting:
        client.log_spans(experiment_id, waiting)


def find_traces(experiment_id: str, having: str) -> Iterator[TraceInfo]:
    """What the list of traces shows of each trace for which MLflow's filter `having` holds."""
    client, token = TracingClient(), None
    while True:
        found = client.search_traces(
            locations=[experiment_id],
            filter_string=having,
            max_results=_FOUND_AT_ONCE,
            page_token=token,
            include_spans=False,
        )
        yield from (trace.info for trace in found)
        token = found.token
        if not token:
            return


def delete_traces(experiment_id: str, trace_ids: Sequence[str]) -> None:
    """Delete traces with all that people said about them."""
    client = TracingClient()
    for start in range(0, len(trace_ids), _DELETED_AT_ONCE):
        some = list(trace_ids[start : start + _DELETED_AT_ONCE])
        client.delete_traces(experiment_id, trace_ids=some)


def has_queues(experiment_id: str) -> bool:
    """Whether MLflow keeps queues here: files and servers before 3.14 do not."""
    try:
        list_review_queues(experiment_id=experiment_id, max_results=1)
    except NotImplementedError:
        return False
    except MlflowException as error:
        if error.error_code in _UNKNOWN_ENDPOINT or "not supported in Databricks" in str(error):
            return False
        raise
    return True


def queues_of(experiment_id: str) -> list[ReviewQueue]:
    """The experiment's queues."""
    return list(
        _all_pages(lambda token: list_review_queues(experiment_id=experiment_id, page_token=token))
    )


def traces_in(queue: ReviewQueue) -> set[str]:
    """The ids of the traces in a queue, graded or not."""
    found = _all_pages(lambda token: list_review_queue_items(queue.queue_id, page_token=token))
    return {str(item.item_id) for item in found}


def queued_traces(experiment_id: str) -> set[str]:
    """The ids of the traces in any queue of the experiment; none where there are no queues."""
    if not has_queues(experiment_id):
        return set()
    return {trace_id for queue in queues_of(experiment_id) for trace_id in traces_in(queue)}


def _all_pages(page: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        found = page(token)
        yield from found
        token = found.token
        if not token:
            return
