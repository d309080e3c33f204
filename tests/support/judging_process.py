"""Can judging be killed anywhere? The loop of a run without MLflow, for test_faults.py to kill.

    python tests/support/judging_process.py http://127.0.0.1:9999/v1 journal.jsonl 400 16
    python tests/support/judging_process.py http://127.0.0.1:9999/v1 journal.jsonl 400 16 40000

The last number is the bytes that the disk has room for. Prints the number of rows with a score.
"""

import asyncio
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from llm_client.caller import RetryPolicy
from llm_client.judge_client import JudgeClient
from llm_client.settings import ROOT
from mlflow_tracking.judge.journal import Journal, JournalError
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import judge_all
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item


async def main() -> int:
    base_url, path, rows, concurrency = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:5])
    if len(sys.argv) > 5:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
    prompt = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt")
    settings = JudgeSettings("stub-judge", prompt, ask_claim=False)  # one call a row
    journal = Journal(path, {"judge": settings.fingerprint})
    items = [Item(f"What is item-{n}?", f"It is item-{n}.") for n in range(rows)]
    async with JudgeClient(base_url, "", RetryPolicy(), concurrency) as client:
        judge = Judge(client, settings)
        try:
            verdicts = await judge_all(items, judge, journal, concurrency)
        except JournalError as fault:
            sys.stderr.write(f"{fault}\n")
            return 1
        scored = sum(not verdict.failed for verdict in verdicts)
    journal.close()
    sys.stdout.write(f"done {scored}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
