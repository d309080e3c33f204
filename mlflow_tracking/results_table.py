"""What stands in the table of results? The row's own columns, and beside them what came of it.

The artifact judge_results of `python mlflow_tracking/run_experiment.py`, and the Parquet files of
`python mlflow_tracking/run_distributed.py`.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from mlflow_tracking.rows import ANSWER, QUESTION, DataSet, Row
from mlflow_tracking.verdict import Verdict


def results_table(data: DataSet, verdicts: Sequence[Verdict | None]) -> pd.DataFrame:
    """One row for each row of the CSV: its columns, and what came of it."""
    return pd.DataFrame(result_records(data.rows, verdicts))


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
        order = {name: rest.pop(name) for name in (QUESTION, ANSWER)}
        names = ours | set(rest)
        named = {_free_name(name, names) if name in ours else name: rest[name] for name in rest}
        records.append({"row": row.number, **order, **outcome, **named})
    return records


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
        "suspected_manipulation": " | ".join(verdict.suspected_manipulation),
        "score_with_span": verdict.score_with_span,
        "prompt_tokens": verdict.prompt_tokens,
        "completion_tokens": verdict.completion_tokens,
        "latency_s": verdict.latency_s,
    }
    others = list(verdict.scores.items())[:-1]
    for label, score in others:
        columns[f"{label} (criterion)" if label in columns else label] = score.value
    return columns


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
