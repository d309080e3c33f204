"""How would pip install here? Its own settings, as those of uv, which reads none of them.

    eval "$(python vllm_server/uv_settings.py)"

pip's settings are those of pip.conf and of the variables PIP_...: indexes, folders of wheels,
constraints, certificates, proxies. What uv has no word for is left out.
"""

import ast
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable

# uv's variable, and what it has between several values.
NAMES = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
}
# As pip does: the best version of all indexes, the system's certificates, modules compiled at once
# (without it vLLM's first start took 65 s in place of 34, and every one where none may be written).
ALWAYS = {
    "UV_INDEX_STRATEGY": "unsafe-best-match",
    "UV_SYSTEM_CERTS": "1",
    "UV_COMPILE_BYTECODE": "1",
}
SECTIONS = ("global", "install", ":env:")  # the later wins


def main() -> None:
    """Print assignments for bash."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for name, value in uv_settings(listed.splitlines()).items():
        if name not in os.environ or not name.startswith("UV_"):  # the user's own word
            print(f"export {name}={shlex.quote(value)}")  # noqa: T201


def uv_settings(listed: Iterable[str]) -> dict[str, str]:
    """uv's variables for the lines of `pip config list`."""
    found: dict[str, tuple[int, str]] = {}
    for line in listed:
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if name not in NAMES or section not in SECTIONS or not value:
            continue
        variable, between = NAMES[name]
        words = between.join(str(ast.literal_eval(value)).split())
        rank = SECTIONS.index(section)
        found[variable] = max(found.get(variable, (rank, words)), (rank, words))
    return ALWAYS | {variable: value for variable, (_, value) in found.items()}


if __name__ == "__main__":
    main()
