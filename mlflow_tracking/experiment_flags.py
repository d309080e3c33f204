"""Which experiment was asked for? The flags of run_experiment.py, with their defaults.

python mlflow_tracking/run_experiment.py --help
python mlflow_tracking/run_experiment.py --limit 5 --concurrency 8
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from llm_client.settings import ROOT, Settings

_HERE = Path(__file__).resolve().parent


Add = Callable[..., None]  # FlagParser.add


class FlagParser(argparse.ArgumentParser):
    """A mistake is told in one line, without the usage's ten."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._command = command

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self._command}: {message} (see --help)\n")

    def add(self, flag: str, text: str, **options: Any) -> None:
        """A flag; its default is shown by --help."""
        shown = options.get("default")
        told = shown not in (None, "") and not options.get("action")
        suffix = f" (default: {_short(shown)})" if told else ""
        self.add_argument(flag, help=(text + suffix).replace("%", "%%"), **options)


def parse_arguments(
    description: str | None, settings: Settings, argv: list[str] | None = None
) -> argparse.Namespace:
    """The command line; every default is shown by --help."""
    parser = FlagParser("run_experiment", description)
    add = parser.add
    add(
        "--data",
        "CSV with inputs,predictions[,targets]",
        type=Path,
        default=_HERE / "data/evaluation_data.csv",
    )
    add_judge_flags(add, settings)
    add_scoring_flags(add)
    add(
        "--calibration",
        "a file of validate_judge.py --calibrate: record the score that people would give, too",
        type=Path,
        metavar="FILE",
    )
    add_call_flags(add)
    add_recording_flags(add, settings)
    add("--check", "only find out whether the server can judge these rows", action="store_true")
    add("--stock", "score with MLflow's own scorer instead, as the baseline", action="store_true")
    arguments = parser.parse_args(argv)
    if arguments.stock and arguments.resume:
        parser.error("--stock keeps no journal, so there is nothing to --resume")
    if arguments.stock and arguments.score_only:
        parser.error("--stock has MLflow's own scorer do it, which knows no --score-only")
    if arguments.stock and arguments.calibration:
        parser.error("--stock has MLflow's own scorer do it, which no --calibration was made for")
    check_scoring_flags(parser, arguments)
    return arguments


def add_judge_flags(add: Add, settings: Settings, with_prompt: bool = True) -> None:
    """How the rows are read, and who judges them."""
    add("--encoding", "the CSV's encoding", default="utf-8")
    if with_prompt:
        default = _HERE / "prompts/judge_prompt.txt"
        add("--prompt", "the judge's prompt", type=Path, default=default)
    add("--limit", "judge only the first N rows", type=positive, metavar="N")
    add("--model", "the judge, as the server names it (default: the one it serves)", default="")
    add(
        "--base-url",
        "OpenAI-compatible root of the server; of several, with commas between them",
        default=settings.base_url,
        metavar="URL[,URL...]",
    )
    add("--max-tokens", "of a reply", type=positive, default=256, metavar="N")
    add("--seed", "of the judge's sampling", type=_seed, default=0, metavar="N")


def add_scoring_flags(add: Add) -> None:
    """How a row is scored, and which of them are shown."""
    add(
        "--temperature",
        "the judge's sampling; 0 is the most likely verdict",
        type=_temperature,
        default=0.0,
    )
    add(
        "--score-only",
        "one token a row: score and expected score without a justification",
        action="store_true",
    )
    add(
        "--explain-below",
        "with --score-only: justify the scores below this one",
        type=int,
        choices=range(2, 6),
        metavar="SCORE",
    )
    add(
        "--on-too-long",
        "what to do with a row beyond the judge's context",
        choices=["fail", "truncate"],
        default="fail",
    )
    add(
        "--min-scored",
        "share of rows with a score below which the exit code is 1",
        type=_share,
        default=1.0,
        metavar="SHARE",
    )
    add(
        "--traces",
        "rows that get a trace at most: the worst, and a sample of the others; 0 for none",
        type=natural,
        default=500,
        metavar="N",
    )
    add(
        "--no-manipulation-check",
        "do not look for text that speaks to the judge",
        action="store_true",
    )


def check_scoring_flags(parser: FlagParser, arguments: argparse.Namespace) -> None:
    """Ends the process with code 2 for flags that contradict each other."""
    if arguments.explain_below and not arguments.score_only:
        parser.error("--explain-below is for --score-only; without it every score is justified")


def add_call_flags(add: Add) -> None:
    """How hard the server is asked, and how long for."""
    add(
        "--concurrency",
        "rows in flight: a number, or 'auto' for as many as make it faster",
        type=_concurrency,
        default="auto",
        metavar="N",
    )
    add("--timeout", "seconds for one call", type=_seconds, default=300.0, metavar="S")
    add("--retries", "tries again for a call that failed", type=natural, default=5, metavar="N")
    add(
        "--wait-for-server",
        "seconds to wait for a server that went away",
        type=natural,
        default=300,
        metavar="S",
    )


def add_run_flags(add: Add, settings: Settings) -> None:
    """Where MLflow has the run."""
    add("--experiment-name", "MLflow's experiment", default=settings.experiment_name)
    add("--run-name", "MLflow's name for the run (default: one of MLflow's own)")


def add_recording_flags(add: Add, settings: Settings) -> None:
    """Where the run is kept, while it goes on and afterwards."""
    add_run_flags(add, settings)
    add(
        "--journal-dir",
        "where verdicts are kept while judging",
        type=Path,
        default=ROOT / ".run/journals",
    )
    add("--resume", "go on with a run: its id, or 'last'", metavar="RUN_ID")


def _short(default: object) -> str:
    try:
        return str(Path(default).relative_to(ROOT)) if isinstance(default, Path) else str(default)
    except ValueError:
        return str(default)


def positive(text: str) -> int:
    """A whole number from 1, for `type=`."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _concurrency(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is neither a whole number from 1 nor 'auto'")
    return int(text)


def natural(text: str) -> int:
    """A whole number from 0, for `type=`."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 to 2^63 - 1")
    return int(text)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a temperature from 0 to 2")
    return value


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share from 0 to 1")
    return value
