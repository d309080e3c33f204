"""Which flags do the commands share? Each group is read once, at the door, into frozen values.

    python mlflow_tracking/run_experiment.py --help
    python mlflow_tracking/run_experiment.py --limit 5 --concurrency 8

A command adds the groups that it takes to its parser and gets their values back with `take`; what
a command has no flag for has the group's default.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from llm_client.caller import RetryPolicy
from llm_client.settings import ROOT, Settings

_HERE = ROOT / "mlflow_tracking"
SHIPPED_DATA = _HERE / "data/evaluation_data.csv"
SHIPPED_PROMPT = _HERE / "prompts/judge_prompt.txt"
SHIPPED_PAIRWISE_PROMPT = _HERE / "prompts/pairwise_prompt.txt"
SHIPPED_ATTACKS = _HERE / "data/attacks"
JOURNALS = ROOT / ".run/journals"

_Group = TypeVar("_Group")


@dataclass(frozen=True)
class RowFlags:
    """Which rows are read, and how."""

    data: Path
    encoding: str
    limit: int | None


@dataclass(frozen=True)
class JudgeFlags:
    """Who judges, and how a row is scored."""

    model: str  # '': the one that is served
    max_tokens: int
    seed: int
    prompt: Path = SHIPPED_PROMPT
    temperature: float = 0.0
    score_only: bool = False
    explain_below: int | None = None
    on_too_long: Literal["fail", "truncate"] = "fail"
    no_manipulation_check: bool = False


@dataclass(frozen=True)
class CallFlags:
    """Where the judge is, how hard it is asked, and how long for."""

    base_url: str  # of several servers: separated by commas
    concurrency: int | None = None  # rows in flight; None: as many as make it faster
    timeout: float = 300.0  # seconds, of one call
    retries: int = 5
    wait_for_server: int = 300  # seconds

    @property
    def policy(self) -> RetryPolicy:
        """How long a call is tried."""
        return RetryPolicy(self.retries + 1, self.timeout, self.wait_for_server)


@dataclass(frozen=True)
class RunFlags:
    """Where the run is kept, while it goes on and afterwards."""

    journal_dir: Path | None = JOURNALS
    resume: str | None = None
    experiment_name: str = ""
    run_name: str | None = None
    min_scored: float = 1.0  # share of the rows
    traces: int = 500


@dataclass(frozen=True)
class ProbeFlags:
    """What is measured beside the agreement with people."""

    quick: bool
    probe_rows: int
    repeats: int
    no_injection: bool
    pairwise: bool
    pairwise_prompt: Path


@dataclass(frozen=True)
class ClusterFlags:
    """Which files a cluster judges, with how many workers, and where the verdicts go."""

    data: str  # a file, a folder or a pattern
    encoding: str
    limit: int | None
    output: str
    workers: int
    rows_per_block: int
    ray_address: str | None
    object_store_mb: int
    sample: int


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


def take(group: Callable[..., _Group], given: argparse.Namespace) -> _Group:
    """The values of a group (a dataclass), of the flags that the command has."""
    names = {field.name for field in fields(group)}  # type: ignore[arg-type]  # a dataclass
    return group(**{name: value for name, value in vars(given).items() if name in names})


def add_row_flags(parser: FlagParser, data: str, default: Path | None = None) -> None:
    """RowFlags; `data` says what the file has, without a `default` it must be given."""
    parser.add("--data", data, type=Path, default=default, required=default is None)
    add_reading_flags(parser)


def add_reading_flags(parser: FlagParser) -> None:
    """RowFlags but for --data."""
    parser.add("--encoding", "a CSV's encoding", default="utf-8")
    parser.add("--limit", "judge only the first N rows", type=positive, metavar="N")


def add_judge_flags(parser: FlagParser) -> None:
    """JudgeFlags but for the prompt and how a row is scored."""
    add = parser.add
    add("--model", "the judge, as the server names it (default: the one it serves)", default="")
    add("--max-tokens", "of a reply", type=positive, default=256, metavar="N")
    add("--seed", "of the judge's sampling", type=_seed, default=0, metavar="N")


def add_prompt_flag(parser: FlagParser) -> None:
    """JudgeFlags' prompt."""
    parser.add("--prompt", "the judge's prompt", type=Path, default=SHIPPED_PROMPT)


def add_scoring_flags(parser: FlagParser) -> None:
    """How a row is scored, and which of them are shown."""
    add = parser.add
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


def check_scoring_flags(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for flags that contradict each other."""
    if given.explain_below and not given.score_only:
        parser.error("--explain-below is for --score-only; without it every score is justified")


def add_server_flag(parser: FlagParser, settings: Settings) -> None:
    """CallFlags' address."""
    parser.add(
        "--base-url",
        "OpenAI-compatible root of the server; of several, with commas between them",
        default=settings.base_url,
        metavar="URL[,URL...]",
    )


def add_call_flags(parser: FlagParser, settings: Settings) -> None:
    """CallFlags."""
    add = parser.add
    add_server_flag(parser, settings)
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


def add_run_flags(parser: FlagParser, settings: Settings) -> None:
    """Where MLflow has the run."""
    parser.add("--experiment-name", "MLflow's experiment", default=settings.experiment_name)
    parser.add("--run-name", "MLflow's name for the run (default: one of MLflow's own)")


def add_recording_flags(parser: FlagParser, settings: Settings) -> None:
    """RunFlags but for what is shown."""
    add_run_flags(parser, settings)
    add_journal_flag(parser, "where verdicts are kept while judging")
    parser.add("--resume", "go on with a run: its id, or 'last'", metavar="RUN_ID")


def add_journal_flag(parser: FlagParser, text: str) -> None:
    """RunFlags' folder of journals."""
    parser.add("--journal-dir", text, type=Path, default=JOURNALS)


def _short(default: object) -> str:
    try:
        return str(Path(default).relative_to(ROOT)) if isinstance(default, Path) else str(default)
    except ValueError:
        return str(default)


def positive(text: str) -> int:
    """A whole number from 1, for `type=`."""
    return _whole(text, 1, f"'{text}' is not a whole number from 1")


def natural(text: str) -> int:
    """A whole number from 0, for `type=`."""
    return _whole(text, 0, f"'{text}' is not a whole number from 0")


def _concurrency(text: str) -> int | None:
    if text == "auto":
        return None
    return _whole(text, 1, f"'{text}' is neither a whole number from 1 nor 'auto'")


def _seed(text: str) -> int:
    message = f"'{text}' is not a whole number from 0 to 2^63 - 1"
    return int(_within(_whole(text, 0, message), 0, 2**63 - 1, message))


def _temperature(text: str) -> float:
    return _within(_number(text), 0, 2, f"'{text}' is not a temperature from 0 to 2")


def _seconds(text: str) -> float:
    return _within(_number(text), 1e-9, 1e12, f"'{text}' is not a number of seconds")


def _share(text: str) -> float:
    return _within(_number(text), 0, 1, f"'{text}' is not a share from 0 to 1")


def _whole(text: str, least: int, message: str) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")  # which lies between no two numbers


def _within(value: float, low: float, high: float, message: str) -> float:
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(message)
    return value
