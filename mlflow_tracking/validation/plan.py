"""What is a validation going to ask the judge? The graded rows, the passes, and what is checked.

python mlflow_tracking/validate_judge.py --data graded.csv --quick
python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise --probe-rows 0
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llm_client.settings import Settings
from mlflow_tracking.command.experiment import Experiment, check_judge, wanted_judge
from mlflow_tracking.command.flags import (
    CallFlags,
    JudgeFlags,
    ProbeFlags,
    PromiseFlags,
    RowFlags,
    RunFlags,
)
from mlflow_tracking.command.frame import check_output
from mlflow_tracking.judge.prompt import (
    JudgePrompt,
    check_score_only,
    load_pairwise_prompt,
    load_prompt,
)
from mlflow_tracking.rows.graded import GradedData, GradedPairs, load_graded
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.rows.scale import Scale
from mlflow_tracking.validation.bias import bias_passes, injection_passes
from mlflow_tracking.validation.consistency import BASE, both_ways_passes, consistency_passes
from mlflow_tracking.validation.decision_rule import other_prompt
from mlflow_tracking.validation.pairs import ROWS, direct_passes, single_answers
from mlflow_tracking.validation.passes import JudgePass, stratified

SECOND = "second prompt"  # the pass's name


@dataclass(frozen=True)
class ValidationPlan:
    """What is asked, of whom, about which rows; checked before anything is made."""

    experiment: Experiment
    graded: GradedData | GradedPairs
    probed: tuple[Item, ...]  # the rows of the probes; empty for no probes
    injection: bool
    passes: tuple[JudgePass, ...]
    promise: PromiseFlags = PromiseFlags()
    second_prompt: JudgePrompt | None = None  # for the rule, judges every row, too

    @property
    def scale(self) -> Scale:
        """What the judge scores on."""
        return self.experiment.judge.settings.prompt.format.scale

    @property
    def seed(self) -> int:
        """Of all that is drawn by chance."""
        return self.experiment.judge.settings.seed

    def cost(self) -> str:
        """How much is going to be asked, and of what; a line for people."""
        total, rows = sum(len(one.items) for one in self.passes), len(self.passes[0].items)
        if total == rows:
            return f"{rows} judgements, one for each answer"
        return (
            f"{total} judgements: {rows} of the rows, the others by the second prompt and for "
            "probes; --quick leaves probes out"
            if self.second_prompt
            else f"{total} judgements: {rows} of the rows, the others for probes; --quick leaves "
            "those out"
        )


def make_validation_plan(
    rows: RowFlags,
    judge_flags: JudgeFlags,
    calls: CallFlags,
    run: RunFlags,
    probes: ProbeFlags,
    promise: PromiseFlags,
    settings: Settings,
) -> ValidationPlan:
    """Read and check everything that can be; raises the mistake of what is wrong."""
    scale = load_prompt(judge_flags.prompt).format.scale  # which people's scores are on, too
    graded = load_graded(rows.data, rows.encoding, rows.limit, rows.sheet, rows.columns, scale)
    if probes.pairwise and not isinstance(graded, GradedPairs):
        raise DataError(
            f"{rows.data}: --pairwise needs the columns inputs,answer_a,answer_b,winner"
        )
    if promise.max_wrong and isinstance(graded, GradedPairs):
        raise DataError(f"{rows.data}: has pairs; --max-wrong needs graded answers")
    if promise.max_wrong and not (isinstance(graded, GradedPairs) or graded.drawn_alike):
        raise DataError(
            f"{rows.data}: was drawn by strata or clusters; a promise needs rows that all had the "
            "same chance"
        )
    columns = graded.data.columns
    direct = load_pairwise_prompt(probes.pairwise_prompt, columns) if probes.pairwise else None
    wanted = wanted_judge(judge_flags, columns)
    second = _second_prompt(promise, judge_flags, columns)
    others = [prompt for prompt in (direct, second) if prompt]
    shown = dict.fromkeys(name for one in (wanted.prompt, *others) for name in one.columns)
    graded = graded.asking(tuple(shown))
    items = _items(graded)
    checked = check_judge(
        graded.data, items, rows.limit, wanted, calls, run, settings, probes=not probes.quick
    )
    judge = checked.judge.settings
    probed = () if probes.quick else _probed(graded, items, probes.probe_rows, judge.seed)
    # The corpus has no such columns; probe_injection.py --column puts its attacks into one.
    injection = not (probes.quick or probes.no_injection or judge.prompt.columns)
    passes = [JudgePass(ROWS, judge, items)]
    if isinstance(graded, GradedPairs) and direct:
        passes += direct_passes(replace(judge, prompt=direct), graded)
    if second:
        passes.append(JudgePass(SECOND, other_prompt(judge, second), items))
    probe = judge.for_probes()
    if probed:
        passes.append(JudgePass(BASE, probe, probed))
        passes += consistency_passes(probe, probed, probes.repeats, calls.concurrency)
        passes += both_ways_passes(probe, probed)
        passes += bias_passes(probe, probed, probes.probe_rows)
    if injection:
        passes += injection_passes(probe)
    asked: dict[str, object] = {
        "probe_rows": len(probed),
        "repeats": probes.repeats,
        "injection": injection,
        "pairwise": probes.pairwise,
    }
    if promise.max_wrong:
        asked |= {
            "max_wrong": promise.max_wrong,
            "by_distance": promise.by_distance,
            "second_prompt_sha256": second.sha256 if second else "none",
        }
    params = asked | {"scorer": "validate_judge"}
    experiment = replace(checked, more_params=params, same=tuple(asked))
    return ValidationPlan(experiment, graded, probed, injection, tuple(passes), promise, second)


def _second_prompt(
    promise: PromiseFlags, judge: JudgeFlags, columns: Sequence[str]
) -> JudgePrompt | None:
    """The rule's second prompt, read; raises where it cannot be used, or the rule not written."""
    if promise.max_wrong is None:
        return None
    check_output("--write-rule", promise.write_rule)
    if promise.second_prompt is None:
        return None
    second = load_prompt(promise.second_prompt, columns)
    if judge.score_only:
        check_score_only(second)
    return second


def _items(graded: GradedData | GradedPairs) -> tuple[Item, ...]:
    if isinstance(graded, GradedPairs):
        return single_answers(graded)
    return tuple(graded_row.row.item for graded_row in graded.rows)


def _probed(
    graded: GradedData | GradedPairs, items: Sequence[Item], limit: int, seed: int
) -> tuple[Item, ...]:
    """A sample of the rows with a text, each different one once."""
    human = [0.0] * len(items) if isinstance(graded, GradedPairs) else graded.human
    fit: dict[Item, float] = {}
    for item, score in zip(items, human, strict=True):
        if item.question.strip() and item.answer.strip():
            fit.setdefault(item, score)
    different = list(fit)
    chosen = stratified(list(fit.values()), limit, seed)
    return tuple(different[index] for index in chosen)
