"""How do the tests run a script with a `.env` of their own? In a copy of the scripts, beside fakes.

    scripts = ScriptCopy(tmp_path)
    scripts.fake("vllm", BOOT)
    scripts.run("run_vllm_server.sh", "--port", "8001")

A fake is a small program that stands in for what a test cannot have: a GPU, another Python, a vLLM.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from llm_client.settings import NAMES, ROOT

# The real Python for everything but the start of vLLM, which shows what vLLM would have been told.
PYTHON_WITHOUT_START = f"""
case ${{1:-}}-${{2:-}} in
  -m-vllm.*)
    printf '%s\\n' "$@"
    env | grep -E '^(VLLM_|HF_|LD_PRELOAD|MALLOC_|PYTHONPATH)' | sort
    exit 0 ;;
esac
exec {sys.executable} "$@"
"""


class ScriptCopy:
    """`vllm_server/` and what it needs, in a folder of a test."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        ignore = shutil.ignore_patterns("__pycache__")
        for name in ("vllm_server", "llm_client", "tests"):
            self.root.joinpath(name).mkdir(parents=True)
        shutil.copytree(
            ROOT / "vllm_server", self.root / "vllm_server", dirs_exist_ok=True, ignore=ignore
        )
        shutil.copy(ROOT / "llm_client" / "settings.py", self.root / "llm_client")
        shutil.copy(ROOT / "requirements.txt", self.root)
        shutil.copy(ROOT / "tests" / "requirements.txt", self.root / "tests")
        distributed = "mlflow_tracking/requirements-distributed.txt"  # that file names it
        (self.root / distributed).parent.mkdir()
        shutil.copy(ROOT / distributed, self.root / distributed)
        self.set_memory(gib=32)
        self.programs = folder / "programs"
        self.environment = {"PATH": f"{self.programs}:/usr/bin:/bin", "HOME": str(folder)}
        self.environment["XDG_CACHE_HOME"] = str(folder / "cache")

    def fake(self, name: str, body: str) -> Path:
        """A bash program of that name, first on the PATH (an absolute name: there)."""
        program = self.programs / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/usr/bin/env bash\n{body}")
        program.chmod(0o755)
        return program

    def set_memory(self, *, gib: int) -> None:
        """Have the copy believe that so much memory is available."""
        text = (ROOT / "vllm_server" / "check_model.py").read_text()
        for real, ours in (
            ("psutil.virtual_memory().available", str(gib << 30)),
            ('"/sys/fs/cgroup"', '"/nowhere"'),
        ):
            assert real in text
            text = text.replace(real, ours)
        self.root.joinpath("vllm_server", "check_model.py").write_text(text)

    def use_python(self, body: str = PYTHON_WITHOUT_START) -> None:
        """Make this Python the project's own environment."""
        self.fake(str(self.root / ".venv" / "bin" / "python"), body)

    def dotenv(self, **settings: str) -> None:
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        self.root.joinpath(".env").write_text("".join(lines))

    def run(
        self, script: str, *arguments: str, cwd: str = ".", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        outside = {k: v for k, v in os.environ.items() if k in {"LANG", "LC_ALL", "TERM"}}
        assert not outside.keys() & set(NAMES.values())
        return subprocess.run(
            ["bash", str(self.root / "vllm_server" / script), *arguments],
            cwd=self.root / cwd,
            env={**outside, **self.environment, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
        )


def value_after(flag: str, words: list[str]) -> str:
    """The value of a flag in a command; the last one counts, as in argparse."""
    at = [number for number, word in enumerate(words) if word == flag]
    return words[at[-1] + 1] if at else ""


def make_model_folder(folder: Path, *, template: bool = True, max_length: int = 32768) -> Path:
    """A folder that looks like a model as far as it is looked at before vLLM loads it."""
    folder.mkdir(parents=True)
    config = f'{{"max_position_embeddings": {max_length}, "dtype": "bfloat16"}}'
    folder.joinpath("config.json").write_text(config)
    folder.joinpath("model.safetensors").write_bytes(b"weights")
    if template:
        folder.joinpath("chat_template.jinja").write_text("{{ messages }}")
    return folder
