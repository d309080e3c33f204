"""How fast is the client alone, and how much memory does it take? Beside MLflow's stock scorer.

    python benchmarks/client_speed.py
    python benchmarks/client_speed.py --rows 100 1000 10000 100000 --json client_speed.json

The server is benchmarks/instant_server.py: the same verdict to every call, 50 ms after it. Our way
is all of it: the shipped prompt, the look for manipulation, each verdict synced to a journal on
disk before it counts. Each pass is a process of its own, and so is the server; they share the
machine's cores. For each number of rows come first the bare loop, which is the limit of server and
machine at that minute, then ours, then ours-auto, then stock (with few rows: it takes a
hundredth as many), so that drift hits all alike. `ours-auto` finds by itself how many calls it has
in flight, as a run does that is not told, beginning with 32; the others have --concurrency.
`rows/CPU s` depends least on what else runs on the machine.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_GROUP = ("bare", "ours", "ours-auto", "stock")  # the first is the limit, the last is stock


@dataclass(frozen=True)
class Pass:
    """What one client took for so many rows."""

    client: str
    rows: int
    scored: int
    seconds: float
    cpu_s: float  # of the client's process
    memory_mb: float  # at the peak, beyond imports and rows


def main() -> int:
    """Measure and print; 1 if a row came back without a score."""
    arguments = _arguments()
    passes = []
    with instant_server() as base_url:
        for rows in arguments.rows:
            for client in _GROUP:
                count = arguments.stock_rows if client == "stock" else rows
                passes.append(_measure(client, count, arguments.concurrency, base_url))
                sys.stderr.write(f"{client}: {passes[-1].rows / passes[-1].seconds:.0f} rows/s\n")
    sys.stdout.write(table(passes, arguments.concurrency))
    if arguments.json:
        found = {"concurrency": arguments.concurrency, "passes": [asdict(one) for one in passes]}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(any(one.scored < one.rows for one in passes))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    rows = [100, 1000, 10_000, 100_000]
    add("--rows", type=int, nargs="+", default=rows, metavar="N", help=f"default: {rows}")
    add("--stock-rows", type=int, default=300, metavar="N", help="for stock (default: 300)")
    add("--concurrency", type=int, default=128, metavar="N", help="in flight (default: 128)")
    add("--json", type=Path, metavar="FILE", help="write the numbers there, too")
    return parser.parse_args()


@contextmanager
def instant_server() -> Iterator[str]:
    """Its root, while the block runs; it is a process of its own."""
    command = [sys.executable, str(_HERE / "instant_server.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        finally:
            server.kill()


def _measure(client: str, rows: int, concurrency: int, base_url: str) -> Pass:
    command = [sys.executable, str(_HERE / "client_pass.py"), client, str(rows), str(concurrency)]
    done = subprocess.run([*command, base_url], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"client_speed: {client} failed:\n{done.stderr}")
    return Pass(client, rows, **json.loads(done.stdout.splitlines()[-1]))


def table(passes: list[Pass], concurrency: int) -> str:
    """A Markdown table, a line a pass; ratios are taken within the group."""
    lines = [
        f"{concurrency} calls in flight at most, 50 ms each",
        "",
        "| client | rows | rows/s | of the limit | of stock | rows/CPU s | memory MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for at in range(0, len(passes), len(_GROUP)):
        group = passes[at : at + len(_GROUP)]
        limit, *_, stock = (one.rows / one.seconds for one in group)
        for one in group:
            speed = one.rows / one.seconds
            lines.append(
                f"| {one.client} | {one.rows:,} | {speed:,.0f} | {speed / limit:.0%} "
                f"| {speed / stock:.1f}x | {one.rows / one.cpu_s:,.0f} | {one.memory_mb:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
