"""Do the benchmarks still start, and do they stand on their own?

python -m pytest tests/repository/test_benchmarks.py
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.judge_agreement import Compared, line, together
from benchmarks.judge_speed import long_prompt
from benchmarks.parts.instant_server import instant_server
from llm_client.settings import ROOT
from mlflow_tracking.defence.attacks import CORPUS, load_attacks
from mlflow_tracking.judge.prompt import load_prompt

FOLDER = ROOT / "benchmarks"
COMMANDS = sorted(
    str(path.relative_to(FOLDER))
    for path in (*FOLDER.glob("*.py"), *(FOLDER / "simulations").glob("*.py"))
    if path.name != "__init__.py"
)
MODULES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_benchmark_says_how_it_is_called(command: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FOLDER / command), "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{command}" in done.stdout


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_no_benchmark_needs_the_tests(module: Path) -> None:
    imported = [
        name
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    assert not [name for name in imported if name.partition(".")[0] == "tests"]


def test_the_long_justification_is_asked_for_in_the_words_of_the_shipped_prompt(
    tmp_path: Path,
) -> None:
    prompt = load_prompt(long_prompt(tmp_path))
    assert "[пять полных предложений" in prompt.text
    assert not prompt.format.one_sentence


def test_two_judges_beside_people_are_compared_on_the_same_rows() -> None:
    rng = np.random.default_rng(0)

    def graded(data: str, prompt: str, noise: tuple[float, float]) -> Compared:
        human = rng.integers(1, 6, 80).astype(float)
        columns = {"row": np.arange(80.0), "human_score": human}
        for side, size in zip(("first", "second"), noise, strict=True):
            columns[f"expected_score_{side}"] = human + rng.normal(0, size, 80)
        return Compared(data, prompt, pd.DataFrame(columns))

    better = [graded("a.csv", "p", (3, 0.5)), graded("b.csv", "p", (3, 0.5))]
    found = together(better, "expected_score")
    differences = [line(one)[5].value for one in better]  # type: ignore[attr-defined]
    assert found.value == pytest.approx(np.mean(differences))
    assert found.low is not None
    assert found.low > 0
    same = [graded("a.csv", prompt, (1, 1)) for prompt in "pq"]
    equal = together(same, "expected_score")
    assert equal.low is not None
    assert equal.high is not None
    assert equal.low < 0 < equal.high


def test_ours_takes_turns_on_a_second_server(tmp_path: Path) -> None:
    told = tmp_path / "passes.json"
    with instant_server(0.0) as here, instant_server(0.0) as there:
        command = [sys.executable, str(FOLDER / "judge_speed.py"), "--base-url", here]
        command += ["--rows", "3", "--rounds", "1", "--only", "ours-no-claim", "ceiling"]
        command += ["--against", f"other={there}", "--json", str(told)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        refused = subprocess.run([*command[:-3], "nonsense"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    passes = json.loads(told.read_text())["passes"]
    names = ["ours-no-claim", "ceiling", "ours-no-claim on other"]
    assert [(one["contestant"], one["tally"]["scored"]) for one in passes] == [
        (n, 3) for n in names
    ]
    assert "times as many rows/s as on other" in done.stdout
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "'nonsense': write NAME=URL" in refused.stderr


def test_attacks_found_are_counted_by_column_and_sealed_ones_only_if_asked() -> None:
    command = [sys.executable, str(FOLDER / "speaks_to_judge.py"), "--data"]
    command.append(str(ROOT / "mlflow_tracking/data/evaluation_data.csv"))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found, flagged = (
        [[cell.strip() for cell in row.strip("|").split("|")] for row in part.splitlines()]
        for part in done.stdout.split("\n\n")
    )
    attacks = [one for one in load_attacks(CORPUS) if not one.sealed]
    assert found[0][2:-1] == ["question", "answer", "reference", "context"]
    assert sum(int(row[1]) for row in found[2:]) == len(attacks)
    assert not [row for row in found if "sealed" in row[0]]
    for _, count, *cells, _ in found[2:]:
        assert all(0 <= int(cell) <= int(count) for cell in cells)
    *parts, together = flagged[2:]
    for column in (1, 3):
        assert sum(int(row[column]) for row in parts) == int(together[column])
        hits = sum(int(row[column + 1]) for row in parts)
        assert together[column + 1].startswith(f"{hits / int(together[column]):.2f} (")
