"""How do the tests get a real vLLM? By `run_vllm_server.sh` on a free port, ended by its pid.

python -m pytest tests -m server
JUDGE_TEST_BASE_URL=http://127.0.0.1:8000/v1 python -m pytest tests -m server
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from llm_client.settings import ROOT
from vllm_server.port_owner import port_owner

SCRIPT = ROOT / "vllm_server" / "run_vllm_server.sh"
START_SECONDS = 480  # three start at once, beside the tests


@dataclass(frozen=True)
class JudgeServer:
    """A server that answers; `base_url` ends in /v1, `root_url` does not."""

    base_url: str
    root_url: str
    model: str
    api_key: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def one_core(number: int) -> str:
    """A core for a server of its own, where there are that many."""
    cores = sorted(os.sched_getaffinity(0))
    return str(cores[number % len(cores)])


def server_environment(port: int, **extra: str) -> dict[str, str]:
    """This process's environment, its Python first, and the server's place."""
    place = {"SERVER_HOST": "127.0.0.1", "SERVER_PORT": str(port), "VIRTUAL_ENV": sys.prefix}
    return {**os.environ, **place, **extra}


class VllmProcess:
    """One `run_vllm_server.sh`; starting it returns at once, `wait` when it answers."""

    def __init__(self, log: Path, api_key: str, **environment: str) -> None:
        self.port, self.log, self.api_key = free_port(), log, api_key
        key = {"VLLM_API_KEY": api_key} if api_key else {}
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                ["bash", str(SCRIPT)],
                env=server_environment(self.port, **key, **environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> JudgeServer:
        """The server, when it is ready; fails with the end of its log."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            owner = port_owner("127.0.0.1", self.port, self.api_key)
            if owner.startswith("vllm "):
                root = f"http://127.0.0.1:{self.port}"
                return JudgeServer(f"{root}/v1", root, owner.removeprefix("vllm "), self.api_key)
            time.sleep(1)
        tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        raise AssertionError(f"vLLM did not start (exit code {self.process.poll()}):\n{tail}")

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session: nothing else dies
                self.process.wait(10)
