"""Do both READMEs tell the same commands, and is every command there to be run?

python -m pytest tests/repository/test_documents.py
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.ru.md")}
BOTH = pytest.mark.parametrize("name", sorted(TEXTS))


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S)


def inline_code(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return set(re.findall(r"`([^`\n]+)`", prose))


def commands(text: str) -> list[str]:
    """Every line of a block and every inline code that begins like a command."""
    lines = [line for block in code_blocks(text) for line in block.splitlines()]
    found = [line.partition("  #")[0].strip() for line in [*lines, *inline_code(text)]]
    start = re.compile(
        r"(?:[A-Z_]+=\S+ )*(?:make|python3?|bash|pip|curl|mlflow|cp|cd|source|grep) "
    )
    return sorted({line for line in found if start.match(line)})


def test_both_languages_have_the_same_blocks() -> None:
    english, russian = (code_blocks(TEXTS[name]) for name in ("README.md", "README.ru.md"))
    assert len(english) > 8
    assert english == russian


def test_both_languages_have_the_same_commands() -> None:
    assert len(commands(TEXTS["README.md"])) > 25
    assert commands(TEXTS["README.md"]) == commands(TEXTS["README.ru.md"])


@BOTH
def test_every_file_that_is_named_exists(name: str) -> None:
    files = re.findall(
        r"\b(?:llm_client|mlflow_tracking|vllm_server|screenshots)/[\w./-]*\w\.\w+", TEXTS[name]
    )
    assert len(set(files)) > 8
    assert [file for file in files if not (ROOT / file).exists()] == []


@BOTH
def test_every_make_target_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        target for text in commands(TEXTS[name]) for target in re.findall(r"\bmake (\w+)", text)
    }
    assert {"run", "test", "server", "stop", "ui"} <= targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.M)} == set()


@BOTH
@pytest.mark.parametrize(
    "script",
    [
        "llm_client/openai_client_example.py",
        "llm_client/vllm_api_client.py",
        "mlflow_tracking/batch_requests.py",
        "mlflow_tracking/compare_prompts.py",
        "mlflow_tracking/compare_runs.py",
        "mlflow_tracking/probe_injection.py",
        "mlflow_tracking/run_distributed.py",
        "mlflow_tracking/run_experiment.py",
        "mlflow_tracking/validate_judge.py",
    ],
)
def test_every_flag_of_a_script_is_in_its_help(name: str, script: str) -> None:
    lines = [line for line in commands(TEXTS[name]) if script in line]
    assert lines
    flags = {flag for line in lines for flag in re.findall(r"--[a-z-]+", line)}
    ran = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {flag for flag in flags if flag not in ran.stdout} == set()
