"""What does a validation leave in MLflow? Metrics, the tables of rows, validation.json, the page.

Written by `python mlflow_tracking/validate_judge.py --data graded.csv`, looked at with `mlflow ui`.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient

from mlflow_tracking.graded_rows import GradedPairs
from mlflow_tracking.judge_passes import Verdicts
from mlflow_tracking.mlflow_run import PAIRS_TABLE, RESULTS_TABLE, log_results, remove_tables
from mlflow_tracking.pairs_section import ROWS
from mlflow_tracking.plots import png
from mlflow_tracking.results_table import results_table
from mlflow_tracking.run_views import DESCRIPTION_TAG
from mlflow_tracking.section import METRICS, section_metrics
from mlflow_tracking.totals import run_metrics
from mlflow_tracking.validation_console import USES
from mlflow_tracking.validation_outcome import Outcome
from mlflow_tracking.validation_plan import ValidationPlan
from mlflow_tracking.validation_plots import validation_plots
from mlflow_tracking.validation_report import (
    ValidationReport,
    render_validation_report,
    shown_disagreements,
)

VALIDATION_TAGS = {"experiment_type": "judge_validation"}


def counts(verdicts: Verdicts, judged_s: float, judged: int) -> dict[str, float]:
    """What was asked and what it cost, as run_experiment.py counts it, over all passes."""
    every = [verdict for rows in verdicts.values() for verdict in rows]
    known = run_metrics(every, judged_s, judged)
    names = ("prompt_tokens", "completion_tokens", "rows_per_second", "latency_p50_s")
    metrics = {
        f"{METRICS}/{n}": known[f"llm_judge/{n}"] for n in names if f"llm_judge/{n}" in known
    }
    rows = verdicts[ROWS]
    return metrics | {
        f"{METRICS}/rows_total": float(len(rows)),
        f"{METRICS}/rows_scored": float(sum(bool(v and not v.failed) for v in rows)),
        f"{METRICS}/judgements_total": float(len(every)),
        f"{METRICS}/judgements_failed": float(sum(v is None or v.failed for v in every)),
    }


def log_unfinished(
    plan: ValidationPlan, verdicts: Verdicts, metrics: Mapping[str, float], journal: Path
) -> None:
    """What there is of a validation that was stopped; it says nothing of the judge yet."""
    mlflow.log_metrics(dict(metrics))
    mlflow.log_artifact(str(journal), "journal")


def log_outcome(
    plan: ValidationPlan,
    verdicts: Verdicts,
    outcome: Outcome,
    metrics: Mapping[str, float],
    run_id: str,
    journal: Path,
) -> None:
    """Everything, for the run `run_id`."""
    name = PAIRS_TABLE if isinstance(plan.graded, GradedPairs) else RESULTS_TABLE
    numbers = {**metrics, **section_metrics(outcome.sections)}
    remove_tables()
    log_results(rows_table(plan, verdicts, outcome), numbers, journal, name)
    mlflow.set_tags({"trust_level": outcome.trust.level, DESCRIPTION_TAG: _describe(plan, outcome)})
    run = MlflowClient().get_run(run_id)
    pictures = {name: png(figure) for name, figure in validation_plots(outcome).items()}
    rows = verdicts[ROWS]
    page = ValidationReport(
        f"{run.info.run_name}: {plan.graded.data.path.name}",
        run_id,
        run.data.params,
        outcome,
        shown_disagreements(plan.graded, outcome, verdicts),
        sum(bool(verdict and not verdict.failed) for verdict in rows),
        len(rows),
        pictures,
        plan.graded.notes,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "plots").mkdir()
        for file, content in pictures.items():
            (folder / "plots" / file).write_bytes(content)
        html = render_validation_report(page)
        (folder / "validation_report.html").write_text(html, encoding="utf-8")
        content_json = json.dumps(
            outcome_json(outcome), ensure_ascii=False, indent=1, allow_nan=False
        )
        (folder / "validation.json").write_text(content_json, encoding="utf-8")
        if outcome.calibration:
            outcome.calibration.save(folder / "calibration.json")
        mlflow.log_artifacts(str(folder))


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """All numbers, None where there is none."""
    return {
        "trust": asdict(outcome.trust),
        "biases": list(outcome.faults),
        "sections": {
            section.key: {
                "title": section.title,
                "estimates": {name: asdict(value) for name, value in section.named()},
                "findings": list(section.findings),
            }
            for section in outcome.sections
        },
        "confusion": [list(row) for row in outcome.measured.confusion],
        "calibration_bins": [asdict(one) for one in outcome.measured.bins],
        "worst_disagreements": [asdict(one) for one in outcome.measured.disagreements],
    }


def rows_table(plan: ValidationPlan, verdicts: Verdicts, outcome: Outcome) -> pd.DataFrame:
    """One row for each row of the CSV: its columns, and what the judge gave it."""
    graded = plan.graded
    if not isinstance(graded, GradedPairs):
        return results_table(graded.data, verdicts[ROWS])
    preferred, half = outcome.measured.preferences, len(graded.pairs)
    assert preferred is not None, "pairs have preferences"
    expected, whole = outcome.measured.scores.expected, outcome.measured.scores.whole
    records = [
        {
            "row": pair.row.number,
            **pair.row.columns,
            "score_a": whole[i],
            "score_b": whole[half + i],
            "expected_score_a": expected[i],
            "expected_score_b": expected[half + i],
            **{f"preferred_{way.column.key}": way.winners[i] for way in preferred.ways},
        }
        for i, pair in enumerate(graded.pairs)
    ]
    return pd.DataFrame(records)


def _describe(plan: ValidationPlan, outcome: Outcome) -> str:
    """The run's description in Markdown; nothing is from the rows."""
    judge = plan.plan.findings.settings
    lines = [
        f"**Good for: {outcome.trust.level}**: {USES[outcome.trust.level]}.",
        *(f"- {reason}" for reason in outcome.trust.reasons),
        "**Biases:** " + ("; ".join(outcome.faults) or "none that stands out"),
        f"Judge `{judge.model}`, prompt `{judge.prompt.path.name}`, "
        f"rows of `{plan.graded.data.path.name}`.",
        "All numbers: **Artifacts** → `validation_report.html`, `validation.json`.",
    ]
    return "\n\n".join(lines)
