"""Does one line tell what a prompt file asks, and are broken files told without hiding the others?

python -m pytest tests/commands/test_list_prompts.py
"""

import subprocess
import sys
from pathlib import Path

from llm_client.settings import ROOT

PROMPTS = ROOT / "mlflow_tracking/prompts"
GOOD = (PROMPTS / "decision_prompt_en.txt").read_text(encoding="utf-8")


def listed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "mlflow_tracking/list_prompts.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")


def line_of(text: str, name: str) -> str:
    [line] = [line for line in text.splitlines() if line.split()[0] == name]
    return line


def test_every_shipped_prompt_has_its_line_with_a_question() -> None:
    done = listed()
    assert (done.returncode, done.stderr) == (0, "")
    head, *lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(
        file.name for file in PROMPTS.glob("*.txt")
    )
    assert max(map(len, done.stdout.splitlines())) <= 160
    asks = head.index("asks")
    assert all(line[asks].isupper() and line[asks - 2 : asks] == "  " for line in lines), lines
    for name in ("decision_prompt", "judge_prompt", "pairwise_prompt"):
        assert line_of(done.stdout, f"{name}.txt").split()[1] == "ru"
        assert line_of(done.stdout, f"{name}_en.txt").split()[1] == "en"


def test_places_and_form_of_the_reply_are_those_of_the_file() -> None:
    text = listed().stdout
    assert "question reference answer  " in line_of(text, "decision_prompt_en.txt")
    assert "  [yes/no]  " in line_of(text, "decision_prompt_en.txt")
    assert "  Точность, Полнота, … [1-5]  " in line_of(text, "judge_prompt_criteria.txt")
    assert "  Better answer [1/2]  " in line_of(text, "pairwise_prompt_en.txt")
    assert " answer_a answer_b  " in line_of(text, "pairwise_prompt_en.txt")


def test_a_broken_file_is_told_and_the_others_are_listed(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(GOOD, encoding="utf-8")
    (tmp_path / "todo.txt").write_text("{question} {answer}", encoding="utf-8")
    done = listed(str(tmp_path))
    assert done.returncode == 2
    assert "Is the student answer correct" in line_of(done.stdout, "good.txt")
    [told] = done.stderr.splitlines()
    assert told.startswith("list_prompts: ")
    assert "todo.txt: declares no score" in told


def test_a_folder_without_prompts_is_told(tmp_path: Path) -> None:
    done = listed(str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "has no prompt files" in done.stderr
