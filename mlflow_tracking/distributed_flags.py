"""What is to be judged by how many workers? The flags of run_distributed.py, with their defaults.

python mlflow_tracking/run_distributed.py --help
python mlflow_tracking/run_distributed.py --data answers/ --output verdicts/ --workers 8
"""

import argparse
from pathlib import Path

from llm_client.settings import Settings
from mlflow_tracking.experiment_flags import (
    FlagParser,
    add_call_flags,
    add_judge_flags,
    add_run_flags,
    add_scoring_flags,
    check_scoring_flags,
    natural,
    positive,
)


def parse_arguments(
    description: str | None, settings: Settings, argv: list[str] | None = None
) -> argparse.Namespace:
    """The command line; every default is shown by --help."""
    parser = FlagParser("run_distributed", description)
    add = parser.add
    add(
        "--data",
        "CSV, JSON Lines or Parquet with inputs,predictions[,targets]: a file, a folder or a "
        "pattern such as 'answers/**/*.parquet', local or s3://, gs://",
        required=True,
    )
    add("--output", "folder for the verdicts, local or s3://, gs://", required=True)
    add("--workers", "Ray actors that judge", type=positive, default=2, metavar="N")
    add(
        "--rows-per-block",
        "rows that are written together, and not judged again once they are",
        type=positive,
        default=1000,
        metavar="N",
    )
    add("--ray-address", "of a Ray cluster to join, or 'auto' (default: a Ray of its own)")
    add(
        "--object-store-mb",
        "memory of a Ray of its own for rows on their way, in MiB",
        type=_object_store,
        default=256,
        metavar="MIB",
    )
    add_judge_flags(add, settings)
    add_scoring_flags(add)
    add_call_flags(add)  # --concurrency: a number is for all workers together, auto for each
    add_run_flags(add, settings)
    add(
        "--sample",
        "rows in the run's table and report at most: the worst, and a sample of all",
        type=natural,
        default=2000,
        metavar="N",
    )
    add(
        "--journal-dir",
        "where a worker keeps the verdicts of the blocks it is at (default: in --output if that "
        "is local, else in the worker's temporary folder)",
        type=Path,
    )
    add("--check", "only find out whether the server can judge these rows", action="store_true")
    arguments = parser.parse_args(argv)
    check_scoring_flags(parser, arguments)
    arguments.stock = False  # MLflow's own scorer has no journal and no statuses
    arguments.calibration = None
    return arguments


def _object_store(text: str) -> int:
    if not text.isdecimal() or int(text) < 80:  # Ray itself refuses less than 75 MB
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 80")
    return int(text)
