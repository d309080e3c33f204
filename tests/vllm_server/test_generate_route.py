"""Does POST /generate answer as the user's curl expects, and is every route behind the key?

python -m pytest tests/vllm_server/test_generate_route.py -m "not server"
JUDGE_TEST_BASE_URL=http://127.0.0.1:8000/v1 python -m pytest tests/vllm_server -m server
"""

import json
import shutil
import subprocess
from typing import Any

import pytest
import requests

from tests.support.vllm_process import JudgeServer
from vllm_server.generate_route import GenerateRoute, Message, Receive, Scope, Send
from vllm_server.key_guard import KeyGuard, served_keys

DOCUMENT_REQUEST = '{"prompt": "Столица Германии?", "max_tokens": 50}'


class Completions:
    """Stands in for vLLM: keeps what it was asked and answers with its own name for each choice."""

    def __init__(self, status: int = 200, body: bytes = b"") -> None:
        self.status, self.body = status, body
        self.scope: Scope = {}
        self.request: dict[str, Any] = {}
        self.after: Message = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.request = json.loads((await receive())["body"])
        self.after = await receive()
        choices = [{"text": f" +{n}"} for n in range(self.request.get("n", 1))]
        body = self.body or json.dumps({"choices": choices}).encode()
        headers = [(b"x-inner", b"yes"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": body[:3], "more_body": True})
        await send({"type": "http.response.body", "body": body[3:]})


def scope_of(path: str, *, method: str = "POST", root: str = "", key: str = "") -> Scope:
    headers = [(b"content-length", b"7"), (b"x-trace", b"1")]
    headers += [(b"authorization", f"Bearer {key}".encode())] if key else []
    return {"type": "http", "method": method, "path": path, "root_path": root, "headers": headers}


async def call(app: Any, scope: Scope, body: bytes = b"") -> tuple[int, dict[str, Any]]:  # noqa: ANN401
    """Send one request in two pieces and hang up; returns status and JSON."""
    half = len(body) // 2
    incoming: list[Message] = [
        {"type": "http.request", "body": body[:half], "more_body": True},
        {"type": "http.request", "body": body[half:], "more_body": False},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    reply = b"".join(message.get("body", b"") for message in sent)
    return (sent[0]["status"], json.loads(reply or b"{}")) if sent else (0, {})


async def test_the_text_is_prompt_and_completion() -> None:
    inner = Completions()
    status, reply = await call(
        GenerateRoute(inner), scope_of("/generate"), DOCUMENT_REQUEST.encode()
    )
    assert (status, reply) == (200, {"text": ["Столица Германии? +0"]})
    assert inner.scope["path"] == "/v1/completions"
    assert (inner.request["prompt"], inner.request["max_tokens"]) == ("Столица Германии?", 50)


async def test_sampling_parameters_pass_through_and_every_choice_comes_back() -> None:
    inner = Completions()
    body = b'{"prompt": "a", "n": 2, "temperature": 0, "stop": ["x"], "echo": true}'
    _, reply = await call(GenerateRoute(inner), scope_of("/generate"), body)
    assert reply == {"text": ["a +0", "a +1"]}
    expected = {"max_tokens": 16, "temperature": 0, "stop": ["x"], "echo": False, "stream": False}
    assert inner.request.items() >= expected.items()


async def test_headers_pass_but_for_the_length_of_the_old_body() -> None:
    inner = Completions()
    await call(GenerateRoute(inner), scope_of("/generate", key="k"), b'{"prompt": "a"}')
    headers = dict(inner.scope["headers"])
    assert headers[b"authorization"] == b"Bearer k"
    assert headers[b"x-trace"] == b"1"
    assert int(headers[b"content-length"]) == len(json.dumps(inner.request))


async def test_vllm_sees_the_client_hang_up() -> None:
    inner = Completions()
    await call(GenerateRoute(inner), scope_of("/generate"), b'{"prompt": "a"}')
    assert inner.after == {"type": "http.disconnect"}


async def test_vllms_own_errors_keep_their_status_and_reason() -> None:
    inner = Completions(status=404, body=b'{"error": {"message": "no such model"}}')
    status, reply = await call(GenerateRoute(inner), scope_of("/generate"), b'{"prompt": "a"}')
    assert (status, reply) == (404, {"error": {"message": "no such model"}})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{nope", "the body is not JSON"),
        ("", "the body is not JSON"),
        ("\ud83d", "the body is not JSON"),
        ("[" * 100_000, "the body is not JSON"),
        ('["a"]', "the body must be a JSON object"),
        ('{"max_tokens": 5}', "'prompt' is missing, empty or not a string"),
        ('{"prompt": ""}', "'prompt' is missing, empty or not a string"),
        ('{"prompt": ["a", "b"]}', "'prompt' is missing, empty or not a string"),
        ('{"prompt": "a", "stream": true}', "/generate does not stream"),
    ],
)
async def test_a_bad_request_has_a_reason(body: str, reason: str) -> None:
    raw = body.encode("utf-8", "surrogatepass")
    status, reply = await call(GenerateRoute(Completions()), scope_of("/generate"), raw)
    assert status == 400
    assert reason in reply["error"]


async def test_other_methods_and_other_routes() -> None:
    inner = Completions()
    assert (await call(GenerateRoute(inner), scope_of("/generate", method="GET")))[0] == 405
    assert inner.scope == {}
    await call(GenerateRoute(inner), scope_of("/v1/chat/completions"), b"{}{}")
    assert inner.scope["path"] == "/v1/chat/completions"


async def test_a_root_path_is_kept() -> None:
    inner = Completions()
    scope = scope_of("/judge/generate", root="/judge")
    assert (await call(GenerateRoute(inner), scope, b'{"prompt": "a"}'))[0] == 200
    assert inner.scope["path"] == "/judge/v1/completions"


async def let_in(scope: Scope, keys: list[str]) -> bool:
    """Whether the guard lets a request through to the application."""
    reached: list[Scope] = []

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope)

    status, reply = await call(KeyGuard(inner, keys), scope)
    assert bool(reached) == (status == 0)
    if not reached:
        assert status == 401
        assert "Authorization: Bearer" in reply["error"]["message"]
    return bool(reached)


@pytest.mark.parametrize("path", ["/health", "/ping", "/version", "/metrics", "/metrics/"])
async def test_a_monitor_needs_no_key(path: str) -> None:
    assert await let_in(scope_of(path, method="GET"), ["k"])
    assert await let_in(scope_of(f"/judge{path}", root="/judge"), ["k"])


@pytest.mark.parametrize(
    "path",
    [
        "/generate",
        "//generate",
        "/health/../generate",
        "/health/",
        "//health",
        "/HEALTH",
        "/metrics/../invocations",
        "/invocations",
        "/tokenize",
        "/generative_scoring",
        "/v1/chat/completions",
        "/inference/v1/generate",
        "/docs",
        "",
    ],
)
async def test_everything_else_does(path: str) -> None:
    assert not await let_in(scope_of(path), ["k"])
    assert not await let_in(scope_of(path, key="K"), ["k"])
    assert not await let_in(scope_of(path, root="/health"), ["k"])
    assert await let_in(scope_of(path, key="k"), ["k"])
    assert await let_in(scope_of(path), [""])


async def test_two_keys_in_one_request_are_none() -> None:
    scope = scope_of("/generate", key="k")
    scope["headers"] += [(b"authorization", b"Bearer x")]
    assert not await let_in(scope, ["k"])


async def test_a_key_may_hold_any_character() -> None:
    assert await let_in(scope_of("/generate", key="ключ"), ["ключ"])


async def test_a_websocket_without_the_key_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    scope = {**scope_of("/health"), "type": "websocket"}
    await KeyGuard(Completions(), ["k"])(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


@pytest.mark.parametrize(
    ("flags", "keys"),
    [
        ([], ["from-environment"]),
        (["--api-key", "a", "b", "--port", "1"], ["a", "b"]),
        (["--api_key=a"], ["a"]),
    ],
)
def test_the_keys_are_those_that_vllm_takes(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], keys: list[str]
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "from-environment")
    monkeypatch.setattr("sys.argv", ["api_server", *flags])
    assert served_keys() == keys


def curl(server: JudgeServer, path: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which("curl"):
        pytest.skip("no curl on this machine")
    key = ["-H", f"Authorization: Bearer {server.api_key}"] if server.api_key else []
    command = ["curl", "-sS", "--fail-with-body", *arguments, *key, f"{server.root_url}{path}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.server
@pytest.mark.parametrize("which", ["judge_server", "base_model_server"])
def test_the_three_curl_commands_of_the_document(
    request: pytest.FixtureRequest, which: str
) -> None:
    server: JudgeServer = request.getfixturevalue(which)
    assert curl(server, "/health").returncode == 0
    models = json.loads(curl(server, "/v1/models").stdout)
    assert models["data"][0]["id"] == server.model
    post = ("-X", "POST", "-H", "Content-Type: application/json", "-d", DOCUMENT_REQUEST)
    (text,) = json.loads(curl(server, "/generate", *post).stdout)["text"]
    assert text.startswith("Столица Германии?")
    assert len(text) > len("Столица Германии?")


@pytest.mark.server
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{nope", "not JSON"),
        ('{"max_tokens": 5}', "'prompt' is missing"),
        ('{"prompt": "a", "max_tokens": -1}', "max_tokens"),
        ('{"prompt": "a", "temperature": 7}', "temperature"),
        ('{"prompt": "a \\ud83d"}', "message"),  # half a character: vLLM refuses it
    ],
)
def test_generate_says_what_is_wrong(judge_server: JudgeServer, body: str, reason: str) -> None:
    headers = {"Authorization": f"Bearer {judge_server.api_key}"}
    url = f"{judge_server.root_url}/generate"
    reply = requests.post(url, body.encode(), headers=headers, timeout=60)
    assert reply.status_code == 400
    assert reason in json.dumps(reply.json()["error"])


@pytest.mark.server
def test_the_key_opens_what_it_guards(base_model_server: JudgeServer) -> None:
    root = base_model_server.root_url
    for path in ("/health", "/metrics", "/ping", "/version"):
        assert requests.get(root + path, timeout=60).status_code == 200, path
    guarded = {
        "/generate": {"prompt": "a"},
        "/invocations": {"prompt": "a", "max_tokens": 3},
        "/tokenize": {"prompt": "a"},
        "/v1/completions": {"prompt": "a", "max_tokens": 3},
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 3},
    }
    right, wrong = ({"Authorization": f"Bearer {key}"} for key in (base_model_server.api_key, "x"))
    for path, body in guarded.items():
        for spelling in (path, "/" + path, "/health/.." + path):
            assert requests.post(root + spelling, json=body, timeout=60).status_code == 401, (
                spelling
            )
        assert requests.post(root + path, json=body, headers=wrong, timeout=60).status_code == 401
        assert (
            requests.post(root + path, json=body, headers=right, timeout=60).status_code == 200
        ), path
    assert requests.get(f"{root}/v1/models", timeout=60).status_code == 401


@pytest.mark.server
def test_a_base_model_chats_through_our_template(base_model_server: JudgeServer) -> None:
    key = {"Authorization": f"Bearer {base_model_server.api_key}"}
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    url = f"{base_model_server.root_url}/tokenize"
    tokens = requests.post(url, json={"messages": messages}, headers=key, timeout=60).json()[
        "tokens"
    ]
    url = f"{base_model_server.root_url}/detokenize"
    prompt = requests.post(url, json={"tokens": tokens}, headers=key, timeout=60).json()["prompt"]
    assert prompt == "Be brief.\n\nQuestion: Why?\n\nAnswer:"


@pytest.mark.server
def test_another_sites_page_gets_the_answer_that_vllm_gives_it(judge_server: JudgeServer) -> None:
    asking = {"Origin": "http://page", "Access-Control-Request-Method": "POST"}
    answers = [
        requests.options(judge_server.root_url + path, headers=asking, timeout=60)
        for path in ("/generate", "/v1/completions")
    ]
    assert answers[0].text == answers[1].text
    assert answers[0].status_code == answers[1].status_code
