"""What does it save that rows share? One passage under many questions, one row under a checklist.

    python benchmarks/shared_prefix.py
    python benchmarks/shared_prefix.py --questions 40 --passages 6 --rounds 3

Passages: the same rows by a prompt that shows the passage first, asked as judging asks them (those
of one passage together); the same prompt, asked in the file's order, in which passages alternate;
and by a prompt that shows the passage last. Checklist: rows with a passage each, by a prompt with
one line and by one with ten. All are one token a score.

Tokens computed are the server's own count: prompt tokens less those from its cache. Every pass has
six random letters before everything that its rows share, so that no pass finds another's in the
cache; contestants take turns, and ratios are taken within a round. Use a server that nobody else
uses. Exit codes: 0; 1 a row has no score; 2 bad input, one line.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import asyncio
import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from unittest.mock import patch

from llm_client.judge_client import JudgeClient
from llm_client.settings import ROOT, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.experiment import check_judge, wanted_judge
from mlflow_tracking.command.flags import (
    CallFlags,
    FlagParser,
    JudgeFlags,
    RunFlags,
    flag,
    positive,
    take,
)
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.judge import judging
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import DataError, DataSet, Item

_PASSAGES = ROOT / "docs"  # what the questions are about
_LINES = (
    *("Faithful", "Relevant", "Complete", "Short", "Polite"),
    *("Clear", "Specific", "Careful", "Grammatical", "Useful"),
)
_PASSAGE = "<context>\n{context}\n</context>"
_ROW = "<question>\n{question}\n</question>\n\n<answer>\n{answer}\n</answer>"


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this benchmark."""

    questions: int = flag("on each passage", 40, type=positive, metavar="N")
    passages: int = flag("of --characters each", 4, type=positive, metavar="N")
    rows: int = flag("that a checklist is asked about, a passage each", 20, type=positive)
    characters: int = flag("of a passage", 3000, type=positive, metavar="N")
    rounds: int = flag("that every contestant judges the rows in", 3, type=positive, metavar="N")


@dataclass(frozen=True)
class Contestant:
    """A prompt, and whether rows that share a passage are asked together."""

    name: str
    text: str
    together: bool = True


@dataclass(frozen=True)
class Pass:
    """What a pass over the rows cost, per row."""

    computed: float  # prompt tokens
    read: float  # prompt tokens, those from the cache included
    seconds: float


def prompt_text(lines: Sequence[str], *parts: str) -> str:
    """A prompt file with those lines and, in this order, those parts of the row."""
    declared = "\n".join(f"{line}: [yes/no] (weight 1)" for line in lines)
    row = "\n\n".join(parts)
    form = f"{declared}\nWhy: [one short sentence]"
    return f"You are an examiner. Reply in this form:\n{form}\n---\n{row}\n\nHow is the answer?\n"


PASSAGES = (
    Contestant("passage first, rows in its order", prompt_text(_LINES[:1], _PASSAGE, _ROW)),
    Contestant("passage first, file's order", prompt_text(_LINES[:1], _PASSAGE, _ROW), False),
    Contestant("passage last", prompt_text(_LINES[:1], _ROW, _PASSAGE)),
)
CHECKLISTS = (
    Contestant("1 line", prompt_text(_LINES[:1], _PASSAGE, _ROW)),
    Contestant("10 lines", prompt_text(_LINES, _PASSAGE, _ROW)),
)


def main() -> int:
    """Judge the rows in turns, and print what they cost."""
    return run_command("shared_prefix", measure)


def measure() -> int:
    """Both tables."""
    settings = load_settings()
    parser = FlagParser("shared_prefix", __doc__)
    parser.add_group(OwnFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    given = parser.parse_args()
    own, calls = take(OwnFlags, given), take(CallFlags, given)
    rows = asked_rows(own)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.txt"
        path.write_text(PASSAGES[0].text, encoding="utf-8")
        data = DataSet(path, "", "", ())
        wanted = wanted_judge(JudgeFlags(prompt=path, score_only=True), ("context",))
        run = RunFlags(journal_dir=Path(folder))
        checked = check_judge(data, rows, None, wanted, calls, run, settings)
        judge = checked.judge.settings
        say(f"{judge.model}, {len(rows)} rows, {own.rounds} rounds; per row, median of the rounds")
        # A checklist's lines share a row, its rows nothing: a passage each.
        alone = asked_rows(replace(own, questions=1, passages=own.rows))
        for contestants, items in ((PASSAGES, rows), (CHECKLISTS, alone)):
            found = take_turns(contestants, items, judge, calls, settings.api_key, own.rounds)
            if not found:
                warn("shared_prefix: a row has no score; is the server up?")
                return 1
            print_table(contestants, found)
    return 0


def asked_rows(own: OwnFlags) -> list[Item]:
    """Questions on passages of this project's documents; the passages alternate."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in sorted(_PASSAGES.glob("*.md")))
    if len(text) < own.passages * own.characters:
        raise DataError(f"{_PASSAGES}: has {len(text)} characters; ask for fewer passages")
    size = own.characters
    passages = [text[at * size : (at + 1) * size] for at in range(own.passages)]
    return [
        Item(
            f"What does line {n + 1} of the passage say?",
            f"It says what line {n + 1} says, and nothing else.",
            more=(("context", passage),),
        )
        for n in range(own.questions)
        for passage in passages
    ]


def take_turns(
    contestants: Sequence[Contestant],
    items: Sequence[Item],
    judge: JudgeSettings,
    calls: CallFlags,
    api_key: str,
    rounds: int,
) -> list[list[Pass]]:
    """The passes of each round, by contestant; every other round goes backwards."""
    found = []
    for number in range(rounds):
        order = range(len(contestants))
        passes: dict[int, Pass] = {}
        for at in order if number % 2 == 0 else reversed(order):
            one = asyncio.run(judged(contestants[at], items, judge, calls, api_key))
            if one is None:
                return []
            passes[at] = one
        found.append([passes[at] for at in order])
    return found


async def judged(
    contestant: Contestant,
    items: Sequence[Item],
    judge: JudgeSettings,
    calls: CallFlags,
    api_key: str,
) -> Pass | None:
    """One pass; None if a row has no score."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.txt"
        path.write_text(f"{secrets.token_hex(3)}: {contestant.text}", encoding="utf-8")
        asked = replace(judge, prompt=load_prompt(path, ("context",)))
        journal = Journal(Path(folder) / "journal.jsonl", {})
        client = JudgeClient(calls.base_url, api_key, calls.policy, calls.concurrency)
        order = judging.by_shared if contestant.together else as_they_stand
        started = time.monotonic()
        with patch.object(judging, "by_shared", order):
            async with client:
                verdicts = await judging.judge_all(items, Judge(client, asked), journal)
        seconds = time.monotonic() - started
        journal.close()
    return None if any(verdict.failed for verdict in verdicts) else cost(verdicts, seconds)


def as_they_stand(items: Sequence[Item], _: Sequence[str]) -> list[int]:
    """The file's order."""
    return list(range(len(items)))


def cost(verdicts: Sequence[Verdict], seconds: float) -> Pass:
    """Per row."""
    rows = len(verdicts)
    read = sum(verdict.prompt_tokens for verdict in verdicts)
    cached = sum(verdict.cached_tokens for verdict in verdicts)
    return Pass((read - cached) / rows, read / rows, seconds / rows)


def print_table(contestants: Sequence[Contestant], rounds: Sequence[Sequence[Pass]]) -> None:
    """Markdown; the ratios are to the first contestant, within a round."""
    say()
    say("| | tokens computed | tokens read | seconds | x computed | x seconds |")
    say("| --- | --- | --- | --- | --- | --- |")
    for at, contestant in enumerate(contestants):
        own = [passes[at] for passes in rounds]
        computed = median(one.computed for one in own)
        read = median(one.read for one in own)
        seconds = median(one.seconds for one in own)
        more = median(passes[at].computed / passes[0].computed for passes in rounds)
        longer = median(passes[at].seconds / passes[0].seconds for passes in rounds)
        numbers = f"{computed:.0f} | {read:.0f} | {seconds:.2f} | {more:.2f} | {longer:.2f}"
        say(f"| {contestant.name} | {numbers} |")


if __name__ == "__main__":
    raise SystemExit(main())
