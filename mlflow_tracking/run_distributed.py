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

from dataclasses import dataclass

from llm_client.settings import Settings, load_settings
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import (
    CallFlags,
    ClusterFlags,
    FlagParser,
    JudgeFlags,
    RunFlags,
    check_scoring,
    flag,
    take,
)
from mlflow_tracking.command.frame import run_command, stop_on_sigterm


@dataclass(frozen=True)
class OwnFlags:
    """The flags of this command alone."""

    check: bool = flag("only find out whether the server can judge these rows", False)


def main() -> int:
    """Parse, check, judge, record; returns the exit code."""
    return run_command("run_distributed", judge_and_record)


def judge_and_record() -> int:
    """Have Ray's workers read, check and judge the files; record totals and a sample."""
    settings = load_settings()
    cluster, judge, calls, kept, own = read_flags(settings)
    # Only now, or a typo in a flag would be told after the seconds that this takes.
    from mlflow_tracking.command.experiment import wanted_judge
    from mlflow_tracking.rows.row_files import check_encoding, find_files
    from mlflow_tracking.rows.table import Columns

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
    # A mistake in the prompt need not wait for Ray.
    columns = Columns(named=cluster.columns, shows=wanted_judge(judge, None).prompt.columns)
    files, encoding = find_files(cluster.data), check_encoding(cluster.encoding)
    with running_ray(cluster.ray_address, cluster.workers, cluster.object_store_mb):
        stop_on_sigterm()
        checked = check_files(files, encoding, cluster.rows_per_block, columns)
        experiment = check_cluster_judge(checked, cluster, judge, calls, kept, settings)
        for line in experiment.judge.warnings:
            warn(f"note: {line}")
        if own.check:
            say("\n".join(experiment.judge.lines))
            say(f"rows         {checked.total} in {len(checked.rows)} files")
            return 0
        return judge_files_into(checked, encoding, cluster, experiment)


def read_flags(
    settings: Settings,
) -> tuple[ClusterFlags, JudgeFlags, CallFlags, RunFlags, OwnFlags]:
    """The command line; every default is shown by --help."""
    parser = FlagParser("run_distributed", __doc__)
    parser.add_group(ClusterFlags)
    parser.add_group(JudgeFlags)
    # --concurrency: a number is for all workers together, auto for each
    parser.add_group(CallFlags, base_url=settings.base_url)
    others, name = ("journal_dir", "resume"), settings.experiment_name
    parser.add_group(RunFlags, without=others, experiment_name=name)
    parser.add_group(OwnFlags)
    given = parser.parse_args()
    check_scoring(parser, given)
    cluster, judge, calls = (
        take(ClusterFlags, given),
        take(JudgeFlags, given),
        take(CallFlags, given),
    )
    return cluster, judge, calls, take(RunFlags, given), take(OwnFlags, given)


if __name__ == "__main__":
    raise SystemExit(main())
