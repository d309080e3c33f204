"""Which traces has a person put into a review queue? What MLflow's queues hold.

Read for `python mlflow_tracking/run_experiment.py --resume last`, which deletes no such trace.
MLflow's review queues are experimental: here they are read, grading/review_queue.py makes them.
"""

from collections.abc import Callable, Iterator
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.genai.review_queues import ReviewQueue, list_review_queue_items, list_review_queues

_UNKNOWN_ENDPOINT = ("ENDPOINT_NOT_FOUND", "NOT_FOUND", "NOT_IMPLEMENTED")


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
