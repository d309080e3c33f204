"""What did a run ask the judge, and how often? A stub in a process of its own that only counts.

    python benchmarks/counting_stub.py --latency 0.01

Prints its URL; each line on stdin is answered by a line of JSON: calls in all, different rows, rows
that were asked about more than once. Answers as tests/support/judge_stub.py, and keeps no request.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import json
from collections import Counter

from tests.support.judge_stub import Call, JudgeStub


class _Counted(list[Call]):
    """Takes calls and keeps the names of their rows: 100,000 requests are half a gigabyte."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: Counter[str] = Counter()

    def append(self, call: Call) -> None:
        """Count the call."""
        if call.row.startswith("item-"):
            self.rows[call.row] += 1


def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latency", type=float, default=0.01, help="seconds of a call")
    calls = _Counted()
    stub = JudgeStub(latency_s=parser.parse_args().latency, calls=calls)
    stub.start()
    sys.stdout.write(stub.base_url + "\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        repeated = sum(count > 1 for count in calls.rows.values())
        counts = {"calls": calls.rows.total(), "rows": len(calls.rows), "repeated": repeated}
        sys.stdout.write(json.dumps(counts) + "\n")
        sys.stdout.flush()
    stub.stop()


if __name__ == "__main__":
    main()
