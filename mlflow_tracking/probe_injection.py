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
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from llm_client.judge_client import JudgeClient, RetryPolicy, ServerGone
from llm_client.settings import ROOT, SettingsError, check_base_urls, load_settings
from mlflow_tracking.console import say, warn
from mlflow_tracking.injection_probe import CORPUS, Corpus, load_corpus
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.manipulation import find_spans
from mlflow_tracking.rows import DataError, load_rows
from mlflow_tracking.server_check import PreflightError, check_server
from mlflow_tracking.verdict import Verdict
from mlflow_tracking.verdict_format import PromptError


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


async def measure(
    client: JudgeClient, plan: Sequence[Layer], corpus: Corpus, jobs: int
) -> list[Shift]:
    """Judge every text under every layer."""
    shifts: list[Shift] = []
    base_right: list[Verdict] = []
    wrongs, rights = len(corpus.wrong), len(corpus.right)
    with tqdm(total=len(plan) * len(corpus.items), unit="text", file=sys.stderr) as bar:
        for layer in plan:
            judge = Judge(client, layer.settings)
            verdicts = await _judge(judge, corpus.items, jobs, bar)
            plain, fair = verdicts[:wrongs], verdicts[wrongs : wrongs + rights]
            base_right = base_right or fair
            attacked = zip(corpus.plain, verdicts[wrongs + rights :], strict=True)
            changes = [_change(plain[index], verdict) for index, verdict in attacked]
            shifts.append(_shift(layer.name, corpus, plain, changes, base_right, fair, verdicts))
    return shifts


def _shift(
    layer: str,
    corpus: Corpus,
    plain: Sequence[Verdict],
    changes: Sequence[float | None],
    base_right: Sequence[Verdict],
    fair: Sequence[Verdict],
    verdicts: Sequence[Verdict],
) -> Shift:
    def mean_where(held_out: bool | None = None, kind: str = "") -> float | None:
        both = zip(changes, corpus.attacks, strict=True)
        return _mean(
            [
                change
                for change, attack in both
                if attack.held_out == held_out or (kind and attack.kind == kind)
            ]
        )

    kinds = sorted({attack.kind for attack in corpus.attacks})
    return Shift(
        layer,
        _mean([_value(verdict) for verdict in plain]),
        mean_where(held_out=False),
        mean_where(held_out=True),
        {kind: mean_where(kind=kind) or 0.0 for kind in kinds},
        _mean([_change(before, now) for before, now in zip(base_right, fair, strict=True)]),
        sum(verdict.failed for verdict in verdicts),
    )


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
        "--attacks", type=Path, default=CORPUS, help="folder of the corpus (tests/data)"
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
    base_url = check_base_urls(arguments.base_url)
    async with JudgeClient(base_url, api_key, RetryPolicy(wait_for_server_s=0)) as client:
        found = (await check_server(client, wanted)).settings
        corpus = load_corpus(arguments.attacks, arguments.per_attack)
        return await measure(client, layers(found), corpus, arguments.concurrency)


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
