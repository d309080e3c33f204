"""Which prompt makes this judge agree best with people, and at what cost? One table.

    python mlflow_tracking/compare_prompts.py --data graded.csv my_prompt.txt other_prompt.txt
    python mlflow_tracking/compare_prompts.py --data graded.csv --score-only my_prompt.txt
    python mlflow_tracking/compare_prompts.py --data graded.csv --examples graded.csv my_prompt.txt

Every prompt judges the same graded rows. The table has Spearman's correlation with the human score
(of 0/1 labels, too) with 95 % bootstrap intervals, and the difference to the first prompt on the
same resamples. Choose by rows that you do not report on: the best of many is partly luck.

With --examples the first prompt is compared to itself with graded rows as examples, which are then
left out of the rows that are judged; --write-prompt is the file with them.

Verdicts are kept in a journal: the same command again asks only for what is missing. Exit codes: 0
every judgement was made, 1 some were not, 2 bad input or settings, told in one line.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    OF_A_RUN,
    SCORING,
    CallFlags,
    FlagParser,
    JudgeFlags,
    RowFlags,
    RunFlags,
    flag,
    positive,
    take,
)
from mlflow_tracking.command.frame import check_output, run_command

if TYPE_CHECKING:
    from mlflow_tracking.command.few_shot import Example
    from mlflow_tracking.judge.prompt import JudgePrompt
    from mlflow_tracking.judge.reply_form import ReplyForm
    from mlflow_tracking.judge.settings import JudgeSettings
    from mlflow_tracking.judge.verdict import Verdict
    from mlflow_tracking.rows.graded import GradedData
    from mlflow_tracking.rows.scale import Scale
    from mlflow_tracking.stats.estimate import Estimate
    from mlflow_tracking.validation.passes import Verdicts

Scores = list[float | None]

SHOTS, WITH_EXAMPLES = 4, "prompt_with_examples.txt"


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    prompts: Sequence[Path]
    score_only: bool = flag(
        "one token a row where the prompt's form allows it, whole replies of the others", False
    )
    json: Path | None = flag("write the table there, too", None, type=Path, metavar="FILE")
    examples: Path | None = flag(
        "graded answers, some of which the first prompt is given as examples; --data may be the "
        "same file",
        None,
        type=Path,
        metavar="FILE",
    )
    shots: int | None = flag(
        f"with --examples: how many (default: {SHOTS})", None, type=positive, metavar="N"
    )
    write_prompt: Path | None = flag(
        f"with --examples: where the prompt with them goes (default: {WITH_EXAMPLES})",
        None,
        type=Path,
        metavar="FILE",
    )


@dataclass(frozen=True)
class ComparedPrompt:
    """What a prompt is worth. Tokens a row."""

    name: str
    scored: int
    whole: Estimate
    expected: Estimate
    over_first: Estimate | None  # Spearman of the finer score, less the first prompt's
    prompt_tokens: float
    cached_tokens: float
    completion_tokens: float


def main() -> int:
    """Judge and compare; returns the exit code."""
    return run_command("compare_prompts", judge_and_compare)


def judge_and_compare() -> int:
    """Judge the graded rows with every prompt, and print the table."""
    settings = load_settings()
    rows, judge, calls, kept, own = read_flags(settings)
    check_outputs(rows, own)
    # Only now, or a typo in a flag would be told after the second that this takes.
    from mlflow_tracking.command.experiment import check_judge, wanted_judge
    from mlflow_tracking.command.few_shot import left_to_judge, pick_examples
    from mlflow_tracking.judge.preflight import language_notes
    from mlflow_tracking.judge.prompt import load_prompt
    from mlflow_tracking.rows.language import count_languages
    from mlflow_tracking.validation.passes import JudgePass, judge_and_keep

    # People's scores are on a prompt's scale, and which columns it shows is told by the rows.
    forms = {path: load_prompt(path).format for path in own.prompts}
    scale = forms[own.prompts[0]].scale
    graded = load_answers(rows.data, rows, rows.limit, scale)
    columns = graded.data.columns
    prompts = [load_prompt(path, columns) for path in own.prompts]
    shown = tuple(dict.fromkeys(name for prompt in prompts for name in prompt.columns))
    graded = graded.asking(shown)
    examples: list[Example] = []
    if own.examples:
        known = load_answers(own.examples, rows, None, scale).asking(shown)
        examples = pick_examples(known, prompts[0], own.shots or SHOTS)
        graded = left_to_judge(graded, examples)
    items = tuple(row.row.item for row in graded.rows)
    wanted = wanted_judge(judge, columns)
    plan = check_judge(
        graded.data, items, rows.limit, wanted, calls, kept, settings, probes=own.score_only
    )
    languages = count_languages(items)
    others = [
        line
        for prompt in prompts[1:]
        for line in (*prompt.notes, *language_notes(prompt, languages))
    ]
    for line in (*plan.judge.warnings, *others, *graded.notes, *other_scales(forms)):
        warn(f"note: {line}")
    if examples:
        written = write_examples(own, examples, plan.judge.settings)
        prompts.insert(1, load_prompt(written, columns))
    judges = [asked_with(prompt, plan.judge.settings, own.score_only) for prompt in prompts]
    names = [str(prompt.path) for prompt in prompts]
    passes = [JudgePass(name, one, items) for name, one in zip(names, judges, strict=True)]
    verdicts = judge_and_keep("compare_prompts", plan, passes, "prompts", graded.data.sha256)
    if verdicts is None:
        return 1
    checklists = {str(prompt.path) for prompt in prompts if prompt.format.weights}
    compared = compare(verdicts, graded.human, checklists)
    print_comparison(compared, len(items))
    if own.json:
        own.json.write_text(json.dumps([asdict(one) for one in compared], allow_nan=False))
    return 0 if all(one.scored == len(items) for one in compared) else 1


def check_outputs(rows: RowFlags, own: OwnFlags) -> None:
    """Raises DataError for a file that could not be written, or is one that is read."""
    from mlflow_tracking.rows.item import DataError

    check_output("--json", own.json)
    if own.examples is None:
        return
    path = own.write_prompt or Path(WITH_EXAMPLES)
    check_output("--write-prompt", path)
    others = (*own.prompts, rows.data, own.examples, own.json)
    if path.resolve() in {other.resolve() for other in others if other}:
        raise DataError(f"--write-prompt {path}: is another file of this command; name a new one")


def load_answers(path: Path, rows: RowFlags, limit: int | None, scale: Scale) -> GradedData:
    """Answers graded on `scale`; raises DataError for pairs."""
    from mlflow_tracking.rows.graded import answers_only, load_graded

    sheet = rows.sheet if path == rows.data else ""
    return answers_only(load_graded(path, rows.encoding, limit, sheet, rows.columns, scale))


def write_examples(own: OwnFlags, examples: Sequence[Example], judge: JudgeSettings) -> Path:
    """The file of the first prompt with the examples."""
    from mlflow_tracking.command.few_shot import write_with_examples

    path = own.write_prompt or Path(WITH_EXAMPLES)
    write_with_examples(path, judge.prompt, examples, judge.control_tokens)
    lines = ", ".join(f"{one.row.row.line}" for one in examples)
    warn(f"note: {path} has {len(examples)} examples, of {own.examples}, lines {lines}")
    return path


def other_scales(forms: Mapping[Path, ReplyForm]) -> list[str]:
    """A line for each prompt whose scale is not the first one's, which people's scores are on."""
    first, *others = forms
    scale = forms[first].scale
    return [
        f"{other} scores on {forms[other].scale}, {first} on {scale}: people's scores are read on "
        f"{scale.for_people} and compared by ranks alone"
        for other in others
        if forms[other].scale.for_people != scale.for_people
    ]


def asked_with(prompt: JudgePrompt, judge: JudgeSettings, score_only: bool) -> JudgeSettings:
    """The judge with that prompt, for one token a score where that is wanted and can be."""
    asked = replace(judge, prompt=prompt)
    return asked.for_probes() if score_only else asked


def compare(
    verdicts: Verdicts, human: Sequence[float], checklists: Collection[str] = ()
) -> list[ComparedPrompt]:
    """Measure every prompt, by its path; those of `checklists` have a mean of their own."""
    from mlflow_tracking.stats.estimate import bootstrap_estimate, difference_estimate
    from mlflow_tracking.stats.paired import spearman
    from mlflow_tracking.validation.passes import tokens_a_row, whole_scores

    found: list[ComparedPrompt] = []
    first: Scores = []
    for name, rows in verdicts.items():
        whole, fine = whole_scores(rows), _fine_scores(rows, name in checklists)
        over = difference_estimate(spearman, fine, first, human) if first else None
        first = first or fine
        scored = sum(score is not None for score in whole)
        agreed = bootstrap_estimate(spearman, whole, human)
        finer = bootstrap_estimate(spearman, fine, human)
        tokens = tokens_a_row(rows)
        costs = tokens.prompt, tokens.cached, tokens.completion
        found.append(ComparedPrompt(Path(name).name, scored, agreed, finer, over, *costs))
    return found


def _fine_scores(verdicts: Sequence[Verdict | None], checklist: bool) -> Scores:
    """The expected score; of several scores the mean of their expected ones, by their scales."""
    if checklist or not any(verdict and len(verdict.scores) > 1 for verdict in verdicts):
        return [v.overall.expected if v and v.overall else None for v in verdicts]
    return [
        round(sum((one.finest - one.values[0]) / one.span for one in scores) / len(scores), 9)
        if verdict and (scores := list(verdict.scores.values()))
        else None
        for verdict in verdicts
    ]


def print_comparison(compared: Sequence[ComparedPrompt], rows: int) -> None:
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


def read_flags(settings: Settings) -> tuple[RowFlags, JudgeFlags, CallFlags, RunFlags, OwnFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("compare_prompts", __doc__)
    text = "prompt files; the others are compared to the first"
    parser.add("prompts", text, nargs="+", type=Path)
    parser.add_group(RowFlags)
    parser.add_group(OwnFlags)
    parser.add_group(JudgeFlags, without=("prompt", *SCORING))
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=OF_A_RUN)
    given = parser.parse_args()
    if (given.shots or given.write_prompt) and not given.examples:
        parser.error("--shots and --write-prompt are for --examples, the file to take them from")
    judge = replace(take(JudgeFlags, given), prompt=given.prompts[0], score_only=False)
    rows, calls, run = take(RowFlags, given), take(CallFlags, given), take(RunFlags, given)
    return rows, judge, calls, run, take(OwnFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
