"""How are rows judged where jobs are queued and no server is kept? As a batch file, and back.

    python mlflow_tracking/batch_requests.py export --data my.csv --model NAME --output ask.jsonl
    vllm run-batch -i ask.jsonl -o told.jsonl --model NAME        # on the cluster, any time
    python mlflow_tracking/batch_requests.py import --data my.csv --model NAME --results told.jsonl

NAME is the judge's name in the job. `export` writes what run_experiment.py would send; the control
tokens that it keeps out are those of the known model families, since no tokenizer can be asked.
`import` reads the replies as run_experiment.py does and records the same run. What has no reply, or
is asked only when a reply is there, as the score of what an answer claims is: `export --except
told.jsonl`, another job, until nothing is left, then `import --results told.jsonl more.jsonl`.

Exit codes: 0 done; 1 some rows have no verdict (they are recorded, with the reason); 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    CallFlags,
    FlagParser,
    JudgeFlags,
    RowFlags,
    RunFlags,
    take,
)
from mlflow_tracking.command.frame import run_command

if TYPE_CHECKING:
    from llm_client.batch_file import BatchResult
    from mlflow_tracking.command.experiment import Experiment
    from mlflow_tracking.judge.settings import JudgeSettings
    from mlflow_tracking.rows.item import DataSet, Item

Requests = Mapping[str, Mapping[str, Any]]  # bodies by custom_id
Results = Mapping[str, "BatchResult"]  # by custom_id, too


@dataclass(frozen=True)
class BatchFlags:
    """The command line after `export` or `import`; what makes a request is the same for both."""

    rows: RowFlags
    judge: JudgeFlags
    run: RunFlags
    output: Path | None = None  # of export
    answered: Sequence[Path] = ()
    results: Sequence[Path] = ()  # of import


def main() -> int:
    """Export or import; returns the exit code."""
    action = sys.argv[1] if len(sys.argv) > 1 else ""
    if action in ("export", "import"):
        return run_command(f"batch_requests {action}", lambda: export_or_import(action))
    if action in ("-h", "--help"):
        say(str(__doc__).strip())
        return 0
    warn("batch_requests: export or import?")
    return 2


def export_or_import(action: str) -> int:
    """Have the judge's requests written down, then write the file or read the replies."""
    settings = load_settings()
    given = read_flags(action, settings, sys.argv[2:])
    # Only now, or a typo in a flag would be told after the seconds that this takes.
    from llm_client.batch_file import read_results
    from mlflow_tracking.command.experiment import wanted_judge
    from mlflow_tracking.judge.preflight import language_notes
    from mlflow_tracking.rows.language import count_languages
    from mlflow_tracking.rows.row_files import load_rows

    rows = given.rows
    data = load_rows(rows.data, rows.encoding, rows.limit, sheet=rows.sheet, named=rows.columns)
    judge = wanted_judge(given.judge, data.columns)
    data = data.asking(judge.prompt.columns)
    languages = language_notes(judge.prompt, count_languages(data.items))
    for line in (*data.notes, *judge.prompt.notes, *languages):
        warn(f"note: {line}")
    there = given.answered if action == "export" else given.results
    results = read_results(there) if there else {}
    requests = asyncio.run(record_requests(judge, data.items, results))
    if action == "export":
        return export(given, requests, results)
    return record(import_replies(given, settings, judge, data, requests, results))


async def record_requests(
    settings: "JudgeSettings", items: Sequence["Item"], results: Results
) -> Requests:
    """The bodies that judging `items` sends, as far as the replies that there are lead.

    The judge is asked, and what it is asked is written down.
    """
    from llm_client.batch_file import BatchRecorder
    from mlflow_tracking.judge.judge import Judge

    recorder = BatchRecorder(results)
    judge = Judge(recorder, settings)
    for item in items:
        await judge.judge(item)
    return recorder.bodies


def export(given: BatchFlags, requests: Requests, answered: Results) -> int:
    """Write the requests that have no reply yet."""
    from llm_client.batch_file import BatchError, request_line
    from mlflow_tracking.judge.prompt import load_prompt

    assert given.output is not None, "export has --output"
    left = [
        body
        for name, body in requests.items()
        if name not in answered or answered[name].reply is None
    ]
    try:
        with given.output.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(request_line(body) for body in left)
    except OSError as error:
        raise BatchError(f"--output {given.output}: {error.strerror}") from None
    say(f"{len(left)} requests of {len(requests)} in {given.output}")
    prompt, flags = load_prompt(given.judge.prompt), given.judge
    line_by_line = flags.score_only and (len(prompt.format.scales) > 1 or flags.explain_below)
    asks_claim = prompt.claim and not flags.no_claim
    if left and (asks_claim or line_by_line or prompt.format.score_tokens > 1):
        say("more may follow from the replies: export again with --except and what the job wrote")
    return 0


def import_replies(
    given: BatchFlags,
    settings: Settings,
    judge: "JudgeSettings",
    data: "DataSet",
    requests: Requests,
    results: Results,
) -> "Experiment":
    """An experiment whose replies are there; raises BatchError for those to other requests."""
    from llm_client.batch_file import BatchError
    from mlflow_tracking.command.experiment import Experiment
    from mlflow_tracking.judge.preflight import CheckedJudge

    for name, result in results.items():
        if name not in requests:
            raise BatchError(
                f"{result.place}: replies to {name}, which this data, prompt, model and flags do "
                "not ask; give them as at the export"
            )
    if left := requests.keys() - results.keys():
        warn(f"note: {len(left)} requests have no reply yet: export --except asks them")
    files = "batch file " + ", ".join(path.name for path in given.results)
    checked = CheckedJudge(judge, "", (), ())
    calls, limit = CallFlags(files, retries=0), given.rows.limit
    experiment = Experiment(data, limit, checked, calls, "", given.run, settings.tracking_uri)
    return replace(experiment, more_params={"concurrency": "batch"}, replies=results)


def record(experiment: "Experiment") -> int:
    """Read the replies as run_experiment.py reads a server's, into the same run."""
    import mlflow

    from mlflow_tracking.command.recorded_run import recorded_run
    from mlflow_tracking.custom_metrics import make_judge_metrics

    with recorded_run("batch_requests import", experiment) as run:
        verdicts = run.judge_rows()
        if run.complete:
            metrics = make_judge_metrics(run.judge)
            mlflow.evaluate(data=run.dataset, extra_metrics=metrics, evaluators="default")
        run.record(verdicts)
    return run.exit_code


def read_flags(action: str, settings: Settings, words: Sequence[str]) -> BatchFlags:
    """The command line; every default is shown by --help."""
    parser = FlagParser(f"batch_requests {action}", __doc__)
    parser.prog += f" {action}"
    parser.add_group(RowFlags)
    parser.add_group(JudgeFlags)
    if action == "export":
        parser.add("--output", "the batch file to write", type=Path, required=True)
        text = "results that are there: what they answer is left out"
        parser.add(
            "--except", text, type=Path, nargs="+", default=(), dest="answered", metavar="FILE"
        )
    else:
        parser.add("--results", "what the job wrote", type=Path, nargs="+", required=True)
        parser.add_group(RunFlags, experiment_name=settings.experiment_name)
    given = parser.parse_args(words)
    if not given.model:
        parser.error("--model: the judge's name in the batch job; there is no server to tell it")
    if given.on_too_long == "truncate":
        parser.error("--on-too-long truncate asks the server to count, and there is none")
    own = {name: getattr(given, name, ()) for name in ("answered", "results")}
    output = getattr(given, "output", None)
    rows, judge, run = take(RowFlags, given), take(JudgeFlags, given), take(RunFlags, given)
    return BatchFlags(rows, judge, run, output, **own)


if __name__ == "__main__":
    raise SystemExit(main())
