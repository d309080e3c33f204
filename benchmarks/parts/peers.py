"""How fast do other judges score the same rows on the same server? One of them, one pass.

    .venv-peers/bin/python benchmarks/parts/peers.py deepeval < job.json > outcome.json

Run by `python benchmarks/judge_speed.py --peers-python .venv-peers/bin/python`, in a process of its
own, because the peers need other packages than the project (benchmarks/requirements.txt). It
imports nothing of the project. Each peer is used as its documentation shows for a vLLM endpoint
(https://deepeval.com/integrations/models/vllm, https://trustyai.org/vllm_judge), with the judge's
token limit, temperature, time-out and number of calls at once that ours has. The clock starts after
the imports and one row.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

Row = dict[str, str]
# The score of one row, on the peer's own scale; None or an exception: it has none.
ScoreRow = Callable[[Row], Awaitable[float | None]]

_CRITERIA = (
    "Accuracy first: everything that the answer states agrees with the facts, and with the "
    "reference answer if there is one. Then completeness, relevance and conciseness."
)
_STEPS = [
    "Check whether the facts in the actual output agree with the facts and, if it is given, with "
    "the expected output. A wrong answer gets a low score.",
    "Check whether the actual output covers all that the input asks.",
    "Check whether the actual output is about this very question, without needless words.",
]
_SCALE = {
    5: "all correct, complete and to the point",
    4: "correct, but a detail is missing or there are needless words",
    3: "correct only in part",
    2: "mostly wrong",
    1: "wrong, off topic, or no answer at all",
}


def deepeval(job: dict[str, Any]) -> ScoreRow:
    """G-Eval with fixed steps (without them it would spend a call a row on writing them)."""
    os.environ.setdefault("DEEPEVAL_TELEMETRY_OPT_OUT", "1")
    os.environ["DEEPEVAL_PER_ATTEMPT_TIMEOUT_SECONDS_OVERRIDE"] = str(job["timeout_s"])
    from deepeval.metrics import GEval
    from deepeval.models import LocalModel
    from deepeval.test_case import LLMTestCase, SingleTurnParams

    model = LocalModel(
        model=job["model"],
        api_key=job["api_key"] or "EMPTY",
        base_url=job["base_url"],
        temperature=0.0,
        generation_kwargs={"max_tokens": job["max_tokens"], "seed": job["seed"]},
    )

    async def score(row: Row) -> float | None:
        shown = [SingleTurnParams.INPUT, SingleTurnParams.ACTUAL_OUTPUT]
        shown += [SingleTurnParams.EXPECTED_OUTPUT] if row["reference"] else []
        metric = GEval("Accuracy", shown, evaluation_steps=_STEPS, model=model)
        case = LLMTestCase(
            input=row["question"],
            actual_output=row["answer"],
            expected_output=row["reference"] or None,
        )
        value: float | None = await metric.a_measure(case, _show_indicator=False)
        return value

    return score


def vllm_judge(job: dict[str, Any]) -> ScoreRow:
    """A metric of our criteria and scale; the reference is the context."""
    from vllm_judge import Judge

    sampling = {"temperature": 0.0, "max_tokens": job["max_tokens"], "seed": job["seed"]}
    judge = Judge.from_url(
        job["base_url"],
        model=job["model"],
        api_key=job["api_key"] or "dummy",
        timeout=job["timeout_s"],  # its own 30 s lose half of the rows of a slow judge
        sampling_params=sampling,
    )

    async def score(row: Row) -> float | None:
        reference = f"Reference answer: {row['reference']}" if row["reference"] else None
        verdict = await judge.evaluate(
            content=row["answer"],
            input=row["question"],
            criteria=_CRITERIA,
            rubric=_SCALE,
            scale=(1, 5),
            context=reference,
        )
        value: float | None = verdict.score
        return value

    return score


PEERS = {"deepeval": deepeval, "vllm-judge": vllm_judge}


async def _timed(score: ScoreRow, row: Row, gate: asyncio.Semaphore) -> dict[str, Any]:
    async with gate:
        started = time.monotonic()
        value, error = None, ""
        try:
            value = await score(row)
        except Exception as fault:  # a peer's row without a score is a result, whatever it raised
            error = f"{type(fault).__name__}: {fault}"
        if value is None and not error:
            error = "no score in its result"
        return {"score": value, "error": error, "seconds": time.monotonic() - started}


async def measure(make: Callable[[dict[str, Any]], ScoreRow], job: dict[str, Any]) -> Any:
    """The rows' scores and the seconds that all took, after one row that does not count."""
    score, gate = make(job), asyncio.Semaphore(job["concurrency"])
    await _timed(score, job["warm_up"], gate)
    started = time.monotonic()
    rows = await asyncio.gather(*(_timed(score, row, gate) for row in job["rows"]))
    return {"seconds": time.monotonic() - started, "rows": rows}


def main() -> int:
    """Read the job, run it, print the outcome."""
    name = sys.argv[1]
    job = json.load(sys.stdin)
    outcome: Any = {"missing": True}
    if find_spec(name.replace("-", "_")):
        with contextlib.redirect_stdout(sys.stderr):  # the peers print
            outcome = asyncio.run(measure(PEERS[name], job))
    json.dump(outcome, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
