"""What does a run record, and what stands in its table? Params, prompt, data set, rows.

The artifact judge_results of `python mlflow_tracking/run_experiment.py`, and the Parquet files of
`python mlflow_tracking/run_distributed.py`.
"""

import hashlib
import re
import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from mlflow_tracking.judge.prompt import JudgePrompt
from mlflow_tracking.judge.reply_form import ReplyForm
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.rows.item import ANSWER, QUESTION, REFERENCE, DataSet, Row

RESULTS_TABLE = "judge_results.json"
PAIRS_TABLE = "pair_results.json"
RESULTS_AT = "results_location"  # tag: where all rows are, if the table has not all
EVAL_TABLE = "eval_results_table.json"
BY_QUESTION_TABLE = "answers_by_question.json"
_TABLES = (RESULTS_TABLE, PAIRS_TABLE, EVAL_TABLE, BY_QUESTION_TABLE, "genai_custom_metrics.json")
_BESIDE = ("decision", "first_score", "of_row", "sample", "answer_cut")  # of some runs


def results_table(
    data: DataSet,
    verdicts: Sequence[Verdict | None],
    beside: Mapping[str, Sequence[Any]] | None = None,
) -> pd.DataFrame:
    """One row for each row of the CSV: its columns, and what came of it.

    `beside` are columns that stand right of the score.
    """
    columns = beside or {}
    table = pd.DataFrame(result_records(data.rows, verdicts, taken=tuple(columns)))
    for place, name in enumerate(columns, list(table.columns).index("score") + 1):
        table.insert(place, name, list(columns[name]))
    return table


def result_records(
    rows: Sequence[Row], verdicts: Sequence[Verdict | None], taken: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """A record for each row: its number, its columns, and what came of it.

    A column of the CSV that has a name of ours, such as 'score', is called 'csv_score'; `taken`
    are further names of ours.
    """
    outcomes = [
        verdict_columns(verdict) if verdict else {"score": None, "status": "not_judged"}
        for verdict in verdicts
    ]
    ours = {"row", *taken, *(name for outcome in outcomes for name in outcome)}
    records = []
    for row, outcome in zip(rows, outcomes, strict=True):
        rest = dict(row.columns)
        # What was judged and what came of it stand together, where the UI shows them at once.
        order = {QUESTION: row.item.question, ANSWER: row.item.answer}
        for name in order:
            rest.pop(name, None)
        names = ours | set(rest)
        named = {_free_name(name, names) if name in ours else name: rest[name] for name in rest}
        records.append({"row": row.number, **order, **outcome, **named})
    return records


def stored_name(name: str, table: Collection[str], form: ReplyForm) -> str:
    """What a file's column is called in a run's `table`, by the rule of `result_records`."""
    outcome = verdict_columns(Verdict(Status.OK, scores={label: Score(1) for label in form.scores}))
    if name in {"row", "file", *_BESIDE, *outcome}:
        while f"csv_{name}" in table:
            name = f"csv_{name}"
    return name


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"csv_{name}"
    return name


def verdict_columns(verdict: Verdict) -> dict[str, Any]:
    """What came of a row, by the name of its column; None where there is no number."""
    overall = verdict.overall
    columns = {
        "score": overall.value if overall else None,
        "justification": verdict.justification,
        "expected_score": _rounded(overall.expected if overall else None),
        "entropy_bits": _rounded(overall.entropy if overall else None),
        "status": str(verdict.status),
        "reason": verdict.reason,
        "claim": verdict.claim,
        "claim_not_in_answer": verdict.claim_not_in_answer,
        "claim_score": _finest(verdict.claim_score),
        "answer_score": _finest(verdict.answer_score),
        "suspected_manipulation": verdict.suspected_manipulation,
        "invented_quote": verdict.invented_quote,
        "speaks_to_judge": verdict.speaks_to_judge,
        "prompt_tokens": verdict.prompt_tokens,
        "completion_tokens": verdict.completion_tokens,
        "latency_s": verdict.latency_s,
    }
    others = list(verdict.scores.items())[:-1]
    for label, score in others:
        columns[f"{label} (criterion)" if label in columns else label] = score.value
    return columns


def _finest(score: Score | None) -> float | None:
    return _rounded(score.finest if score else None)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def log_dataset(data: DataSet, as_input: str = "") -> Any:
    """The rows as MLflow's data set, which mlflow.evaluate logs as the run's input.

    With a context `as_input` it is logged as such at once.
    """
    table = pd.DataFrame([dict(row.columns) for row in data.rows], dtype=object)
    for name, place in ((QUESTION, "question"), (ANSWER, "answer"), (REFERENCE, "reference")):
        table[name] = [row.item.texts[place] for row in data.rows]
    for name, _ in data.rows[0].item.more:  # as the judge is shown them
        table[name] = [row.item.texts[name] for row in data.rows]
    dataset = mlflow.data.from_pandas(
        table,
        source=str(data.path),
        name=storable(data.path.stem),
        targets=REFERENCE,
        predictions=ANSWER if ANSWER in table else None,
        digest=hashlib.sha256((data.sha256 + data.answers_sha256).encode()).hexdigest()[:8],
    )
    if as_input:
        mlflow.log_input(dataset, context=as_input)
    return dataset


def log_settings(params: Mapping[str, Any], prompt: JudgePrompt) -> None:
    """Params and the prompt's file."""
    mlflow.log_params({name: storable(str(v)) for name, v in params.items() if _is_new(name)})
    end = re.sub(r"[^A-Za-z0-9.]", "_", prompt.path.suffix)
    mlflow.log_text(prompt.text, f"prompt/{recorded_name(prompt)}{end}")


def recorded_name(prompt: JudgePrompt) -> str:
    """The name of the prompt's file, without its end, in the signs that MLflow's registry takes.

    Blanks become underscores; a name that has to change further ends in a hash of what it was, so
    that two such names stay two.
    """
    stem = prompt.path.stem
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", stem)
    if plain == stem.replace(" ", "_"):
        return plain
    digest = hashlib.sha256(stem.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{plain.strip('_') or 'prompt'}-{digest}"


def _is_new(param: str) -> bool:
    """A resumed run has its params already, and MLflow lets none change."""
    run = mlflow.active_run()
    return run is None or param not in MlflowClient().get_run(run.info.run_id).data.params


def storable(text: str) -> str:
    """Without what SQLite and HTTP cannot carry: a NUL, half of a character.

    A file's name that the locale has no signs for comes in such halves: they make it whole.
    """
    try:
        whole = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        whole = text.encode("utf-8", "replace")
    return whole.decode("utf-8", "replace").replace("\x00", "␀")


def remove_tables() -> None:
    """MLflow appends to a table that is there: a resumed run would show every row twice."""
    run = mlflow.active_run()
    assert run is not None, "no active run"
    repository = get_artifact_repository(run.info.artifact_uri)
    there = {artifact.path for artifact in repository.list_artifacts() or []}
    for name in there.intersection(_TABLES):
        repository.delete_artifacts(name)


def log_results(
    table: pd.DataFrame,
    metrics: Mapping[str, float],
    journal: Path | None,
    name: str = RESULTS_TABLE,
) -> None:
    """The run's metrics, its table and its journal."""
    mlflow.log_metrics(dict(metrics))
    mlflow.log_table(table, name)
    with tempfile.TemporaryDirectory() as folder:
        copy = (Path(folder) / name).with_suffix(".csv")
        table.to_csv(copy, index=False)
        mlflow.log_artifact(str(copy))
    if journal is not None:
        mlflow.log_artifact(str(journal), "journal")
