"""Which servers do the tests share? One judge and one tiny base model with a key, started together.

python -m pytest tests
python -m pytest tests -m "not server"
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser
from xdist.scheduler import LoadFileScheduling

from llm_client.settings import ROOT, load_settings
from screenshots.browser import BrowserMissing, browsing
from tests.support.tiny_model import make_tiny_opt
from tests.support.vllm_process import JudgeServer, VllmProcess, one_core
from vllm_server.port_owner import get

KEY = "test-key"
REAL_SERVERS = ("vllm_processes", "judge_server", "base_model_server", "twin_servers")

# A job that a script put into the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """With `-n 2` a file is one worker's, and so are all the files that want a real server."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        text = (ROOT / file).read_text(encoding="utf-8")
        return "servers" if any(name in text for name in REAL_SERVERS) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_opt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny OPT model with random weights and no chat template."""
    return make_tiny_opt(tmp_path_factory.mktemp("models") / "tiny-opt")


@pytest.fixture(scope="session")
def vllm_processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, VllmProcess]]:
    """The real servers that the tests of this session want, all on their way at once."""
    wanted = {name for item in request.session.items for name in item.fixturenames}  # type: ignore[attr-defined]
    logs = tmp_path_factory.mktemp("vllm")
    started: dict[str, VllmProcess] = {}
    try:
        if "judge_server" in wanted and not os.environ.get("JUDGE_TEST_BASE_URL"):
            log = logs / "judge.log"
            started["judge_server"] = VllmProcess(log, load_settings().api_key)
        # Each tiny server takes 3 GB beside the judge's 11: the base model's is one of the twins.
        tiny = {"base_model_server": 1} if {"base_model_server", "twin_servers"} & wanted else {}
        tiny |= {"twin": 0} if "twin_servers" in wanted else {}
        for name, number in tiny.items():
            model = str(request.getfixturevalue("tiny_opt"))
            # Both on both cores, the second got 5 rows while the first got 151.
            place = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": one_core(number)}
            started[name] = VllmProcess(logs / f"{name}.log", KEY, JUDGE_MODEL=model, **place)
        yield started
    finally:
        for process in started.values():
            process.stop()


@pytest.fixture(scope="session")
def judge_server(vllm_processes: dict[str, VllmProcess]) -> JudgeServer:
    """The judge: the one at JUDGE_TEST_BASE_URL, or our own with the default weights."""
    base_url = os.environ.get("JUDGE_TEST_BASE_URL", "").rstrip("/")
    if not base_url:
        return vllm_processes["judge_server"].wait()
    root_url, key = base_url.removesuffix("/v1"), load_settings().api_key
    host, _, port = root_url.removeprefix("http://").partition(":")
    models = get(host, int(port or 80), "/v1/models", key)[1].get("data")
    assert models, f"JUDGE_TEST_BASE_URL: no vLLM answers at {base_url}"
    return JudgeServer(base_url, root_url, models[0]["id"], key)


@pytest.fixture(scope="session")
def base_model_server(vllm_processes: dict[str, VllmProcess]) -> JudgeServer:
    """A base model without a chat template, behind a key."""
    return vllm_processes["base_model_server"].wait()


@pytest.fixture(scope="session")
def twin_servers(vllm_processes: dict[str, VllmProcess]) -> tuple[JudgeServer, JudgeServer]:
    """Two servers of one base model, for a run that shares its rows; the first may be killed."""
    return vllm_processes["twin"].wait(), vllm_processes["base_model_server"].wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; a test is skipped where there is none and none can be installed."""
    try:
        with browsing() as running:
            yield running
    except BrowserMissing as missing:
        pytest.skip(str(missing))
