"""How do people grade rows blind in `mlflow ui`, and what did they click? MLflow's review queues.

    queues = open_queues(run_id, "llm_judge", [(12, item), (7, item)], scale=scale, ...)
    answers = read_answers(run_id, "llm_judge")

Of `python mlflow_tracking/grade_rows.py open` and `read`. The graded rows are copies in an
experiment of their own: 'View full trace' and the Traces tab of the run's own experiment show the
judge's score. MLflow's review queues are experimental, and no other module makes them.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import mlflow
from mlflow.entities import Assessment, Span, SpanType, TraceInfo
from mlflow.exceptions import MlflowException
from mlflow.genai.label_schemas import (
    InputCategorical,
    InputPassFail,
    InputText,
    create_label_schema,
    get_label_schema,
)
from mlflow.genai.review_queues import (
    ReviewQueue,
    add_items_to_review_queue,
    create_review_queue,
)
from mlflow.tracing.constant import TraceTagKey

from llm_client.settings import UserMistake, redacted
from mlflow_tracking.grading.markdown import UNCUT, as_markdown
from mlflow_tracking.recording.results import storable
from mlflow_tracking.recording.run import Tracking, make_experiment, mlflow_errors
from mlflow_tracking.recording.trace_store import (
    PREVIEW_CHARS,
    ROW_TAG,
    TraceDraft,
    find_traces,
    has_queues,
    new_span_id,
    new_trace_id,
    queues_of,
    traces_in,
    write_traces,
)
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale

MOST_ITEMS = 200  # a page of 1,000 items makes 2,000 requests before it opens
_RUN_TAG = "graded_run"
_SCORE, _DECISION = "human_score", "human_decision"  # what a schema's name begins with
# And what follows: another scale than 1-5 (all runs of an experiment share a schema), the rater.
_SCHEMA = re.compile(rf"(?:{_SCORE}(?: \[[^\]]*\])?|{_DECISION})(?:_(.*))?", re.S)
_MOST_OPTIONS = 10  # that MLflow offers: the eleven of 0-10 are written
_MOST_NAME = 150  # characters of a scale in a schema's name, which may have 250
_HOW_TO_SCORE = (
    "How good is the answer{scale}? A reference answer, where there is one, is right: what "
    "contradicts it is wrong."
)
_HOW_TO_DECIDE = (
    "Does the answer pass? A reference answer, where there is one, is right: what contradicts it "
    "fails."
)
_HEADING = "\n\n---\n\n**{}**\n\n"


class NoQueues(UserMistake):
    """MLflow keeps no review queues here; the message is one line with the remedy."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a person clicked for a row, not interpreted yet."""

    row: int  # the row's number in the run
    text: str  # '4', 'fair', 'pass', 'fail'; whatever MLflow holds, as text
    rater: str  # whose queue it was, or MLflow's user ('default' without a login)
    comment: str = ""


@dataclass(frozen=True)
class Queues:
    """Where people grade."""

    experiment_id: str
    pages: tuple[str, ...]  # the path of each queue's page after '#/', see look_at_it()
    names: tuple[str, ...]


def open_queues(
    run_id: str,
    experiment_name: str,
    rows: Sequence[tuple[int, Item]],
    *,
    scale: Scale,
    raters: Sequence[str] = (),
) -> Queues:
    """Have rows of a run graded on `scale`, each with its number, the first one first.

    Called again, it adds what is not there yet and takes nothing away. Each of `raters` gets queues
    of their own. Raises NoQueues and TrackingError.
    """
    tracking = _grading(experiment_name)
    with mlflow_errors(tracking):
        _check_queues(tracking, str(mlflow.get_run(run_id).info.experiment_id))
    experiment_id = make_experiment(tracking)
    # Other databases than SQLite, which a server may have, keep no longer ones.
    most = UNCUT if tracking.uri.startswith("sqlite:") else PREVIEW_CHARS
    names = tuple(dict.fromkeys(name.strip().lower() for name in raters)) or ("",)
    with mlflow_errors(tracking):
        traces = _copies(run_id, experiment_id, rows, most)
        queues = [
            queue
            for rater in names
            for queue in _fill_queues(run_id, experiment_id, rater, scale, traces)
        ]
    place = f"experiments/{experiment_id}/review-queue?selectedQueueId="
    pages = tuple(place + queue.queue_id for queue in queues)
    return Queues(experiment_id, pages, tuple(queue.name for queue in queues))


def read_answers(run_id: str, experiment_name: str) -> list[Answer]:
    """The newest grade of each person for each row, by row; raises TrackingError."""
    tracking = _grading(experiment_name)
    with mlflow_errors(tracking):
        found = mlflow.get_experiment_by_name(tracking.experiment)
        copies = find_traces(found.experiment_id, _of_run(run_id)) if found else ()
        grades = [
            (int(info.tags[ROW_TAG]), grade)
            for info in copies
            for grade in info.assessments
            if _is_grade(grade)
        ]
    # Two windows of one person leave two grades that MLflow holds for valid.
    grades.sort(key=lambda each: each[1].last_update_time_ms)
    newest = {(row, _rater(grade)): grade for row, grade in grades}
    return [
        Answer(row, _text(newest[row, rater].value), rater, newest[row, rater].rationale or "")
        for row, rater in sorted(newest)
    ]


def _grading(experiment_name: str) -> Tracking:
    return Tracking(mlflow.get_tracking_uri(), f"{experiment_name}_grading")


def _of_run(run_id: str) -> str:
    return f"tag.{_RUN_TAG} = '{run_id}'"


def _check_queues(tracking: Tracking, experiment_id: str) -> None:
    if not has_queues(experiment_id):
        raise NoQueues(
            f"MLFLOW_TRACKING_URI {redacted(tracking.uri)} keeps no review queues: they need a "
            "database (sqlite:///mlflow.db) or a server of MLflow 3.14 or newer that has one"
        )


def _copies(
    run_id: str, experiment_id: str, rows: Sequence[tuple[int, Item]], most: int
) -> list[str]:
    """The ids of the rows' copies, in the rows' order; what is missing is made.

    MLflow shows the newest first, so each row is a little older than the one before.
    """
    there = list(find_traces(experiment_id, _of_run(run_id)))
    oldest_ms = min((info.request_time for info in there), default=int(time.time() * 1000))
    ids = {int(info.tags[ROW_TAG]): info.trace_id for info in there}
    # A copy without spans was being made when the command was killed.
    whole = {int(info.tags[ROW_TAG]) for info in there if TraceTagKey.SPANS_LOCATION in info.tags}
    missing = {row: item for row, item in rows if row not in whole}
    drafts = []
    for before, row in enumerate(missing, 1):
        at_ns = (oldest_ms - before) * 1_000_000
        drafts.append(TraceDraft(row, at_ns, at_ns, None, ids.get(row) or new_trace_id()))
    write_traces(
        experiment_id,
        (_copy(draft, missing[draft.row], run_id, experiment_id, most) for draft in drafts),
    )
    ids |= {draft.row: draft.trace_id for draft in drafts}
    return [ids[row] for row in dict(rows)]


def _copy(
    draft: TraceDraft, item: Item, run_id: str, experiment_id: str, most: int
) -> tuple[TraceInfo, list[Span]]:
    """A row without anything of the judge, not even the link to the run that MLflow would show."""
    previews = _request(item, most), as_markdown(storable(item.answer), most)
    inputs = {"question": item.question, **dict(item.more)}
    if item.reference:
        inputs["reference"] = item.reference
    span = draft.span(new_span_id(), draft.name, SpanType.UNKNOWN, inputs, item.answer)
    return draft.info(experiment_id, previews, {_RUN_TAG: run_id}, {}), [span]


def _request(item: Item, most: int) -> str:
    """The question and, below it, the further columns and the reference.

    What does not fit is cut, the longest texts first to half, a third, ... of the room.
    """
    beside = [(as_markdown(name), text) for name, text in item.more]
    beside = [each for each in (*beside, ("Reference answer", item.reference)) if each[1].strip()]
    headings = ["", *(_HEADING.format(name) for name, _ in beside)]
    texts = [storable(text) for text in (item.question, *(text for _, text in beside))]
    lengths = [len(as_markdown(text)) for text in texts]
    room, shown = most - sum(map(len, headings)), ""
    for place, (heading, text) in enumerate(zip(headings, texts, strict=True)):
        left = max(room // (len(texts) - place), room - sum(lengths[place + 1 :]))
        part = as_markdown(text, left)
        shown, room = shown + heading + part, room - len(part)
    return shown


def _fill_queues(
    run_id: str, experiment_id: str, rater: str, scale: Scale, trace_ids: Sequence[str]
) -> list[ReviewQueue]:
    """The rater's queues of the run, with every trace in one of them."""
    title = f"Grade run {run_id[:8]}" + (f" for {rater}" if rater else "")
    part = f"{title}, part "
    there = reversed(queues_of(experiment_id))  # the oldest first
    queues = [queue for queue in there if queue.name == title or queue.name.startswith(part)]
    held = [traces_in(queue) for queue in queues]
    waiting = [each for each in trace_ids if not any(each in traces for traces in held)]
    room = MOST_ITEMS - len(held[-1]) if held else 0
    while waiting:
        if room <= 0:
            taken = {queue.name for queue in queues}
            names = (f"{part}{number}" if number > 1 else title for number in count(1))
            name = next(name for name in names if name not in taken)
            schema = _schema(experiment_id, rater, scale)
            queues.append(_new_queue(experiment_id, name, schema))
            room = MOST_ITEMS
        add_items_to_review_queue(queues[-1].queue_id, item_ids=waiting[:room])
        waiting, room = waiting[room:], 0
    return queues


def _new_queue(experiment_id: str, name: str, schema_id: str) -> ReviewQueue:
    return create_review_queue(
        name, queue_type="custom", schema_ids=[schema_id], experiment_id=experiment_id
    )


def _schema(experiment_id: str, rater: str, scale: Scale) -> str:
    """The id of what is asked, made if it is new; the experiment's runs of a scale share it."""
    decision = scale.is_choice
    other = "" if scale == ONE_TO_FIVE else f" [{str(scale)[:_MOST_NAME]}]"
    name = (_DECISION if decision else _SCORE + other) + (f"_{rater}" if rater else "")
    choices: InputCategorical | InputText = InputText(max_length=8)
    if len(scale.words) <= _MOST_OPTIONS:
        choices = InputCategorical(options=list(scale.words))
    ask = f", from {scale.low} (worst) to {scale.high} (best)"
    if not scale.is_numbers:
        ask = f": {', '.join(scale.words[:-1])} or {scale.words[-1]}"
    try:
        schema = create_label_schema(
            name,
            type="feedback",
            experiment_id=experiment_id,
            input=InputPassFail("Pass", "Fail") if decision else choices,
            enable_comment=not decision,  # without a comment, one click grades the row
            instruction=_HOW_TO_DECIDE if decision else _HOW_TO_SCORE.format(scale=ask),
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        schema = get_label_schema(name, experiment_id=experiment_id)
    return str(schema.schema_id)


def _is_grade(assessment: Assessment) -> bool:
    return (
        assessment.feedback is not None
        and assessment.feedback.value is not None
        and assessment.valid is not False
        and assessment.source.source_type == "HUMAN"
        and _SCHEMA.fullmatch(assessment.name) is not None
    )


def _rater(grade: Assessment) -> str:
    name = _SCHEMA.fullmatch(grade.name)
    own = name[1] if name else ""
    return own or grade.source.source_id or "default"


def _text(value: object) -> str:
    return {True: "pass", False: "fail"}[value] if isinstance(value, bool) else str(value)
