"""Does it work on a machine with a login, a proxy, certificates of its own, another encoding?

python -m pytest tests/commands/test_machine.py

Commands are run as their users run them: as processes, against real servers on real ports.
"""

import base64
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from mlflow import MlflowClient

from llm_client.settings import NAMES, ROOT
from mlflow_tracking.recording.run import Tracking, look_at_it
from tests.support.experiment_process import (
    Done,
    Workspace,
    call,
    finish,
    numbered_rows,
    write_csv,
)
from tests.support.front import Front, fronting, make_certificate
from tests.support.graded_csv import scale_csv
from tests.support.judge_stub import JudgeStub, serving

CLIENTS = ("llm_client/vllm_api_client.py", "llm_client/openai_client_example.py")
COMMANDS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "mlflow_tracking").glob("*.py")
    if path.name not in ("__init__.py", "custom_metrics.py")
)
SECRET, QUOTED = "gehe/im-7731", "gehe%2Fim-7731"
LOGIN = base64.b64encode(f"bob:{SECRET}".encode()).decode()


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def csv(tmp_path: Path) -> str:
    return str(write_csv(tmp_path / "rows.csv", numbered_rows(3)))


@pytest.fixture(scope="module")
def tracking_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A tracking server, as a team has one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    words = f"-m mlflow server --host 127.0.0.1 --port {port} --workers 1"
    folder = tmp_path_factory.mktemp("tracking")
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, *words.split()],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        until = time.monotonic() + 120
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.2)
        yield port
    finally:
        os.killpg(process.pid, 9)  # asked politely, its workers take half a minute
        process.wait(30)
        log.close()


def run(script: str, *flags: str, **settings: str) -> Done:
    """Any script, with an environment of the test's own."""
    dropped = {*NAMES.values(), "NO_PROXY", "no_proxy"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    process = subprocess.Popen(
        [sys.executable, script, *flags],
        cwd=ROOT,
        env=kept | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    return finish(process)


def judge(
    workspace: Workspace, flags: Sequence[str], url: str, settings: Mapping[str, str]
) -> Done:
    """The workspace's command with an environment of the test's own."""
    return finish(workspace.start(*flags, base_url=url, settings=settings))


def assert_no_secret(folder: Path, *done: Done) -> None:
    """In nothing that was said, and in no file: database, artifacts, journals."""
    said = "".join(one.out + one.err for one in done).encode()
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for secret in (SECRET, QUOTED, LOGIN, SECRET.split("/")[1]):
        assert secret.encode() not in said, said.decode()
        assert [path for path, content in files.items() if secret.encode() in content] == []


# ---------------------------------------------------------------- a run is one of our own


def test_what_the_environment_says_of_other_runs_does_not_count(
    workspace: Workspace, stub: JudgeStub, csv: str
) -> None:
    assert workspace.run("--data", csv, base_url=stub.base_url).code == 0
    first = workspace.last_run()
    done = workspace.run(
        *("--data", csv, "--limit", "2", "--traces", "2"),
        base_url=stub.base_url,
        MLFLOW_RUN_ID=first.id,
        MLFLOW_EXPERIMENT_ID="0",
        MLFLOW_ACTIVE_MODEL_ID="m-of-somebody-else",
        MLFLOW_RUN_CONTEXT=f'{{"mlflow.parentRunId": "{first.id}"}}',
        MLFLOW_TRACING_DESTINATION="0",
        MLFLOW_ENABLE_ASYNC_LOGGING="true",
    )
    assert done.code == 0, done.err
    assert "note:" not in done.err
    second, again = workspace.runs()
    assert again == first
    assert second.id != first.id and second.metrics["llm_judge/rows_total"] == 2
    assert "mlflow.parentRunId" not in second.tags


# ---------------------------------------------------------------- credentials are shown nowhere


def test_credentials_in_the_judges_url_are_used_and_shown_nowhere(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, csv: str
) -> None:
    wrong = base64.b64encode(b"bob:something else").decode()
    with fronting(Front(stub.port, wanted=f"Basic {LOGIN}")) as front:
        url = f"http://bob:{QUOTED}@127.0.0.1:{front.port}/v1"
        traces = ("--traces", "3", "--data", csv)
        check = workspace.run("--check", *traces, base_url=url)
        judged = workspace.run(*traces, base_url=url)
        as_setting = workspace.run(*traces, JUDGE_BASE_URL=url, VLLM_API_KEY="a-key-beside")
        stock = workspace.run("--stock", *traces, base_url=url)
        validated = Workspace(tmp_path, False, ROOT / "mlflow_tracking/validate_judge.py").run(
            "--quick", "--data", str(scale_csv(tmp_path, 10)), base_url=url
        )
        clients = [run(client, "--base-url", url) for client in CLIENTS]
        assert front.logins == {f"Basic {LOGIN}"}
    good = (check, judged, as_setting, validated, *clients)
    assert [one.code for one in good] == [0] * len(good), [one.err for one in good]
    assert "no verdict" not in stock.out + stock.err or stock.code == 1
    with fronting(Front(stub.port, wanted=f"Basic {wrong}")) as front:  # which says who came
        url = f"http://bob:{QUOTED}@127.0.0.1:{front.port}/v1"
        refused = [workspace.run("--data", csv, base_url=url), workspace.run("--help")]
        refused += [run(client, "--base-url", url) for client in CLIENTS]
        refused += [run(client, "--help", JUDGE_BASE_URL=url) for client in CLIENTS]
        front.status = 500
        refused += [workspace.run("--data", csv, base_url=url)]
        refused += [run(client, "--base-url", url) for client in CLIENTS]
    refused += [workspace.run("--data", csv, base_url=url)]  # nobody is there
    refused += [run(client, "--base-url", url) for client in CLIENTS]
    refused += [run(client, "--base-url", f"http://bob:{SECRET}@h/v1") for client in CLIENTS]
    assert [one.code for one in refused] == [2, 0, 1, 1, 0, 0, 2, 1, 1, 2, 1, 1, 2, 2]
    assert all("Traceback" not in one.err for one in (*good, stock, *refused))
    assert_no_secret(tmp_path, *good, stock, *refused)


def test_a_server_that_fails_in_the_middle_is_told_without_the_password(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, csv: str
) -> None:
    stub.faults = lambda call: "http_500" if call.row.startswith("item-") else ""
    try:
        with fronting(Front(stub.port, wanted=f"Basic {LOGIN}")) as front:
            url = f"http://bob:{QUOTED}@127.0.0.1:{front.port}/v1"
            done = workspace.run("--data", csv, "--retries", "0", "--traces", "3", base_url=url)
    finally:
        stub.faults = lambda call: ""
    assert done.code == 1
    assert workspace.last_run().metrics["llm_judge/rows_http_error"] == 3
    assert_no_secret(tmp_path, done)


def test_a_key_that_a_server_repeats_is_not_shown(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, csv: str
) -> None:
    with fronting(Front(stub.port, wanted="Bearer another")) as front:
        url = f"http://127.0.0.1:{front.port}/v1"
        done = [workspace.run("--data", csv, base_url=url, VLLM_API_KEY=SECRET)]
        done += [run(client, "--base-url", url, VLLM_API_KEY=SECRET) for client in CLIENTS]
    assert [one.code for one in done] == [2, 1, 1]
    assert_no_secret(tmp_path, *done)


# ---------------------------------------------------------------- a tracking server with a login


def test_a_tracking_uri_with_a_password_is_used_and_shown_nowhere(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, csv: str, tracking_port: int
) -> None:
    compare = Workspace(tmp_path, False, ROOT / "mlflow_tracking/compare_runs.py")
    with fronting(Front(tracking_port, wanted=f"Basic {LOGIN}")) as front:
        server = f"http://127.0.0.1:{front.port}"
        uri = {"MLFLOW_TRACKING_URI": f"http://bob:{QUOTED}@127.0.0.1:{front.port}"}
        flags = ("--data", csv, "--traces", "3")
        # Beside it, a terminal that has no sign for MLflow's emoji, and a proxy for elsewhere.
        hard = {"PYTHONIOENCODING": "ascii", "HTTP_PROXY": "http://127.0.0.1:1"}
        judged = [judge(workspace, flags, stub.base_url, uri | hard) for _ in range(2)]
        assert [one.code for one in judged] == [0, 0], [one.err for one in judged]
        assert all(f"look at it   {server}/#/experiments/" in one.out for one in judged)
        ids = [one.out.partition("run          ")[2][:32] for one in judged]
        compared = run(str(compare.script), *ids, **uri)
        assert compared.code == 0, compared.err
        front.wanted = "Basic other"
        refused = [
            judge(workspace, flags, stub.base_url, uri),
            run(str(compare.script), *ids, **uri),
        ]
    assert [one.code for one in refused] == [2, 2]
    assert_no_secret(tmp_path, *judged, compared, *refused)
    client = MlflowClient(f"http://127.0.0.1:{tracking_port}")
    for run_id in ids:
        found = client.get_run(run_id)
        assert found.info.status == "FINISHED"
        assert SECRET not in str(found.to_dictionary()) and QUOTED not in str(found.to_dictionary())


@pytest.mark.parametrize("kind", ["password", "token"])
def test_the_login_stands_in_the_env_file_like_the_address(
    stub: JudgeStub, tmp_path: Path, csv: str, tracking_port: int, kind: str
) -> None:
    for folder in ("llm_client", "mlflow_tracking"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    login = {"USERNAME": "bob", "PASSWORD": SECRET} if kind == "password" else {"TOKEN": SECRET}
    wanted = f"Basic {LOGIN}" if kind == "password" else f"Bearer {SECRET}"
    with fronting(Front(tracking_port, wanted=wanted)) as front:
        lines = {"URI": f"http://127.0.0.1:{front.port}", **login}
        text = "".join(f"MLFLOW_TRACKING_{name}={value}\n" for name, value in lines.items())
        (tmp_path / ".env").write_text(text)
        flags = ("--data", csv, "--base-url", stub.base_url, "--limit", "1", "--traces", "0")
        done = run(str(tmp_path / "mlflow_tracking/run_experiment.py"), *flags)
    assert done.code == 0, done.err
    ran = run(str(tmp_path / "llm_client/settings.py"))
    assert SECRET not in ran.out
    (tmp_path / ".env").unlink()
    assert_no_secret(tmp_path, done, ran)


@pytest.mark.parametrize(
    ("location", "cause"),
    [("s3://bucket/runs", "boto3"), ("file:///proc/nowhere", "/proc/nowhere")],
    ids=["no-boto3", "cannot-be-written"],
)
def test_artifacts_that_cannot_be_written_are_told_before_a_run(
    workspace: Workspace,
    stub: JudgeStub,
    csv: str,
    capfd: pytest.CaptureFixture[str],
    location: str,
    cause: str,
) -> None:
    MlflowClient(workspace.uri).create_experiment("elsewhere", location)
    flags = ("--data", csv, "--experiment-name", "elsewhere")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 2
    [line] = done.problems
    assert line.startswith(f"run_experiment: artifacts cannot be written to {location}: ")
    assert cause in line
    assert workspace.runs() == []


# ---------------------------------------------------------------- 'look at it'


@pytest.mark.parametrize("folder", ["plain", "it's a folder", "оценки me@work"])
def test_another_database_is_looked_at_with_the_command_that_is_told(
    tmp_path: Path, stub: JudgeStub, csv: str, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    workspace = Workspace(tmp_path / folder)
    place = {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}  # relative to the working directory
    done = finish(
        workspace.start(
            *("--data", csv), base_url=stub.base_url, cwd=tmp_path / folder, settings=place
        )
    )
    assert done.code == 0, done.err
    command = shlex.split(done.out.partition("look at it   ")[2].partition("\n")[0])
    assert command == ["mlflow", "ui", "--backend-store-uri", workspace.uri]
    assert f"http://127.0.0.1:5000/#/experiments/1/runs/{workspace.last_run().id}" in done.out


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        (f"sqlite:///{ROOT}/mlflow.db", "mlflow ui   (from the repo's root), then"),
        (f"sqlite:///{ROOT}/tests/../mlflow.db", "mlflow ui   (from the repo's root), then"),
        ("http://gpu:5000/", "http://gpu:5000/#/experiments/1"),
        ("http://only-a-token@gpu:5000", "http://***@gpu:5000/#/experiments/1"),
        ("postgresql://u:p@db/m", "mlflow ui --backend-store-uri 'postgresql://***@db/m'"),
        ("/data/mlruns", "mlflow ui --backend-store-uri /data/mlruns"),
        ("databricks", "databricks: experiments/1"),
    ],
)
def test_where_to_look_depends_on_where_the_run_is(uri: str, told: str) -> None:
    assert look_at_it(Tracking(uri, "e"), "experiments/1")[0] == told


# ---------------------------------------------------------------- another encoding


@pytest.mark.parametrize("script", [*CLIENTS, *COMMANDS])
def test_help_is_readable_in_any_encoding(script: str) -> None:
    flags = ("export", "--help") if "batch" in script else ("--help",)
    for settings in (
        {"PYTHONIOENCODING": "ascii", "JUDGE_BASE_URL": "http://модель/v1"},
        {"PYTHONUTF8": "0", "LC_ALL": "C"},
    ):
        done = run(script, *flags, **settings)
        assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1251"},
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ],
    ids=["ascii", "cp1251", "latin-1", "c-locale"],
)
def test_a_run_is_recorded_whatever_the_terminal_can_show(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, settings: Mapping[str, str]
) -> None:
    shutil.copy(ROOT / "mlflow_tracking/data/evaluation_data.csv", tmp_path / "строки.csv")
    flags = ("--data", str(tmp_path / "строки.csv"), "--limit", "3", "--traces", "3")
    words = [str(workspace.script), *workspace.words(flags, stub.base_url)]
    done = run(words[0], *words[1:], MLFLOW_TRACKING_URI=workspace.uri, **settings)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err and "note:" not in done.err, done.err
    recorded = workspace.last_run()
    assert recorded.status == "FINISHED"
    assert recorded.metrics["llm_judge/rows_scored"] == 3


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_answers_in_any_encoding(stub: JudgeStub, client: str) -> None:
    flags = ("--base-url", stub.base_url, "--prompt", "Оценка: 5 \N{RUNNER}")
    done = run(client, *flags, PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    refused = run(client, *flags, "--model", "модель", PYTHONIOENCODING="ascii")
    assert refused.code == 1 and "??????" in refused.err and "Traceback" not in refused.err


# ---------------------------------------------------------------- proxies and certificates


def test_a_proxy_is_never_asked_for_this_machine(
    workspace: Workspace, stub: JudgeStub, csv: str
) -> None:
    with fronting(Front(0, status=502)) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        names = ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
        settings = dict.fromkeys(names, address)
        hosts = (f"127.0.0.1:{stub.port}", f"localhost:{stub.port}", f"127.0.0.2:{stub.port}")
        for host in hosts[:2]:
            url = f"http://{host}/v1"
            clients = [run(client, "--base-url", url, **settings) for client in CLIENTS]
            assert [one.code for one in clients] == [0, 0], [one.err for one in clients]
        for flags in (("--check",), (), ("--stock",)):
            done = judge(workspace, ("--data", csv, *flags), stub.base_url, settings)
            assert "502" not in done.out + done.err, done.err
            assert done.code == 0 or flags == ("--stock",), done.err
        elsewhere = [
            run(client, "--base-url", f"http://{hosts[2]}/v1", **settings) for client in CLIENTS
        ]
        assert all("proxy" not in one.err for one in elsewhere)
        assert proxy.asked == []


def test_elsewhere_the_proxy_of_the_environment_is_asked_by_everything(
    workspace: Workspace, stub: JudgeStub, csv: str
) -> None:
    url = "http://judge.example/v1"
    with fronting(Front(stub.port)) as proxy:
        settings = {"HTTP_PROXY": f"http://me:{QUOTED}@127.0.0.1:{proxy.port}"}
        for flags in (("--check",), (), ("--stock",)):
            proxy.asked.clear()
            done = judge(workspace, ("--data", csv, *flags), url, settings)
            assert done.code == 0 or flags == ("--stock",), done.err
            assert f"POST {url}/chat/completions" in proxy.asked
        for client in CLIENTS:
            proxy.asked.clear()
            assert run(client, "--base-url", url, **settings).code == 0
            assert proxy.asked == [f"GET {url}/models", f"POST {url}/chat/completions"]
        proxy.status = 502
        failed = [judge(workspace, ("--check", "--data", csv), url, settings)]
        failed += [run(client, "--base-url", url, **settings) for client in CLIENTS]
    failed += [judge(workspace, ("--check", "--data", csv), url, settings)]
    failed += [run(client, "--base-url", url, **settings) for client in CLIENTS]
    for done in failed:
        assert done.code in (1, 2)
        assert f"through the proxy http://***@127.0.0.1:{proxy.port}" in done.err, done.err
        assert "NO_PROXY=judge.example" in done.err
    assert_no_secret(workspace.folder, *failed)


def test_a_certificate_of_ones_own_is_named_once_for_everything(
    workspace: Workspace, stub: JudgeStub, csv: str, tmp_path: Path
) -> None:
    certificate = make_certificate(tmp_path)
    with fronting(Front(stub.port, certificate=certificate)) as front:
        url = f"https://127.0.0.1:{front.port}/v1"
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            trusted = {name: str(certificate)}
            clients = [run(client, "--base-url", url, **trusted) for client in CLIENTS]
            judged = [
                judge(workspace, ("--data", csv, *flags), url, trusted)
                for flags in ((), ("--check",))
            ]
            assert [one.code for one in (*clients, *judged)] == [0] * 4, judged[0].err
        stock = workspace.run(
            "--stock", "--data", csv, base_url=url, SSL_CERT_FILE=str(certificate)
        )
        assert "CERTIFICATE_VERIFY" not in stock.out + stock.err
        strangers = [run(client, "--base-url", url) for client in CLIENTS]
        strangers += [workspace.run("--data", csv, base_url=url)]
    for one in strangers:
        assert one.code in (1, 2)
        assert "SSL_CERT_FILE=" in one.err and "Traceback" not in one.err, one.err


# ---------------------------------------------------------------- names of prompts


def test_prompts_of_any_name_are_recorded_each_under_its_own(
    workspace: Workspace, stub: JudgeStub, csv: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt").read_text(encoding="utf-8")
    names = (
        *("judge 100% #2.txt", "judge 100% #3.txt", "промпт судьи.txt", "промпт.v2.текст"),
        *("judge_100_2.txt", "my.judge.v2.txt", "a?b&c=d.txt", "plain.md"),
    )
    for number, name in enumerate(names):
        path = workspace.folder / name
        path.write_text(f"{text}\n{number}\n", encoding="utf-8")
        done = call(workspace, capfd, "--data", csv, "--prompt", str(path), base_url=stub.base_url)
        assert done.code == 0
        assert "note:" not in done.err, done.err
        recorded = workspace.last_run()
        assert recorded.params["prompt_file"] == name
        [artifact] = [file for file in recorded.artifacts if file.startswith("prompt/")]
        assert (recorded.folder / artifact).read_text(encoding="utf-8") == f"{text}\n{number}\n"
        assert artifact.isascii()
    prompts = {prompt.name for prompt in MlflowClient(workspace.uri).search_prompts()}
    assert len(prompts) == len(names)
    assert {"judge_100_2", "my.judge.v2", "plain"} <= prompts
