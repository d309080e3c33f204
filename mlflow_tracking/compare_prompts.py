"""Which prompt makes this judge agree best with people, and at what cost? One table.

    python mlflow_tracking/compare_prompts.py --data graded.csv my_prompt.txt other_prompt.txt
    python mlflow_tracking/compare_prompts.py --data graded.csv --samples 5 my_prompt.txt

Every prompt judges the same graded rows. The table has Spearman's correlation with the human score
(of 0/1 labels, too) with 95 % bootstrap intervals, and the difference to the first prompt on the
same resamples. Choose by rows that you do not report on: the best of many is partly luck.

Verdicts are kept in a journal: the same command again asks only for what is missing. Exit codes: 0
every judgement was made, 1 some were not, 2 bad input or settings, told in one line.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from llm_client.judge_client import ServerGone
from llm_client.settings import ROOT, Settings, SettingsError, load_settings
from mlflow_tracking.console import Progress, say, warn
from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.estimate import Estimate, bootstrap_estimate, difference_estimate
from mlflow_tracking.experiment_flags import FlagParser, add_call_flags, add_judge_flags, natural
from mlflow_tracking.experiment_plan import check_judge
from mlflow_tracking.graded_rows import GradedData, GradedPairs, load_graded
from mlflow_tracking.journal import Journal, JournalError
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import (
    JudgePass,
    expected_scores,
    probe_settings,
    read_passes,
    run_passes,
    whole_scores,
)
from mlflow_tracking.judge_prompt import load_prompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.paired_statistics import spearman
from mlflow_tracking.preflight import PreflightError
from mlflow_tracking.rows import DataError
from mlflow_tracking.run_control import check_folder, check_output, stop_on_sigterm
from mlflow_tracking.verdict import Verdict
from mlflow_tracking.verdict_format import PromptError

Column = list[float | None]


@dataclass(frozen=True)
class Variant:
    """A prompt, judged once, or several times with the scores averaged."""

    name: str
    passes: tuple[JudgePass, ...]


@dataclass(frozen=True)
class Compared:
    """What a variant is worth. Tokens a row, all its calls together."""

    name: str
    scored: int
    whole: Estimate
    expected: Estimate
    over_first: Estimate | None  # Spearman of the finer score, less the first variant's
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float


def make_variants(
    prompts: Sequence[Path], judge: JudgeSettings, items: tuple[Question, ...], samples: int
) -> list[Variant]:
    """One variant for each prompt, and with `samples` above 0 one more of that many samples."""
    variants = []
    for path in prompts:
        named = replace(judge, prompt=load_prompt(path), score_only=False)
        settings = probe_settings(named) if judge.score_only else named
        variants.append(Variant(path.name, (JudgePass(path.name, settings, items),)))
        sampled = [replace(settings, temperature=None, seed=judge.seed + n) for n in range(samples)]
        if sampled:
            name = f"{path.name}, mean of {samples} samples"
            passes = [JudgePass(f"{name} {n}", one, items) for n, one in enumerate(sampled)]
            variants.append(Variant(name, tuple(passes)))
    return variants


def compare(
    variants: Sequence[Variant], judge: JudgeConnection, human: Sequence[float]
) -> list[Compared]:
    """Measure every variant from the journal's verdicts."""
    found: list[Compared] = []
    first: Column = []
    for variant in variants:
        verdicts = [list(rows) for rows in read_passes(variant.passes, judge).values()]
        whole = _mean_columns([whole_scores(rows) for rows in verdicts])
        fine = _mean_columns([_criteria_mean(rows) for rows in verdicts])
        cost = _tokens(verdicts)
        over = difference_estimate(spearman, fine, first, human) if first else None
        first = first or fine
        scored = sum(score is not None for score in whole)
        agreed = bootstrap_estimate(spearman, whole, human)
        finer = bootstrap_estimate(spearman, fine, human)
        found.append(Compared(variant.name, scored, agreed, finer, over, *cost))
    return found


def _criteria_mean(verdicts: Sequence[Verdict | None]) -> Column:
    """The expected score; of several scores the mean of their expected ones."""
    if not any(verdict and len(verdict.scores) > 1 for verdict in verdicts):
        return expected_scores(verdicts)
    return [
        float(np.mean([s.expected if s.expected is not None else s.value for s in scores]))
        if verdict and (scores := list(verdict.scores.values()))
        else None
        for verdict in verdicts
    ]


def _mean_columns(columns: Sequence[Column]) -> Column:
    """Each row's mean; None where one of them has none."""
    return [
        None
        if any(value is None for value in row)
        else float(np.mean(np.asarray(row, dtype=float)))
        for row in zip(*columns, strict=True)
    ]


def _tokens(verdicts: Sequence[Sequence[Verdict | None]]) -> tuple[float, float, float]:
    """Prompt tokens, those of them from the server's cache, and completion tokens, a row."""
    rows = max(1, len(verdicts[0]))
    called = [verdict for rows_of in verdicts for verdict in rows_of if verdict]
    return (
        sum(verdict.prompt_tokens for verdict in called) / rows,
        sum(verdict.cached_tokens for verdict in called) / rows,
        sum(verdict.completion_tokens for verdict in called) / rows,
    )


def print_comparison(compared: Sequence[Compared], rows: int) -> None:
    """The table in Markdown."""
    say(f"Spearman's correlation with the human score, {rows} rows, 95 % bootstrap intervals")
    say()
    names = ("prompt", "scored", "whole score", "expected score", "over the first")
    say("| " + " | ".join((*names, "prompt tokens (cached)", "reply tokens")) + " |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    for one in compared:
        over = "" if one.over_first is None else f"{one.over_first}"
        tokens = f"{one.prompt_tokens:.0f} ({one.cached_tokens:.0f}) | {one.completion_tokens:.0f}"
        cells = (one.name, one.scored, one.whole, one.expected, over, tokens)
        say("| " + " | ".join(map(str, cells)) + " |")


def _arguments(settings: Settings) -> argparse.Namespace:
    parser = FlagParser("compare_prompts", __doc__)
    parser.add(
        "prompts", "prompt files; the others are compared to the first", nargs="+", type=Path
    )
    data = "CSV with inputs,predictions,human_score[,targets]"
    parser.add("--data", data, type=Path, required=True)
    parser.add(
        "--score-only",
        "one token a row where the prompt's form allows it, whole replies of the others",
        action="store_true",
    )
    parser.add(
        "--samples",
        "judge each prompt this many times more at the model's own temperature, and average",
        type=natural,
        default=0,
        metavar="N",
    )
    parser.add("--json", "write the table there, too", type=Path, metavar="FILE")
    add_judge_flags(parser.add, settings, with_prompt=False)
    add_call_flags(parser.add)
    parser.add(
        "--journal-dir",
        "where verdicts are kept, for the same command again",
        type=Path,
        default=ROOT / ".run/journals",
    )
    parser.set_defaults(temperature=0.0, on_too_long="fail", no_manipulation_check=False)
    parser.set_defaults(explain_below=None, calibration=None, experiment_name="", stock=False)
    arguments = parser.parse_args()
    arguments.prompt = arguments.prompts[0]
    return arguments


def _load(arguments: argparse.Namespace) -> GradedData:
    graded = load_graded(arguments.data, arguments.encoding, arguments.limit)
    if isinstance(graded, GradedPairs):
        raise DataError(f"{arguments.data}: has pairs; compare_prompts.py needs graded answers")
    return graded


def _compare(arguments: argparse.Namespace, settings: Settings) -> int:
    check_output("--json", arguments.json)
    graded = _load(arguments)
    items = tuple(Question(r.row.question, r.row.answer, r.row.reference) for r in graded.rows)
    wanted_short, arguments.score_only = arguments.score_only, False
    plan = check_judge(arguments, settings, graded.data, items)
    judge = replace(plan.findings.settings, score_only=wanted_short)
    variants = make_variants(arguments.prompts, judge, items, arguments.samples)
    for line in (*plan.findings.warnings, *graded.notes):
        warn(f"note: {line}")
    folder = arguments.journal_dir / "prompts"
    check_folder(folder)
    name = hashlib.sha256(graded.data.sha256.encode()).hexdigest()[:16]
    journal = Journal(folder / f"{name}.jsonl", {"data_sha256": graded.data.sha256})
    connection = plan.connection(journal)
    passes = [one for variant in variants for one in variant.passes]
    progress = Progress(sum(len(one.items) for one in passes))
    stop_on_sigterm()
    try:
        run_passes(passes, connection, progress)
    except (ServerGone, JournalError, KeyboardInterrupt) as fault:
        progress.close()
        warn(f"compare_prompts: stopped: {fault or 'interrupted'}; the same command again goes on")
        return 1
    progress.close()
    compared = compare(variants, connection, graded.human)
    print_comparison(compared, len(items))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in compared], allow_nan=False))
    return 0 if all(one.scored == len(items) for one in compared) else 1


def main() -> int:
    """Judge and compare; returns the exit code."""
    try:
        settings = load_settings()
        return _compare(_arguments(settings), settings)
    except (SettingsError, PromptError, DataError, PreflightError, JournalError) as mistake:
        warn(f"compare_prompts: {mistake}")
        return 2
    except KeyboardInterrupt:
        warn("compare_prompts: interrupted")
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
