"""What does the user see in the terminal? The progress bar, the table of verdicts, the summary.

Printed by `python mlflow_tracking/run_experiment.py`: results on stdout, progress on stderr.
"""

import shutil
import sys
import unicodedata
from collections.abc import Mapping, Sequence

from tqdm import tqdm

from mlflow_tracking.judge.verdict import FAILURES, Verdict
from mlflow_tracking.rows.item import DataSet
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, short

MEAN = "llm_judge_accuracy/v1/mean"  # as custom_metrics.py names it, which takes long to import
_TABLE_ROWS = 50  # more than that is for the table in MLflow


def say(text: str = "") -> None:
    """A line of the result."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def warn(text: str) -> None:
    """A line about progress or a problem."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Progress:
    """A progress bar over rows, with how many have no verdict, or what else is `wanted`."""

    def __init__(self, total: int, doing: str = "judging", wanted: str = "a verdict") -> None:
        self._bar = tqdm(total=total, unit="row", desc=doing, file=sys.stderr, smoothing=0.1)
        self._failed, self._wanted = 0, wanted

    def count(self, rows: int, failed: int) -> None:
        """Count rows, of which `failed` have none."""
        self._bar.update(rows)
        if failed:
            self._failed += failed
            self._bar.set_postfix_str(f"{self._failed} without {self._wanted}")

    def close(self) -> None:
        """Leave the bar as it is and go to the next line."""
        self._bar.close()


class VerdictTable:
    """Row, score and shortened justification, printed as the verdicts come: the first ones of many.

    Above the progress bar, if there is one.
    """

    def __init__(self, data: DataSet) -> None:
        self._data, self._shown = data, set[int]()

    def show(self, verdict: Verdict | None, places: Sequence[int]) -> None:
        """Print the verdict for the rows at these places, as far as there is room."""
        width = max(60, shutil.get_terminal_size((100, 24)).columns) - 16
        score = short(verdict.overall.value) if verdict and verdict.overall else "-"
        for place in places[: _TABLE_ROWS - len(self._shown)]:
            if not self._shown:
                tqdm.write(f"{'row':>5}  {'score':>5}  justification", sys.stdout)
            self._shown.add(place)
            number, note = self._data.rows[place].number, shorten(_note(verdict), width)
            tqdm.write(f"{number:>5}  {score:>5}  {note}", sys.stdout)

    def close(self, verdicts: Sequence[Verdict | None]) -> None:
        """Print the rows that are not there yet, and how many there is no room for."""
        for place, verdict in enumerate(verdicts):
            if place not in self._shown:
                self.show(verdict, [place])
        if len(verdicts) > len(self._shown):
            say(f"       … and {len(verdicts) - len(self._shown)} more rows, all in MLflow's table")


def _note(verdict: Verdict | None) -> str:
    if verdict is None:
        return "[not judged]"
    if verdict.failed:
        return f"[{verdict.status}] {verdict.reason}"
    flag = "[suspected manipulation] " if verdict.suspected_manipulation else ""
    told = f"[speaks to the judge: {', '.join(verdict.addressed)}] " if verdict.addressed else ""
    return flag + told + verdict.justification


def print_summary(metrics: Mapping[str, float], scale: Scale) -> None:
    """The mean, its bounds, and how many rows have no verdict and why."""
    total, scored = (int(metrics[f"llm_judge/rows_{name}"]) for name in ("total", "scored"))
    say()
    if scored:
        expected = metrics.get("llm_judge/expected_score_mean")
        beside = f", expected score {expected:.2f}" if expected is not None else ""
        where = "" if scale.for_people == ONE_TO_FIVE else f" on {scale}"
        say(f"mean score   {metrics[MEAN]:.2f}{where} over {scored} of {total} rows{beside}")
    else:
        say(f"mean score   none: not one of {total} rows has a verdict")
    if scored < total:
        reasons = ("not_judged", *map(str, FAILURES))
        counts = {name: int(metrics.get(f"llm_judge/rows_{name}", 0)) for name in reasons}
        parts = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        say(f"no verdict   {total - scored} rows: {parts}")
        worst, best = scale.low, scale.high
        low, high = (metrics[f"llm_judge/mean_if_failed_are_{end}"] for end in (worst, best))
        say(f"bounds       {low:.2f} to {high:.2f}, if those rows were all {worst}s or all {best}s")
    flagged = int(metrics.get("llm_judge/rows_suspected_manipulation", 0))
    if flagged:
        say(f"flagged      {flagged} rows: the answer scores much better than what it claims")
    missed = int(metrics.get("llm_judge/rows_claim_not_in_answer", 0))
    if missed:
        say(f"no claim     {missed} rows were scored whole: the judge misquoted the answer")
    invented = int(metrics.get("llm_judge/rows_invented_quote", 0))
    if invented:
        say(f"misquoted    {invented} rows: the justification quotes what is not in the row")
    addressed = int(metrics.get("llm_judge/rows_speaks_to_judge", 0))
    if addressed:
        say(f"addressed    {addressed} rows: a text of theirs speaks to the judge")


def shorten(text: str, width: int) -> str:
    """One line of at most `width` terminal cells, without control characters."""
    clean = "".join(sign if sign.isprintable() else " " for sign in " ".join(text.split()))
    cells = 0
    kept: list[str] = []
    for sign in clean:
        cells += 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if cells > width - 1:
            return "".join(kept).rstrip() + "…"
        kept.append(sign)
    return clean
