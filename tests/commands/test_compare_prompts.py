"""Does the comparison of prompts tell the better one, and what each costs?

python -m pytest tests/commands/test_compare_prompts.py
"""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from scipy.stats import spearmanr

from llm_client.settings import ROOT
from mlflow_tracking import compare_prompts
from mlflow_tracking.judge.prompt import load_prompt
from tests.support.experiment_process import (
    Workspace,
    called_from,
    finish,
    numbered_rows,
    write_csv,
)
from tests.support.judge_stub import JudgeStub, count_tokens, serving, true_score
from tests.support.whole_answers import whole_answer_prompt

PROMPTS = ROOT / "mlflow_tracking/prompts"
SCRIPT = ROOT / "mlflow_tracking/compare_prompts.py"
ROWS = 20
_FIRST = str(PROMPTS / "judge_prompt.txt")


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    """People agree with the stub's judge, but for two rows."""
    rows = numbered_rows(ROWS)
    for n, row in enumerate(rows):
        row["human_score"] = str(6 - true_score(f"item-{n}") if n < 2 else true_score(f"item-{n}"))
    return write_csv(tmp_path / "graded.csv", rows)


def compare(folder: Path, base_url: str, *flags: str) -> int:
    words = ["--base-url", base_url, "--journal-dir", str(folder / "journals"), *flags]
    with called_from(Workspace(folder), words):
        try:
            return compare_prompts.main()
        except SystemExit as end:
            return int(end.code or 0)


def test_agreement_is_scipys_and_the_cost_is_the_servers(
    stub: JudgeStub, tmp_path: Path, graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [str(whole_answer_prompt()), str(whole_answer_prompt("judge_prompt_en.txt"))]
    prompts.append(str(PROMPTS / "judge_prompt.txt"))
    table = tmp_path / "table.json"
    flags = ("--data", str(graded), "--json", str(table), "--score-only")
    assert compare(tmp_path, stub.base_url, *prompts, *flags) == 0
    first, second, with_claim = json.loads(table.read_text())
    scores = [true_score(f"item-{n}") for n in range(ROWS)]
    human = [6 - s if n < 2 else s for n, s in enumerate(scores)]
    assert first["whole"]["value"] == pytest.approx(spearmanr(scores, human).statistic)
    assert first["over_first"] is None
    assert second["over_first"]["value"] == pytest.approx(0)
    assert (first["scored"], first["completion_tokens"]) == (ROWS, 1)
    asked = [call.body for call in stub.calls if "item-" in call.row]
    assert first["prompt_tokens"] == sum(map(count_tokens, asked[:ROWS])) / ROWS
    # Where the answer's claim is asked for and scored first, those calls are counted, too.
    assert with_claim["over_first"]["value"] == pytest.approx(0)
    assert with_claim["prompt_tokens"] == sum(map(count_tokens, asked[2 * ROWS :])) / ROWS
    assert len(asked[2 * ROWS :]) == 3 * ROWS, "the claim, its score, the whole answer's"
    shown = capsys.readouterr().out
    assert "| judge_prompt.txt | 20 |" in shown
    assert f"{first['whole']['value']:.2f} (" in shown


@pytest.mark.parametrize(
    "name", ["judge_prompt_criteria.txt", "variants/justification_first_en.txt"]
)
def test_a_prompt_whose_score_does_not_come_first_is_asked_for_whole_replies(
    stub: JudgeStub, tmp_path: Path, graded: Path, name: str
) -> None:
    stub.forget()
    flags = ("--data", str(graded), "--score-only")
    assert compare(tmp_path, stub.base_url, str(PROMPTS / name), *flags) == 0
    asked = [each for each in stub.calls if each.row.startswith("item-")]
    assert len(asked) == ROWS
    assert {each.body["max_tokens"] for each in asked} == {256}
    assert not any(each.begun for each in asked)


def test_the_same_command_again_asks_nothing(stub: JudgeStub, tmp_path: Path, graded: Path) -> None:
    flags = (str(PROMPTS / "decision_prompt_en.txt"), "--data", str(graded))
    assert compare(tmp_path, stub.base_url, *flags) == 0
    stub.forget()
    assert compare(tmp_path, stub.base_url, *flags) == 0
    assert not stub.calls_by_row()


def test_each_prompt_in_another_language_than_the_rows_is_told(
    stub: JudgeStub, tmp_path: Path, graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("decision_prompt_en.txt", "decision_prompt.txt", "judge_prompt_criteria.txt")
    flags = ("--data", str(graded), "--score-only")
    assert compare(tmp_path, stub.base_url, *(str(PROMPTS / name) for name in names), *flags) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "rows are in" in line]
    assert [line.split(", ")[1].split()[0] for line in notes] == list(names[1:])


def test_two_prompts_of_one_name_are_kept_apart(
    stub: JudgeStub, tmp_path: Path, graded: Path
) -> None:
    for folder, text in (("old", "Score: [1-5]\nWhy: [text]"), ("new", "Mark: [1-5]\nWhy: [text]")):
        (tmp_path / folder).mkdir()
        prompt = f"{text}\n---\n{{question}}\n{{answer}}\n"
        (tmp_path / folder / "prompt.txt").write_text(prompt, encoding="utf-8")
    table = tmp_path / "table.json"
    prompts = [str(tmp_path / folder / "prompt.txt") for folder in ("old", "new")]
    flags = ("--data", str(graded), "--json", str(table))
    assert compare(tmp_path, stub.base_url, *prompts, *flags) == 0
    assert [one["name"] for one in json.loads(table.read_text())] == ["prompt.txt"] * 2


def test_a_polite_kill_says_why_it_stopped_and_the_same_command_goes_on(
    stub: JudgeStub, tmp_path: Path, graded: Path
) -> None:
    workspace = Workspace(tmp_path, with_database=False, script=SCRIPT)
    flags = (str(whole_answer_prompt()), "--data", str(graded), "--concurrency", "2")
    stub.forget()
    stub.latency_s = 0.1
    try:
        process = workspace.start(*flags, base_url=stub.base_url)
        stub.wait_for_calls(4)
        process.send_signal(signal.SIGTERM)
        done = finish(process)
    finally:
        stub.latency_s = 0.0
    assert done.code == 1
    assert done.problems == [
        "compare_prompts: stopped: interrupted; the same command again goes on"
    ]
    judged = len(workspace.journal("*"))
    assert 0 < judged < ROWS
    stub.forget()
    assert workspace.run(*flags, base_url=stub.base_url).code == 0
    assert sum(stub.calls_by_row().values()) == ROWS - judged


def test_what_was_not_judged_ends_in_1_and_is_counted(
    stub: JudgeStub, tmp_path: Path, graded: Path
) -> None:
    stub.faults = lambda call: "prose" if call.row == "item-5" else ""
    table = tmp_path / "table.json"
    prompt = str(PROMPTS / "judge_prompt.txt")
    code = compare(tmp_path, stub.base_url, prompt, "--data", str(graded), "--json", str(table))
    stub.faults = lambda call: ""
    assert code == 1
    assert json.loads(table.read_text())[0]["scored"] == ROWS - 1


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("nowhere.txt", "--data", "GRADED"), "nowhere.txt"),
        ((str(PROMPTS / "judge_prompt.txt"), "--data", "nowhere.csv"), "nowhere.csv"),
        ((str(PROMPTS / "judge_prompt.txt"),), "--data"),
        (("--data", "GRADED"), "prompts"),
        ((_FIRST, "--data", "GRADED", "--json", "/nowhere/table.json"), "--json"),
        ((_FIRST, "--data", "GRADED", "--journal-dir", "/proc/nowhere"), "--journal-dir"),
    ],
    ids=[
        "no such prompt",
        "no such file",
        "no data",
        "no prompt",
        "no such folder",
        "no place for the journal",
    ],
)
def test_a_mistake_is_one_line(
    stub: JudgeStub,
    tmp_path: Path,
    graded: Path,
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    word: str,
) -> None:
    given = [str(graded) if flag == "GRADED" else flag for flag in flags]
    assert compare(tmp_path, stub.base_url, *given) == 2
    err = capsys.readouterr().err
    [problem] = [line for line in err.splitlines() if not line.startswith("note:")]
    assert word in problem


def test_a_server_that_is_not_there_is_one_line(
    tmp_path: Path, graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = str(PROMPTS / "judge_prompt.txt")
    assert compare(tmp_path, "http://127.0.0.1:9/v1", prompt, "--data", str(graded)) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "path", sorted((PROMPTS / "variants").glob("*.txt")), ids=lambda path: path.stem
)
def test_every_shipped_variant_is_a_prompt(path: Path) -> None:
    prompt = load_prompt(path)
    assert prompt.system
    assert prompt.uses_reference == ("without_reference" not in path.stem)
