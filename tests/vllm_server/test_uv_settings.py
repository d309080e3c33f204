"""Does uv look where pip looks, with pip's constraints and certificates?

python -m pytest tests/vllm_server/test_uv_settings.py
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from vllm_server.uv_settings import ALWAYS, uv_settings


@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ([], {}),
        (
            ["global.index-url='https://mirror/simple'"],
            {"UV_DEFAULT_INDEX": "https://mirror/simple"},
        ),
        (
            ["global.extra-index-url='\\nfile:///a\\nfile:///b'", "global.find-links='/w /x'"],
            {"UV_INDEX": "file:///a file:///b", "UV_FIND_LINKS": "/w,/x"},
        ),
        (
            [
                ":env:.index-url='https://c'",
                "global.index-url='https://a'",
                "install.index-url='b'",
            ],
            {"UV_DEFAULT_INDEX": "https://c"},
        ),
        (["download.index-url='https://a'", "global.timeout='60'", "nonsense"], {}),
        (
            ["global.cert='/ca.pem'", "global.proxy='http://p:1'", "global.trusted-host='h'"],
            {"SSL_CERT_FILE": "/ca.pem", "ALL_PROXY": "http://p:1", "UV_INSECURE_HOST": "h"},
        ),
    ],
)
def test_pips_settings_are_uvs(listed: list[str], wanted: dict[str, str]) -> None:
    assert uv_settings(listed) == ALWAYS | wanted


def test_pip_itself_is_asked_and_the_users_own_word_for_uv_wins(tmp_path: Path) -> None:
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://user:it's@mirror/simple\nfind-links = /w\n")
    environment = {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": str(config),
        "HOME": str(tmp_path),
    }
    environment |= {"UV_FIND_LINKS": "/mine", "PIP_CERT": "/ca.pem"}
    script = str(ROOT / "vllm_server" / "uv_settings.py")
    shown = 'eval "$($0 $1)"; printf "%s\\n" "$UV_DEFAULT_INDEX" "$UV_FIND_LINKS" "$SSL_CERT_FILE"'
    command = ["bash", "-c", shown, sys.executable, script]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == ["https://user:it's@mirror/simple", "/mine", "/ca.pem"]
