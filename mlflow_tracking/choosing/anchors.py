"""Is the judge still the one of the first run? Graded answers that every run scores again.

    python mlflow_tracking/run_experiment.py --data my.csv --anchors graded.csv

The anchors are asked for one token each and kept with the run, as `anchors/anchors.json`. A run
finds the earlier ones with the same anchors in its MLflow experiment. It is compared with those
that were not found to be of another judge, by the test of stats/drift.py, which decides; what the
runs' params say only explains.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Run

from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.recorded_run import RecordedRun
from mlflow_tracking.grading.judged_run import rows_digest
from mlflow_tracking.judge.journal import changed_names
from mlflow_tracking.judge.preflight import preflight
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.publish import DESCRIPTION_TAG
from mlflow_tracking.rows.graded import GradedRow, answers_only, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.scale import Scale, short
from mlflow_tracking.stats.drift import TOLERANCE, look
from mlflow_tracking.stats.estimate import Array
from mlflow_tracking.validation.passes import JudgePass, known_passes, run_passes

KEPT = "anchors/anchors.json"
ANCHORS, DRIFT, SINCE = "llm_judge.anchors", "llm_judge.judge_drift", "llm_judge.judge_drift_since"
FIRST, NONE, FOUND, UNKNOWN = "first", "none", "found", "unknown"
_FEW = 20  # anchors; with fewer than eight, not even a change of all of them in the second run is
_BEGINS = "**Is it the same judge?**"  # the paragraph of a run's description
# Params that may say why a judge is another one.
_WHY = (
    *("judge_model", "judge_root", "vllm_version", "base_url", "prompt_file", "prompt_sha256"),
    *("claim", "constraint", "asked_otherwise", "context_length", "on_too_long", "temperature"),
)


@dataclass(frozen=True)
class AnchorRun:
    """What a judge gave the anchors in one run."""

    run_id: str
    scale: str
    scores: Array  # by anchor, the expected ones where there are any; NaN without a verdict
    params: Mapping[str, str]  # of the run, those that could say why the judge is another one


@dataclass(frozen=True)
class Drift:
    """What is said of a run's judge: the tag's word, the sentence, and numbers by name."""

    word: str
    line: str
    numbers: Mapping[str, float]
    since: str = ""  # where it is another one: the run with which that began


@dataclass(frozen=True)
class Anchors:
    """The graded answers and how the judge is asked about them; none in a run without --anchors."""

    path: Path = Path()
    sha256: str = ""
    graded: tuple[GradedRow, ...] = ()  # different answers
    judge: JudgeSettings | None = None
    lines: tuple[str, ...] = ()  # what was checked, for --check
    notes: tuple[str, ...] = ()

    def recorded(self, experiment: Experiment) -> Experiment:
        """With the anchors in the params, the same for a run that goes on."""
        if not self.graded:
            return experiment
        asked = {"anchors_sha256": self.sha256}
        params = {**experiment.more_params, **asked, "anchors_file": self.path.name}
        return replace(experiment, more_params=params, same=(*experiment.same, *asked))

    def compare(
        self, run: RecordedRun, say: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        """Score the anchors and tell whether the judge is the one of the first run."""
        if self.judge is None or not run.complete:
            return
        verdicts = self._score(run, self.judge)
        if not run.complete:
            return
        scale = self.judge.prompt.format.scale
        scores = np.array([v.overall.finest if v and v.overall else np.nan for v in verdicts])
        params = MlflowClient().get_run(run.run_id).data.params
        this = AnchorRun(run.run_id, str(scale), scores, _reasons(params))
        people = np.array([one.human for one in self.graded])
        found = compare_with(this, earlier_runs(run, self.sha256, warn), people, scale)
        self._record(run.run_id, this, found)
        if found.word in (FIRST, NONE):
            say(f"anchors      {found.line}")
        else:
            warn(f"note: {found.line}")

    def _score(self, run: RecordedRun, judge: JudgeSettings) -> list[Verdict | None]:
        items = tuple(one.row.item for one in self.graded)
        asked = [JudgePass("anchors", judge, items)]
        verdicts = known_passes(asked, run.judge)
        with run.judging(len(items)) as tell:
            run_passes(asked, run.judge, verdicts, tell)
        return verdicts["anchors"]

    def _record(self, run_id: str, this: AnchorRun, found: Drift) -> None:
        """The scores, the metrics and tags, and a paragraph of the run's description."""
        scores = [None if math.isnan(score) else float(score) for score in this.scores]
        lines = [
            {"line": one.row.line, "people": one.human, "score": score}
            for one, score in zip(self.graded, scores, strict=True)
        ]
        content = {"anchors_sha256": self.sha256, "scale": this.scale, "scores": lines}
        mlflow.log_dict(content, KEPT)
        mlflow.log_metrics({f"llm_judge/{name}": one for name, one in found.numbers.items()})
        client = MlflowClient()
        text = client.get_run(run_id).data.tags.get(DESCRIPTION_TAG, "")
        parts = [part for part in text.split("\n\n") if part and not part.startswith(_BEGINS)]
        parts.append(f"{_BEGINS} {found.line[0].upper()}{found.line[1:]}.")
        tags = {ANCHORS: self.sha256, DRIFT: found.word, DESCRIPTION_TAG: "\n\n".join(parts)}
        mlflow.set_tags(tags | ({SINCE: found.since} if found.since else {}))


def plan_anchors(path: Path | None, encoding: str, experiment: Experiment) -> Anchors:
    """Read the anchors, and check that the judge can be asked about them.

    Raises DataError or PreflightError.
    """
    if path is None:
        return Anchors()
    data, wanted = experiment.data, experiment.judge.settings
    own = (data.sheet, data.named) if path.resolve() == data.path.resolve() else ("", ())
    graded = answers_only(load_graded(path, encoding, None, *own, wanted.prompt.format.scale))
    if lacking := [name for name in wanted.prompt.columns if name not in graded.data.columns]:
        shows = f"the prompt shows the column {lacking[0]}, which it has not"
        raise DataError(f"--anchors {path}: {shows}; add it")
    graded = graded.asking(wanted.prompt.columns)
    different = {one.row.item: one for one in graded.rows}
    one_token = replace(wanted.for_probes(), explain_below=None)
    checked = asyncio.run(
        preflight(experiment.calls.base_url, experiment.api_key, one_token, list(different))
    )
    # A salt, or a plan's verdict on the same row would be taken for what the judge says today.
    judge = replace(checked.settings, salt="anchors")
    told = (*graded.notes, *checked.warnings)
    notes = [f"{path.name}: {one}" for one in told if one not in experiment.judge.warnings]
    if not judge.score_only:
        notes.append("the anchors take whole replies: the prompt or the server has no score alone")
    if len(different) < _FEW:
        notes.append(f"{path.name}: of {len(different)} anchors no change may be told; take 60")
    sha256 = rows_digest(different)
    line = f"anchors      {len(different)} of {path.name}"
    return Anchors(path, sha256, tuple(different.values()), judge, (line,), tuple(notes))


def compare_with(
    this: AnchorRun, earlier: Sequence[AnchorRun], people: Array, scale: Scale
) -> Drift:
    """What the anchors say of the judge of `this` run, by those of its predecessors that count."""
    scored, total = int((~np.isnan(this.scores)).sum()), len(this.scores)
    numbers = {"anchors_scored": float(scored)}
    if not scored:
        return Drift(UNKNOWN, f"none of {total} anchors has a score: nothing is known", numbers)
    agreement = _agreement(this, people)
    if agreement is not None:
        numbers["anchors_spearman"] = agreement
    if not earlier:
        what = f"{scored} of {total} scored; the first run with them, later ones are compared"
        return Drift(FIRST, f"{what} with it", numbers)
    first = earlier[0]
    where = f"run {first.run_id}, the first of {len(earlier) + 1}"
    if why := _why_not(this, first):
        return Drift(UNKNOWN, f"the judge is not compared with that of {where}: {why}", numbers)
    found = look(np.array([one.scores for one in (*earlier, this)]) / scale.point)
    apart = _apart(this, first)
    numbers |= {"judge_drift": float(apart.mean()), "judge_drift_p": found.p}
    numbers["anchors_same"] = float((np.abs(apart) <= TOLERANCE * scale.point).sum())
    told = f"{_differences(apart, scale)}, p {found.p:.2g}"
    changed = changed_names(first.params, this.params)
    if not found.found:
        also = f"; changed since: {changed}" if changed else ""
        return Drift(NONE, f"no sign of another judge than in {where}: {told}{also}", numbers)
    since = (*earlier, this)[found.changed_at].run_id
    begun = f" since run {since}" if since != this.run_id else ""
    then = _agreement(first, people)
    if agreement is not None and then is not None:
        told += f"; agreement with people {agreement:.2f}, then {then:.2f}"
    told += f"; changed since: {changed or 'nothing that the params say'}"
    return Drift(FOUND, f"another judge{begun} than in {where}: {told}", numbers, since)


def _why_not(this: AnchorRun, first: AnchorRun) -> str:
    """Why two runs cannot be compared; '' where they can."""
    if first.scale != this.scale:
        return f"it scored on {first.scale}, this one on {this.scale}"
    return "" if len(_apart(this, first)) else "no anchor has a score in both"


def _apart(this: AnchorRun, first: AnchorRun) -> Array:
    """By how much the anchors that both scored are higher than they were."""
    apart = this.scores - first.scores
    return np.asarray(apart[~np.isnan(apart)])


def _differences(apart: Array, scale: Scale) -> str:
    """How many anchors score as in the first run, and how far the others are from that."""
    other = np.abs(apart[np.abs(apart) > TOLERANCE * scale.point])
    told = (
        f"{len(apart) - len(other)} of {len(apart)} anchors within {short(TOLERANCE * scale.point)}"
    )
    if len(other):
        told += f", the others {other.mean():.2f} apart on average"
    return f"{told}; mean shift {round(float(apart.mean()), 2) + 0.0:+.2f}"  # + 0.0: no '-0.00'


def _agreement(run: AnchorRun, people: Array) -> float | None:
    """Spearman's correlation with what people gave; None where it has none."""
    from mlflow_tracking.stats.paired import spearman  # half a second, which no first page needs

    with np.errstate(all="ignore"):
        found = float(spearman(run.scores, people))
    return None if math.isnan(found) else found


def earlier_runs(
    run: RecordedRun, sha256: str, warn: Callable[[str], None]
) -> tuple[AnchorRun, ...]:
    """The runs before this one that count as the first run's judge, the oldest first."""
    client = MlflowClient()
    before = client.get_run(run.run_id).info.start_time
    found: list[AnchorRun] = []
    runs = mlflow.search_runs(
        [run.experiment_id],
        f"tags.`{ANCHORS}` = '{sha256}' AND attributes.start_time < {before}",
        order_by=["attributes.start_time ASC"],
        output_format="list",
    )
    for one in runs:
        word = one.data.tags.get(DRIFT)
        if word == FOUND:  # and so were those before it that belong to the change
            ids = [other.run_id for other in found]
            since = one.data.tags.get(SINCE, "")
            del found[ids.index(since) if since in ids else len(found) :]
        elif word in (FIRST, NONE):
            try:
                found.append(_read(one))
            except (mlflow.MlflowException, OSError, KeyError, TypeError, ValueError):
                warn(f"note: run {one.info.run_id}: its {KEPT} cannot be read; it does not count")
    return tuple(found)


def _read(run: Run) -> AnchorRun:
    kept = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{KEPT}")
    scores = [line["score"] for line in kept["scores"]]
    params = _reasons(run.data.params)
    return AnchorRun(run.info.run_id, kept["scale"], np.array(scores, dtype=float), params)


def _reasons(params: Mapping[str, str]) -> dict[str, str]:
    """What could say why a judge is another one; a sha256 by its first digits."""
    return {name: params.get(name, "?")[: 12 if "sha256" in name else None] for name in _WHY}
