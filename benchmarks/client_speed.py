"""How fast is the client alone, and how much memory does it take? Beside MLflow's stock scorer.

    python benchmarks/client_speed.py
    python benchmarks/client_speed.py --rows 100 1000 10000 100000

The server is parts/instant_server.py: the same verdict to every call, 50 ms after it. Our way is
all of it: the shipped prompt, the look for manipulation, each verdict synced to a journal on disk
before it counts. Each pass is a process of its own (parts/client_pass.py), and so is the server;
they share the machine's cores. For each number of rows come first the bare loop, which is the limit
of server and machine at that minute, then ours, then ours-auto, then stock (with few rows: it takes
a hundredth as many), so that drift hits all alike. `ours-auto` finds by itself how many calls it
has in flight, as a run does that is not told, beginning with 32; the others have --concurrency.
`rows/CPU s` depends least on what else runs on the machine.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
import subprocess
from dataclasses import dataclass

from benchmarks.parts.instant_server import instant_server
from llm_client.settings import ROOT

_GROUP = ("bare", "ours", "ours-auto", "stock")  # the first is the limit, the last is stock


@dataclass(frozen=True)
class ClientPass:
    """What one client took for so many rows."""

    client: str
    rows: int
    scored: int
    seconds: float
    cpu_s: float  # of the client's process
    memory_mb: float  # at the peak, beyond imports and rows

    @property
    def rows_per_second(self) -> float:
        """By the clock."""
        return self.rows / self.seconds


def main() -> int:
    """Measure and print; 1 if a row came back without a score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, rows = parser.add_argument, [100, 1000, 10_000, 100_000]
    add("--rows", type=int, nargs="+", default=rows, metavar="N", help=f"default: {rows}")
    add("--stock-rows", type=int, default=300, metavar="N", help="for stock (default: 300)")
    add("--concurrency", type=int, default=128, metavar="N", help="in flight (default: 128)")
    given = parser.parse_args()
    passes = []
    with instant_server() as base_url:
        for rows in given.rows:
            for client in _GROUP:
                count = given.stock_rows if client == "stock" else rows
                passes.append(_measure(client, count, given.concurrency, base_url))
                sys.stderr.write(f"{client}: {passes[-1].rows_per_second:.0f} rows/s\n")
    sys.stdout.write(table(passes, given.concurrency))
    # The server's verdict is in our form, which MLflow's scorer cannot read.
    return int(any(one.scored < one.rows for one in passes if one.client != "stock"))


def _measure(client: str, rows: int, concurrency: int, base_url: str) -> ClientPass:
    command = [sys.executable, "-m", "benchmarks.parts.client_pass", client, str(rows)]
    command += [str(concurrency), base_url]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"client_speed: {client} failed:\n{done.stderr}")
    return ClientPass(client, rows, **json.loads(done.stdout.splitlines()[-1]))


def table(passes: list[ClientPass], concurrency: int) -> str:
    """A Markdown table, a line a pass; ratios are taken within the group."""
    lines = [
        f"{concurrency} calls in flight at most, 50 ms each",
        "",
        "| client | rows | rows/s | of the limit | of stock | rows/CPU s | memory MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for at in range(0, len(passes), len(_GROUP)):
        group = passes[at : at + len(_GROUP)]
        limit, stock = group[0].rows_per_second, group[-1].rows_per_second
        for one in group:
            speed = one.rows_per_second
            lines.append(
                f"| {one.client} | {one.rows:,} | {speed:,.0f} | {speed / limit:.0%} "
                f"| {speed / stock:.1f}x | {one.rows / one.cpu_s:,.0f} | {one.memory_mb:.0f} |"
            )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
