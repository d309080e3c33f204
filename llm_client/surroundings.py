"""What of the machine around holds for us? Its streams, proxies and certificates, and no run.

Every command and client calls `guard_streams` and `settle_environment` before anything else, and
sends its requests as a `Route` says, whatever HTTP library it uses:

    HTTPS_PROXY=http://proxy:3128 python llm_client/vllm_api_client.py --base-url https://gpu1/v1
    SSL_CERT_FILE=cert.pem python llm_client/openai_client_example.py --base-url https://gpu1/v1
"""

import atexit
import io
import ipaddress
import os
import sys
import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast
from urllib.parse import urlsplit

from llm_client.settings import (
    NAMES,
    SettingsError,
    basic_login,
    keep_secret,
    load_other_settings,
    load_settings,
    redacted,
    split_credentials,
)

# What would have MLflow record elsewhere than in a run of our own: in a run, an experiment or a
# model of somebody else, below another run, or later than we read it back.
_NOT_OURS = (
    *("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_CONTEXT", "MLFLOW_TRACING_DESTINATION"),
    *("MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID", "MLFLOW_ENABLE_ASYNC_LOGGING"),
    "_MLFLOW_ENABLE_SGC_RUN_RESUMPTION_FOR_DATABRICKS_JOBS",
)
# requests knows networks, httpx and urllib names and single addresses.
_LOOPBACK = ("localhost", "127.0.0.0/8", "127.0.0.1", "::1", "[::1]")
_CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")  # OpenSSL's, requests'


class _Guarded:
    """A stream that shows no secret, whoever writes: we, argparse, MLflow's log, a traceback."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redacted(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Let stdout and stderr show what they can of any text, and no secret."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a text may hold what the terminal cannot show
        if not isinstance(stream, _Guarded):
            setattr(sys, name, cast(TextIO, _Guarded(stream)))


def settle_environment(environ: MutableMapping[str, str] = os.environ) -> None:
    """Make the environment that libraries read say what holds here; raises SettingsError."""
    for name, value in load_other_settings().items():
        environ.setdefault(name, value)
    for name in _NOT_OURS:
        environ.pop(name, None)
    settings = load_settings(environ)
    if settings.tracking_username or settings.tracking_token:
        environ[NAMES["tracking_uri"]] = settings.tracking_uri
        for field_name in ("tracking_username", "tracking_password", "tracking_token"):
            environ[NAMES[field_name]] = getattr(settings, field_name)
    _keep_loopback_direct(environ)
    _share_certificates(environ)


def _keep_loopback_direct(environ: MutableMapping[str, str]) -> None:
    given = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    direct = [host.strip() for host in given.split(",") if host.strip()]
    if "*" not in direct:
        direct += [host for host in _LOOPBACK if host not in direct]
        environ["no_proxy"] = environ["NO_PROXY"] = ",".join(direct)


def _share_certificates(environ: MutableMapping[str, str]) -> None:
    """Have all libraries trust what one of the names says: each reads another."""
    given = {name: Path(environ[name]) for name in _CERTIFICATES if environ.get(name)}
    for name, path in given.items():
        if not path.exists():
            raise SettingsError(f"{name}: there is no {path}; name a file of certificates")
    files = {path.resolve() for path in given.values()}
    if files and not any(file.is_dir() for file in files):
        trusted = str(files.pop()) if len(files) == 1 else _joined(sorted(files))
        environ.update(dict.fromkeys(_CERTIFICATES[:2], trusted))


def _joined(files: Sequence[Path]) -> str:
    """One file with the certificates of all, as long as the process lasts."""
    with tempfile.NamedTemporaryFile(suffix=".pem", delete=False) as together:
        together.write(b"\n".join(file.read_bytes() for file in files))
    atexit.register(Path(together.name).unlink, missing_ok=True)
    return together.name


@dataclass(frozen=True)
class Route:
    """How to reach a server: the same for every HTTP library, none of which is to look further."""

    url: str  # without credentials: it may be shown
    headers: Mapping[str, str] = field(repr=False)  # who asks
    proxy: str = field(repr=False)  # '' for none

    @property
    def certificates(self) -> str:
        """A file of certificates to trust in place of the usual ones, '' for those."""
        return os.environ.get("SSL_CERT_FILE", "")

    @property
    def through(self) -> str:
        """What a message about this server ends with: the proxy, if there is one."""
        if not self.proxy:
            return ""
        host = urlsplit(self.url).hostname
        return (
            f" (asked through the proxy {redacted(self.proxy)} of the environment; "
            f"NO_PROXY={host} asks without it)"
        )


def route_to(base_url: str, api_key: str) -> Route:
    """The way to a server; raises SettingsError for a proxy that is none for HTTP.

    Of credentials in the URL and a key the former are sent: there is but one header for both.
    """
    url, user, password = split_credentials(base_url)
    headers = {}
    if user or password:
        headers["Authorization"] = f"Basic {basic_login(user, password)}"
    elif api_key:
        headers["Authorization"] = f"Bearer {api_key}"
        keep_secret(api_key)
    return Route(url, headers, _proxy_of(url))


def _proxy_of(url: str) -> str:
    """The environment's proxy for a URL; '' for none, as always on this machine itself."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if not host or _is_loopback(host):
        return ""
    # Of the libraries it alone knows networks in NO_PROXY, and ALL_PROXY; slow to import.
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url)) or ""
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    split_credentials(proxy)  # which keeps its password secret
    if proxy and not proxy.startswith(("http://", "https://")):
        raise SettingsError(
            f"the proxy {redacted(proxy)} of the environment is none for HTTP; name one that is in "
            f"HTTP_PROXY and HTTPS_PROXY, or ask without: NO_PROXY={host}"
        )
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
