"""How fast are rows judged? Ours and MLflow's stock scorer on one running server, beside what that
server can do at all with the same requests.

    python benchmarks/judge_speed.py
    python benchmarks/judge_speed.py --rows 100 --rounds 3 --json speed.json
    python benchmarks/judge_speed.py --only ours ours-score-only --long-justification
    python benchmarks/judge_speed.py --only ours --against llama.cpp=http://127.0.0.1:8090/v1

Same rows, judge, token limit, number of calls at once and time-outs for all (stock-10: as many
workers as MLflow takes by itself), in rounds: the first in the order of the list, the next one
backwards, and so on, so that drift hits all alike; ratios are taken within a round. The server's
prefix cache would favour who comes later on the same rows, and outlives this program, so each pass
has rows of its own: the same texts, with six random letters before the question (in the row's text:
the rubric, which all rows of a contestant share, stays as it is).
Before each pass one such row is judged that does not count: what every row shares is cached then,
for all alike. Tokens and cache hits are the server's own counters; run it on a server that nobody
else uses, as the last lines say if somebody did.

Exit codes: 0; 1 stopped before the end (what was measured is printed); 2 bad input, one line.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import os
import tempfile
from dataclasses import dataclass

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from benchmarks.parts.contestants import CONTESTANTS, LONG_REPLY, SCORE_ONLY, Bench
from benchmarks.parts.rounds import Turn, take_turns
from benchmarks.parts.speed_table import markdown
from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.experiment import Experiment, read_experiment
from mlflow_tracking.command.flags import (
    SHIPPED_DATA,
    SHIPPED_PROMPT,
    CallFlags,
    FlagParser,
    JudgeFlags,
    RowFlags,
    RunFlags,
    positive,
    take,
)
from mlflow_tracking.command.frame import check_output, run_command, stop_on_sigterm
from mlflow_tracking.judge.prompt import check_score_only

_LONG = {"ours", "ours-score-only"}  # who can be held to it
_LONG_WORDS = {  # of the shipped prompt, and what --long-justification has in their place
    "коротко обоснуй": "подробно обоснуй",
    "[одно короткое предложение о том, что в ответе верно и что неверно]": "[пять полных "
    "предложений: что в ответе верно, что неверно, что упущено, что в нём лишнее и почему оценка "
    "такая]",
}


@dataclass(frozen=True)
class SpeedFlags:
    """The command line."""

    data: Path
    prompt: Path | None
    base_url: str
    rows: int
    rounds: int
    only: list[str]
    against: list[tuple[str, str]]
    concurrency: int
    ceiling_concurrency: int
    max_tokens: int
    long_justification: bool
    json: Path | None


def read_flags(settings: Settings) -> SpeedFlags:
    """The command line; what would be noticed an hour later otherwise is told now."""
    parser = FlagParser("judge_speed", __doc__)
    add = parser.add
    add("--data", "CSV with inputs,predictions[,targets]", type=Path, default=SHIPPED_DATA)
    add("--prompt", "the judge's prompt (default: the shipped one)", type=Path)
    add("--base-url", "the server", default=settings.base_url)
    add("--rows", "rows a pass", type=positive, default=40)
    add("--rounds", "passes of each contestant", type=positive, default=3)
    everyone = list(CONTESTANTS)
    listed = f"contestants: {', '.join(everyone)} (default: all)"
    parser.add_argument("--only", nargs="+", choices=everyone, default=everyone, help=listed)
    text = "another server that ours is run on as well, in turn: another judge, another engine"
    add("--against", text, nargs="+", type=_named_server, default=[], metavar="NAME=URL")
    add("--concurrency", "calls at once", type=positive, default=32)
    add("--ceiling-concurrency", "calls at once of the ceiling", type=positive, default=64)
    add("--max-tokens", "of a reply", type=positive, default=256)
    add(
        "--long-justification",
        f"ask ours for five sentences, and for replies of {LONG_REPLY} tokens if the form has room",
        action="store_true",
    )
    add("--json", "write every pass there", type=Path, metavar="FILE")
    flags = take(SpeedFlags, parser.parse_args())
    if "," in flags.base_url:
        parser.error(f"--base-url {flags.base_url}: give one server, the ceiling is of one")
    if flags.long_justification and flags.prompt:
        parser.error("--long-justification has a prompt of its own; leave --prompt out")
    if flags.long_justification and not set(flags.only) <= _LONG:
        parser.error("--long-justification is for --only ours ours-score-only")
    check_output("--json", flags.json)
    return flags


def _named_server(text: str) -> tuple[str, str]:
    name, equals, url = text.partition("=")
    if not (name and equals and url) or "," in url:
        raise argparse.ArgumentTypeError(f"'{text}': write NAME=URL, of one server")
    return name, url


def main() -> int:
    """Check, measure, print; returns the exit code."""
    return run_command("judge_speed", compare)


def compare() -> int:
    """Let the contestants take turns; 1 if something stopped them."""
    settings = load_settings()
    flags = read_flags(settings)
    with tempfile.TemporaryDirectory(prefix="judge_speed.") as temporary:
        folder = Path(temporary)
        experiment = _experiment(flags, settings, folder, flags.base_url)

        def bench(of: Experiment, server: str = "") -> Bench:
            own = folder / f"server {server}"
            own.mkdir()
            return Bench(of, own, flags.ceiling_concurrency, flags.long_justification)

        here = bench(experiment)
        turns = [Turn(name, here) for name in flags.only]
        for server, url in flags.against:
            there = bench(_experiment(flags, settings, folder, url), server)
            turns += [Turn(name, there, server) for name in flags.only if name.startswith("ours")]
        stop_on_sigterm()
        found = take_turns(turns, flags.rows, flags.rounds, warn)
    about = _about(experiment, flags)
    say(markdown(found.passes, [turn.name for turn in turns], about))
    if flags.json:
        passes = [done.as_json() for done in found.passes]
        told = {"about": about, "passes": passes}
        flags.json.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
    if found.stopped:
        warn(f"judge_speed: stopped: {found.stopped}")
    return 1 if found.stopped else 0


def _experiment(flags: SpeedFlags, settings: Settings, folder: Path, base_url: str) -> Experiment:
    """What run_experiment.py would judge with the same data, judge and limits."""
    prompt = flags.prompt or SHIPPED_PROMPT
    if flags.long_justification:
        prompt = long_prompt(folder)
    experiment = read_experiment(
        RowFlags(flags.data, "utf-8", limit=None),
        JudgeFlags(model="", max_tokens=flags.max_tokens, seed=0, prompt=prompt),
        CallFlags(base_url, flags.concurrency),
        RunFlags(),
        settings,
    )
    if any(name.endswith(SCORE_ONLY) for name in flags.only):
        check_score_only(experiment.judge.settings.prompt)
    for line in experiment.judge.warnings:
        warn(f"note: {line}")
    return experiment


def long_prompt(folder: Path) -> Path:
    """The shipped prompt, which asks for a longer justification here."""
    text = SHIPPED_PROMPT.read_text(encoding="utf-8")
    for short, long in _LONG_WORDS.items():
        assert text.count(short) == 1, f"{SHIPPED_PROMPT} has other words: {short}"
        text = text.replace(short, long)
    path = folder / "long_justification_prompt.txt"
    path.write_text(text, encoding="utf-8")
    return path


def _about(experiment: Experiment, flags: SpeedFlags) -> list[str]:
    judge = experiment.judge
    return [
        f"{flags.rows} rows a pass, {flags.rounds} rounds; median (least-greatest) of the rounds",
        f"judge {judge.settings.model}, vLLM {judge.server_version or 'unknown'}, prompt "
        f"{judge.settings.prompt.path.name}, max_tokens {flags.max_tokens}, {flags.concurrency} at "
        f"once (ceiling: {flags.ceiling_concurrency})",
        "rows/s: rows that got a score, by the time for all; x ours, x stock, x stock-10 (MLflow's "
        "own number of workers) and % of the ceiling within a round",
        "% of shared cached: cached prompt tokens by the tokens that all rows begin with",
        f"command: python benchmarks/judge_speed.py {' '.join(sys.argv[1:])}",
    ]


if __name__ == "__main__":
    sys.exit(main())
