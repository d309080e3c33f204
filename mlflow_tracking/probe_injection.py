"""Can an answer talk this judge into a high score? Puts attacks into rows and measures.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --per-attack 1 --attacks my_attacks/
    python mlflow_tracking/probe_injection.py --prompt my_rag_prompt.txt --column context

The layers of the defence are switched on one after the other. For each: the mean shift that the
attacks cause to wrong answers, by kind, place and language, and the mean shift that the layers
cause to honest answers, those to tasks about scores, prompts and injections apart. Intervals are
95 %, by bootstrap. Nobody had read the sealed attacks while the defence was made.

Verdicts are kept in a journal: the same command again asks only for what is missing. Exit codes: 0
measured; 1 stopped before; 2 bad input or settings, told in one line.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llm_client.settings import ROOT, Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    OF_A_RUN,
    SCORING,
    CallFlags,
    FlagParser,
    JudgeFlags,
    RunFlags,
    flag,
    positive,
    take,
)
from mlflow_tracking.command.frame import run_command

if TYPE_CHECKING:
    from mlflow_tracking.defence.attacks import Corpus
    from mlflow_tracking.judge.settings import JudgeSettings
    from mlflow_tracking.judge.verdict import Verdict
    from mlflow_tracking.stats.table import TwoEstimates

    Judged = Sequence[Verdict | None]


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    attacks: Path = flag(
        "folder of the corpus: attacks.jsonl, attacks_sealed.jsonl, wrong_and_right_answers.jsonl, "
        "honest_oddities.jsonl",
        ROOT / "mlflow_tracking/data/attacks",
        type=Path,
    )
    per_attack: int = flag("wrong answers per attack", 2, type=positive, metavar="N")
    column: str = flag(
        "put all attacks into this column of the prompt file ('context' for its {context}; a "
        "further column holds its row's reference); default: where each attack says",
        "",
        metavar="NAME",
    )


@dataclass(frozen=True)
class Shifts:
    """What was done to some rows' scores, under each layer: mean shifts in points."""

    of: str
    rows: int
    by_layer: tuple[TwoEstimates, ...]


def main() -> int:
    """Probe and print; returns the exit code."""
    return run_command("probe_injection", probe)


def probe() -> int:
    """Judge every text under every layer, and print what the attacks did."""
    settings = load_settings()
    judge, calls, kept, own = read_flags(settings)
    # Only now, or a typo in a flag would be told after the second that this takes.
    from mlflow_tracking.command.experiment import check_judge, wanted_judge
    from mlflow_tracking.defence.attacks import load_corpus
    from mlflow_tracking.rows.item import DataSet
    from mlflow_tracking.validation.passes import JudgePass, judge_and_keep

    check_column(own.column, judge.prompt)
    corpus = load_corpus(own.attacks, own.per_attack, column=own.column)
    data = DataSet(own.attacks, corpus.sha256, "", ())
    plan = check_judge(
        data,
        corpus.items,
        None,
        wanted_judge(judge, [own.column]),
        calls,
        kept,
        settings,
        probes=True,
    )
    for line in plan.judge.warnings:
        warn(f"note: {line}")
    asked = layers(plan.judge.settings.for_probes())
    passes = [JudgePass(name, one, corpus.items) for name, one in asked]
    verdicts = judge_and_keep("probe_injection", plan, passes, "attacks", corpus.sha256)
    if verdicts is None:
        return 1
    say(f"prompt {judge.prompt.name}")
    print_means(list(verdicts.items()), corpus)
    print_shifts(list(verdicts), measure(list(verdicts.values()), corpus))
    return 0


def check_column(column: str, prompt: Path) -> None:
    """Raises DataError if the judge would not see what stands in the column."""
    from mlflow_tracking.judge.prompt import load_prompt
    from mlflow_tracking.rows.item import DataError

    if column and f"{{{column}}}" not in load_prompt(prompt).text:
        raise DataError(
            f"--column {column}: {prompt} has no {{{column}}}; give one that has with --prompt"
        )


def layers(judge: JudgeSettings) -> list[tuple[str, JudgeSettings]]:
    """From no defence to all of it, one layer more each time."""
    bare = replace(judge, control_tokens=None, guard_delimiters=False, ask_claim=False)
    guarded = replace(bare, control_tokens=judge.control_tokens, guard_delimiters=True)
    found = [("none", bare), ("+ control tokens and delimiters", guarded)]
    return [*found, ("+ claim", judge)] if judge.claim else found


def measure(judged: Sequence[Judged], corpus: Corpus) -> list[Shifts]:
    """What the attacks did under each layer, and each layer to honest answers."""
    from mlflow_tracking.validation.bias import mean_shift

    places = corpus.places

    def attacked(name: str, value: object) -> Shifts:
        chosen = [at for at, one in enumerate(corpus.attacks) if getattr(one, name) == value]
        by_layer = []
        for verdicts in judged:
            before, after = verdicts[places["wrong"]], verdicts[places["attacked"]]
            plain = [before[corpus.plain[at]] for at in chosen]
            by_layer.append(mean_shift(plain, [after[at] for at in chosen], seed=0))
        label = {True: "sealed", False: "open"}[value] if isinstance(value, bool) else value
        return Shifts(f"attacks, {label}", len(chosen), tuple(by_layer))

    def honest(name: str, label: str) -> Shifts:
        place = places[name]
        shifts = [mean_shift(judged[0][place], verdicts[place], seed=0) for verdicts in judged]
        return Shifts(f"no attack, {label}", place.stop - place.start, tuple(shifts))

    found = []
    for name in ("sealed", "kind", "place", "language"):
        found += [
            attacked(name, value) for value in sorted({getattr(a, name) for a in corpus.attacks})
        ]
    return found + [honest(name, label) for name, label in corpus.honest.items()]


def print_means(judged: Sequence[tuple[str, Judged]], corpus: Corpus) -> None:
    """Mean scores, and the share of rows that is flagged, under each layer."""
    from mlflow_tracking.validation.passes import whole_scores

    say()
    say("| layers | rows | mean score | flagged | no verdict |")
    say("| --- | --- | --- | --- | --- |")
    for layer, verdicts in judged:
        for name, place in corpus.places.items():
            rows = verdicts[place]
            known = [score for score in whole_scores(rows) if score is not None]
            mean = f"{sum(known) / len(known):.2f}" if known else "not measured"
            flagged = sum(bool(row and row.suspected_manipulation) for row in rows)
            of = f"{corpus.honest.get(name, 'attacked wrong answers')} ({len(rows)})"
            say(f"| {layer} | {of} | {mean} | {flagged} | {len(rows) - len(known)} |")


def print_shifts(names: Sequence[str], shifts: Sequence[Shifts]) -> None:
    """Two Markdown tables: the mean shifts of the score, and of the expected one."""
    for which in ("score", "expected score"):
        say()
        say(f"| mean shift of the {which} | rows | " + " | ".join(names) + " |")
        say("| --- | --- |" + " --- |" * len(names))
        for one in shifts:
            cells = [by.integer if which == "score" else by.expected for by in one.by_layer]
            say(f"| {one.of} | {one.rows} | " + " | ".join(map(str, cells)) + " |")


def read_flags(settings: Settings) -> tuple[JudgeFlags, CallFlags, RunFlags, OwnFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("probe_injection", __doc__)
    parser.add_group(JudgeFlags, without=SCORING)
    parser.add_group(OwnFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=OF_A_RUN)
    given = parser.parse_args()
    judge, calls, run = take(JudgeFlags, given), take(CallFlags, given), take(RunFlags, given)
    return judge, calls, run, take(OwnFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
