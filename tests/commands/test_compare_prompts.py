"""Does the comparison of prompts tell the better one, and what each costs?

python -m pytest tests/commands/test_compare_prompts.py
"""

import json
import re
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
from tests.support.graded_csv import pairs_csv
from tests.support.judge_stub import JudgeStub, count_tokens, serving, true_score
from tests.support.whole_answers import whole_answer_prompt

PROMPTS = ROOT / "mlflow_tracking/prompts"
SCRIPT = ROOT / "mlflow_tracking/compare_prompts.py"
ROWS = 20
_FIRST = str(PROMPTS / "judge_prompt.txt")
_SHOWN = (_FIRST, "--data", "GRADED", "--examples", "GRADED")


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


def test_a_prompt_with_examples_is_compared_to_itself_on_rows_that_it_does_not_show(
    stub: JudgeStub, tmp_path: Path, graded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub.forget()
    table, new = tmp_path / "table.json", tmp_path / "new.txt"
    prompts = [str(whole_answer_prompt()), str(PROMPTS / "variants/short_scale_en.txt")]
    flags = ["--data", str(graded), "--examples", str(graded), "--shots", "4", "--score-only"]
    flags += ["--json", str(table), "--write-prompt", str(new)]
    assert compare(tmp_path, stub.base_url, *prompts, *flags) == 0
    names = [one["name"] for one in json.loads(table.read_text())]
    assert names == ["judge_prompt.txt", "new.txt", "short_scale_en.txt"]
    assert {one["scored"] for one in json.loads(table.read_text())} == {ROWS - 4}
    shown = set(re.findall(r"What is (item-\d+)", new.read_text(encoding="utf-8")))
    judged = {call.row for call in stub.calls if call.row.startswith("item-")}
    assert len(shown) == 4
    assert shown | judged == {f"item-{n}" for n in range(ROWS)}
    assert not shown & judged
    # The examples are in what all rows share, which the server computes once.
    system = load_prompt(new).system
    asked = [call.body["messages"][0]["content"] for call in stub.calls if call.row in judged]
    assert asked.count(system) == ROWS - 4
    told = capsys.readouterr()
    assert "note: 4 of 20 rows share a question with an example and are left out" in told.err
    assert f"note: {new} has 4 examples, of {graded}, lines " in told.err
    assert f"{ROWS - 4} rows" in told.out
    stub.forget()
    assert compare(tmp_path, stub.base_url, *prompts, *flags) == 0
    assert not [call for call in stub.calls if call.row.startswith("item-")]


def test_no_example_is_measured_where_one_prompt_shows_more_columns_than_another(
    stub: JudgeStub, tmp_path: Path
) -> None:
    rows = numbered_rows(ROWS)
    for n, row in enumerate(rows):
        row |= {"human_score": str(true_score(f"item-{n}")), "context": f"Passage {n}."}
    data, table = write_csv(tmp_path / "graded.csv", rows), tmp_path / "table.json"
    plain, richer = whole_answer_prompt(), tmp_path / "with_context.txt"
    text = plain.read_text(encoding="utf-8")
    richer.write_text(f"{text}\n\nContext:\n{{context}}\n", encoding="utf-8")
    flags = ["--data", str(data), "--examples", str(data), "--shots", "4", "--score-only"]
    flags += ["--json", str(table), "--write-prompt", str(tmp_path / "new.txt")]
    assert compare(tmp_path, stub.base_url, str(plain), str(richer), *flags) == 0
    assert [one["scored"] for one in json.loads(table.read_text())] == [ROWS - 4] * 3


def test_examples_of_another_file_cost_no_row_and_a_limit_is_not_for_them(
    stub: JudgeStub, tmp_path: Path, graded: Path
) -> None:
    rows = [
        {"inputs": f"Where is {n}?", "predictions": f"At {n}.", "human_score": score}
        for n, score in enumerate(("right", "wrong"))
    ]
    others, table, new = tmp_path / "others.csv", tmp_path / "table.json", tmp_path / "new.txt"
    write_csv(others, rows)
    flags = ["--data", str(graded), "--examples", str(others), "--shots", "2", "--limit", "1"]
    flags += ["--json", str(table), "--write-prompt", str(new)]
    prompt = str(PROMPTS / "decision_prompt_en.txt")
    assert compare(tmp_path, stub.base_url, prompt, *flags) == 0
    assert [one["scored"] for one in json.loads(table.read_text())] == [1, 1]
    shown = new.read_text(encoding="utf-8")
    assert shown.index("At 1.\n</answer>\n\nno\n") < shown.index("At 0.\n</answer>\n\nyes\n")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("nowhere.txt", "--data", "GRADED"), "nowhere.txt"),
        ((str(PROMPTS / "judge_prompt.txt"), "--data", "nowhere.csv"), "nowhere.csv"),
        ((str(PROMPTS / "judge_prompt.txt"),), "--data"),
        (("--data", "GRADED"), "prompts"),
        ((_FIRST, "--data", "GRADED", "--json", "/nowhere/table.json"), "--json"),
        ((_FIRST, "--data", "GRADED", "--journal-dir", "/proc/nowhere"), "--journal-dir"),
        ((_FIRST, "--data", "GRADED", "--shots", "4"), "--examples"),
        ((_FIRST, "--data", "GRADED", "--write-prompt", "new.txt"), "--examples"),
        ((*_SHOWN, "--shots", "0"), "--shots"),
        ((*_SHOWN, "--shots", "21"), "--shots 21: found 20 rows"),
        ((*_SHOWN, "--shots", "20"), "every row shares its question"),
        ((*_SHOWN, "--write-prompt", "/nowhere/new.txt"), "there is no folder /nowhere"),
        ((*_SHOWN, "--write-prompt", _FIRST), "is another file of this command"),
        ((*_SHOWN, "--write-prompt", "GRADED"), "is another file of this command"),
        ((*_SHOWN, "--write-prompt", "t", "--json", "t"), "is another file of this command"),
        ((_FIRST, "--data", "GRADED", "--examples", "PAIRS"), "has pairs"),
        ((_FIRST, "--data", "GRADED", "--examples", "nowhere.csv"), "nowhere.csv"),
    ],
    ids=[
        "no such prompt",
        "no such file",
        "no data",
        "no prompt",
        "no such folder",
        "no place for the journal",
        "shots of nothing",
        "a file for nothing",
        "no shots",
        "more shots than questions",
        "nothing left to judge",
        "no folder for the prompt",
        "over the prompt",
        "over the rows",
        "two outputs in one file",
        "examples of pairs",
        "no such examples",
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
    files = {"GRADED": str(graded), "PAIRS": str(pairs_csv(tmp_path))}
    given = [files.get(flag, flag) for flag in flags]
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
