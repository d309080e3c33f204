"""What is a validation going to ask the judge? The graded rows, the passes, and what is checked.

python mlflow_tracking/validate_judge.py --data graded.csv --quick
python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise --probe-rows 0
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_client.settings import Settings
from mlflow_tracking.bias_probes import bias_passes
from mlflow_tracking.consistency_probe import BASE, consistency_passes
from mlflow_tracking.experiment_plan import Plan, check_judge
from mlflow_tracking.graded_rows import GradedData, GradedPairs, load_graded
from mlflow_tracking.injection_probe import injection_passes
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import JudgePass, probe_settings
from mlflow_tracking.pairs_section import ROWS, direct_passes, single_answers
from mlflow_tracking.pairwise import load_pairwise_prompt
from mlflow_tracking.row_sample import stratified
from mlflow_tracking.rows import DataError
from mlflow_tracking.run_control import check_output

_FOLDER = "validation"  # below --journal-dir: run_experiment.py --resume last is not to find these


@dataclass(frozen=True)
class ValidationPlan:
    """What is asked, of whom, about which rows; checked before anything is made."""

    plan: Plan
    graded: GradedData | GradedPairs
    probed: tuple[Question, ...]  # the rows of the probes; empty for no probes
    injection: bool
    passes: tuple[JudgePass, ...]

    @property
    def arguments(self) -> argparse.Namespace:
        """The command line."""
        return self.plan.arguments

    @property
    def journal_folder(self) -> Path:
        """Where the journals of validations are."""
        return Path(self.arguments.journal_dir) / _FOLDER

    def cost(self) -> str:
        """How much is going to be asked, and of what; a line for people."""
        total, rows = sum(len(one.items) for one in self.passes), len(self.passes[0].items)
        if total == rows:
            return f"{rows} judgements, one for each answer"
        return (
            f"{total} judgements: {rows} with a justification, the others for probes; --quick "
            "leaves those out"
        )

    def params(self) -> dict[str, Any]:
        """Every setting that could change a number."""
        return self.plan.params() | self._asked() | {"scorer": "validate_judge"}

    def journal_header(self) -> dict[str, Any]:
        """What must be the same for a validation to be resumed."""
        return self.plan.journal_header() | self._asked()

    def _asked(self) -> dict[str, Any]:
        return {
            "probe_rows": len(self.probed),
            "repeats": self.arguments.repeats,
            "injection": self.injection,
            "pairwise": self.arguments.pairwise,
        }


def make_validation_plan(arguments: argparse.Namespace, settings: Settings) -> ValidationPlan:
    """Read and check everything that can be; raises the error of what is wrong."""
    check_output("--calibrate", arguments.calibrate)
    graded = load_graded(arguments.data, arguments.encoding, arguments.limit)
    _check_kind(arguments, graded)
    direct = load_pairwise_prompt(arguments.pairwise_prompt) if arguments.pairwise else None
    items = _rows(graded)
    plan = check_judge(arguments, settings, graded.data, items)
    judge = plan.findings.settings
    probed = () if arguments.quick else _probed(graded, items, arguments)
    injection = not (arguments.quick or arguments.no_injection)
    passes = [JudgePass(ROWS, judge, items)]
    if isinstance(graded, GradedPairs) and direct:
        passes += direct_passes(replace(judge, prompt=direct), graded)
    probe = probe_settings(judge)
    if probed:
        passes.append(JudgePass(BASE, probe, probed))
        passes += consistency_passes(probe, probed, arguments.repeats, arguments.concurrency)
        passes += bias_passes(probe, probed, arguments.probe_rows)
    if injection:
        passes += injection_passes(probe)
    return ValidationPlan(plan, graded, probed, injection, tuple(passes))


def _check_kind(arguments: argparse.Namespace, graded: GradedData | GradedPairs) -> None:
    """Raises DataError for a flag that the file is not for."""
    if arguments.pairwise and not isinstance(graded, GradedPairs):
        raise DataError(
            f"{arguments.data}: --pairwise needs the columns inputs,answer_a,answer_b,winner"
        )
    if arguments.calibrate and (isinstance(graded, GradedPairs) or graded.kind != "scale"):
        raise DataError(f"{arguments.data}: --calibrate needs human scores from 1 to 5")


def _rows(graded: GradedData | GradedPairs) -> tuple[Question, ...]:
    if isinstance(graded, GradedPairs):
        return single_answers(graded)
    rows = [graded_row.row for graded_row in graded.rows]
    return tuple(Question(row.question, row.answer, row.reference) for row in rows)


def _probed(
    graded: GradedData | GradedPairs, items: Sequence[Question], arguments: argparse.Namespace
) -> tuple[Question, ...]:
    """A sample of the rows with a text, each different one once."""
    human = [0.0] * len(items) if isinstance(graded, GradedPairs) else graded.human
    fit: dict[Question, float] = {}
    for item, score in zip(items, human, strict=True):
        if item.question.strip() and item.answer.strip():
            fit.setdefault(item, score)
    different = list(fit)
    chosen = stratified(list(fit.values()), arguments.probe_rows, arguments.seed)
    return tuple(different[index] for index in chosen)
