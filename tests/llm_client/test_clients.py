"""Do both example clients answer, and say in one line what is wrong when they cannot?

    python -m pytest tests/llm_client/test_clients.py -m "not server"
    JUDGE_TEST_BASE_URL=http://127.0.0.1:8000/v1 python -m pytest tests/llm_client -m server

They run as a user runs them, as processes. The stub server is for faults; the copy of `llm_client`
is for a root whose `.env` the test writes.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import pytest

from llm_client.settings import NAMES, ROOT
from tests.support.chat_stub import (
    USAGE,
    Canned,
    Stub,
    canned,
    completion,
    delta,
    error,
    serving,
    sse,
)

SCRIPTS = ("vllm_api_client.py", "openai_client_example.py")
NO_CHAT_TEMPLATE = (  # vLLM 0.32 with facebook/opt-1.3b
    "As of transformers v4.44, default chat template is no longer allowed, so you must provide a "
    "chat template if the tokenizer does not define one."
)
TOO_LONG = (  # vLLM 0.32
    "This model's maximum context length is 8192 tokens. However, your prompt contains at least "
    "8193 input tokens, which exceeds this limit even without any output tokens. Please reduce "
    "the length of the input prompt. (parameter=input_tokens, value=8193)"
)


class JudgeServer(Protocol):
    """What the tests here use of the fixture `judge_server`."""

    base_url: str
    root_url: str
    model: str
    api_key: str


MODELS = canned({"object": "list", "data": [{"id": "judge-1"}, {"id": "lora-2"}]})
HTML = Canned(("<!DOCTYPE html>\n<html><title>nginx</title></html>",), content_type="text/html")
UNAUTHORIZED = canned({"error": "Unauthorized"}, 401)
STREAM = sse(delta("Это "), delta("Берлин.", "stop"), USAGE)
HALF_STREAM = replace(STREAM, parts=STREAM.parts[:1])


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub(models=MODELS, chat=completion("Это Берлин."))
    with serving(stub):
        yield stub


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of its own, so that the developer's `.env` does not decide over the test."""
    shutil.copytree(ROOT / "llm_client", tmp_path / "llm_client")
    return tmp_path


def environment(**settings: str) -> dict[str, str]:
    ours = {*NAMES.values(), "PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"NO_PROXY": "127.0.0.1"} | settings


def run(
    folder: Path, script: str, *flags: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """`python llm_client/SCRIPT` in the root, or `python SCRIPT` in the folder llm_client."""
    return subprocess.run(
        [sys.executable, script if folder.name == "llm_client" else f"llm_client/{script}", *flags],
        cwd=folder,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=330,  # more than the scripts wait themselves
    )


both_scripts = pytest.mark.parametrize("script", SCRIPTS)
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@both_scripts
@both_ways
@pytest.mark.parametrize("folder", [".", "llm_client"], ids=["from-the-root", "from-llm_client"])
def test_the_answer_comes_with_model_tokens_and_time(
    stub: Stub, root: Path, script: str, stream: bool, folder: str
) -> None:
    (root / ".env").write_text(f"JUDGE_BASE_URL={stub.base_url}\n")
    stub.chat = STREAM if stream else stub.chat
    ran = run(root / folder, script, *["--stream"][: int(stream)])
    assert (ran.returncode, ran.stderr) == (0, "")
    model, answer, tokens, spent = ran.stdout.splitlines()
    assert model == "model:  judge-1"
    assert answer == "answer: Это Берлин."
    assert tokens == "tokens: 7 prompt + 3 completion"
    assert float(spent.removeprefix("time:").removesuffix("s")) >= 0


@both_scripts
def test_what_is_sent_is_what_the_flags_say(stub: Stub, root: Path, script: str) -> None:
    flags = "--model lora-2 --prompt Почему? --system Кратко. --max-tokens 5 --temperature 0.5"
    run(root, script, "--base-url", stub.base_url, *flags.split(), VLLM_API_KEY="s3cret")
    (body,) = stub.bodies
    assert body["model"] == "lora-2"
    assert body["messages"] == [
        {"role": "system", "content": "Кратко."},
        {"role": "user", "content": "Почему?"},
    ]
    assert (body["max_tokens"], body["temperature"]) == (5, 0.5)
    assert set(stub.keys) == {"Bearer s3cret"}


@both_scripts
@both_ways
def test_sampling_is_sent_without_being_asked_for(
    stub: Stub, root: Path, script: str, stream: bool
) -> None:
    stub.chat = STREAM if stream else stub.chat
    run(root, script, *["--stream"][: int(stream)], JUDGE_BASE_URL=stub.base_url)
    (body,) = stub.bodies
    assert (body["max_tokens"], body["temperature"]) == (256, 0.0)
    assert body["messages"] == [{"role": "user", "content": "Столица Германии?"}]
    assert body.get("stream_options") == ({"include_usage": True} if stream else None)


@both_scripts
def test_a_streamed_answer_is_printed_while_it_grows(stub: Stub, root: Path, script: str) -> None:
    seen = threading.Event()
    stub.chat = replace(STREAM, pause=lambda: seen.wait(20))
    command = [sys.executable, f"llm_client/{script}", "--base-url", stub.base_url, "--stream"]
    with subprocess.Popen(command, cwd=root, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        start = b""
        while not start.endswith("Это ".encode()):  # before the server has sent the rest
            assert (byte := process.stdout.read(1)), start.decode()
            start += byte
        seen.set()
        assert process.stdout.read().decode().startswith("Берлин.\n")


@both_scripts
def test_an_answer_cut_at_max_tokens_is_marked(stub: Stub, root: Path, script: str) -> None:
    stub.chat = completion("Столица", finish="length")
    ran = run(root, script, JUDGE_BASE_URL=stub.base_url)
    assert ran.returncode == 0
    assert ran.stderr == "note: the answer was cut at that length; allow more: --max-tokens\n"


@dataclass(frozen=True)
class Fault:
    """What the server does, and what the one line has to say about it."""

    says: tuple[str, ...]
    models: Canned = MODELS
    chat: Canned = HTML
    flags: tuple[str, ...] = ()
    key: str = ""


SILENT = replace(MODELS, before=lambda: threading.Event().wait(3))
FAULTS = {
    "no-key": Fault(("401", "no API key was sent", "set VLLM_API_KEY in .env"), UNAUTHORIZED),
    "wrong-key": Fault(("401", "that was sent is wrong", "VLLM_API_KEY"), UNAUTHORIZED, key="bad"),
    "key-wanted-for-chat-only": Fault(("401", "no API key was sent"), chat=UNAUTHORIZED),
    "unknown-model": Fault(
        ("'gpt-4o' is not served", "--model judge-1 or lora-2"), flags=("--model", "gpt-4o")
    ),
    "no-model-at-all": Fault(("lists no model", "curl http"), canned({"data": []})),
    "a-web-page": Fault(("not the JSON of an OpenAI-compatible server", "curl http"), HTML),
    "a-web-page-with-404": Fault(("not the JSON", "<!DOCTYPE html>"), replace(HTML, status=404)),
    "a-web-page-said-to-be-json": Fault(
        ("not the JSON", "<!DOCTYPE html>"), replace(HTML, content_type="application/json")
    ),
    "a-list": Fault(("not the JSON of an OpenAI-compatible server",), canned([1, 2])),
    "a-web-page-for-an-answer": Fault(("not the JSON of an OpenAI-compatible server",)),
    "another-api's-answer": Fault(("not the JSON",), chat=canned({"text": ["Berlin"]})),
    "prompt-too-long": Fault(
        ("400", "maximum context length is 8192", "shorten --prompt", "--max-model-len"),
        chat=error(TOO_LONG, 400),
    ),
    "no-chat-template": Fault(
        ("400", "chat template", "bash vllm_server/run_vllm_server.sh"),
        chat=error(NO_CHAT_TEMPLATE, 400),
    ),
    "another-400": Fault(("400", "top_p must", "--help"), chat=error("top_p must be in ...", 400)),
    "server-error": Fault(
        ("500", "EngineDeadError", "/health"), chat=error("EngineDeadError", 500)
    ),
    "server-error-in-plain-text": Fault(
        ("500", "Internal Server Error", "/health"),
        chat=Canned(("Internal Server Error",), 500, "text/plain"),
    ),
    "silence": Fault(("nothing came for 0.5 s", "--timeout 2"), SILENT, flags=("--timeout", "0.5")),
    "reply-shorter-than-promised": Fault(
        ("broke off", "/health"), chat=replace(completion("Это"), missing=50)
    ),
    "stream-breaks": Fault(
        ("broke off", "/health"), chat=replace(HALF_STREAM, missing=50), flags=("--stream",)
    ),
    "stream-ends-too-early": Fault(("broke off",), chat=HALF_STREAM, flags=("--stream",)),
    "stream-falls-silent": Fault(
        ("nothing came for 0.5 s",),
        chat=replace(STREAM, pause=SILENT.before),
        flags=("--stream", "--timeout", "0.5"),
    ),
    "server-error-in-a-stream": Fault(
        ("500", "EngineDeadError", "/health"),
        chat=sse(delta("Это"), {"error": {"message": "EngineDeadError", "code": 500}}),
        flags=("--stream",),
    ),
    "stream-of-something-else": Fault(
        ("not the JSON",), chat=sse(delta("Это"), {"choices": 5}), flags=("--stream",)
    ),
    "stream-asked-for-and-refused": Fault(
        ("400", "shorten --prompt"), chat=error(TOO_LONG, 400), flags=("--stream",)
    ),
}


def assert_one_line(ran: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert ran.returncode == code, ran.stderr
    assert ran.stderr.startswith("error: "), ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr
    assert "Traceback" not in ran.stderr + ran.stdout
    for said in says:
        assert said in ran.stderr


@both_scripts
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_server_is_one_line_with_url_cause_and_remedy(
    stub: Stub, root: Path, script: str, fault: Fault
) -> None:
    stub.models, stub.chat = fault.models, fault.chat
    ran = run(root, script, *fault.flags, JUDGE_BASE_URL=stub.base_url, VLLM_API_KEY=fault.key)
    assert_one_line(ran, 1, stub.base_url, *fault.says)


@both_scripts
def test_a_server_that_is_down_is_one_line_with_the_command_that_starts_it(
    root: Path, script: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    ran = run(root, script, "--base-url", url)
    assert_one_line(ran, 1, url, "Connection refused", "bash vllm_server/run_vllm_server.sh")


@both_scripts
def test_a_base_url_without_v1_is_told_so(stub: Stub, root: Path, script: str) -> None:
    ran = run(root, script, "--base-url", stub.base_url.removesuffix("/v1"))
    assert_one_line(ran, 1, "404", f"--base-url {stub.base_url}")


@both_scripts
def test_of_several_servers_the_first_is_asked(stub: Stub, root: Path, script: str) -> None:
    ran = run(root, script, JUDGE_BASE_URL=f"{stub.base_url},http://127.0.0.1:9/v1")
    assert (ran.returncode, ran.stderr) == (0, "")


@both_scripts
def test_https_to_a_server_without_it_is_one_line(stub: Stub, root: Path, script: str) -> None:
    url = stub.base_url.replace("http:", "https:")
    assert_one_line(run(root, script, "--base-url", url), 1, url, "no https is spoken there")


@both_scripts
def test_a_host_that_does_not_exist_is_one_line(root: Path, script: str) -> None:
    url = "http://judge.invalid:8000/v1"
    ran = run(root, script, "--base-url", url, NO_PROXY="*")
    assert_one_line(ran, 1, url, "no connection")


@both_scripts
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"SERVER_PORT": "80800"}, "SERVER_PORT: '80800'"),
        ({"JUDGE_BASE_URL": "localhost:8000"}, "JUDGE_BASE_URL: 'localhost:8000'"),
        ({"VLLM_API_KEY": "ключ"}, "VLLM_API_KEY"),
    ],
    ids=["port", "url", "key-that-no-header-can-carry"],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    root: Path, script: str, settings: dict[str, str], says: str
) -> None:
    assert_one_line(run(root, script, **settings), 2, says)


@both_scripts
@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--base-url", "localhost:8000"),
        ("--base-url", "http://localhost:port/v1"),
        ("--base-url", "http://a..b/v1"),
        ("--base-url", "http://[::1/v1"),
        ("--max-tokens", "0"),
        ("--max-tokens", "1.5"),
        ("--temperature", "-1"),
        ("--temperature", "nan"),
        ("--timeout", "0"),
        ("--prompt", "\udcff"),  # a byte that is not UTF-8, as a koi8 terminal sends it
    ],
)
def test_a_bad_flag_is_named_with_exit_code_2(
    root: Path, script: str, flag: str, value: str
) -> None:
    ran = run(root, script, f"{flag}={value}")
    assert ran.returncode == 2
    assert f"error: argument {flag}:" in ran.stderr
    assert "Traceback" not in ran.stderr


@both_scripts
def test_help_shows_every_flag_with_its_default(root: Path, script: str) -> None:
    ran = run(root, script, "--help", SERVER_PORT="8123")
    help_text = " ".join(ran.stdout.split())
    for flag, default in {
        "--prompt": "Столица Германии?",
        "--system": "none",
        "--model": "what the server serves",
        "--base-url": "http://127.0.0.1:8123/v1",
        "--max-tokens": "256",
        "--temperature": "0.0",
        "--timeout": "300.0",
        "--stream": "no",
    }.items():
        assert f"(default: {default})" in help_text.split(f" {flag} ")[-1]


@both_scripts
def test_ctrl_c_exits_quietly_with_130(stub: Stub, root: Path, script: str) -> None:
    stub.models = SILENT
    command = [sys.executable, f"llm_client/{script}", "--base-url", stub.base_url]
    with subprocess.Popen(
        command, cwd=root, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert stub.arrived.wait(30)
        process.send_signal(signal.SIGINT)
        out, problems = process.communicate(timeout=20)
    assert (process.returncode, out, problems) == (130, b"", b"")


@both_scripts
def test_a_reader_that_has_seen_enough_causes_no_traceback(
    stub: Stub, root: Path, script: str
) -> None:
    command = f"'{sys.executable}' llm_client/{script} --base-url {stub.base_url} | true"
    ran = subprocess.run(
        ["bash", "-c", command], cwd=root, env=environment(), capture_output=True, timeout=60
    )
    assert ran.stderr == b""


@both_scripts
def test_an_answer_that_the_terminal_cannot_show_is_printed_all_the_same(
    stub: Stub, root: Path, script: str
) -> None:
    ran = run(root, script, JUDGE_BASE_URL=stub.base_url, PYTHONIOENCODING="ascii")
    assert ran.returncode == 0, ran.stderr
    assert "tokens: 7 prompt + 3 completion" in ran.stdout


@pytest.mark.server
@both_scripts
@both_ways
def test_the_real_server_knows_the_capital_of_germany(
    judge_server: JudgeServer, script: str, stream: bool
) -> None:
    ran = run(ROOT, script, *["--stream"][: int(stream)], **settings_of(judge_server))
    assert ran.returncode == 0, ran.stderr
    model, *answer, tokens, spent = ran.stdout.splitlines()
    assert model == f"model:  {judge_server.model}"
    assert "Берлин" in "".join(answer)
    assert "prompt + " in tokens
    assert spent.endswith(" s")


@pytest.mark.server
@both_scripts
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--prompt", "слово " * 10_000], "shorten --prompt"),
        (["--max-tokens", "10000000"], "lower --max-tokens"),
        (["--model", "gpt-4o"], "'gpt-4o' is not served"),
    ],
    ids=["prompt-too-long", "more-tokens-than-the-context", "unknown-model"],
)
def test_the_real_server_s_refusals_are_understood(
    judge_server: JudgeServer, script: str, flags: list[str], says: str
) -> None:
    ran = run(ROOT, script, *flags, **settings_of(judge_server))
    assert_one_line(ran, 1, judge_server.base_url, says)


def settings_of(server: JudgeServer) -> dict[str, str]:
    return {"JUDGE_BASE_URL": server.base_url, "VLLM_API_KEY": server.api_key or ""}
