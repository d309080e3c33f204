"""Which flags are there? Groups of them, read once, at the door, into frozen values.

    python mlflow_tracking/run_experiment.py --help
    python mlflow_tracking/run_experiment.py --limit 5 --concurrency 8

A group of flags is a dataclass; flag_parser.py says how one is read.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llm_client.caller import RetryPolicy
from llm_client.settings import ROOT
from mlflow_tracking.command.flag_parser import FlagParser as FlagParser
from mlflow_tracking.command.flag_parser import flag as flag
from mlflow_tracking.command.flag_parser import natural as natural
from mlflow_tracking.command.flag_parser import number
from mlflow_tracking.command.flag_parser import positive as positive
from mlflow_tracking.command.flag_parser import take as take
from mlflow_tracking.command.flag_parser import whole as whole
from mlflow_tracking.rows.item import Named
from mlflow_tracking.rows.table import read_names

_HERE = ROOT / "mlflow_tracking"
SHIPPED_DATA = _HERE / "data/evaluation_data.csv"
SHIPPED_PROMPT = _HERE / "prompts/judge_prompt.txt"


def _columns(text: str) -> Named:
    try:
        return read_names(text)
    except ValueError as mistake:
        raise argparse.ArgumentTypeError(str(mistake)) from None


def _concurrency(text: str) -> int | None:
    wanted = "neither a whole number from 1 nor 'auto'"
    return None if text == "auto" else whole(1, wanted)(text)


_seed = whole(0, "not a whole number from 0 to 2^63 - 1")
_temperature = number(0, 2, "a temperature from 0 to 2")
_seconds = number(1e-9, 1e12, "a number of seconds")
_share = number(0, 1, "a share from 0 to 1")
_risk = number(0.001, 0.5, "a share from 0.001 to 0.5")
_score = number(0, 10, "a score")
_points = number(0, 10, "a number of points")
_COLUMNS = "the file's headers for question, answer, reference or any other column"


@dataclass(frozen=True)
class RowFlags:
    """Which rows are read, and how."""

    data: Path = flag(
        "rows with inputs,predictions[,targets]: CSV, .xlsx, JSON Lines or Parquet", type=Path
    )
    encoding: str = flag("a CSV's encoding", "utf-8")
    sheet: str = flag("a workbook's sheet (default: the first)", "", metavar="NAME")
    limit: int | None = flag("judge only the first N rows", None, type=positive, metavar="N")
    columns: Named = flag(_COLUMNS, (), type=_columns, metavar="NAME=HEADER[,...]")


@dataclass(frozen=True)
class JudgeFlags:
    """Who judges, and how a row is scored."""

    prompt: Path = flag("the judge's prompt", SHIPPED_PROMPT, type=Path)
    model: str = flag("the judge, as the server names it (default: the one it serves)", "")
    max_tokens: int = flag("of a reply", 256, type=positive, metavar="N")
    seed: int = flag("of the judge's sampling", 0, type=_seed, metavar="N")
    temperature: float = flag(
        "the judge's sampling; 0 is the most likely verdict", 0.0, type=_temperature
    )
    score_only: bool = flag(
        "one token a row: score and expected score without a justification", False
    )
    explain_below: int | None = flag(
        "with --score-only: justify the scores below this one",
        None,
        type=positive,
        metavar="SCORE",
    )
    on_too_long: Literal["fail", "truncate"] = flag(
        "what to do with a row beyond the judge's context", "fail", choices=["fail", "truncate"]
    )
    no_claim: bool = flag(
        "score whole answers, also where the prompt has the judge say first what they claim", False
    )


SCORING = ("temperature", "score_only", "explain_below", "on_too_long", "no_claim")


@dataclass(frozen=True)
class CallFlags:
    """Where the judge is, how hard it is asked, and how long for."""

    base_url: str = flag(
        "OpenAI-compatible root of the server; of several, with commas between them",
        metavar="URL[,URL...]",
    )
    concurrency: int | None = flag(
        "rows in flight: a number, or 'auto' for as many as make it faster",
        None,
        shown="auto",
        type=_concurrency,
        metavar="N",
    )
    timeout: float = flag("seconds for one call", 300.0, type=_seconds, metavar="S")
    retries: int = flag("tries again for a call that failed", 5, type=natural, metavar="N")
    wait_for_server: int = flag(
        "seconds to wait for a server that went away", 300, type=natural, metavar="S"
    )

    @property
    def policy(self) -> RetryPolicy:
        """How long a call is tried."""
        return RetryPolicy(self.retries + 1, self.timeout, self.wait_for_server)


@dataclass(frozen=True)
class RunFlags:
    """Where the run is kept, while it goes on and afterwards, and what is shown of it."""

    experiment_name: str = flag("MLflow's experiment", "")
    run_name: str | None = flag("MLflow's name for the run (default: one of MLflow's own)", None)
    journal_dir: Path = flag(
        "where verdicts are kept while judging", ROOT / ".run/journals", type=Path
    )
    resume: str | None = flag("go on with a run: its id, or 'last'", None, metavar="RUN_ID")
    min_scored: float = flag(
        "share of rows with a score below which the exit code is 1",
        1.0,
        type=_share,
        metavar="SHARE",
    )
    traces: int = flag(
        "rows that get a trace at most: the worst, and a sample of the others; 0 for none",
        500,
        type=natural,
        metavar="N",
    )


SHOWING = ("min_scored", "traces")
# Flags that a command leaves out which keeps verdicts and records no run of judged rows.
OF_A_RUN = ("experiment_name", "run_name", "resume", *SHOWING)


@dataclass(frozen=True)
class ProbeFlags:
    """What a validation measures beside the agreement with people."""

    quick: bool = flag("only judge the rows: agreement with people, no probes", False)
    probe_rows: int = flag(
        "rows that the probes of consistency and biases are made on, all levels of the human "
        "score alike; 0 for no such probes",
        30,
        type=natural,
        metavar="N",
    )
    repeats: int = flag(
        "times that a probed row is judged",
        3,
        type=whole(2, "not a whole number from 2"),
        metavar="K",
    )
    no_injection: bool = flag("do not append attacks to wrong answers", False)
    pairwise: bool = flag("have pairs compared directly, too", False)
    pairwise_prompt: Path = flag(
        "the prompt for that", _HERE / "prompts/pairwise_prompt.txt", type=Path
    )


@dataclass(frozen=True)
class PromiseFlags:
    """What a rule is to promise of the rows that it lets the judge decide."""

    max_wrong: float | None = flag(
        "find the rule under which a decided row is wrong (by more than a point, or right for "
        "wrong) in at most this share of cases, with 95 % confidence, such as 0.1",
        None,
        type=_risk,
        metavar="SHARE",
    )
    write_rule: Path = flag(
        "with --max-wrong: where the rule goes, for run_experiment.py --decide",
        Path("decision_rule.json"),
        type=Path,
        metavar="FILE",
    )
    by_distance: bool = flag(
        "with --max-wrong: let the rule go by how far the expected score is from the whole one, "
        "too; each signal more takes more graded rows",
        False,
    )
    second_prompt: Path | None = flag(
        "with --max-wrong: a prompt that judges the rows, too; the judge is sure where both agree",
        None,
        type=Path,
        metavar="FILE",
    )


@dataclass(frozen=True)
class DecideFlags:
    """Which verdicts count without a person, and who is asked about the others."""

    decide: Path | None = flag(
        "mark rows as decided or undecided by the rule of validate_judge.py --max-wrong",
        None,
        type=Path,
        metavar="FILE",
    )
    second_opinion: str = flag(
        "with --decide: the server of a larger judge, whose verdict counts on undecided rows",
        "",
        metavar="URL",
    )


@dataclass(frozen=True)
class GateFlags:
    """Which bars a run has to clear, and the files that tell a CI system."""

    min_score: float | None = flag(
        "exit code 3 unless the lower bound of the mean's 95 % interval is at least this",
        None,
        type=_score,
        metavar="SCORE",
    )
    not_worse_than: str = flag(
        "exit code 3 unless the lower bound of the 95 % interval of this run's scores less that "
        "run's, row by row, is at least minus --margin",
        "",
        metavar="RUN_ID",
    )
    margin: float | None = flag(
        "with --not-worse-than: points that it may be worse by (default: 0.1)",
        None,
        type=_points,
        metavar="POINTS",
    )
    summary: Path | None = flag(
        "write the run's description and what the gates say as Markdown",
        None,
        type=Path,
        metavar="FILE.md",
    )
    junit: Path | None = flag(
        "write what the gates say as JUnit's XML", None, type=Path, metavar="FILE.xml"
    )

    @property
    def points(self) -> float:
        """By how much the run may be worse."""
        return 0.1 if self.margin is None else self.margin


@dataclass(frozen=True)
class ClusterFlags:
    """Which files a cluster judges, with how many workers, and where the verdicts go."""

    data: str = flag(
        "CSV, .xlsx (its first sheet), JSON Lines or Parquet with inputs,predictions[,targets]: a "
        "file, a folder or a pattern such as 'answers/**/*.parquet', local or s3://, gs://"
    )
    output: str = flag("folder for the verdicts, local or s3://, gs://")
    workers: int = flag("Ray actors that judge", 2, type=positive, metavar="N")
    rows_per_block: int = flag(
        "rows that are written together, and not judged again once they are",
        1000,
        type=positive,
        metavar="N",
    )
    ray_address: str | None = flag(
        "of a Ray cluster to join, or 'auto' (default: a Ray of its own)", None
    )
    object_store_mb: int = flag(
        "memory of a Ray of its own for rows on their way, in MiB",
        256,
        type=whole(80, "not a whole number from 80"),  # Ray itself refuses less than 75 MB
        metavar="MIB",
    )
    sample: int = flag(
        "rows in the run's table and report at most: the worst, and a sample of all",
        2000,
        type=natural,
        metavar="N",
    )
    journal_dir: Path | None = flag(
        "where a worker keeps the verdicts of the blocks it is at (default: in --output if that "
        "is local, else in the worker's temporary folder)",
        None,
        type=Path,
    )
    encoding: str = flag("a CSV's encoding", "utf-8")
    limit: int | None = flag("judge only the first N rows", None, type=positive, metavar="N")
    columns: Named = flag(_COLUMNS, (), type=_columns, metavar="NAME=HEADER[,...]")


def check_scoring(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for flags that contradict each other."""
    if given.explain_below and not given.score_only:
        parser.error("--explain-below is for --score-only; without it every score is justified")


def check_deciding(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for a second opinion on nothing, and for a rule of no use."""
    if given.second_opinion and not given.decide:
        parser.error("--second-opinion is for --decide, which says which rows need one")
    if given.decide and given.stock:
        parser.error("--stock has MLflow's own scorer do it, of which --decide knows no rule")


def check_gates(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for a margin of nothing, and for a run held against itself."""
    if given.margin is not None and not given.not_worse_than:
        parser.error("--margin is for --not-worse-than, which says what to compare with")
    if given.not_worse_than and given.not_worse_than == given.resume:
        parser.error("--not-worse-than is the run that --resume goes on with; name another one")
