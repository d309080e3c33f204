"""How does a long run stop, and how does it go on? Signals, the journal to resume, the command.

python mlflow_tracking/run_experiment.py --resume last
python mlflow_tracking/validate_judge.py --data graded.csv --resume last
"""

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow_tracking.journal import Journal, JournalError
from mlflow_tracking.mlflow_run import Tracking, check_run
from mlflow_tracking.rows import DataError

INTERRUPTED = "interrupted"


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


def journal_to_resume(
    folder: Path, wanted: str, header: Mapping[str, Any], tracking: Tracking, experiment_id: str
) -> Journal:
    """The journal of the run to go on with, locked; raises JournalError or TrackingError.

    `wanted` is a run's id, or 'last'.
    """
    if wanted == "last":
        journals = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        if not journals:
            raise JournalError(f"{folder}: no journal of a run there; start one without --resume")
        wanted = journals[-1].stem
    if not (folder / f"{wanted}.jsonl").is_file():
        raise JournalError(f"{folder}: no journal of run {wanted}; --resume takes an id or 'last'")
    check_run(tracking, wanted, experiment_id)
    return Journal(folder / f"{wanted}.jsonl", header)


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


def resume_command(run_id: str) -> str:
    """This very command, with --resume."""
    words, skip = [], False
    for word in sys.argv[1:]:
        if not skip and not word.startswith("--resume"):
            words.append(word)
        skip = word == "--resume"
    return shlex.join(["python", sys.argv[0], *words, "--resume", run_id])
