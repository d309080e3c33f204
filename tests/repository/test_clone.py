"""Does a clone made on Windows work in WSL, as the README advises? All of it has line ends of Unix.

python -m pytest tests/repository/test_clone.py
"""

import subprocess
from pathlib import Path

import pytest

from llm_client.settings import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")


def test_a_clone_with_the_line_ends_of_windows_switched_on_has_none(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    windows = ["-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    words = ["git", *windows, "clone", "-q", "--no-local", "--depth", "1", f"file://{ROOT}"]
    subprocess.run([*words, str(clone)], check=True, capture_output=True)
    listed = subprocess.run(
        ["git", "ls-files"], cwd=clone, check=True, capture_output=True, text=True
    )
    names = [name for name in listed.stdout.splitlines() if not name.endswith((".png", ".csv"))]
    assert {"Makefile", "vllm_server/run_vllm_server.sh"} <= set(names)
    assert [name for name in names if b"\r\n" in (clone / name).read_bytes()] == []
    for name in ("evaluation_data.csv", "right_and_wrong.csv"):  # whose hash is recorded
        path = Path("mlflow_tracking/data") / name
        assert (clone / path).read_bytes() == (ROOT / path).read_bytes()
    assert (
        subprocess.run(["bash", "vllm_server/run_vllm_server.sh", "--help"], cwd=clone).returncode
        == 0
    )
    assert subprocess.run(["make", "-n", "help"], cwd=clone, capture_output=True).returncode == 0
