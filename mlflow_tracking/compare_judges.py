"""Which judge agrees best with people, what does each cost, and would a panel be better?

    python mlflow_tracking/compare_judges.py --data graded.csv --judge a=URL --judge b=URL
    python mlflow_tracking/compare_judges.py --data graded.csv --judge a=URL#small --judge b=URL#big

Every judge scores the same graded rows by the same prompt. Printed are the agreement with people
and the price of each, the differences, what all of them are worth together, and which to take.

URL is the server's root, such as http://127.0.0.1:8000/v1 (of several, with commas between them);
behind # stands which of its models is meant. One after the other is enough: a judge whose server is
away is left for later, and the same command, given again when it is there, asks only for the rest.

Exit codes: 0 every judgement was made, 1 some were not (the last line says how to go on), 2 bad
input or settings, told in one line.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llm_client.settings import Settings, load_settings
from mlflow_tracking.choosing.judge_names import NamedJudge, confusion, read_judge
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    OF_A_RUN,
    CallFlags,
    FlagParser,
    JudgeFlags,
    RowFlags,
    RunFlags,
    flag,
    positive,
    take,
)
from mlflow_tracking.command.frame import INTERRUPTED, check_output, run_command, same_command

if TYPE_CHECKING:
    from mlflow_tracking.choosing.advice import Advice
    from mlflow_tracking.choosing.judges import ComparedJudge, Comparison
    from mlflow_tracking.choosing.kept_judges import FoundJudge, Task

_COMMAND = "compare_judges"
_STANDS_OUT = 0.1  # of the prompts' tokens: other tokenizers cut the shared text otherwise


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    judge: Sequence[NamedJudge] = flag(
        "a judge and its server; once for each judge",
        type=read_judge,
        action="append",
        metavar="NAME=URL[,URL...][#MODEL]",
    )
    hours_for: int = flag(
        "rows that the hours are told for", 100_000, type=positive, metavar="ROWS"
    )
    json: Path | None = flag("write the numbers there, too", None, type=Path, metavar="FILE")


def main() -> int:
    """Judge and compare; returns the exit code."""
    return run_command(_COMMAND, judge_and_compare)


def judge_and_compare() -> int:
    """Have every judge that is there judge what it has not yet, and print what all are worth."""
    settings = load_settings()
    rows, judge, calls, kept, own = read_flags(settings)
    check_output("--json", own.json)
    # Only now, or a typo in a flag would be told after the second that this takes.
    from mlflow_tracking.choosing.advice import advise
    from mlflow_tracking.choosing.judges import compare
    from mlflow_tracking.choosing.kept_judges import ask_judge, kept_judge

    task = read_task(rows, judge, calls, kept, settings)
    found = find_judges(own.judge, task)
    left = {one.named.name: one.away for one in found if one.away}
    for one in found:
        if one.experiment is None:
            continue
        warn(f"note: {one.named} is {one.experiment.judge.settings.model} at {one.named.urls}")
        stopped = ask_judge(one, task)
        if stopped == INTERRUPTED:
            warn(f"{_COMMAND}: stopped: {stopped}; the same command again goes on")
            return 1
        if stopped:
            left[one.named.name] = stopped
    judged = [kept_judge(one, task) for one in found]
    compared = compare(judged, task.graded, task.wanted.prompt.path.name)
    advice = advise(compared, own.hours_for)
    print_judges(compared, own.hours_for)
    print_together(compared)
    print_advice(advice, compared)
    if own.json:
        told = {**asdict(compared), "advice": asdict(advice), "hours_for": own.hours_for}
        own.json.write_text(json.dumps(told, allow_nan=False))
    return how_to_go_on(compared, left)


def read_task(
    rows: RowFlags, judge: JudgeFlags, calls: CallFlags, kept: RunFlags, settings: Settings
) -> Task:
    """The graded rows, and how every judge is asked about them; raises the mistake of a flag."""
    from mlflow_tracking.choosing.kept_judges import Task
    from mlflow_tracking.command.experiment import wanted_judge
    from mlflow_tracking.judge.prompt import load_prompt
    from mlflow_tracking.rows.graded import answers_only, load_graded

    scale = load_prompt(judge.prompt).format.scale  # which people's scores are on, too
    read = load_graded(rows.data, rows.encoding, rows.limit, rows.sheet, rows.columns, scale)
    graded = answers_only(read)
    wanted = wanted_judge(judge, graded.data.columns)
    return Task(graded.asking(wanted.prompt.columns), rows.limit, wanted, calls, kept, settings)


def find_judges(judges: Sequence[NamedJudge], task: Task) -> list[FoundJudge]:
    """Who is there, told before anybody judges; raises PreflightError if nobody ever was."""
    from mlflow_tracking.choosing.kept_judges import find_judge
    from mlflow_tracking.judge.preflight import PreflightError

    found = [find_judge(one, task) for one in judges]
    if all(one.away and one.settings is None for one in found):
        raise PreflightError(f"no judge is there; {found[0].named}: {found[0].away}")
    there = [one.experiment for one in found if one.experiment]
    warnings = [line for one in there for line in one.judge.warnings]
    for line in dict.fromkeys((*warnings, *task.graded.notes)):
        warn(f"note: {line}")
    for one in found:
        if one.away:
            warn(f"note: {one.named} is left for later: {one.away}")
    return found


def print_judges(compared: Comparison, rows: int) -> None:
    """Two tables in Markdown: what each judge is worth, and what it costs."""
    say(
        f"Spearman's correlation with the human score, {compared.rows} rows, {compared.prompt}, "
        "95 % bootstrap intervals"
    )
    say()
    say("| judge | model | scored | whole score | expected score | same score | above people |")
    say("| --- | --- | --- | --- | --- | --- | --- |")
    for one in compared.judges:
        numbers = (one.whole, one.expected, one.same_score, one.generous)
        cells = (one.name, one.model or "-", one.scored, *(numbers if one.scored else ["-"] * 4))
        say("| " + " | ".join(map(str, cells)) + " |")
    say()
    say(
        f"| judge | rows a second (in flight) | hours for {rows:,} rows | prompt tokens (cached) | "
        "reply tokens |"
    )
    say("| --- | --- | --- | --- | --- |")
    for one in compared.judges:
        tokens = f"{one.tokens.prompt:.0f} ({one.tokens.cached:.0f})"
        cells = (one.name, *_speed(one, rows), tokens, f"{one.tokens.completion:.0f}")
        say("| " + " | ".join(cells) + " |")
    say()


def _speed(one: ComparedJudge, rows: int) -> tuple[str, str]:
    if one.speed is None:
        return "-", "-"
    speed = one.speed
    return f"{speed.per_second:.2f} ({speed.in_flight})", f"{speed.hours(rows):.1f}"


def print_together(compared: Comparison) -> None:
    """The differences, what the judges are worth as a panel, and their own families."""
    from mlflow_tracking.choosing.advice import family_line, worth

    if line := cache_line(compared.judges):
        say(f"cache        {line}")
    several = len(compared.differences) > 1
    for difference in compared.differences:
        together = f", one of {len(compared.differences)} at once" if several else ""
        say(f"difference   {difference.one} - {difference.other} {difference.estimate}{together}")
    panel = compared.panel
    if panel:
        say(f"panel        mean of all {panel.agreement}, over {panel.best} alone {panel.gain}")
        say(f"votes        {len(compared.judges)} judges {worth(panel.votes)}")
    for favour in compared.favours:
        say(f"own family   {family_line(favour)}")
    if panel and not compared.favours:
        none = (
            "no row is of a judge's own family"
            if compared.named_authors
            else ("not measured: no column model says who wrote each answer")
        )
        say(f"own family   {none}")


def cache_line(judges: Sequence[ComparedJudge]) -> str:
    """Whose rows were quick because its server had seen them before; '' where none stands out."""
    most, least = max(judges, key=lambda one: one.cached), min(judges, key=lambda one: one.cached)
    if most.cached - least.cached <= _STANDS_OUT or not least.tokens.prompt:
        return ""
    return (
        f"{most.name} had {most.cached:.0%} of its prompts' tokens in its server's cache, "
        f"{least.name} {least.cached:.0%}: a server that saw these rows before is quicker"
    )


def print_advice(advice: Advice, compared: Comparison) -> None:
    """The last lines: which judge, why, and what that rests on."""
    say()
    if not advice.judge:
        say(f"take         none: {advice.reason}")
        return
    say(f"take         {advice.judge}: {advice.reason}")
    if advice.panel:
        say(f"             {advice.panel}")
    if advice.doubt:
        say(f"but          {advice.doubt}")
    say(
        f"rests on     {compared.rows} graded rows, {compared.prompt}, and speeds of this machine "
        "and hour; it was chosen on these rows: check its agreement on others (validate_judge.py)"
    )


def how_to_go_on(compared: Comparison, left: dict[str, str]) -> int:
    """The exit code, with a line for what is missing."""
    if left:
        who = "; ".join(f"judge {name}: {away}" for name, away in left.items())
        warn(f"{_COMMAND}: {who}; start it and give the same command again: {same_command()}")
        return 1
    failed = [one for one in compared.judges if one.scored < compared.rows]
    if failed:
        counts = ", ".join(f"{one.name} {compared.rows - one.scored}" for one in failed)
        warn(f"{_COMMAND}: rows without a verdict: {counts}; the same command again asks for them")
        return 1
    return 0


def read_flags(settings: Settings) -> tuple[RowFlags, JudgeFlags, CallFlags, RunFlags, OwnFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser(_COMMAND, __doc__)
    parser.add_group(OwnFlags)
    text = "rows with inputs,predictions,human_score; model says who wrote an answer, if known"
    parser.add("--data", text, type=Path, required=True)
    parser.add_group(RowFlags, without=("data",))
    parser.add_group(JudgeFlags, without=("model", "temperature", "explain_below", "on_too_long"))
    parser.add_group(CallFlags, without=("base_url",))
    parser.add_group(RunFlags, without=OF_A_RUN)
    parser.set_defaults(base_url="")  # each judge has its own
    given = parser.parse_args()
    if mistake := confusion(given.judge):
        parser.error(mistake)
    rows, judge, calls = take(RowFlags, given), take(JudgeFlags, given), take(CallFlags, given)
    return rows, judge, calls, take(RunFlags, given), take(OwnFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
