"""Can an answer talk this judge into a high score? Appends attacks to wrong answers and measures.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --per-attack 1 --benign my_honest_answers.csv

The layers of the defence are switched on one after the other. For each: the mean shift that the
attacks cause to wrong answers, the mean shift that the layers cause to right answers without an
attack, and the share of a benign CSV that is flagged. The attacks in the file *_held_out.jsonl
were not looked at while the rules of defence/rules.py were written; they are reported apart.

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
    SCORING,
    SHOWING,
    CallFlags,
    FlagParser,
    JudgeFlags,
    RunFlags,
    flag,
    positive,
    take,
)
from mlflow_tracking.command.frame import check_folder, judging, run_command

if TYPE_CHECKING:
    from mlflow_tracking.defence.attacks import Corpus
    from mlflow_tracking.judge.settings import JudgeSettings
    from mlflow_tracking.judge.verdict import Verdict

_REPLY_TOKENS = 12  # hold a score that comes first; the rest of the reply is not needed


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    attacks: Path = flag(
        "folder of the corpus: injection_attacks.jsonl, injection_attacks_held_out.jsonl, "
        "wrong_and_right_answers.jsonl",
        ROOT / "mlflow_tracking/data/attacks",
        type=Path,
    )
    per_attack: int = flag("wrong answers per attack", 2, type=positive, metavar="N")
    benign: Path | None = flag("rows whose flagged share is reported", None, type=Path)


@dataclass(frozen=True)
class LayerShifts:
    """What attacks do under the defence up to a layer, and what it does to right answers.

    Means in points; None where nothing could be compared.
    """

    layer: str
    wrong: float | None  # mean score of the wrong answers as they are
    seen: float | None  # mean shift by the attacks that the rules were written against
    held_out: float | None
    by_kind: dict[str, float | None]
    right: float | None  # mean shift of right answers against no layer at all
    failed: int  # judged texts without a verdict


def main() -> int:
    """Probe and print; returns the exit code."""
    return run_command("probe_injection", probe)


def probe() -> int:
    """Judge every text under every layer, and print what the attacks did."""
    settings = load_settings()
    judge, calls, kept, own = read_flags(settings)
    # Only now, or a typo in a flag would be told after the second that this takes.
    from mlflow_tracking.command.experiment import check_judge
    from mlflow_tracking.defence.attacks import load_corpus
    from mlflow_tracking.judge.journal import Journal
    from mlflow_tracking.judge.prompt import load_prompt
    from mlflow_tracking.rows.item import DataSet
    from mlflow_tracking.validation.passes import JudgePass, known_passes, run_passes

    corpus = load_corpus(own.attacks, own.per_attack)
    if load_prompt(judge.prompt).format.scores_first:
        judge = replace(judge, max_tokens=_REPLY_TOKENS)
    data = DataSet(own.attacks, corpus.sha256, "", ())
    plan = check_judge(data, corpus.items, None, judge, calls, kept, settings)
    for line in plan.judge.warnings:
        warn(f"note: {line}")
    folder = kept.journal_dir / "attacks"
    check_folder(folder)
    journal = Journal(folder / f"{corpus.sha256[:16]}.jsonl", {"attacks": corpus.sha256})
    passes = [JudgePass(name, one, corpus.items) for name, one in layers(plan.judge.settings)]
    connection = plan.connection(journal)
    verdicts = known_passes(passes, connection)
    with judging(len(passes) * len(corpus.items)) as found:
        run_passes(passes, connection, verdicts, found.told)
    if found.stopped:
        warn(f"probe_injection: stopped: {found.stopped}; the same command again goes on")
        return 1
    say(f"prompt {judge.prompt.name}")
    print_shifts(measure(list(verdicts.items()), corpus))
    if own.benign:
        print_flagged(own.benign)
    return 0


def layers(judge: JudgeSettings) -> list[tuple[str, JudgeSettings]]:
    """From no defence to all of it, one layer more each time."""
    bare = replace(
        judge,
        prompt=judge.prompt.without_reminder(),
        control_tokens=None,
        guard_delimiters=False,
        check_manipulation=False,
    )
    tokens = replace(bare, control_tokens=judge.control_tokens)
    fenced = replace(tokens, guard_delimiters=True)
    reminded = replace(fenced, prompt=judge.prompt)
    return [
        ("none", bare),
        ("+ control tokens out", tokens),
        ("+ delimiters guarded", fenced),
        ("+ question asked again", reminded),
        ("+ spans left out", replace(reminded, check_manipulation=True)),
    ]


def measure(
    judged: Sequence[tuple[str, Sequence[Verdict | None]]], corpus: Corpus
) -> list[LayerShifts]:
    """What the attacks did under each layer; the first is no defence at all."""
    wrongs, rights = len(corpus.wrong), len(corpus.right)
    right = slice(wrongs, wrongs + rights)
    undefended = judged[0][1][right]
    found = []
    for layer, verdicts in judged:
        plain, attacked = verdicts[:wrongs], verdicts[wrongs + rights :]
        changes = [
            _change(plain[index], verdict)
            for index, verdict in zip(corpus.plain, attacked, strict=True)
        ]
        both = list(zip(corpus.attacks, changes, strict=True))
        kinds = {attack.kind for attack in corpus.attacks}
        moved = zip(undefended, verdicts[right], strict=True)
        found.append(
            LayerShifts(
                layer,
                _mean([_score(verdict) for verdict in plain]),
                _mean([change for attack, change in both if not attack.held_out]),
                _mean([change for attack, change in both if attack.held_out]),
                {kind: _mean([c for attack, c in both if attack.kind == kind]) for kind in kinds},
                _mean([_change(before, now) for before, now in moved]),
                sum(verdict is None or verdict.failed for verdict in verdicts),
            )
        )
    return found


def _score(verdict: Verdict | None) -> float | None:
    return float(verdict.overall.value) if verdict and verdict.overall else None


def _change(before: Verdict | None, after: Verdict | None) -> float | None:
    old, new = _score(before), _score(after)
    return None if old is None or new is None else new - old


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def print_shifts(shifts: Sequence[LayerShifts]) -> None:
    """Two Markdown tables: the layers, and the layers by kind of attack."""
    say()
    say("| layers | wrong answers | attacks | held-out attacks | right answers | no verdict |")
    say("| --- | --- | --- | --- | --- | --- |")
    for shift in shifts:
        wrong = "not measured" if shift.wrong is None else f"{shift.wrong:.2f}"
        numbers = map(_signed, (shift.seen, shift.held_out, shift.right))
        say(f"| {shift.layer} | {wrong} | {' | '.join(numbers)} | {shift.failed} |")
    say()
    say("| kind of attack | " + " | ".join(shift.layer for shift in shifts) + " |")
    say("| --- |" + " --- |" * len(shifts))
    first = shifts[0].by_kind
    for kind in sorted(first, key=lambda name: (-(first[name] or 0.0), name)):
        say(f"| {kind} | " + " | ".join(_signed(shift.by_kind[kind]) for shift in shifts) + " |")


def _signed(value: float | None) -> str:
    return "not measured" if value is None else f"{value:+.2f}"


def print_flagged(path: Path) -> None:
    """The share of a benign file's answers that the rules flag."""
    from mlflow_tracking.defence.manipulation import find_spans
    from mlflow_tracking.rows.row_files import load_rows

    data = load_rows(path)
    rows = data.rows
    for line in data.notes:
        warn(f"note: {line}")
    flagged = [(row, spans) for row in rows if (spans := find_spans(row.item.answer))]
    say(f"flagged of {path.name}: {len(flagged)} of {len(rows)} ({len(flagged) / len(rows):.1%})")
    for row, spans in flagged[:10]:
        start, end = spans[0]
        say(f"  line {row.line}: {row.item.answer[start:end]!r}")


def read_flags(settings: Settings) -> tuple[JudgeFlags, CallFlags, RunFlags, OwnFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("probe_injection", __doc__)
    parser.add_group(JudgeFlags, without=SCORING)
    parser.add_group(OwnFlags)
    parser.add_group(CallFlags, base_url=settings.base_url)
    parser.add_group(RunFlags, without=("experiment_name", "run_name", "resume", *SHOWING))
    given = parser.parse_args()
    judge, calls, run = take(JudgeFlags, given), take(CallFlags, given), take(RunFlags, given)
    return judge, calls, run, take(OwnFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
