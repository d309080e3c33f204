"""Where does a comparison stay? In MLflow, as a run of its own beside those that it compares.

python mlflow_tracking/compare_runs.py RUN RUN RUN
mlflow ui
"""

import mlflow
import pandas as pd

from llm_client.settings import Settings
from mlflow_tracking.comparing.systems import Comparison
from mlflow_tracking.comparing.told import ALL_PAIRS
from mlflow_tracking.comparing.told_directly import ALL_COMPARISONS, PAIRS_ASKED, Told
from mlflow_tracking.recording.plots import comparison, means
from mlflow_tracking.recording.publish import DESCRIPTION_TAG
from mlflow_tracking.recording.run import (
    Tracking,
    end_run,
    experiment_name,
    first_writes,
    look_at_it,
    open_experiment,
    start_run,
)

COMPARISON_TAGS = {"experiment_type": "llm_judge_comparison"}
_METRICS = "llm_judge_comparison"


def record(
    compared: Comparison, direct: Told | None, text: str, settings: Settings
) -> tuple[str, tuple[str, ...]]:
    """Record it in the runs' experiment, or in the usual one if they are of several.

    `text` is the run's description. Returns the new run's id, and what to type and open to look at
    it. Raises TrackingError.
    """
    ids = {one.run.experiment_id for one in compared.systems}
    name = experiment_name(ids.pop()) if len(ids) == 1 else settings.experiment_name
    tracking = Tracking(settings.tracking_uri, name)
    experiment_id = open_experiment(tracking)
    title = f"comparison of {len(compared.systems)} runs"
    run_id = start_run(tracking, title, None, COMPARISON_TAGS)
    with first_writes(tracking):
        _log(compared, direct, text)
        end_run(complete=True)
    return run_id, look_at_it(tracking, f"experiments/{experiment_id}/runs/{run_id}")


def _log(compared: Comparison, direct: Told | None, text: str) -> None:
    """Everything, into the active run."""
    systems, shared = compared.systems, compared.shared
    mlflow.log_params({f"system_{one.letter}": one.run.run_id for one in systems})
    mlflow.log_param("paired_by", " and ".join(shared.keys))
    mlflow.log_metrics(_metrics(compared))
    if direct:
        mlflow.log_params(dict(direct.params))
        mlflow.log_metrics({f"{_METRICS}/{name}": v for name, v in direct.metrics.items()})
        mlflow.log_table(direct.pairs, PAIRS_ASKED)
        mlflow.log_table(direct.table, ALL_COMPARISONS)
    mlflow.log_text(text, "comparison.md")
    mlflow.set_tag(DESCRIPTION_TAG, text)
    mlflow.log_table(_systems(compared), "systems.json")
    mlflow.log_table(_differences(compared), ALL_PAIRS)
    mlflow.log_table(compared.scores, "scores.json")
    ranked = {f"{one.letter}  {one.run.name}": one.mean for one in compared.ranked}
    mlflow.log_figure(means(ranked, systems[0].run.scale), "plots/means.png")
    if len(systems) == 2:
        pairs = [(float(a), float(b)) for a, b in shared.scores()]
        names = [f"{one.letter}: {one.run.name}" for one in systems]
        mlflow.log_figure(comparison(pairs, systems[0].run.scale, *names), "plots/rows.png")


def _metrics(compared: Comparison) -> dict[str, float]:
    found = compared.found
    metrics: dict[str, float | None] = {
        "rows": len(compared.shared.places),
        "pairs": len(found.differences),
        "pairs_that_differ": sum(one.differs for one in found.differences),
    }
    for one in compared.systems:
        ends = (("", one.mean.value), ("_low", one.mean.low), ("_high", one.mean.high))
        metrics |= {f"mean_{one.letter}{end}": value for end, value in ends}
    return {f"{_METRICS}/{name}": value for name, value in metrics.items() if value is not None}


def _systems(compared: Comparison) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "system": one.letter,
            "run": one.run.name,
            "n": one.mean.n,
            "mean": one.mean.value,
            "low": one.mean.low,
            "high": one.mean.high,
            "wins": one.wins,
            "ties": one.ties,
            "losses": one.losses,
            "no_verdict": one.no_verdict,
            "judge": one.run.judge,
            "prompt": one.run.prompt,
            "data": one.run.data,
            "run_id": one.run.run_id,
        }
        for one in compared.ranked
    )


def _differences(compared: Comparison) -> pd.DataFrame:
    letters = [one.letter for one in compared.systems]
    return pd.DataFrame(
        {
            "system": letters[one.second],
            "less": letters[one.first],
            "difference": one.estimate.value,
            "low": one.estimate.low,
            "high": one.estimate.high,
            "differs": one.differs,
            "note": one.estimate.note,
        }
        for one in compared.found.differences
    )
