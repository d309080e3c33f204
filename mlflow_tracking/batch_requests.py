"""How are rows judged where jobs are queued and no server is kept? As a batch file, and back.

    python mlflow_tracking/batch_requests.py export --data my.csv --model NAME --output ask.jsonl
    vllm run-batch -i ask.jsonl -o told.jsonl --model NAME        # on the cluster, any time
    python mlflow_tracking/batch_requests.py import --data my.csv --model NAME --results told.jsonl

NAME is the judge's name in the job. `export` writes what run_experiment.py would send, for a row
that speaks to the judge with and without that text; the control tokens that it keeps out are those
of the known model families, since no tokenizer can be asked. `import` reads the replies as
run_experiment.py does and records the same run. Requests without a reply: `export --except
told.jsonl`, a second job, then `import --results told.jsonl more.jsonl`.

Exit codes: 0 done; 1 some rows have no verdict (they are recorded, with the reason); 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from llm_client.batch_file import (
    BatchError,
    BatchReplies,
    BatchResult,
    RecordingClient,
    read_results,
    request_line,
)
from llm_client.judge_client import JudgeClient, RetryPolicy
from llm_client.settings import Settings, SettingsError, load_settings
from mlflow_tracking.batch_flags import parse_arguments
from mlflow_tracking.console import say, warn
from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.experiment_plan import Plan, questions, wanted_judge
from mlflow_tracking.experiment_run import begin_run, judge_and_record
from mlflow_tracking.journal import Journal, JournalError
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.mlflow_run import Tracking, TrackingError
from mlflow_tracking.preflight import Findings
from mlflow_tracking.rows import DataError, DataSet, load_rows
from mlflow_tracking.verdict_format import PromptError

_MISTAKES = (SettingsError, PromptError, DataError, BatchError, JournalError, TrackingError)
_AT_ONCE = 64  # rows whose replies are looked up together, so that their verdicts share an fsync


@dataclass(frozen=True)
class BatchConnection(JudgeConnection):
    """A judge who answered already."""

    results: Mapping[str, BatchResult] = field(default_factory=dict)

    def client(self) -> JudgeClient:
        """A client that looks replies up."""
        return BatchReplies(self.results)


@dataclass(frozen=True)
class BatchPlan(Plan):
    """A plan whose replies are there."""

    results: Mapping[str, BatchResult] = field(default_factory=dict)

    def connection(self, journal: Journal) -> JudgeConnection:
        """The judge, with a journal for its verdicts."""
        settings = self.findings.settings
        return BatchConnection(
            self.judge_at, "", settings, journal, _AT_ONCE, self.policy, self.results
        )

    def params(self) -> dict[str, Any]:
        """As of a run with a server, without what only a server has."""
        return super().params() | {"base_url": self.judge_at, "concurrency": "batch"}


def main() -> int:
    """Export or import; returns the exit code."""
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if action not in ("export", "import"):
        told = action in ("-h", "--help")
        (say if told else warn)(
            str(__doc__).strip() if told else "batch_requests: export or import?"
        )
        return 0 if told else 2
    command = f"batch_requests {action}"
    try:
        settings = load_settings()
        arguments = parse_arguments(action, __doc__, settings, sys.argv[2:])
        judge = wanted_judge(arguments)
        data = load_rows(arguments.data, arguments.encoding, arguments.limit)
        requests = asyncio.run(record_requests(judge, questions(data)))
        if action == "export":
            return _export(arguments, requests)
        run = begin_run(_plan(arguments, settings, judge, data, requests), command)
    except _MISTAKES as mistake:
        warn(f"{command}: {mistake}")
        return 2
    return judge_and_record(run)


async def record_requests(
    settings: JudgeSettings, items: list[Question]
) -> Mapping[str, Mapping[str, Any]]:
    """The bodies that judging `items` sends, by custom_id: the judge is asked, and writes down."""
    client = RecordingClient()
    judge = Judge(client, settings)
    for item in items:
        await judge.judge(item)
    return client.bodies


def _export(arguments: argparse.Namespace, requests: Mapping[str, Mapping[str, Any]]) -> int:
    answered = read_results(arguments.except_) if arguments.except_ else {}
    left = [
        body
        for name, body in requests.items()
        if name not in answered or answered[name].reply is None
    ]
    try:
        with arguments.output.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(request_line(body) for body in left)
    except OSError as error:
        raise BatchError(f"--output {arguments.output}: {error.strerror}") from None
    say(f"{len(left)} requests of {len(requests)} in {arguments.output}")
    return 0


def _plan(
    arguments: argparse.Namespace,
    settings: Settings,
    judge: JudgeSettings,
    data: DataSet,
    requests: Mapping[str, object],
) -> BatchPlan:
    results = read_results(arguments.results)
    for name, result in results.items():
        if name not in requests:
            raise BatchError(
                f"{result.place}: replies to {name}, which this data, prompt, model and flags do "
                "not ask; give them as at the export"
            )
    return BatchPlan(
        arguments,
        data,
        Findings(judge, "", (), ()),
        "batch file " + ", ".join(path.name for path in arguments.results),
        "",
        RetryPolicy(attempts=1),
        Tracking(settings.tracking_uri, arguments.experiment_name),
        results=results,
    )


if __name__ == "__main__":
    raise SystemExit(main())
