"""Does `make` list what it can do, and does each target do what its line says?

python -m pytest tests/repository/test_makefile.py
make help
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from llm_client.settings import ROOT

TARGETS = (
    "setup",
    "server",
    "run",
    "experiment",
    "answers",
    "ui",
    "stop",
    "screenshots",
    "lint",
    "test",
    "help",
)

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")


def make(*arguments: str) -> str:
    """What make prints; with -n, the commands that it would run."""
    command = ["make", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_plain_make_lists_the_target(target: str) -> None:
    assert f"make {target} " in make()


def test_run_is_setup_then_server_then_experiment() -> None:
    commands = make("-n", "run", "ARGS=--limit 4")
    steps = ["setup_environment.sh", "start_server.sh", "run_experiment.py --limit 4"]
    places = [commands.index(step) for step in steps]
    assert places == sorted(places)
    assert commands.count("took %s s") == len(steps)


@pytest.mark.parametrize(
    ("model", "name"), [("org/small", "org/small"), ("link", "small")], ids=["Hub", "a folder"]
)
def test_answers_are_those_of_the_model_that_is_named(
    tmp_path: Path, model: str, name: str
) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "small")
    given = tmp_path / model if model == "link" else model
    commands = make("-n", "answers", f"ANSWER_MODEL={given}")
    assert commands.count(f"--answer-model '{name}'") == 2  # asked, and judged


def test_answers_loads_one_model_at_a_time() -> None:
    commands = make("-n", "answers", "ANSWER_MODEL=org/small", "ARGS=--limit 4").splitlines()
    steps = [line for line in commands if "_server.sh" in line or "--answers-from" in line]
    expected = ("stop_server", "org/small", "--answers-only --limit 4", "start_server", "--limit 4")
    assert [want in line for want, line in zip(expected, steps[:3] + steps[-2:], strict=True)] == [
        True
    ] * 5
    refused = subprocess.run(
        ["make", "-C", str(ROOT), "-n", "answers"], capture_output=True, text=True
    )
    assert "ANSWER_MODEL=" in refused.stdout


def test_a_failed_step_ends_the_run_with_its_own_code_and_time() -> None:
    recipe = (
        "include Makefile\ncheck:\n\t@$(call timed,check,exit_with() { return 3; }; exit_with)\n"
    )
    ran = subprocess.run(
        ["make", "-f", "-", "check"], input=recipe, capture_output=True, text=True, cwd=ROOT
    )
    assert "make: check took 0 s" in ran.stderr
    assert "Error 3" in ran.stderr


def test_test_lints_first() -> None:
    commands = make("-n", "test")
    tools = ["ruff check", "ruff format --check", "mypy", "shellcheck", "pytest"]
    places = [commands.index(tool) for tool in tools]
    assert places == sorted(places)
