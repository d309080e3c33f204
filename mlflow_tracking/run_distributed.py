"""How good are these answers, when they do not fit one machine? The same judge, on Ray Data.

    python mlflow_tracking/run_distributed.py --data 'answers/*.parquet' --output verdicts/
    python mlflow_tracking/run_distributed.py --data s3://bucket/answers --output s3://bucket/out \\
        --ray-address auto --workers 16 --concurrency 512 --base-url http://10.0.0.5:8000/v1,http://10.0.0.6:8000/v1
    python mlflow_tracking/run_distributed.py --check --data answers/ --output verdicts/

Needs `pip install -r mlflow_tracking/requirements-distributed.txt`. Reads CSV, JSON Lines and
Parquet, writes a Parquet file for each block of rows. The same command again goes on: what is
written is not judged again, rows without a verdict are.

Exit codes: 0 every row has a verdict; 1 some have none (what is judged is kept and recorded, the
last line says how to go on); 2 bad input or settings, told in one line before any row is judged.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command import flags
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import CallFlags, ClusterFlags, JudgeFlags, RunFlags, take
from mlflow_tracking.command.frame import run_command, stop_on_sigterm


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    return run_command("run_distributed", judge_and_record)


def judge_and_record() -> int:
    """Have Ray's workers read, check and judge the files; record totals and a sample."""
    settings = load_settings()
    cluster, judge, calls, run_flags, check = read_flags(settings)
    # Only now, or a typo in a flag would be told after the seconds that this takes.
    from mlflow_tracking.command.experiment import wanted_judge
    from mlflow_tracking.rows.row_files import check_encoding, find_files

    try:
        from mlflow_tracking.cluster.driver import check_files
        from mlflow_tracking.cluster.ray_session import running_ray
        from mlflow_tracking.cluster.record import check_cluster_judge, judge_files_into
    except ModuleNotFoundError as missing:
        warn(
            f"run_distributed: no module {missing.name}; "
            "pip install -r mlflow_tracking/requirements-distributed.txt"
        )
        return 2
    wanted_judge(judge)  # a mistake in the prompt need not wait for Ray
    files, encoding = find_files(cluster.data), check_encoding(cluster.encoding)
    with running_ray(cluster.ray_address, cluster.workers, cluster.object_store_mb):
        stop_on_sigterm()
        checked = check_files(files, encoding, cluster.rows_per_block)
        experiment = check_cluster_judge(checked, cluster, judge, calls, run_flags, settings)
        for line in experiment.judge.warnings:
            warn(f"note: {line}")
        if check:
            say("\n".join(experiment.judge.lines))
            say(f"rows         {checked.total} in {len(checked.rows)} files")
            return 0
        return judge_files_into(checked, encoding, cluster, experiment)


def read_flags(
    settings: Settings,
) -> tuple[ClusterFlags, JudgeFlags, CallFlags, RunFlags, bool]:
    """The command line; every default is shown by --help."""
    parser = flags.FlagParser("run_distributed", __doc__)
    add = parser.add
    add(
        "--data",
        "CSV, JSON Lines or Parquet with inputs,predictions[,targets]: a file, a folder or a "
        "pattern such as 'answers/**/*.parquet', local or s3://, gs://",
        required=True,
    )
    add("--output", "folder for the verdicts, local or s3://, gs://", required=True)
    add("--workers", "Ray actors that judge", type=flags.positive, default=2, metavar="N")
    add(
        "--rows-per-block",
        "rows that are written together, and not judged again once they are",
        type=flags.positive,
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
    flags.add_reading_flags(parser)
    flags.add_prompt_flag(parser)
    flags.add_judge_flags(parser)
    flags.add_scoring_flags(parser)
    # --concurrency: a number is for all workers together, auto for each
    flags.add_call_flags(parser, settings)
    flags.add_run_flags(parser, settings)
    add(
        "--sample",
        "rows in the run's table and report at most: the worst, and a sample of all",
        type=flags.natural,
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
    given = parser.parse_args()
    flags.check_scoring_flags(parser, given)
    return (
        take(ClusterFlags, given),
        take(JudgeFlags, given),
        take(CallFlags, given),
        take(RunFlags, given),
        given.check,
    )


def _object_store(text: str) -> int:
    if not text.isdecimal() or int(text) < 80:  # Ray itself refuses less than 75 MB
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 80")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
