"""Does a run survive the death of a real vLLM? 'Done when' 3 of the judge's issue.

python -m pytest tests/vllm_server/test_server_restart.py

The judge is the tiny base model with random weights that other tests use: its verdicts mean
nothing, its death and its start are as real as any.
"""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import KEY
from tests.support.experiment_process import Workspace, finish, numbered_rows, write_csv
from tests.support.vllm_process import JudgeServer, VllmProcess, one_core

PROMPT = "Score: [1-5]\nWhy: [text]\n---\n{question} {answer}\n"  # its context is 512 letters


@pytest.mark.server
def test_a_run_completes_though_the_server_is_killed_and_started_again_in_its_middle(
    base_model_server: JudgeServer,
    vllm_processes: dict[str, VllmProcess],
    tiny_opt: Path,
    tmp_path: Path,
) -> None:
    workspace = Workspace(tmp_path)
    (tmp_path / "prompt.txt").write_text(PROMPT, "utf-8")
    data = write_csv(tmp_path / "rows.csv", numbered_rows(1000))
    process = workspace.start(
        *("--data", str(data), "--prompt", str(tmp_path / "prompt.txt"), "--max-tokens", "40"),
        *("--concurrency", "8", "--retries", "1", "--wait-for-server", "300"),
        base_url=base_model_server.base_url,
        settings={"VLLM_API_KEY": KEY},
    )
    output: list[str] = []
    reader = threading.Thread(target=lambda: output.extend(process.communicate()))
    reader.start()
    before = wait_for_verdicts(workspace, process, 100)
    first = vllm_processes["base_model_server"]
    os.killpg(first.process.pid, signal.SIGKILL)  # its own session: nothing else dies
    first.process.wait(10)
    time.sleep(3)
    assert process.poll() is None, output
    again = VllmProcess(
        tmp_path / "again.log",
        KEY,
        JUDGE_MODEL=str(tiny_opt),
        VLLM_CPU_KVCACHE_SPACE="1",
        VLLM_CPU_OMP_THREADS_BIND=one_core(1),
        SERVER_PORT=str(first.port),
    )
    again.port = first.port
    vllm_processes["base_model_server"] = again  # the session's from now on
    again.wait()
    reader.join(300)
    assert process.returncode == 0, output
    run = workspace.last_run()
    assert run.status == "FINISHED"
    assert run.metrics["llm_judge/rows_scored"] == 1000
    verdicts = workspace.journal(run.id)
    assert len(verdicts) == len({verdict["key"] for verdict in verdicts}) == 1000
    assert before < 1000, "the server died after the last row"
    interrupted = [verdict for verdict in verdicts if verdict["attempts"] > 1]
    assert 1 <= len(interrupted) <= 8, "only what was in flight was asked twice"


def wait_for_verdicts(workspace: Workspace, process: subprocess.Popen[str], number: int) -> int:
    """How many verdicts are on disk, as soon as there are that many."""
    until = time.monotonic() + 240
    while time.monotonic() < until and process.poll() is None:
        lines = [
            line
            for journal in workspace.journals.glob("*.jsonl")
            for line in journal.read_bytes().splitlines()[1:]
        ]
        if len(lines) >= number:
            return len(lines)
        time.sleep(0.05)
    raise AssertionError(f"the run did not get to {number} verdicts: {finish(process)}")
