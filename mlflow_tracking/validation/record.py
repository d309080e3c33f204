"""What does a validation leave in MLflow? Metrics, the tables of rows, validation.json, the page.

Written by `python mlflow_tracking/validate_judge.py --data graded.csv`, looked at with `mlflow ui`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow import MlflowClient

from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.recorded_run import RecordedRun
from mlflow_tracking.recording.plots import png
from mlflow_tracking.recording.publish import DESCRIPTION_TAG, log_page
from mlflow_tracking.recording.results import (
    PAIRS_TABLE,
    RESULTS_TABLE,
    log_results,
    results_table,
)
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.graded import GradedData, GradedPairs
from mlflow_tracking.stats.estimate import Estimate
from mlflow_tracking.stats.table import METRICS, Table, TableColumn, table_metrics, two_places
from mlflow_tracking.validation.decision_rule import RULE_FILE, make_rule
from mlflow_tracking.validation.outcome import Outcome
from mlflow_tracking.validation.pairs import ROWS
from mlflow_tracking.validation.passes import Verdicts
from mlflow_tracking.validation.plan import ValidationPlan
from mlflow_tracking.validation.report import (
    ValidationReport,
    render_validation_report,
    shown_disagreements,
    validation_plots,
)
from mlflow_tracking.validation.trust import USES

VALIDATION_TAGS = {"experiment_type": "judge_validation"}


def counts(run: RecordedRun, verdicts: Verdicts) -> dict[str, float]:
    """What was asked and what it cost, as run_experiment.py counts it, over all passes."""
    rows, every = verdicts[ROWS], [verdict for one in verdicts.values() for verdict in one]
    totals = Totals(run.experiment.judge.settings.prompt)
    totals.add_costs(every)
    cost = run.cost(totals)
    speed = ("rows_per_second", "latency_p50_s", "rows_in_flight", "rows_in_flight_max")
    names = ("prompt_tokens", "completion_tokens", *speed)
    return {f"{METRICS}/{n}": cost[f"llm_judge/{n}"] for n in names if f"llm_judge/{n}" in cost} | {
        f"{METRICS}/rows_total": float(len(rows)),
        f"{METRICS}/rows_scored": float(sum(bool(v and not v.failed) for v in rows)),
        f"{METRICS}/judgements_total": float(len(every)),
        f"{METRICS}/judgements_failed": float(sum(v is None or v.failed for v in every)),
    }


def record_unfinished(
    run: RecordedRun, metrics: Mapping[str, float], judged: int, total: int
) -> None:
    """What there is of a validation that was stopped; it says nothing of the judge yet."""
    assert run.journal is not None, "a run with a journal"
    mlflow.log_metrics(dict(metrics))
    mlflow.log_artifact(str(run.journal.path), "journal")
    say(f"judged       {judged} of {total}; what the judge is good for is not known yet")


def record_outcome(
    run: RecordedRun,
    plan: ValidationPlan,
    verdicts: Verdicts,
    outcome: Outcome,
    metrics: Mapping[str, float],
) -> None:
    """Everything, in the active run and in the terminal."""
    assert run.journal is not None, "a run with a journal"
    name = PAIRS_TABLE if isinstance(plan.graded, GradedPairs) else RESULTS_TABLE
    numbers = {**metrics, **table_metrics(outcome.tables)}
    log_results(rows_table(plan, verdicts, outcome), numbers, run.journal.path, name)
    mlflow.set_tags({"trust_level": outcome.trust.level, DESCRIPTION_TAG: _describe(plan, outcome)})
    info, rows = MlflowClient().get_run(run.run_id), verdicts[ROWS]
    pictures = {name: png(figure) for name, figure in validation_plots(outcome).items()}
    page = ValidationReport(
        f"{info.info.run_name}: {plan.graded.data.path.name}",
        run.run_id,
        info.data.params,
        outcome,
        shown_disagreements(plan.graded, outcome, verdicts),
        sum(bool(verdict and not verdict.failed) for verdict in rows),
        len(rows),
        pictures,
        plan.graded.notes,
    )
    content = json.dumps(outcome_json(outcome), ensure_ascii=False, indent=1, allow_nan=False)
    files = {"validation.json": content}
    log_page("validation_report.html", render_validation_report(page), pictures, files)
    print_outcome(outcome)


def record_rule(run: RecordedRun, path: Path, plan: ValidationPlan, outcome: Outcome) -> None:
    """Write the rule that can be promised, as a file and as an artifact; exit code 3 for none."""
    found = outcome.measured.selection
    assert found is not None and isinstance(plan.graded, GradedData), "a rule was asked for"
    if found.best is None:
        say("rule         none: no rule can promise it, so none was written")
        run.exit_code = run.exit_code or 3
        return
    second = plan.second_prompt.text if plan.second_prompt else ""
    rule = make_rule(found.best, found, plan.graded, plan.experiment.judge.settings, second)
    mlflow.log_text(rule.text(), RULE_FILE)
    mlflow.log_metrics({f"{METRICS}/rule_{name}": value for name, value in rule.metrics().items()})
    say(f"rule         the judge decides {rule.when()}:")
    say(
        f"             {rule.decided} of {rule.graded_rows} graded rows, {rule.wrong} of them wrong"
    )
    say(f"             {rule.promise()}")
    try:
        path.write_text(rule.text(), encoding="utf-8")
        say(f"             {path} is for run_experiment.py --decide")
    except OSError as error:
        warn(f"--write-rule {path}: {error.strerror}; the run's artifact {RULE_FILE} has it")
        run.exit_code = 1


def print_outcome(outcome: Outcome) -> None:
    """Every table, then the named biases and what the judge may be used for."""
    for table in outcome.tables:
        say()
        print_numbers(table)
    say()
    say("biases       " + ("\n             ".join(outcome.faults) or "none that stands out"))
    level = outcome.trust.level
    say(f"good for     {level}: {USES[level]}")
    for index, reason in enumerate(outcome.trust.reasons):
        say(f"{'because' if not index else '':<13}{reason}")


def print_numbers(table: Table) -> None:
    """A table of estimates; what was not enough data is said below it, once for each cause."""
    say(table.title)
    cells = [[line.label, *map(_cell, table.columns, line.values)] for line in table.lines]
    heads = ["", *(column.heading for column in table.columns)]
    widths = [max(len(row[place]) for row in [heads, *cells]) for place in range(len(heads))]
    for row in [heads, *cells]:
        first = row[0].ljust(widths[0])
        rest = (text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True))
        say("  " + "  ".join((first, *rest)).rstrip())
    for text in (*table.findings, *table.missing()):
        say(f"  {text}")


def _cell(column: TableColumn, value: Estimate | None) -> str:
    if value is None:
        return ""
    if value.value is None:
        return "-"
    if column.beside or value.low is None or value.high is None:
        return two_places(value.value)
    low, high = two_places(value.low), two_places(value.high)
    return f"{two_places(value.value)} ({low} to {high})"


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """All numbers, None where there is none."""
    return {
        "trust": asdict(outcome.trust),
        "biases": list(outcome.faults),
        "sections": {
            table.key: {
                "title": table.title,
                "estimates": {name: asdict(value) for name, value in table.named()},
                "findings": list(table.findings),
            }
            for table in outcome.tables
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
    judge = plan.experiment.judge.settings
    lines = [
        f"**Good for: {outcome.trust.level}**: {USES[outcome.trust.level]}.",
        *(f"- {reason}" for reason in outcome.trust.reasons),
        "**Biases:** " + ("; ".join(outcome.faults) or "none that stands out"),
        f"Judge `{judge.model}`, prompt `{judge.prompt.path.name}`, "
        f"rows of `{plan.graded.data.path.name}`.",
        "All numbers: **Artifacts** → `validation_report.html`, `validation.json`.",
    ]
    return "\n\n".join(lines)
