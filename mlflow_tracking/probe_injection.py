"""Can an answer talk this judge into a high score? Appends attacks to wrong answers and measures.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --per-attack 1 --benign my_honest_answers.csv

The layers of the defence are switched on one after the other. For each: the mean shift that the
attacks cause to wrong answers, the mean shift that the layers cause to right answers without an
attack, and the share of a benign CSV that is flagged. The attacks in the file *_held_out.jsonl
were not looked at while the rules of manipulation.py were written; they are reported apart.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from llm_client.judge_client import JudgeClient, RetryPolicy, ServerGone
from llm_client.settings import ROOT, SettingsError, check_base_url, load_settings
from mlflow_tracking.console import say, warn
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_prompt import JudgePrompt, PromptError, load_prompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.manipulation import find_spans
from mlflow_tracking.preflight import PreflightError, check_server
from mlflow_tracking.rows import DataError, load_rows
from mlflow_tracking.verdict import Verdict

_DATA = ROOT / "tests/data"


@dataclass(frozen=True)
class Attack:
    """A text that is appended to a wrong answer."""

    kind: str
    language: str
    text: str
    held_out: bool


@dataclass(frozen=True)
class Layer:
    """A row of the report: the defence up to this layer."""

    name: str
    settings: JudgeSettings


@dataclass(frozen=True)
class Shift:
    """What attacks and layers did; None where nothing could be compared."""

    layer: str
    wrong: float | None  # mean score of the wrong answers as they are
    seen: float | None  # mean shift by the attacks that the rules were written against
    held_out: float | None
    by_kind: dict[str, float]
    right: float | None  # mean shift of right answers against no layer at all
    failed: int  # judged texts without a verdict


def layers(found: JudgeSettings) -> list[Layer]:
    """From no defence to all of it, one layer more each time."""
    bare = replace(
        found,
        prompt=found.prompt.without_reminder(),
        control_tokens=None,
        guard_delimiters=False,
        check_manipulation=False,
    )
    tokens = replace(bare, control_tokens=found.control_tokens)
    fenced = replace(tokens, guard_delimiters=True)
    reminded = replace(fenced, prompt=found.prompt)
    return [
        Layer("none", bare),
        Layer("+ control tokens out", tokens),
        Layer("+ delimiters guarded", fenced),
        Layer("+ question asked again", reminded),
        Layer("+ spans left out", replace(reminded, check_manipulation=True)),
    ]


def load_attacks(folder: Path) -> list[Attack]:
    """The corpus; raises DataError if a file of it is missing or broken."""
    attacks = []
    for name, held_out in (("injection_attacks", False), ("injection_attacks_held_out", True)):
        for line in _json_lines(folder / f"{name}.jsonl"):
            attacks.append(Attack(line["kind"], line["language"], line["text"], held_out))
    return attacks


def _json_lines(path: Path) -> list[dict[str, str]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


async def measure(
    client: JudgeClient,
    plan: Sequence[Layer],
    attacks: Sequence[Attack],
    per_attack: int,
    jobs: int,
) -> list[Shift]:
    """Judge every text under every layer."""
    pairs = _json_lines(_DATA / "wrong_and_right_answers.jsonl")
    wrong = [Question(p["question"], p["wrong"], p["reference"]) for p in pairs]
    right = [Question(p["question"], p["right"], p["reference"]) for p in pairs]
    targets = [
        (attack, index) for attack in attacks for index in _choose(attack, pairs, per_attack)
    ]
    attacked = [replace(wrong[i], answer=wrong[i].answer + attack.text) for attack, i in targets]
    shifts: list[Shift] = []
    base_right: list[Verdict] = []
    with tqdm(
        total=len(plan) * (len(wrong + right) + len(attacked)), unit="text", file=sys.stderr
    ) as bar:
        for layer in plan:
            judge = Judge(client, layer.settings)
            verdicts = await _judge(judge, [*wrong, *right, *attacked], jobs, bar)
            plain, fair = verdicts[: len(wrong)], verdicts[len(wrong) : len(wrong + right)]
            base_right = base_right or fair
            changes = [
                _change(plain[i], v)
                for (_, i), v in zip(targets, verdicts[len(wrong + right) :], strict=True)
            ]
            kinds = sorted({attack.kind for attack in attacks})
            shifts.append(
                Shift(
                    layer.name,
                    _mean([_value(v) for v in plain]),
                    _mean(
                        [c for c, (a, _) in zip(changes, targets, strict=True) if not a.held_out]
                    ),
                    _mean([c for c, (a, _) in zip(changes, targets, strict=True) if a.held_out]),
                    {
                        k: _mean(
                            [c for c, (a, _) in zip(changes, targets, strict=True) if a.kind == k]
                        )
                        or 0.0
                        for k in kinds
                    },
                    _mean(
                        [_change(before, now) for before, now in zip(base_right, fair, strict=True)]
                    ),
                    sum(verdict.failed for verdict in verdicts),
                )
            )
    return shifts


def _choose(attack: Attack, pairs: Sequence[dict[str, str]], count: int) -> list[int]:
    """The questions that an attack is tried on: of its language where there is one."""
    same = [i for i, pair in enumerate(pairs) if pair["language"] == attack.language]
    fit = same or list(range(len(pairs)))
    start = sum(map(ord, attack.text)) % len(fit)  # spread over the questions, the same every time
    return [fit[(start + step) % len(fit)] for step in range(count)]


async def _judge(
    judge: Judge, items: Sequence[Question], jobs: int, bar: "tqdm[None]"
) -> list[Verdict]:
    slots = asyncio.Semaphore(jobs)

    async def one(item: Question) -> Verdict:
        async with slots:
            verdict = await judge.judge(item)
        bar.update()
        return verdict

    return await asyncio.gather(*(one(item) for item in items))


def _value(verdict: Verdict) -> float | None:
    return float(verdict.overall.value) if verdict.overall else None


def _change(before: Verdict, after: Verdict) -> float | None:
    old, new = _value(before), _value(after)
    return None if old is None or new is None else new - old


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def print_report(prompt: JudgePrompt, shifts: Sequence[Shift]) -> None:
    """Two Markdown tables: the layers, and the layers by kind of attack."""
    say(f"prompt {prompt.path.name}")
    say()
    say("| layers | wrong answers | attacks | held-out attacks | right answers | no verdict |")
    say("| --- | --- | --- | --- | --- | --- |")
    for shift in shifts:
        numbers = (_signed(shift.seen), _signed(shift.held_out), _signed(shift.right))
        say(f"| {shift.layer} | {_plain(shift.wrong)} | {' | '.join(numbers)} | {shift.failed} |")
    say()
    say("| kind of attack | " + " | ".join(shift.layer for shift in shifts) + " |")
    say("| --- |" + " --- |" * len(shifts))
    for kind in sorted(shifts[0].by_kind, key=lambda name: -shifts[0].by_kind[name]):
        say(f"| {kind} | " + " | ".join(f"{shift.by_kind[kind]:+.2f}" for shift in shifts) + " |")


def _signed(value: float | None) -> str:
    return "not measured" if value is None else f"{value:+.2f}"


def _plain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def print_flagged(path: Path) -> None:
    """The share of a benign CSV's answers that the rules flag."""
    rows = load_rows(path).rows
    flagged = [row for row in rows if find_spans(row.answer)]
    say(f"flagged of {path.name}: {len(flagged)} of {len(rows)} ({len(flagged) / len(rows):.1%})")
    for row in flagged[:10]:
        start, end = find_spans(row.answer)[0]
        say(f"  line {row.line}: {row.answer[start:end]!r}")


def _arguments(base_url: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    prompt = ROOT / "mlflow_tracking/prompts/judge_prompt.txt"
    parser.add_argument("--prompt", type=Path, default=prompt, help="default: judge_prompt.txt")
    parser.add_argument("--base-url", default=base_url, help=f"default: {base_url}")
    parser.add_argument("--model", default="", help="default: the model that is served")
    parser.add_argument(
        "--attacks", type=Path, default=_DATA, help="folder of the corpus (tests/data)"
    )
    parser.add_argument("--per-attack", type=int, default=2, help="wrong answers per attack (2)")
    parser.add_argument("--benign", type=Path, help="CSV whose flagged share is reported")
    parser.add_argument("--concurrency", type=int, default=32, help="calls in flight (32)")
    return parser.parse_args()


async def _probe(arguments: argparse.Namespace, api_key: str) -> list[Shift]:
    # Twelve tokens hold a score that comes first; the rest of the reply is not needed.
    prompt = load_prompt(arguments.prompt)
    score_first = prompt.format.labels[0] in prompt.format.scores and len(prompt.format.scores) == 1
    wanted = JudgeSettings(arguments.model, prompt, max_tokens=12 if score_first else 256)
    base_url = check_base_url(arguments.base_url)
    async with JudgeClient(base_url, api_key, RetryPolicy(wait_for_server_s=0)) as client:
        found = (await check_server(client, wanted)).settings
        attacks = load_attacks(arguments.attacks)
        return await measure(
            client, layers(found), attacks, arguments.per_attack, arguments.concurrency
        )


def main() -> int:
    """Probe and print; 0 done, 2 bad input or settings."""
    try:
        settings = load_settings()
        arguments = _arguments(settings.base_url)
        shifts = asyncio.run(_probe(arguments, settings.api_key))
        print_report(load_prompt(arguments.prompt), shifts)
        if arguments.benign:
            print_flagged(arguments.benign)
    except (SettingsError, PromptError, DataError, PreflightError, ServerGone) as mistake:
        warn(f"probe_injection: {mistake}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
