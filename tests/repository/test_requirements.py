"""Does all that the project imports stand in a requirements file, and does nothing else?

python -m pytest tests/repository/test_requirements.py
"""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from llm_client.settings import ROOT

ROOMS = ("llm_client", "mlflow_tracking", "vllm_server")
FILES = (
    "requirements.txt",
    "vllm_server/requirements-cpu.txt",
    "mlflow_tracking/requirements-distributed.txt",
)
NOT_IMPORTED = {"vllm": "run as a program by vllm_server/run_vllm_server.sh"}
REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*)\S*(.*)$", re.M)
DISTRIBUTIONS = packages_distributions()


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(file: str) -> dict[str, str]:
    """Distribution -> the rest of its line."""
    found = REQUIREMENT.findall((ROOT / file).read_text())
    return {normalized(name): rest.strip() for name, rest in found}


def imports_of(source: Path) -> set[str]:
    """Top-level modules of others, those imported inside of functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return {name for name in names if name not in (*sys.stdlib_module_names, *ROOMS)}


def importers() -> dict[str, list[str]]:
    """Module of others -> our files that import it."""
    found: dict[str, list[str]] = {}
    for room in ROOMS:
        for source in sorted(ROOT.joinpath(room).rglob("*.py")):
            for name in imports_of(source):
                found.setdefault(name, []).append(str(source.relative_to(ROOT)))
    return found


def distributions(module: str) -> set[str]:
    """The distributions that bring a module, by their normalized names."""
    return {normalized(name) for name in DISTRIBUTIONS.get(module, [module])}


def test_what_is_imported_is_required() -> None:
    named = {name for file in FILES for name in required(file)}
    found = importers()
    assert len(found) > 15
    missing = {
        module: files for module, files in found.items() if not distributions(module) & named
    }
    assert missing == {}


def test_what_is_required_is_imported_or_explained() -> None:
    used = {name for module in importers() for name in distributions(module)}
    assert set(required("requirements.txt")) - used - NOT_IMPORTED.keys() == set()


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_says_why(file: str) -> None:
    assert [name for name, rest in required(file).items() if "#" not in rest] == []
