"""Does a judge in another form (int8 in place of bfloat16) agree with people as well?

    python mlflow_tracking/run_experiment.py --data graded.csv --score-only    # on each server
    name=Qwen2.5-Coder-1.5B-Instruct
    python benchmarks/judge_agreement.py $name-bf16 $name-w8a8

Takes the newest finished run of each judge for every graded file and prompt that both judged, from
one experiment (* where the prompt's text is not the same in both). Spearman with the human score by
expected scores, and how often a right answer is above a wrong one where people said just that; 95 %
bootstrap intervals, differences on the same resamples. `together` is the mean over all lines: rows
are drawn within each file, for all its prompts at once.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlflow
import numpy as np
import pandas as pd
from scipy import stats

from llm_client.settings import load_settings
from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.recording.results import RESULTS_TABLE
from mlflow_tracking.recording.run import Tracking, mlflow_errors
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.stats.estimate import (
    Array,
    Estimate,
    bootstrap_estimate,
    difference_estimate,
)
from mlflow_tracking.stats.paired import area_under_curve, spearman

HUMAN = "human_score"
SCORES = ("expected_score", "score")
RESAMPLES = 2_000


@dataclass(frozen=True)
class Compared:
    """One graded file and one prompt; the columns of both judges' rows and of people, by row."""

    data: str
    prompt: str
    rows: pd.DataFrame  # <score>_first, <score>_second, human_score

    def columns(self, score: str) -> tuple[Array, Array, Array]:
        """The first judge's, the second's, people's."""
        names = (f"{score}_first", f"{score}_second", HUMAN)
        first, second, human = (self.rows[name].to_numpy(float) for name in names)
        return first, second, human


def main() -> int:
    """Find the runs, compare, print; returns the exit code."""
    return run_command("judge_agreement", compare)


def compare() -> int:
    """The table in Markdown."""
    settings = load_settings()
    parser = FlagParser("judge_agreement", __doc__)
    for name in ("first", "second"):
        parser.add(name, "a judge, as its runs name it (param judge_model)", metavar=name.upper())
    parser.add("--experiment-name", "MLflow's experiment", default=settings.experiment_name)
    given = parser.parse_args()
    with mlflow_errors(Tracking(settings.tracking_uri, given.experiment_name)):
        mlflow.set_tracking_uri(settings.tracking_uri)
        found = pairs(given.experiment_name, given.first, given.second)
    if not found:
        raise DataError(f"{given.experiment_name}: no graded file that both judges judged")
    say(f"first {given.first}, second {given.second}")
    say()
    say("| data | prompt | rows | first | second | second less first | right above wrong |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    for one in found:
        say("| " + " | ".join(map(str, line(one))) + " |")
    say()
    for score in SCORES:
        say(f"- together, by {score}, second less first: {together(found, score)}")
    return 0


def pairs(experiment: str, first: str, second: str) -> list[Compared]:
    """Every file and prompt that both judged, the newest finished runs of them."""
    runs = mlflow.search_runs(
        experiment_names=[experiment],
        filter_string="attributes.status = 'FINISHED'",
        output_format="list",
    )
    newest: dict[tuple[str, ...], mlflow.entities.Run] = {}
    for run in runs:  # the newest comes first
        params = run.data.params
        names = ("data_sha256", "prompt_file", "claim", "score_only", "judge_model")
        newest.setdefault(tuple(params.get(name, "") for name in names), run)
    found = []
    for (*asked, judge), run in newest.items():
        other = newest.get((*asked, second))
        if judge == first and other:
            rows = table(run).merge(table(other), on=["row", HUMAN], suffixes=("_first", "_second"))
            params = run.data.params
            same = params["prompt_sha256"] == other.data.params["prompt_sha256"]
            prompt = params["prompt_file"] + ("" if same else " *")
            found.append(Compared(params["data_file"], prompt, rows))
    graded = [one for one in found if len(one.rows)]
    return sorted(graded, key=lambda one: (one.prompt, one.data))


def table(run: mlflow.entities.Run) -> pd.DataFrame:
    """The run's rows that people graded: row, the scores, human_score."""
    content = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{RESULTS_TABLE}")
    rows = pd.DataFrame(content["data"], columns=content["columns"])
    if HUMAN not in rows:
        rows[HUMAN] = np.nan
    wanted: pd.DataFrame = rows[["row", HUMAN, *SCORES]].apply(pd.to_numeric, errors="coerce")
    return wanted.dropna()


def line(one: Compared) -> Sequence[object]:
    """A line of the table."""
    first, second, human = one.columns("expected_score")
    cells = [bootstrap_estimate(spearman, scores, human) for scores in (first, second)]
    over = difference_estimate(spearman, second, first, human)
    order = "–"
    if len(set(human)) == 2:
        labels = (human == human.max()).astype(float)
        share = [bootstrap_estimate(area_under_curve, scores, labels) for scores in (first, second)]
        order = f"{share[0].value:.2f}, {share[1].value:.2f}"
    return (one.data, one.prompt, len(human), *cells, over, order)


def together(found: Sequence[Compared], score: str, seed: int = 0) -> Estimate:
    """The mean of the differences of Spearman over all lines.

    A file's rows are drawn once for all its prompts: what is hard for one is hard for the others.
    """
    rng = np.random.default_rng(seed)
    values, draws = [], []
    for data in sorted({one.data for one in found}):
        same = [one for one in found if one.data == data]
        common = set.intersection(*(set(one.rows["row"]) for one in same))
        kept = [replace(one, rows=one.rows[one.rows["row"].isin(common)]) for one in same]
        columns = [column for one in kept for column in one.columns(score)]

        def summed(*drawn: Array, axis: int = -1) -> Array:
            return sum(  # type: ignore[return-value]
                spearman(drawn[at + 1], drawn[at + 2], axis)
                - spearman(drawn[at], drawn[at + 2], axis)
                for at in range(0, len(drawn), 3)
            )

        values.append(float(summed(*columns)))
        result = stats.bootstrap(
            columns, summed, n_resamples=RESAMPLES, paired=True, method="percentile", rng=rng
        )
        draws.append(result.bootstrap_distribution)
    count = len(found)
    low, high = np.quantile(sum(draws) / count, [0.025, 0.975])
    return Estimate(sum(values) / count, float(low), float(high), sum(len(x.rows) for x in found))


if __name__ == "__main__":
    sys.exit(main())
