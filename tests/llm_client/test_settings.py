"""Which value of a setting wins, and what is said about one that cannot be used?

python -m pytest tests/llm_client/test_settings.py
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_client.settings import (
    NAMES,
    ROOT,
    Settings,
    SettingsError,
    check_base_urls,
    load_settings,
    shell_assignments,
)


def settings_with(folder: Path, dotenv: str = "", **environ: str) -> Settings:
    """The settings in a root whose `.env` has this text, with only this in the environment."""
    path = folder / ".env"
    path.write_text(dotenv, encoding="utf-8")
    return load_settings(environ, path)


@pytest.mark.parametrize(
    ("dotenv", "environ", "expected"),
    [
        ("", {}, "llm_judge"),
        ("MLFLOW_EXPERIMENT_NAME=from_file\n", {}, "from_file"),
        ("", {"MLFLOW_EXPERIMENT_NAME": "from_env"}, "from_env"),
        (
            "MLFLOW_EXPERIMENT_NAME=from_file\n",
            {"MLFLOW_EXPERIMENT_NAME": "from_env"},
            "from_env",
        ),
        ("MLFLOW_EXPERIMENT_NAME=\n", {}, "llm_judge"),
        ("MLFLOW_EXPERIMENT_NAME\n", {}, "llm_judge"),
        ("MLFLOW_EXPERIMENT_NAME=from_file\n", {"MLFLOW_EXPERIMENT_NAME": ""}, "from_file"),
        ("MLFLOW_EXPERIMENT_NAME='моя оценка'\n", {}, "моя оценка"),
        ("MLFLOW_EXPERIMENT_NAME=judge # the second try\n", {}, "judge"),
        ("export MLFLOW_EXPERIMENT_NAME=judge\r\n", {}, "judge"),
    ],
    ids=[
        "default",
        "env-file-over-default",
        "environment-over-default",
        "environment-over-env-file",
        "empty-in-the-file-is-not-set",
        "name-alone-is-not-set",
        "empty-in-the-environment-is-not-set",
        "quoted-and-cyrillic",
        "comment-after-the-value",
        "export-and-windows-line-end",
    ],
)
def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    tmp_path: Path, dotenv: str, environ: dict[str, str], expected: str
) -> None:
    assert settings_with(tmp_path, dotenv, **environ).experiment_name == expected


def test_a_flag_wins_over_environment_and_file(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "llm_client", tmp_path / "llm_client")
    (tmp_path / ".env").write_text("JUDGE_BASE_URL=http://127.0.0.1:1/v1\n")
    command = [sys.executable, "llm_client/vllm_api_client.py"]
    environ = os.environ | {"JUDGE_BASE_URL": "http://127.0.0.1:2/v1", "NO_PROXY": "*"}
    flag = ["--base-url", "http://127.0.0.1:3/v1"]
    for flags, port in ([], 2), (flag, 3):
        ran = subprocess.run(
            [*command, *flags], cwd=tmp_path, env=environ, capture_output=True, text=True
        )
        assert ran.stderr.startswith(f"error: http://127.0.0.1:{port}/v1: no connection")


def test_without_any_setting_the_local_server_and_a_database_in_the_root_are_used(
    tmp_path: Path,
) -> None:
    settings = settings_with(tmp_path)
    assert settings == Settings(
        judge_model="",
        server_host="127.0.0.1",
        server_port=8000,
        base_url="http://127.0.0.1:8000/v1",
        api_key="",
        hub_token="",
        tracking_uri=f"sqlite:///{tmp_path}/mlflow.db",
        experiment_name="llm_judge",
    )


def test_without_an_env_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings({}, tmp_path / ".env").server_port == 8000


@pytest.mark.parametrize(
    ("environ", "base_url"),
    [
        ({"SERVER_PORT": "8123"}, "http://127.0.0.1:8123/v1"),
        ({"SERVER_HOST": "0.0.0.0"}, "http://127.0.0.1:8000/v1"),
        ({"SERVER_HOST": "::"}, "http://127.0.0.1:8000/v1"),
        ({"SERVER_HOST": "::1"}, "http://[::1]:8000/v1"),
        ({"SERVER_HOST": "gpu-box"}, "http://gpu-box:8000/v1"),
        ({"SERVER_PORT": "8123", "JUDGE_BASE_URL": "https://a.b/v1/"}, "https://a.b/v1"),
        ({"JUDGE_BASE_URL": "http://a/v1, http://b/v1/,"}, "http://a/v1,http://b/v1"),
        ({"JUDGE_BASE_URL": "http://a/v1,http://a/v1"}, "http://a/v1"),
    ],
    ids=[
        *("port", "every-address", "every-ipv6-address", "ipv6", "name", "given-as-a-whole"),
        *("several", "one-twice"),
    ],
)
def test_the_clients_call_where_the_server_listens(
    tmp_path: Path, environ: dict[str, str], base_url: str
) -> None:
    assert settings_with(tmp_path, **environ).base_url == base_url


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///runs.db", "sqlite:///{root}/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("mlruns", "{root}/mlruns"),
        ("/data/mlruns", "/data/mlruns"),
        ("http://mlflow:5000", "http://mlflow:5000"),
        ("databricks", "databricks"),
    ],
)
def test_a_relative_tracking_uri_in_the_file_starts_at_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, expected: str
) -> None:
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    settings = settings_with(tmp_path, f"MLFLOW_TRACKING_URI={uri}\n")
    assert settings.tracking_uri == expected.format(root=tmp_path)


def test_a_tracking_uri_in_the_environment_is_left_as_it_is(tmp_path: Path) -> None:
    given = {"MLFLOW_TRACKING_URI": "sqlite:///runs.db"}
    settings = settings_with(tmp_path, "MLFLOW_TRACKING_URI=other.db\n", **given)
    assert settings.tracking_uri == "sqlite:///runs.db"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("models/judge", "{root}/models/judge"),
        ("./missing", "{root}/missing"),
        ("Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507"),
        ("/models/judge", "/models/judge"),
    ],
    ids=["a-folder-in-the-root", "meant-as-a-folder", "a-hub-id", "absolute"],
)
def test_a_model_in_the_file_is_a_folder_of_the_root_or_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, expected: str
) -> None:
    (tmp_path / "models" / "judge").mkdir(parents=True)
    monkeypatch.chdir("/")
    settings = settings_with(tmp_path, f"JUDGE_MODEL={model}\n")
    assert settings.judge_model == expected.format(root=tmp_path)


def test_a_model_in_the_environment_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "judge").mkdir()
    settings = settings_with(tmp_path, "JUDGE_MODEL=other\n", JUDGE_MODEL="judge")
    assert settings.judge_model == "judge"


@pytest.mark.parametrize("port", ["0", "65536", "-1", "80a", "8000.0", "eight"])
def test_a_bad_port_is_named_in_one_line(tmp_path: Path, port: str) -> None:
    with pytest.raises(SettingsError, match=rf"^SERVER_PORT: '{port}' is not a port number.*$"):
        settings_with(tmp_path, SERVER_PORT=port)


@pytest.mark.parametrize("url", ["localhost:8000", "http://", "ftp://a/v1", "http:///v1", "8000"])
def test_a_bad_url_is_named_with_an_example(url: str) -> None:
    for given in (url, f"http://a/v1,{url}"):
        with pytest.raises(SettingsError, match="is not a URL; write it as http://") as raised:
            check_base_urls(given)
        assert f"'{url.rstrip('/')}'" in str(raised.value)


@pytest.mark.parametrize(
    "value",
    ["plain", "two words", "it's", '"', "$(touch pwned)", "`id`; #", "a\\b", "моя оценка", "a\nb"],
)
def test_bash_reads_back_every_assignment_as_it_was(tmp_path: Path, value: str) -> None:
    settings = settings_with(tmp_path, MLFLOW_EXPERIMENT_NAME=value)
    script = 'eval "$1"; printf %s "$MLFLOW_EXPERIMENT_NAME"'
    ran = subprocess.run(
        ["bash", "-c", script, "bash", shell_assignments(settings)],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode() == value
    assert not (tmp_path / "pwned").exists()


def test_bash_gets_every_setting_of_the_example_file(tmp_path: Path) -> None:
    named = {line.split("=")[0] for line in shell_assignments(settings_with(tmp_path)).splitlines()}
    login = {f"MLFLOW_TRACKING_{name}" for name in ("USERNAME", "PASSWORD", "TOKEN")}
    assert named == set(NAMES.values()) - login - {"ANSWER_API_KEY"}  # which no script asks for
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    offered = {line[2:].split("=")[0] for line in example.splitlines() if "=" in line}
    assert offered == set(NAMES.values())


def test_a_shell_that_evaluates_the_settings_sees_the_error(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "llm_client" / "settings.py"],
        cwd=tmp_path,
        env=os.environ | {"SERVER_PORT": "99999"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "settings: SERVER_PORT: '99999' is not a port number (1-65535)\n"
