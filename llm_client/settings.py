"""Which settings are in force? Flag > process environment > `.env` in the repo's root > default.

Scripts call `load_settings()` once, at their entry point, and let their flags override the result.
The shell scripts get the same answer as assignments to `eval`:

    python llm_client/settings.py
    eval "$(python llm_client/settings.py)"
"""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

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
    "experiment_name": "MLFLOW_EXPERIMENT_NAME",
}


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
    tracking_uri: str
    experiment_name: str


def load_settings(
    environ: Mapping[str, str] | None = None, dotenv_path: Path | None = None
) -> Settings:
    """Merge process environment, `.env` and defaults; raises SettingsError for a bad value."""
    environ = os.environ if environ is None else environ
    root = (dotenv_path or ROOT / ".env").parent
    from_file = {k: v for k, v in dotenv_values(dotenv_path or ROOT / ".env").items() if v}
    if not environ.get("JUDGE_MODEL") and from_file.get("JUDGE_MODEL"):
        from_file["JUDGE_MODEL"] = _anchor_folder(str(from_file["JUDGE_MODEL"]), root)
    if from_file.get("MLFLOW_TRACKING_URI"):
        from_file["MLFLOW_TRACKING_URI"] = _anchor_uri(str(from_file["MLFLOW_TRACKING_URI"]), root)

    def value(name: str, default: str = "") -> str:
        return environ.get(name) or from_file.get(name) or default

    api_key = value("VLLM_API_KEY")
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError("VLLM_API_KEY: only printable ASCII can be sent in an HTTP header")
    host = value("SERVER_HOST", "127.0.0.1")
    port = _port(value("SERVER_PORT", "8000"))
    return Settings(
        judge_model=value("JUDGE_MODEL"),
        server_host=host,
        server_port=port,
        base_url=check_base_urls(value("JUDGE_BASE_URL", f"http://{_reachable(host)}:{port}/v1")),
        api_key=api_key,
        hub_token=value("HUGGING_FACE_HUB_TOKEN"),
        tracking_uri=value("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}"),
        experiment_name=value("MLFLOW_EXPERIMENT_NAME", "llm_judge"),
    )


def split_base_urls(text: str) -> tuple[str, ...]:
    """The servers that JUDGE_BASE_URL or --base-url names, each once, without end slashes."""
    urls = (url.strip().rstrip("/") for url in text.split(","))
    return tuple(dict.fromkeys(url for url in urls if url)) or ("",)


def check_base_urls(text: str) -> str:
    """The URLs, separated by commas; raises SettingsError for one that cannot be used."""
    return ",".join(check_base_url(url) for url in split_base_urls(text))


def check_base_url(url: str) -> str:
    """The URL without a trailing slash; raises SettingsError unless one can connect to it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if not usable or re.search(r"\s", url):
            raise ValueError
        str(parts.hostname).encode("idna")
    except ValueError:  # also from a port that is no number, or a host that is no name
        raise SettingsError(
            f"JUDGE_BASE_URL: '{url}' is not a URL; write it as http://127.0.0.1:8000/v1"
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


def _anchor_uri(uri: str, root: Path) -> str:
    """Make the relative path of a sqlite or file URI in `.env` absolute."""
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{root / uri.removeprefix('sqlite:///')}"
    if "://" not in uri and not uri.startswith(("/", "databricks", "file:")):
        return str(root / uri)
    return uri


def shell_assignments(settings: Settings) -> str:
    """The settings as lines `NAME=value`, quoted for bash."""
    return "\n".join(
        f"{NAMES[field.name]}={shlex.quote(str(getattr(settings, field.name)))}"
        for field in fields(settings)
    )


if __name__ == "__main__":
    try:
        print(shell_assignments(load_settings()))  # noqa: T201
    except SettingsError as error:
        sys.stderr.write(f"settings: {error}\n")
        sys.exit(2)
