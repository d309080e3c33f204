"""Is no secret shown, and which way do requests go? The rules alone, without a process.

python -m pytest tests/llm_client/test_surroundings.py
"""

import io
import sys
from pathlib import Path

import pytest

from llm_client.settings import (
    SettingsError,
    check_base_urls,
    keep_secret,
    load_settings,
    redacted,
    split_base_urls,
)
from llm_client.surroundings import guard_streams, route_to, settle_environment

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://user:pw@host:8000/v1", "http://***@host:8000/v1"),
        ("see https://token@host/v1 there", "see https://***@host/v1 there"),
        ("http://u:p@a/v1,http://u:q@b/v1", "http://***@a/v1,http://***@b/v1"),
        ("http://user:p@ss@host/v1", "http://***@host/v1"),
        ("http://user:pa/ss@host/v1", "http://***@host/v1"),
        ("http://user:p,w@host/v1", "http://***@host/v1"),
        ("postgresql+psycopg2://mlflow:pw@db/mlflow", "postgresql+psycopg2://***@db/mlflow"),
        ("mysql://db/m?user=u&password=p&ssl=1", "mysql://db/m?user=u&password=***&ssl=1"),
        ("http://h/v1?api_key=abc", "http://h/v1?api_key=***"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host/v1", "http://host/v1"),
        ("mail me@work", "mail me@work"),
    ],
)
def test_a_url_is_shown_without_credentials(text: str, shown: str) -> None:
    assert redacted(text) == shown


def test_a_secret_that_is_known_is_shown_nowhere_and_a_short_word_stays() -> None:
    keep_secret("hunter/2!", "none")
    assert redacted("key hunter/2! (hunter%2F2%21), none") == "key *** (***), none"


@pytest.mark.parametrize(
    "url", ["http://u:leaks-if@h:port/v1", "ftp://u:leaks-if@h/v1", "http://u:leaks-if,so@/v1"]
)
def test_a_url_that_is_none_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="is not a URL") as raised:
        check_base_urls(url)
    assert "leaks" not in str(raised.value) and "so@" not in str(raised.value)


def test_a_comma_in_a_password_parts_no_servers() -> None:
    text = "http://u:p,w@a/v1, http://b/v1"
    assert split_base_urls(text) == ("http://u:p,w@a/v1", "http://b/v1")


@pytest.mark.parametrize(
    ("url", "key", "header"),
    [
        ("http://bob:p%40w@h/v1", "", "Basic Ym9iOnBAdw=="),
        ("http://bob:p%40w@h/v1", "key", "Basic Ym9iOnBAdw=="),
        ("http://token@h/v1", "", "Basic dG9rZW46"),
        ("http://h/v1", "key", "Bearer key"),
        ("http://h/v1", "", None),
    ],
)
def test_who_asks_stands_in_the_header_and_not_in_the_url(
    url: str, key: str, header: str | None
) -> None:
    route = route_to(url, key)
    assert route.url == "http://h/v1"
    assert route.headers.get("Authorization") == header
    assert "p%40w" not in repr(route) and "Ym9i" not in repr(route)


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://127.1.2.3:8000/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("http://[::1]:8000/v1", {"ALL_PROXY": "http://p:1"}, ""),
        ("http://localhost/v1", {"http_proxy": "http://p:1"}, ""),
        ("http://gpu1/v1", {"HTTP_PROXY": "http://p:1"}, "http://p:1"),
        ("http://gpu1/v1", {"http_proxy": "p:1"}, "http://p:1"),
        ("https://gpu1/v1", {"HTTP_PROXY": "http://p:1"}, ""),
        ("https://gpu1/v1", {"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ("https://gpu1/v1", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("http://gpu1/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "gpu1"}, ""),
        ("http://gpu1.lan/v1", {"HTTP_PROXY": "http://p:1", "no_proxy": ".lan"}, ""),
        ("http://10.1.2.3/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, ""),
        ("http://gpu1/v1", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, ""),
    ],
)
def test_a_proxy_of_the_environment_holds_for_all_but_this_machine(
    monkeypatch: pytest.MonkeyPatch, url: str, environ: dict[str, str], proxy: str
) -> None:
    _set(monkeypatch, environ)
    assert route_to(url, "").proxy == proxy
    settle_environment()
    assert route_to(url, "").proxy == proxy


def test_a_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {"HTTP_PROXY": "http://me:my-word@proxy:3128"})
    through = route_to("http://gpu1/v1", "").through
    assert "http://***@proxy:3128" in through and "NO_PROXY=gpu1" in through


def test_a_proxy_that_is_none_for_http_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, {"ALL_PROXY": "socks5://me:my-word@proxy:1080"})
    with pytest.raises(SettingsError, match=r"socks5://\*\*\*@proxy:1080 .* NO_PROXY=gpu1"):
        route_to("http://gpu1/v1", "")
    assert route_to("http://127.0.0.1/v1", "").proxy == ""


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_one_name_of_a_certificate_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _set(monkeypatch, {})
    ours, systems = tmp_path / "ours.pem", tmp_path / "systems.pem"
    ours.write_text("ours")
    systems.write_text("systems")
    environ = {name: str(ours)}
    settle_environment(environ)
    assert environ["SSL_CERT_FILE"] == environ["REQUESTS_CA_BUNDLE"] == str(ours)
    other = "SSL_CERT_FILE" if name != "SSL_CERT_FILE" else "REQUESTS_CA_BUNDLE"
    environ = {name: str(ours), other: str(systems)}  # as an image of a company has it
    settle_environment(environ)
    assert environ["SSL_CERT_FILE"] == environ["REQUESTS_CA_BUNDLE"]
    assert Path(environ["SSL_CERT_FILE"]).read_text() == "ours\nsystems"
    with pytest.raises(SettingsError, match=f"^{name}: there is no /nowhere.pem"):
        settle_environment({name: "/nowhere.pem"})


@pytest.mark.parametrize(
    ("dotenv", "environ", "login"),
    [
        ("U=bob\nP=word\n", {}, ("bob", "word", "")),
        ("T=bearer\n", {}, ("", "", "bearer")),
        ("U=bob\nP=word\n", {"T": "bearer"}, ("", "", "bearer")),
        ("T=bearer\n", {"U": "eve", "P": "other"}, ("eve", "other", "")),
        ("URI=http://bob:w%20d@mlflow:5000\n", {"U": "eve", "P": "x"}, ("bob", "w d", "")),
    ],
    ids=["password", "token", "environment-first", "of-one-source", "in-the-url"],
)
def test_the_login_of_the_tracking_server_is_found_like_its_address(
    tmp_path: Path, dotenv: str, environ: dict[str, str], login: tuple[str, str, str]
) -> None:
    names = {"U": "USERNAME", "P": "PASSWORD", "T": "TOKEN", "URI": "URI"}
    lines = (line.partition("=") for line in dotenv.splitlines())
    text = "".join(f"MLFLOW_TRACKING_{names[name]}={value}\n" for name, _, value in lines)
    (tmp_path / ".env").write_text(text)
    given = {f"MLFLOW_TRACKING_{names[name]}": value for name, value in environ.items()}
    found = load_settings(given, tmp_path / ".env")
    assert (found.tracking_username, found.tracking_password, found.tracking_token) == login
    assert "@" not in found.tracking_uri


def test_streams_show_what_they_can_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    keep_secret("s3cr3t-word")
    guard_streams()
    guard_streams()
    sys.stdout.write("Оценка 5 s3cr3t-word\n")
    sys.stdout.flush()
    assert raw.getvalue() == b"?????? 5 ***\n"


def _set(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str]) -> None:
    for name in (*PROXIES, *map(str.lower, PROXIES), "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, "")  # and put back what settle_environment makes of it
        monkeypatch.delenv(name)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
