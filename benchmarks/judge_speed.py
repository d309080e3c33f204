"""How fast are rows judged? Ours, MLflow's stock scorer and peers on one running server, beside
what that server can do at all with the same requests.

    python benchmarks/judge_speed.py
    python benchmarks/judge_speed.py --rows 100 --rounds 3 --json speed.json --plot speed.png
    python benchmarks/judge_speed.py --only ours ours-score-only --long-justification

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
import shutil
import tempfile

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from benchmarks.contestants import CONTESTANTS, LONG_REPLY, Bench
from benchmarks.speed_rounds import Measured, measure
from benchmarks.speed_table import SCORE_ONLY, markdown, plot
from llm_client.settings import Settings, SettingsError, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.experiment import Plan, make_plan
from mlflow_tracking.command.flags import FlagParser, parse_arguments
from mlflow_tracking.command.frame import stop_on_sigterm
from mlflow_tracking.judge.preflight import PreflightError
from mlflow_tracking.judge.prompt import check_score_only
from mlflow_tracking.judge.reply_form import PromptError
from mlflow_tracking.rows.item import DataError

_LONG = {"ours", "ours-score-only"}  # who can be held to it
_HERE = Path(__file__).resolve().parent


class FlagError(ValueError):
    """A flag that cannot be used; the message is one line."""


_MISTAKES = (SettingsError, PromptError, DataError, PreflightError, FlagError)


def parse_flags(settings: Settings, argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = FlagParser("judge_speed", __doc__)
    add = parser.add
    add("--data", "CSV with inputs,predictions[,targets] (default: the shipped one)", type=Path)
    add("--prompt", "the judge's prompt (default: the shipped one)", type=Path)
    add("--base-url", "the server", default=settings.base_url)
    add("--rows", "rows a pass", type=int, default=40)
    add("--rounds", "passes of each contestant", type=int, default=3)
    everyone = list(CONTESTANTS)
    listed = f"contestants: {', '.join(everyone)} (default: all)"
    parser.add_argument("--only", nargs="+", choices=everyone, default=everyone, help=listed)
    add("--concurrency", "calls at once", type=int, default=32)
    add("--ceiling-concurrency", "calls at once of the load loops", type=int, default=64)
    add("--max-tokens", "of a reply", type=int, default=256)
    add(
        "--long-justification",
        f"ask ours for five sentences, and for replies of {LONG_REPLY} tokens if the form has room",
        action="store_true",
    )
    add("--peers-python", "a Python with benchmarks/requirements.txt", default=sys.executable)
    for name, what in (("json", "every pass"), ("markdown", "the table"), ("plot", "a picture")):
        add(f"--{name}", f"write {what} there", type=Path, metavar="FILE")
    flags = parser.parse_args(argv)
    _check(flags)
    return flags


def _check(flags: argparse.Namespace) -> None:
    """What would be noticed late otherwise, perhaps an hour later; raises FlagError."""
    if min(flags.rows, flags.rounds, flags.concurrency, flags.ceiling_concurrency) < 1:
        raise FlagError("rows, rounds and calls at once are whole numbers from 1")
    if "," in flags.base_url:
        raise FlagError(f"--base-url {flags.base_url}: give one server, the ceiling is of one")
    if flags.long_justification and flags.prompt:
        raise FlagError("--long-justification has a prompt of its own; leave --prompt out")
    if flags.long_justification and not set(flags.only) <= _LONG:
        raise FlagError("--long-justification is for --only ours ours-score-only")
    for file in filter(None, (flags.json, flags.markdown, flags.plot)):
        if not file.absolute().parent.is_dir() or file.is_dir():
            raise FlagError(f"{file}: cannot be written; name a file in a folder that is there")
    if shutil.which(flags.peers_python) is None:
        raise FlagError(f"--peers-python {flags.peers_python}: no such program")


def main() -> int:
    """Check, measure, print; returns the exit code."""
    try:
        settings = load_settings()
        flags = parse_flags(settings)
        plan = _plan(flags, settings)
    except _MISTAKES as mistake:
        warn(f"judge_speed: {mistake}")
        return 2
    stop_on_sigterm()
    with tempfile.TemporaryDirectory(prefix="judge_speed.") as folder:
        bench = Bench(
            plan,
            Path(folder),
            flags.peers_python,
            flags.ceiling_concurrency,
            flags.long_justification,
        )
        measured = measure(bench, flags.only, flags.rows, flags.rounds, warn)
    _tell(measured, flags, _about(plan, flags))
    if measured.stopped:
        warn(f"judge_speed: stopped: {measured.stopped}")
    return 1 if measured.stopped else 0


def _plan(flags: argparse.Namespace, settings: Settings) -> Plan:
    """The plan of run_experiment.py for the same server, data and limits; raises _MISTAKES."""
    argv = ["--base-url", flags.base_url, "--max-tokens", str(flags.max_tokens)]
    argv += ["--concurrency", str(flags.concurrency)]
    argv += ["--data", str(flags.data)] if flags.data else []
    prompt = _HERE / "long_justification_prompt.txt" if flags.long_justification else flags.prompt
    argv += ["--prompt", str(prompt)] if prompt else []
    plan = make_plan(parse_arguments("judge_speed", settings, argv), settings)
    if any(name.endswith(SCORE_ONLY) for name in flags.only):
        check_score_only(plan.findings.settings.prompt)
    for line in plan.findings.warnings:
        warn(f"note: {line}")
    return plan


def _tell(measured: Measured, flags: argparse.Namespace, about: list[str]) -> None:
    """Print the table and write the files that were asked for."""
    passes, missing = measured.passes, measured.missing
    table = markdown(passes, flags.only, missing, about)
    say(table)
    if flags.markdown:
        flags.markdown.write_text(table, encoding="utf-8")
    if flags.json:
        told = {"about": about, "missing": missing, "passes": [done.as_json() for done in passes]}
        flags.json.write_text(json.dumps(told, indent=1, ensure_ascii=False), encoding="utf-8")
    if flags.plot and passes:
        plot(passes, flags.only, flags.plot)


def _about(plan: Plan, flags: argparse.Namespace) -> list[str]:
    settings = plan.findings.settings
    return [
        f"{flags.rows} rows a pass, {flags.rounds} rounds; median (least-greatest) of the rounds",
        f"judge {settings.model}, vLLM {plan.findings.server_version or 'unknown'}, prompt "
        f"{settings.prompt.path.name}, max_tokens {flags.max_tokens}, {flags.concurrency} at once "
        f"(load loops: {flags.ceiling_concurrency})",
        "rows/s: rows that got a score, by the time for all; x ours, x stock, x stock-10 (MLflow's "
        "own number of workers) and % of the ceiling within a round; the ceiling is the faster of "
        "the two load loops",
        "% of shared cached: cached prompt tokens by the tokens that all rows begin with",
        f"command: python benchmarks/judge_speed.py {' '.join(sys.argv[1:])}",
    ]


if __name__ == "__main__":
    sys.exit(main())
