"""Which of two runs has the better scores, and is that more than chance? Paired, row by row.

    python mlflow_tracking/compare_runs.py RUN_A RUN_B
    python mlflow_tracking/compare_runs.py RUN_A RUN_B --moved 20

RUN_A and RUN_B are run ids, as run_experiment.py prints them. Two judges or two prompts are paired
by question and answer, two sets of answers by question. Prints the mean of the differences B - A
with a bootstrap interval, what people would say of it where rows of both runs are graded
(grade_rows.py), and the rows that moved most, and logs a plot to both runs.

Exit codes: 0 compared; 2 a run that is not there, or nothing that both judged.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llm_client.settings import load_settings
from mlflow_tracking.command.console import say, shorten
from mlflow_tracking.command.flags import FlagParser, natural
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.rows.item import ANSWER, QUESTION
from mlflow_tracking.rows.scale import short

if TYPE_CHECKING:
    import pandas as pd

    from mlflow_tracking.grading.judged_run import JudgedRun


@dataclass(frozen=True)
class ComparisonFlags:
    """The command line."""

    run_a: str
    run_b: str
    moved: int


def main() -> int:
    """Compare, print, log; returns the exit code."""
    return run_command("compare_runs", compare)


def compare() -> int:
    """Read both runs back, pair their rows, print what differs and log a plot of it."""
    given = read_flags()
    settings = load_settings()
    # Only now, or a typo in a flag would be told after the two seconds that this takes.
    import mlflow

    from mlflow_tracking.grading.difference import pair_rows
    from mlflow_tracking.grading.judged_run import read_run
    from mlflow_tracking.recording.run import Tracking, TrackingError, mlflow_errors

    if given.run_a == given.run_b:
        raise TrackingError(f"run {given.run_a}: the two are the same run")
    with mlflow_errors(Tracking(settings.tracking_uri, "")):
        mlflow.set_tracking_uri(settings.tracking_uri)
        first, second = read_run(given.run_a), read_run(given.run_b)
        check_scales(first, second)
        paired, keys = pair_rows(first.rows, second.rows)
        pairs = paired.dropna(subset=["score_a", "score_b"])
        pairs = pairs.astype({"score_a": float, "score_b": float})
        if pairs.empty:
            raise TrackingError(
                f"runs {first.run_id} and {second.run_id}: no question that both judged"
            )
        _report(first, second, pairs, keys)
        _report_people(first, second, paired, keys)
        _list_moved(pairs, given.moved)
        _log_plot(first, second, pairs)
    return 0


def read_flags() -> ComparisonFlags:
    """The command line; every default is shown by --help."""
    parser = FlagParser("compare_runs", __doc__)
    parser.add("run_a", "the id of the run to compare with", metavar="RUN_A")
    parser.add("run_b", "the id of the run that is compared", metavar="RUN_B")
    parser.add("--moved", "rows to list", type=natural, default=10, metavar="N")
    return ComparisonFlags(**vars(parser.parse_args()))


def check_scales(first: JudgedRun, second: JudgedRun) -> None:
    """Raises TrackingError for runs whose scores do not run from the same worst to the same best.

    Yes and no count 5 and 1, so they compare with 1-5.
    """
    from mlflow_tracking.recording.run import TrackingError

    a, b = first.scale, second.scale
    if a.for_people.values != b.for_people.values:
        raise TrackingError(
            f"runs {first.run_id} and {second.run_id}: A scores on {a}, B on {b}; a difference of "
            "means says nothing; judge the rows again with prompts of one scale"
        )


def _report(first: JudgedRun, second: JudgedRun, pairs: pd.DataFrame, keys: list[str]) -> None:
    from mlflow_tracking.stats.estimate import mean_interval

    difference = (pairs["score_b"] - pairs["score_a"]).tolist()
    mean = sum(difference) / len(difference)
    interval = mean_interval(difference)
    say(f"A            {first}")
    say(f"B            {second}")
    if first.scale != second.scale:
        say(f"scales       A {first.scale}, B {second.scale}")
    say(f"paired       {len(pairs)} rows that both scored, by {' and '.join(keys)}")
    say(f"mean         A {pairs['score_a'].mean():.2f}, B {pairs['score_b'].mean():.2f}")
    if interval is None:
        say(f"B - A        {mean:+.2f}")
    else:
        low, high = interval
        chance = "" if low > 0 or high < 0 else "; may be chance: the interval holds 0"
        say(f"B - A        {mean:+.2f} (95 % bootstrap {low:+.2f} to {high:+.2f}{chance})")
    say(f"same score   {difference.count(0)} of {len(pairs)}")


def _report_people(
    first: JudgedRun, second: JudgedRun, pairs: pd.DataFrame, keys: list[str]
) -> None:
    """What people would say of the difference, where rows of both runs are graded."""
    from mlflow_tracking.grading.difference import people_difference
    from mlflow_tracking.grading.kept import kept_grades

    graded = [kept_grades(run.run_id, run.items, run.scale) for run in (first, second)]
    if not any(graded):
        return
    if ANSWER in keys:
        say("people       the answers are the same, so people's grades of them are, too")
        return
    if graded[0] is None or graded[1] is None:
        other = second if graded[0] else first
        say(f"people       cannot tell; grade the other: grade_rows.py report --run {other.run_id}")
        return
    found, over = people_difference((first, second), (graded[0], graded[1]), pairs)
    sure = found.low is not None and found.high is not None and not found.low <= 0 <= found.high
    say(f"people       B - A {found}, {over}{'' if sure else ': cannot tell which is better'}")


def _list_moved(pairs: pd.DataFrame, moved: int) -> None:
    """The rows whose scores differ most."""
    import pandas as pd

    changed = pairs.assign(difference=pairs["score_b"] - pairs["score_a"])
    changed = changed[changed["difference"] != 0]
    order = changed["difference"].abs().sort_values(ascending=False, kind="stable").index
    if moved > 0 and len(order):
        scores = pd.concat([pairs["score_a"], pairs["score_b"]])
        width = max(3, *(len(short(score)) for score in scores))
        say(f"\n{'row':>5} {'A':>{width}} {'B':>{width}}  question")
        for _, pair in changed.loc[order].head(moved).iterrows():
            text = shorten(str(pair[QUESTION]), 80)
            a, b = short(pair["score_a"]), short(pair["score_b"])
            say(f"{pair['row_a']:>5} {a:>{width}} {b:>{width}}  {text}")


def _log_plot(first: JudgedRun, second: JudgedRun, pairs: pd.DataFrame) -> None:
    from mlflow import MlflowClient

    from mlflow_tracking.recording.plots import comparison

    scores = list(zip(pairs["score_a"], pairs["score_b"], strict=True))
    figure = comparison(scores, first.scale, f"A: {first.name}", f"B: {second.name}")
    file = f"comparisons/{first.run_id[:8]}_{second.run_id[:8]}.png"
    client = MlflowClient()
    for run in (first, second):
        client.log_figure(run.run_id, figure, file)
    say(f"\nplot         {file}, an artifact of both runs")


if __name__ == "__main__":
    raise SystemExit(main())
