"""Does a real llama.cpp server judge the shipped rows, whole and by their scores alone?

    LLAMA_SERVER_URL=http://127.0.0.1:8090/v1 python -m pytest tests/commands/test_llama_cpp.py

Skipped where neither a running server is named nor `llama-server` and LLAMA_GGUF are there.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.experiment_process import Workspace, finish
from tests.support.vllm_process import free_port

ROWS = 4  # of the shipped ones: on two cores a whole verdict takes four seconds


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's root of the server that is named, or of one that is started here."""
    named = os.environ.get("LLAMA_SERVER_URL", "")
    program, weights = shutil.which("llama-server"), os.environ.get("LLAMA_GGUF", "")
    if named:
        yield named.rstrip("/")
        return
    if not program or not Path(weights).is_file():
        pytest.skip("needs LLAMA_SERVER_URL, or llama-server and LLAMA_GGUF")
    port, log = free_port(), tmp_path_factory.mktemp("llama") / "server.log"
    flags = ("--host", "127.0.0.1", "--port", str(port), "-np", "4", "-fa", "on", "-c", "16384")
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-m", weights, *flags], stdout=output, stderr=output)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(30)


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert process.poll() is None, "llama-server ended"
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("flags", [(), ("--score-only",)], ids=["whole", "score-only"])
def test_every_row_is_scored_with_its_expected_score(
    flags: tuple[str, ...], llama_server: str, tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    limit = ("--limit", str(ROWS), "--timeout", "600")
    done = finish(workspace.start(*limit, *flags, base_url=llama_server), timeout_s=1200)
    assert done.code == 0, done.err
    assert "held to the form by grammar" in done.err
    run = workspace.last_run()
    assert run.params["constraint"] == "grammar"
    table = run.table("judge_results.json")
    assert len(table) == ROWS
    for row in table:
        assert row["score"] in range(1, 6)
        assert 1 <= row["expected_score"] <= 5
        assert bool(row["justification"]) == (not flags)
    assert table[0]["score"] >= 4  # Paris is the capital of France
