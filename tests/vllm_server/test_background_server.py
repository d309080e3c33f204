"""Does `make server` wait until the judge answers, and does `make stop` end it and nothing else?

    python -m pytest tests/vllm_server/test_background_server.py
    python -m pytest tests/vllm_server/test_background_server.py -k stop

The server here is a few lines of Python in run_vllm_server.sh's place.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.script_copy import PYTHON_WITHOUT_START, ScriptCopy
from tests.support.vllm_process import free_port

SERVER = """#!/usr/bin/env bash
# bash vllm_server/run_vllm_server.sh
echo "weights: 4 of 22 parts, 3 s" >&2
sleep "${SLOW:-0}"
exec PYTHON -c '
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"object": "list", "data": [{"id": "judge"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
' "$SERVER_PORT" vllm_server.key_guard.KeyGuard
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Iterator[ScriptCopy]:
    copy = ScriptCopy(tmp_path)
    copy.use_python()
    copy.environment["SERVER_PORT"] = str(free_port())
    script = copy.root / "vllm_server" / "run_vllm_server.sh"
    script.write_text(SERVER.replace("PYTHON", sys.executable))
    yield copy
    copy.run("stop_server.sh")


def pid_of(scripts: ScriptCopy) -> int:
    return int(scripts.root.joinpath(".run", "server.pid").read_text())


def test_start_waits_and_says_where_and_what(scripts: ScriptCopy) -> None:
    ran = scripts.run("start_server.sh")
    assert ran.returncode == 0, ran.stderr
    port = scripts.environment["SERVER_PORT"]
    assert f"ready on http://127.0.0.1:{port} after" in ran.stderr
    assert "serves judge" in ran.stderr
    os.kill(pid_of(scripts), 0)


def test_the_active_environment_is_preferred(scripts: ScriptCopy, tmp_path: Path) -> None:
    active = scripts.fake(str(tmp_path / "active" / "bin" / "python"), PYTHON_WITHOUT_START)
    scripts.use_python("echo the wrong one; exit 1")
    ran = scripts.run("start_server.sh", VIRTUAL_ENV=str(active.parent.parent))
    assert "serves judge" in ran.stderr


def test_an_active_environment_without_vllm_is_passed_over(
    scripts: ScriptCopy, tmp_path: Path
) -> None:
    active = scripts.fake(str(tmp_path / "active" / "bin" / "python"), "exit 1")
    ran = scripts.run("start_server.sh", VIRTUAL_ENV=str(active.parent.parent))
    assert "serves judge" in ran.stderr


def test_no_vllm_names_the_remedy(scripts: ScriptCopy) -> None:
    scripts.use_python("exit 0")
    scripts.fake("python3", "exit 0")
    ran = scripts.run("start_server.sh")
    assert ran.returncode == 2
    assert "server: no vLLM in the active environment or in" in ran.stderr
    assert f"run 'make setup' in {scripts.root}\n" in ran.stderr


def test_a_server_that_runs_is_left_alone_in_silence(scripts: ScriptCopy) -> None:
    scripts.run("start_server.sh")
    pid = pid_of(scripts)
    again = scripts.run("start_server.sh")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert pid_of(scripts) == pid


def test_another_model_in_the_settings_is_told(scripts: ScriptCopy) -> None:
    scripts.run("start_server.sh")
    again = scripts.run("start_server.sh", JUDGE_MODEL="org/other")
    assert "it serves judge and JUDGE_MODEL is org/other; to change: make stop" in again.stderr


def test_the_wait_shows_what_the_server_does(scripts: ScriptCopy) -> None:
    ran = scripts.run("start_server.sh", SLOW="12")
    assert "s: 4 of 22 parts, 3 s" in ran.stderr


NO_MEMORY = "(Worker pid=7) ERROR 11-24 20:03:43 [executor.py:1063] ValueError: Available memory is"
ENGINE_FAILED = "RuntimeError: Engine core initialization failed. See root cause above."


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["Traceback", "check_model: no folder ./x", "bye"], "check_model: no folder ./x"),
        ([NO_MEMORY, ENGINE_FAILED, "bye"], "ValueError: Available memory is"),
        (["what is this", "bye"], "bye"),
    ],
    ids=["ours", "vllm", "unknown"],
)
def test_a_server_that_dies_is_told_with_its_reason(
    scripts: ScriptCopy, lines: list[str], reason: str
) -> None:
    body = "".join(f"echo {shlex.quote(line)}\n" for line in lines) + "exit 2\n"
    scripts.root.joinpath("vllm_server", "run_vllm_server.sh").write_text(body)
    ran = scripts.run("start_server.sh")
    assert ran.returncode == 2
    assert f"it ended before it was ready: {reason} (log:" in ran.stderr


def test_a_server_started_by_hand_is_used(scripts: ScriptCopy) -> None:
    command = ["bash", str(scripts.root / "vllm_server" / "run_vllm_server.sh")]
    environment = {**os.environ, "SERVER_PORT": scripts.environment["SERVER_PORT"]}
    by_hand = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        for _ in range(50):
            ran = scripts.run("start_server.sh")
            if "started by hand, serves judge" in ran.stderr:
                break
        assert "started by hand, serves judge" in ran.stderr
    finally:
        by_hand.kill()
        by_hand.wait()


def test_stop_ends_it_and_says_so(scripts: ScriptCopy) -> None:
    scripts.run("start_server.sh")
    pid = pid_of(scripts)
    assert f"stopped (process {pid})" in scripts.run("stop_server.sh").stderr
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    ran = scripts.run("stop_server.sh")
    assert ran.returncode == 0
    assert f"none that was started from {scripts.root} is running" in ran.stderr


def test_stop_leaves_a_stranger_with_the_recorded_pid_alone(scripts: ScriptCopy) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        scripts.root.joinpath(".run").mkdir()
        scripts.root.joinpath(".run", "server.pid").write_text(str(stranger.pid))
        assert "is running" in scripts.run("stop_server.sh").stderr
        assert stranger.poll() is None
        stranger.kill()
