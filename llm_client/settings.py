"""Which settings are in force? Flag > process environment > `.env` in the repo's root > default.

Scripts call `load_settings()` once, at their entry point, and let their flags override the result.
The shell scripts get the same answer as assignments to `eval`:

    python llm_client/settings.py
    eval "$(python llm_client/settings.py)"
"""

import base64
import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent.parent

# field of Settings -> name in the environment and in .env
NAMES = {
    "judge_model": "JUDGE_MODEL",
    "server_host": "SERVER_HOST",
    "server_port": "SERVER_PORT",
    "base_url": "JUDGE_BASE_URL",
    "api_key": "VLLM_API_KEY",
    "hub_token": "HUGGING_FACE_HUB_TOKEN",
    "tracking_uri": "MLFLOW_TRACKING_URI",
    "tracking_username": "MLFLOW_TRACKING_USERNAME",
    "tracking_password": "MLFLOW_TRACKING_PASSWORD",
    "tracking_token": "MLFLOW_TRACKING_TOKEN",
    "experiment_name": "MLFLOW_EXPERIMENT_NAME",
    "answer_api_key": "ANSWER_API_KEY",
}
_LOGIN = ("tracking_username", "tracking_password", "tracking_token")
_NOT_FOR_SCRIPTS = (*_LOGIN, "answer_api_key")

# What stands before the last @ of a URL's host, whether or not the rest makes a URL; `:///` begins
# a path, in which an @ is a sign like others.
_USERINFO = re.compile(r"""(?<=://)(?!/)(?:(?!://)[^\s"'<>])*@""")
_IN_QUERY = re.compile(
    r"""([?&;][\w.-]*(?:pass|pwd|secret|token|key|sig|credential)[\w.-]*=)[^\s&;"'<>]+""", re.I
)
_NAME_OF_A_SECRET = re.compile(r"(KEY|TOKEN|PASSWORD|SECRET)$", re.I)
_SHORTEST = 6  # signs: a shorter secret, such as EMPTY or test, is a word that other texts have
_secrets: set[str] = set()


class UserMistake(Exception):
    """Input or settings that cannot be used; the message is one line with the remedy."""


class SettingsError(UserMistake):
    """A setting that cannot be used; the message is one line and names it."""


@dataclass(frozen=True)
class Settings:
    """The settings in force; an empty string stands for 'not set'."""

    judge_model: str
    server_host: str
    server_port: int
    base_url: str  # of several servers: separated by commas
    api_key: str
    hub_token: str
    tracking_uri: str  # of a server: without credentials
    experiment_name: str
    tracking_username: str = ""
    tracking_password: str = ""
    tracking_token: str = ""
    answer_api_key: str = ""  # of the model under test's server


def redacted(text: str) -> str:
    """The text as it may be shown or recorded: without credentials in URLs and known secrets."""
    text = _IN_QUERY.sub(r"\1***", _USERINFO.sub("***@", text))
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def keep_secret(*secrets: str) -> None:
    """Have `redacted` take these out of every text from now on."""
    long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST}
    _secrets.update(long_enough, (quote(secret, safe="") for secret in long_enough))


def basic_login(user: str, password: str) -> str:
    """The two as HTTP's basic authentication sends them, which is as secret as the password."""
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    keep_secret(login)
    return login


def split_credentials(url: str) -> tuple[str, str, str]:
    """The URL without credentials, and the user and password in it, '' for none."""
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, "", ""
    user, _, password = (unquote(part) for part in userinfo.partition(":"))
    keep_secret(password or user, userinfo)
    basic_login(user, password)
    return parts._replace(netloc=host).geturl(), user, password


def load_settings(
    environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None
) -> Settings:
    """Merge process environment, `.env` and defaults; raises SettingsError for a bad value."""
    environ = os.environ if environ is None else environ
    root = (dotenv_path or ROOT / ".env").parent
    from_file = _read_dotenv(dotenv_path)
    if not environ.get("JUDGE_MODEL") and from_file.get("JUDGE_MODEL"):
        from_file["JUDGE_MODEL"] = _anchor_folder(from_file["JUDGE_MODEL"], root)
    if from_file.get("MLFLOW_TRACKING_URI"):
        from_file["MLFLOW_TRACKING_URI"] = anchor_uri(from_file["MLFLOW_TRACKING_URI"], root)

    def value(name: str, default: str = "") -> str:
        return environ.get(name) or from_file.get(name) or default

    api_key, answer_api_key = (value(name) for name in ("VLLM_API_KEY", "ANSWER_API_KEY"))
    for name, key in (("VLLM_API_KEY", api_key), ("ANSWER_API_KEY", answer_api_key)):
        if not (key.isascii() and key.isprintable()):
            raise SettingsError(f"{name}: only printable ASCII can be sent in an HTTP header")
    tracking_uri, *login = _tracking(
        value("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}"), environ, from_file
    )
    keep_secret(api_key, answer_api_key, value("HUGGING_FACE_HUB_TOKEN"), *login[1:])
    basic_login(*login[:2])
    host = value("SERVER_HOST", "127.0.0.1")
    port = _port(value("SERVER_PORT", "8000"))
    return Settings(
        judge_model=value("JUDGE_MODEL"),
        server_host=host,
        server_port=port,
        base_url=check_base_urls(value("JUDGE_BASE_URL", f"http://{_reachable(host)}:{port}/v1")),
        api_key=api_key,
        hub_token=value("HUGGING_FACE_HUB_TOKEN"),
        tracking_uri=tracking_uri,
        experiment_name=value("MLFLOW_EXPERIMENT_NAME", "llm_judge"),
        answer_api_key=answer_api_key,
        **dict(zip(_LOGIN, login, strict=True)),
    )


def load_other_settings(dotenv_path: Path | None = None) -> dict[str, str]:
    """What `.env` says beside our settings, to libraries: a store's keys, a proxy, certificates."""
    ours = NAMES.values()
    others = {name: v for name, v in _read_dotenv(dotenv_path).items() if name not in ours}
    keep_secret(*(value for name, value in others.items() if _NAME_OF_A_SECRET.search(name)))
    return others


def _read_dotenv(path: Path | None) -> dict[str, str]:
    return {name: value for name, value in dotenv_values(path or ROOT / ".env").items() if value}


def _tracking(
    uri: str, environ: Mapping[str, str], from_file: Mapping[str, str]
) -> tuple[str, str, str, str]:
    """The tracking URI, the user, the password and the token for it.

    Those in a server's URL go before the others, as they did when requests read them there. The
    environment's replace all of the file's: MLflow would prefer a password there to a token here.
    """
    if uri.startswith(("http://", "https://")):
        clean, user, password = split_credentials(uri)
        if user and password:  # MLflow takes no user without a password: that URL stays whole
            return clean, user, password, ""
    names = [NAMES[field] for field in _LOGIN]
    source = environ if any(environ.get(name) for name in names) else from_file
    user, password, token = (source.get(name, "") for name in names)
    return uri, user, password, token


def split_base_urls(text: str) -> tuple[str, ...]:
    """The servers that JUDGE_BASE_URL or --base-url names, each once, without end slashes."""
    # Not at a comma of a password, which has an @ before the next URL.
    urls = (url.strip().rstrip("/") for url in re.split(r",(?!(?:(?!://)[^,])*@)", text))
    return tuple(dict.fromkeys(url for url in urls if url)) or ("",)


def check_base_urls(text: str) -> str:
    """The URLs, separated by commas; raises SettingsError for one that cannot be used."""
    return ",".join(check_base_url(url) for url in split_base_urls(text))


def check_base_url(url: str) -> str:
    """The URL without a trailing slash; raises SettingsError unless one can connect to it."""
    try:
        split_credentials(url)  # whose password is kept secret from here on
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not usable or re.search(r"\s", url):
            raise ValueError
        str(parts.hostname).encode("idna")
    except ValueError:  # also from a port that is no number, or a host that is no name
        raise SettingsError(
            f"JUDGE_BASE_URL: '{redacted(url)}' is not a URL; write it as http://127.0.0.1:8000/v1"
        ) from None
    return url.rstrip("/")


def _reachable(host: str) -> str:
    """An address that a client can call for one that a server listens on."""
    if host in {"0.0.0.0", "::"}:
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"SERVER_PORT: '{text}' is not a port number (1-65535)")
    return int(text)


def _anchor_folder(model: str, root: Path) -> str:
    """A model in `.env` is a folder relative to the root where there is one, else a Hub id."""
    folder = root / Path(model).expanduser()
    return str(folder) if folder.is_dir() or model.startswith((".", "~")) else model


def anchor_uri(uri: str, folder: Path) -> str:
    """Make the relative path of a sqlite URI or of a folder absolute, as seen from `folder`."""
    if uri.startswith("sqlite:///"):
        return f"sqlite:///{_absolute(folder, uri.removeprefix('sqlite:///'))}"
    if "://" not in uri and not uri.startswith(("databricks", "file:")):
        return _absolute(folder, uri)
    return uri


def _absolute(folder: Path, path: str) -> str:
    return os.path.normpath(folder / path)


def shell_assignments(settings: Settings) -> str:
    """The settings that scripts ask for as lines `NAME=value`, quoted for bash."""
    return "\n".join(
        f"{NAMES[field.name]}={shlex.quote(str(getattr(settings, field.name)))}"
        for field in fields(settings)
        if field.name not in _NOT_FOR_SCRIPTS
    )


if __name__ == "__main__":
    try:
        print(shell_assignments(load_settings()))  # noqa: T201
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        sys.exit(2)
