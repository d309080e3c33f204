"""Is every example of docs/judging.md, and the README's, judged as it says, by the real judge?

    python -m pytest tests/commands/test_judging_page.py

The files are the page's own blocks, under the names that stand on them, and so are the commands.
About sixty calls of a second each, most of them of one token.
"""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.rows.table import read_names
from tests.support.experiment_process import Recorded, Workspace, finish
from tests.support.vllm_process import JudgeServer

pytestmark = [pytest.mark.server, pytest.mark.timeout(1200)]

PAGE = (ROOT / "docs/judging.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^```\w+ (\S+)\n(.*?)^```", PAGE, re.M | re.S))
README = (ROOT / "README.md").read_text(encoding="utf-8")
FILES["my_prompt.txt"] = re.findall(r"^```text\n(.*?)^```", README, re.M | re.S)[0]
COMMANDS = [
    line
    for page in (PAGE, README)
    for block in re.findall(r"^```bash\n(.*?)^```", page, re.M | re.S)
    for line in block.splitlines()
]
RUNS = {  # by the prompt's file: rows, scale, columns that the judge is shown, further scores
    "grounded.txt": (3, "yes/no", ["passage"], []),
    "my_prompt.txt": (3, "yes/no", ["passage"], []),
    "rubric.txt": (3, "0-10", ["rubric"], []),
    "service.txt": (2, "poor/fair/good", [], []),
    "checklist.txt": (
        *(3, "1-5", ["passage"]),
        [
            *("The passage says it", "Answers the question", "Leaves nothing out"),
            *("Polite", "Short", "Clear"),
        ],
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files."""
    folder = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def command_of(words: str) -> list[str]:
    """The words of the page's only command with those in it."""
    [found] = [line for line in COMMANDS if re.search(rf"{re.escape(words)}(?!\S)", line)]
    return shlex.split(found, comments=True)


def judged(prompt: str, folder: Path, server: JudgeServer) -> Recorded:
    python, script, *flags = command_of(f"--prompt {prompt}")
    assert (python, script) == ("python", "mlflow_tracking/run_experiment.py")
    workspace = Workspace(folder / f"of-{prompt}")
    settings = {"VLLM_API_KEY": server.api_key}
    started = workspace.start(
        *flags, "--traces", "10", base_url=server.base_url, cwd=folder, settings=settings
    )
    done = finish(started, 900)
    assert done.code == 0, done.err
    return workspace.last_run()


@pytest.mark.parametrize("prompt", RUNS)
def test_an_example_is_judged_on_its_own_scale(
    prompt: str, folder: Path, judge_server: JudgeServer
) -> None:
    rows, scale, columns, lines = RUNS[prompt]
    (folder / f"of-{prompt}").mkdir()
    run = judged(prompt, folder, judge_server)
    assert run.metrics["llm_judge/rows_scored"] == rows
    assert run.params["scale"] == scale
    table: list[dict[str, Any]] = run.table("judge_results.json")
    ends = {"yes/no": (1, 5), "0-10": (0, 10), "poor/fair/good": (1, 3), "1-5": (1, 5)}[scale]
    for row in table:
        assert ends[0] <= row["score"] <= ends[1]
        assert row["expected_score"] is not None, "the probabilities of every word are known"
        assert ends[0] <= row["expected_score"] <= ends[1]
        assert set(columns) <= set(row)
        assert {row[line] for line in lines} <= {1, 2, 3, 4, 5}
    mean = sum(row["score"] for row in table) / rows
    assert run.metrics["llm_judge_accuracy/v1/mean"] == pytest.approx(mean)
    for line in lines:
        name = "llm_judge_" + line.casefold().replace(" ", "_")
        own = sum(row[line] for row in table) / rows
        assert run.metrics[f"{name}/v1/mean"] == pytest.approx(own)
    assert {f"llm_judge/mean_if_failed_are_{end}" for end in ends} <= set(run.metrics)


def test_of_a_chat_the_last_reply_is_judged_and_the_rest_is_shown(folder: Path) -> None:
    data = load_rows(folder / "chats.jsonl", named=read_names("question=messages"))
    assert [item.answer for item in data.items] == [
        "Thank you. LX 12 arrives tomorrow.",
        "That is your problem.",
    ]
    assert data.items[0].question.startswith("User: My parcel is late.\n\nAssistant: I am sorry!")


def test_a_prompt_with_examples_is_written_and_measured(
    folder: Path, judge_server: JudgeServer
) -> None:
    python, script, *flags = command_of("--examples graded.csv")
    home = folder / "of-examples"
    home.mkdir()
    workspace = Workspace(home, script=ROOT / script)
    flags = [str(ROOT / word) if word.startswith("mlflow_tracking/") else word for word in flags]
    settings = {"VLLM_API_KEY": judge_server.api_key}
    started = workspace.start(*flags, base_url=judge_server.base_url, cwd=folder, settings=settings)
    done = finish(started, 900)
    assert done.code == 0, done.err
    table = [line for line in done.out.splitlines() if line.startswith("| ")]
    assert "decision_prompt_en" in table[-2]
    assert "prompt_with_examples" in table[-1]
    assert "| 6 |" in table[-1], "ten rows, less those of two questions"
    assert (folder / "prompt_with_examples.txt").is_file()
