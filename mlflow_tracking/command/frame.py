"""How does a command begin, stop and go on? One frame for all of them, from flags to exit code.

    python mlflow_tracking/run_experiment.py --resume last
    python mlflow_tracking/validate_judge.py --data graded.csv --resume last

Exit codes: 0 done; 1 something is missing, what is judged is kept, and the last line says how to go
on; 2 a user's mistake, told in one line before any row is judged.
"""

import logging
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm.contrib.logging import logging_redirect_tqdm

from llm_client.caller import JudgingStopped
from llm_client.settings import UserMistake
from llm_client.surroundings import guard_streams, settle_environment
from mlflow_tracking.command.console import Progress, warn
from mlflow_tracking.judge.journal import JournalError, Record
from mlflow_tracking.rows.item import DataError

# MLflow's own bars, one for each artifact, would run into the one over the rows, and where the run
# is we say ourselves.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

INTERRUPTED = "interrupted"
_CLIENT_LOG = logging.getLogger("llm_client")


def run_command(command: str, work: Callable[[], int]) -> int:
    """The exit code of `work`; a user's mistake is one line and 2."""
    guard_streams()
    try:
        settle_environment()
        return work()
    except UserMistake as mistake:
        warn(f"{command}: {mistake}")
        return 2
    except KeyboardInterrupt:
        warn(f"{command}: interrupted before any row was judged")
        return 1
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@dataclass
class Judging:
    """What is known of the judging that goes on, or has ended."""

    progress: Progress
    stopped: str = ""  # why it ended early; '' if it did not
    seconds: float = 0.0
    done: int = 0  # by this process

    def told(self, record: Record, places: Sequence[int]) -> None:
        """Count a verdict or an answer, for judge_all and its like."""
        self.progress.count(len(places), len(places) if record.failed else 0)


@contextmanager
def judging(rows: int, doing: str = "judging", wanted: str = "a verdict") -> Iterator[Judging]:
    """Judge `rows` rows inside: a progress bar, and a reason where it has to stop early.

    Ctrl-C, a polite kill, a server that stays away and a full disk end the block; what was judged
    until then is kept.
    """
    found = Judging(Progress(rows, doing, wanted))
    started = time.monotonic()
    stop_on_sigterm()
    try:
        with logging_redirect_tqdm([_CLIENT_LOG]):  # its warnings go above the bar
            yield found
    except KeyboardInterrupt:
        record_in_peace()
        found.stopped = INTERRUPTED
    except (JudgingStopped, JournalError) as fault:
        found.stopped = str(fault)
    finally:
        found.seconds = time.monotonic() - started
        found.progress.close()


def stop_on_sigterm() -> None:
    """A polite kill stops as Ctrl-C does: what is judged is recorded."""
    # A script's background job ignores SIGINT, and asyncio stops cleanly at nothing else.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)


def record_in_peace() -> None:
    """A second Ctrl-C must not break into the second that recording takes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def check_output(flag: str, path: Path | None) -> None:
    """Raises DataError where the file that `flag` asks for could not be written in the end."""
    if path and not path.absolute().parent.is_dir():
        raise DataError(f"{flag} {path}: there is no folder {path.absolute().parent}; make it")
    if path and path.is_dir():
        raise DataError(f"{flag} {path}: is a folder; name a file")


def check_folder(folder: Path) -> None:
    """Raises JournalError unless files can be kept in `folder`, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(8192))  # a full disk shows here
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        cause = error.strerror or str(error)
        raise JournalError(f"--journal-dir {folder}: {cause}; name another folder") from None


def same_command() -> str:
    """This very command, for those that go on when they are given again."""
    return shlex.join(["python", *sys.argv])


def resume_command(run_id: str) -> str:
    """This very command, with --resume."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and not word.startswith("--resume"):
            words.append(word)
        skip = word == "--resume"
    return shlex.join(["python", sys.argv[0], *words, "--resume", run_id])
