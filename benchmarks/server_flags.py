"""Which flags of the server judge the most rows on this machine? Starts it with each set in turn.

    python benchmarks/server_flags.py
    python benchmarks/server_flags.py --only default block-size-128 --rows 100 > flags.md

For each set: run_vllm_server.sh on a free port, then judge_speed.py's passes of ours with a
justification and ours with the score alone, then the server is stopped. Each start takes minutes
without a GPU and a second model may not fit beside a server that runs already: stop that one first.
The default set is measured first and last, so that the machine's drift shows.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from statistics import median

import requests

from llm_client.settings import ROOT
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.flags import FlagParser, positive
from mlflow_tracking.command.frame import stop_on_sigterm

_CONTESTANTS = ("ours", "ours-score-only")
_START_S = 900.0


@dataclass(frozen=True)
class FlagSet:
    """What the server is started with beside its defaults."""

    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


FLAG_SETS = {
    "default": FlagSet(),
    "block-size-128": FlagSet(("--block-size", "128")),
    "compile": FlagSet(("--no-enforce-eager",)),
    "batched-tokens-512": FlagSet(("--max-num-batched-tokens", "512")),
    "batched-tokens-8192": FlagSet(("--max-num-batched-tokens", "8192")),
    "num-seqs-16": FlagSet(("--max-num-seqs", "16")),
    "num-seqs-64": FlagSet(("--max-num-seqs", "64")),
    "guidance": FlagSet(("--structured-outputs-config", '{"backend": "guidance"}')),
    "one-core-kept": FlagSet(environment={"VLLM_CPU_OMP_THREADS_BIND": "auto"}),
    "no-prefix-caching": FlagSet(("--no-enable-prefix-caching",)),
    "float32": FlagSet(("--dtype", "float32")),
}


def main() -> int:
    """Measure each set, print the table; 1 if a server did not start, 2 for bad flags."""
    parser = FlagParser("server_flags", __doc__)
    names = list(FLAG_SETS)
    listed = f"sets: {', '.join(names)} (default: all)"
    parser.add_argument("--only", nargs="+", choices=names, default=names, help=listed)
    parser.add("--rows", "rows a pass", type=positive, default=40)
    parser.add("--rounds", "passes", type=positive, default=2)
    flags = parser.parse_args()
    turns = [*flags.only, "default"] if flags.only[0] == "default" else flags.only
    speeds: list[tuple[str, dict[str, float]]] = []
    stop_on_sigterm()  # or the server that runs would be left behind
    try:
        for name in turns:
            speeds.append((name, _measure(FLAG_SETS[name], flags.rows, flags.rounds)))
            warn(f"{name}: {speeds[-1][1] or 'did not start'}")
    except KeyboardInterrupt:
        warn("server_flags: interrupted")
    say(_table(speeds))
    return 0 if len(speeds) == len(turns) and all(rates for _, rates in speeds) else 1


def _measure(flag_set: FlagSet, rows: int, rounds: int) -> dict[str, float]:
    """Rows a second of each contestant; nothing if the server did not start."""
    with tempfile.TemporaryDirectory(prefix="server_flags.") as folder:
        port, log = _free_port(), Path(folder) / "server.log"
        script = ROOT / "vllm_server/run_vllm_server.sh"
        command = ["bash", str(script), "--port", str(port), *flag_set.arguments]
        with log.open("wb") as out:
            server = subprocess.Popen(
                command,
                env=os.environ | {"VIRTUAL_ENV": sys.prefix} | flag_set.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                if not _wait_until_ready(server, port):
                    warn(log.read_text(errors="replace").strip()[-600:])
                    return {}
                return _judge_speed(port, rows, rounds, Path(folder) / "passes.json")
            finally:
                _stop(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: subprocess.Popen[bytes], port: int) -> bool:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and server.poll() is None:
        try:
            if requests.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200:
                return True
        except requests.RequestException:
            pass  # not yet
        time.sleep(2)
    return False


def _judge_speed(port: int, rows: int, rounds: int, told: Path) -> dict[str, float]:
    command = [sys.executable, str(Path(__file__).with_name("judge_speed.py"))]
    command += ["--base-url", f"http://127.0.0.1:{port}/v1", "--only", *_CONTESTANTS]
    command += ["--rows", str(rows), "--rounds", str(rounds), "--json", str(told)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode or not told.is_file():
        return {}
    passes = json.loads(told.read_text())["passes"]
    return {
        name: median(p["rows_per_second"] for p in passes if p["contestant"] == name)
        for name in _CONTESTANTS
    }


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its engine, which are in a session of their own."""
    for stop_signal in (signal.SIGINT, signal.SIGKILL):
        if server.poll() is None:
            os.killpg(server.pid, stop_signal)
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                continue
    time.sleep(5)  # its memory is given back


def _table(speeds: list[tuple[str, dict[str, float]]]) -> str:
    base = next((rates for name, rates in speeds if name == "default" and rates), {})
    lines = ["| flags | " + " | ".join(f"{n} rows/s | x default" for n in _CONTESTANTS) + " |"]
    lines.append("|" + " --- |" * (1 + 2 * len(_CONTESTANTS)))
    for name, rates in speeds:
        cells = [name]
        for contestant in _CONTESTANTS:
            rate, first = rates.get(contestant), base.get(contestant)
            cells.append(f"{rate:.2f}" if rate is not None else "did not start")
            cells.append(f"{rate / first:.2f}" if rate is not None and first else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
