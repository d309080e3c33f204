"""Does the house stay one that a stranger finds their way in? Few modules a folder, short files.

    python -m pytest tests/repository/test_house.py

The order of the rooms is a contract of import-linter, which `make lint` holds.
"""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from llm_client.settings import ROOT

PRODUCT = ("llm_client", "mlflow_tracking", "vllm_server", "screenshots", "benchmarks")
FILES = [
    path
    for path in (Path(name) for folder in PRODUCT for name in map(str, (ROOT / folder).rglob("*")))
    if path.suffix == ".py"
]
MOST_MODULES, MOST_LINES = 12, 350
COMMANDS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "mlflow_tracking").glob("*.py")
    if path.name not in ("__init__.py", "custom_metrics.py")
)
HEAVY = {"mlflow", "pandas", "scipy", "statsmodels", "matplotlib", "ray", "pyarrow", "aiohttp"}


def imports(path: Path) -> set[str]:
    """Top-level names of what a file imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_no_folder_has_more_than_twelve_modules() -> None:
    modules = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(f): n for f, n in modules.items() if n > MOST_MODULES} == {}


def test_no_file_is_longer_than_one_question_takes() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


def test_nothing_but_tests_imports_tests() -> None:
    assert [str(path) for path in FILES if "tests" in imports(path)] == []


def test_every_room_says_which_question_it_answers() -> None:
    for package in (ROOT / "mlflow_tracking").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(package.read_text())), package


@pytest.mark.parametrize("command", COMMANDS)
def test_a_typo_in_a_flag_waits_for_no_import(command: str) -> None:
    """By what is imported: seconds differ from one machine to the next."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        f"finally: print(sorted(set(sys.modules) & {HEAVY!r}))"
    )
    for flags in (["--no-such-flag"], ["--help"], ["export", "--help"]):
        if (flags[0] == "export") != command.endswith("batch_requests.py"):
            continue
        ran = subprocess.run(
            [sys.executable, "-c", code, command, *flags], cwd=ROOT, capture_output=True, text=True
        )
        assert ran.returncode == (2 if "--no-such-flag" in flags else 0), ran.stderr
        assert ran.stdout.splitlines()[-1] == "[]"
