"""Does the comparison of judges tell the better one, one after the other, and what each costs?

python -m pytest tests/commands/test_compare_judges.py
"""

import json
import shlex
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import spearmanr

from llm_client.settings import ROOT
from mlflow_tracking import compare_judges
from tests.support.experiment_process import Workspace, called_from, finish
from tests.support.graded_csv import (
    SCALE_ROWS,
    pairs_csv,
    reads_the_grade,
    rolls_dice,
    scale_csv,
    swayed_by,
)
from tests.support.judge_stub import Call, JudgeStub, count_tokens, serving
from tests.support.odd_server import MODES, odd_server, takes_no
from tests.support.vllm_process import JudgeServer

SCRIPT = ROOT / "mlflow_tracking/compare_judges.py"
SHIPPED = ROOT / "mlflow_tracking/data/right_and_wrong.csv"
ENGLISH = str(ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt")
AWAY = "http://127.0.0.1:9/v1"


@dataclass(frozen=True)
class Compared:
    """What the command said, and its --json."""

    code: int
    out: str
    err: str
    told: dict[str, Any]

    def judge(self, name: str) -> dict[str, Any]:
        [found] = [one for one in self.told["judges"] if one["name"] == name]
        return dict(found)

    @property
    def last(self) -> str:
        return self.err.splitlines()[-1]


@pytest.fixture
def good() -> Iterator[JudgeStub]:
    stub = JudgeStub(model="good", root="/models/qwen-good", judge=reads_the_grade)
    with serving(stub) as running:
        yield running


@pytest.fixture
def dice() -> Iterator[JudgeStub]:
    with serving(JudgeStub(model="dice", root="/models/dice", judge=rolls_dice)) as running:
        yield running


@pytest.fixture
def graded(tmp_path: Path) -> Path:
    return scale_csv(tmp_path)


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process, with folders of the test's own."""

    def run(data: Path, *flags: str, journals: str = "journals") -> Compared:
        table = tmp_path / "judges.json"
        table.unlink(missing_ok=True)
        words = ["--data", str(data), "--score-only", "--no-claim", "--json", str(table)]
        words += ["--journal-dir", str(tmp_path / journals), *flags]
        capsys.readouterr()
        with called_from(Workspace(tmp_path, with_database=False, script=SCRIPT), words):
            try:
                code = compare_judges.main()
            except SystemExit as end:
                code = int(end.code or 0)
        said = capsys.readouterr()
        told = json.loads(table.read_text()) if table.exists() else {}
        return Compared(code, said.out, said.err, told)

    return run


def named(*judges: tuple[str, str]) -> list[str]:
    return [word for name, url in judges for word in ("--judge", f"{name}={url}")]


def test_the_judge_that_agrees_with_people_is_taken_and_its_cost_is_the_servers(
    good: JudgeStub, dice: JudgeStub, graded: Path, compare: Any
) -> None:
    found = compare(graded, *named(("b", dice.base_url), ("a", good.base_url)), "--hours-for", "10")
    assert found.code == 0
    assert found.told["advice"]["judge"] == "a"
    asked = [call for call in dice.calls if call.row.startswith("item-")]
    human = [1 + int(call.row.removeprefix("item-")) % 5 for call in asked]
    rho = spearmanr([rolls_dice(call) for call in asked], human).statistic
    assert found.judge("b")["whole"]["value"] == pytest.approx(rho)
    assert found.judge("a")["whole"]["value"] == pytest.approx(1)
    assert found.judge("a")["generous"]["value"] == pytest.approx(0)
    [difference] = found.told["differences"]
    assert (difference["one"], difference["other"]) == ("b", "a")
    assert difference["estimate"]["high"] < 0
    tokens = found.judge("b")["tokens"]
    assert tokens["prompt"] == sum(count_tokens(call.body) for call in asked) / SCALE_ROWS
    assert tokens["completion"] == 1
    speed = found.judge("b")["speed"]
    assert speed["rows"] == SCALE_ROWS
    assert f"| b | {SCALE_ROWS / speed['seconds']:.2f} (" in found.out
    assert "take         a: it agrees best with people" in found.out
    assert f"rests on     {SCALE_ROWS} graded rows, judge_prompt.txt, and speeds" in found.out
    assert "own family   not measured: no column model" in found.out


def test_judges_on_one_server_in_turn_come_to_the_same_table(
    graded: Path, compare: Any, good: JudgeStub, dice: JudgeStub
) -> None:
    both = compare(
        graded, *named(("a", good.base_url), ("b", dice.base_url)), journals="both at once"
    )
    dice.stop()
    flags = named(("a", f"{good.base_url}#good"), ("b", f"{good.base_url}#dice"))
    first = compare(graded, *flags)
    assert first.code == 1
    assert first.judge("a")["scored"] == SCALE_ROWS
    assert first.judge("b")["scored"] == 0
    assert "take         none: b did not judge every row yet" in first.out
    assert "b is left for later" in first.err
    assert "judge b: " in first.last
    assert "start it and give the same command again: python " in first.last
    assert shlex.split(first.last.partition("again: python ")[2])[1:][-4:] == flags
    good.model, good.root, good.judge = "dice", "/models/dice", rolls_dice  # the other is served
    good.forget()
    second = compare(graded, *flags)
    assert second.code == 0
    assert sum(good.calls_by_row().values()) == SCALE_ROWS, "only the second judge's rows"
    for name in ("a", "b"):
        assert second.judge(name)["agreement"] == both.judge(name)["agreement"]
    assert second.judge("a")["speed"] == first.judge("a")["speed"], "its time is kept"
    assert second.told["advice"]["judge"] == "a"
    good.stop()
    assert compare(graded, *flags).out == second.out, "with no server at all"


def test_a_server_that_dies_leaves_its_judge_for_later_and_the_others_go_on(
    good: JudgeStub, dice: JudgeStub, graded: Path, compare: Any
) -> None:
    dying = threading.Thread(target=good.stop)

    def dies(call: Call) -> str:
        if len(good.calls_by_row()) >= 10 and dying.ident is None:
            dying.start()
        return ""

    good.faults, good.latency_s = dies, 0.05
    flags = [*named(("a", good.base_url), ("b", dice.base_url)), "--wait-for-server", "0"]
    flags += ["--retries", "0", "--concurrency", "2"]
    first = compare(graded, *flags)
    assert first.code == 1
    assert "judge a: " in first.last
    assert 0 < first.judge("a")["scored"] < SCALE_ROWS
    assert first.judge("a")["speed"] is None, "the waiting would be counted"
    assert first.judge("b")["scored"] == SCALE_ROWS
    dying.join()
    good.faults, good.latency_s = (lambda call: ""), 0.0
    good.forget()
    dice.forget()
    good.start()
    second = compare(graded, *flags)
    assert second.code == 0
    left = SCALE_ROWS - first.judge("a")["scored"]
    assert sum(good.calls_by_row().values()) == left
    assert second.judge("a")["speed"]["rows"] == left
    assert not dice.calls_by_row()


def test_another_model_is_never_asked_in_a_judges_name(
    good: JudgeStub, dice: JudgeStub, graded: Path, compare: Any
) -> None:
    flags = named(("a", good.base_url), ("b", dice.base_url))
    assert compare(graded, *flags, "--limit", "15").code == 0
    good.root = "/models/something-else"
    good.forget()
    more = compare(graded, *flags)
    assert more.code == 1
    assert not good.calls_by_row()
    assert more.judge("a")["scored"] == 15
    assert more.judge("b")["scored"] == SCALE_ROWS
    assert "not the judge that began these rows, model_root changed" in more.last
    renamed = compare(graded, *named(("a", f"{good.base_url}#other"), ("b", dice.base_url)))
    assert renamed.code == 2
    assert "its verdicts on these rows are of good, not of other" in renamed.err
    assert compare(graded, *named(("c", good.base_url), ("b", dice.base_url))).code == 0


def test_the_rows_of_a_start_are_new_to_the_servers_cache(
    good: JudgeStub, dice: JudgeStub, graded: Path, compare: Any
) -> None:
    flags = named(("a", good.base_url), ("b", dice.base_url))
    salts = []
    for journals in ("first", "second"):
        good.forget()
        assert compare(graded, *flags, journals=journals).code == 0
        asked = [call for call in good.calls if call.row.startswith("item-")]
        [salt] = {call.body["cache_salt"] for call in asked}
        salts.append(salt)
    assert salts[0] != salts[1]


def test_a_server_that_is_not_vllm_gets_no_field_of_vllms(
    dice: JudgeStub, graded: Path, compare: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(MODES, "no_cache_salt", takes_no("cache_salt"))
    with odd_server("no_cache_salt") as base_url:
        found = compare(graded, *named(("a", base_url), ("b", dice.base_url)))
    assert found.code == 0
    assert found.judge("a")["scored"] == SCALE_ROWS
    assert found.judge("a")["whole"]["note"] == "the judge's scores are all 4"
    assert "votes        2 judges are worth" in found.out


def test_of_several_models_one_has_to_be_named(dice: JudgeStub, graded: Path, compare: Any) -> None:
    with odd_server("several_judges") as base_url:
        found = compare(graded, *named(("a", base_url), ("b", dice.base_url)))
        assert found.code == 1
        assert "serves judge-7b, judge-70b: say which one with a=URL#MODEL" in found.last
        judges = named(("a", f"{base_url}#judge-7b"), ("c", f"{base_url}#judge-70b"))
        three = compare(graded, *judges, *named(("b", dice.base_url)))
    assert three.code == 0
    assert [one["model"] for one in three.told["judges"]] == ["judge-7b", "judge-70b", "dice"]
    assert len(three.told["differences"]) == 3
    assert three.out.count(", one of 3 at once") == 3


def test_rows_without_a_verdict_are_counted_and_asked_for_again(
    good: JudgeStub, dice: JudgeStub, graded: Path, compare: Any
) -> None:
    good.faults = lambda call: "prose" if call.row == "item-5" else ""
    flags = named(("a", good.base_url), ("b", dice.base_url))
    first = compare(graded, *flags)
    assert first.code == 1
    assert first.last == (
        "compare_judges: rows without a verdict: a 1; the same command again asks for them"
    )
    assert first.judge("a")["scored"] == SCALE_ROWS - 1
    assert first.told["advice"]["judge"] == "a", "it was asked about every row"
    good.faults = lambda call: ""
    good.forget()
    assert compare(graded, *flags).code == 0
    assert dict(good.calls_by_row()) == {"item-5": 1}


def test_a_judge_that_favours_its_own_family_is_told(
    good: JudgeStub, dice: JudgeStub, tmp_path: Path, compare: Any
) -> None:
    data = scale_csv(tmp_path)
    lines = data.read_text(encoding="utf-8").splitlines()
    makers = ("model", *("Qwen/Qwen3-4B" if n % 2 else "gemma-3" for n in range(SCALE_ROWS)))
    text = "\n".join(f"{line},{maker}" for line, maker in zip(lines, makers, strict=True))
    data.write_text(text + "\n", encoding="utf-8")
    good.judge = swayed_by(r"It is \*\*", 5)  # the odd rows, which Qwen wrote
    dice.judge = reads_the_grade
    found = compare(data, *named(("a", good.base_url), ("b", dice.base_url)))
    [favour] = found.told["favours"]
    assert (favour["judge"], favour["family"], favour["own"]) == ("a", "qwen", SCALE_ROWS // 2)
    # Two points of the whole score are 1.5 of the expected one of a judge that is sure to 0.8.
    assert favour["points"]["value"] == pytest.approx(1.5)
    assert favour["over_judges"]["value"] == pytest.approx(1.5)
    assert "own family   a: favours it, 1.50 (" in found.out


def test_a_polite_kill_says_that_the_same_command_goes_on(
    good: JudgeStub, dice: JudgeStub, tmp_path: Path, graded: Path
) -> None:
    workspace = Workspace(tmp_path, with_database=False, script=SCRIPT)
    flags = ["--data", str(graded), "--score-only", "--no-claim", "--concurrency", "2"]
    flags += named(("a", good.base_url), ("b", dice.base_url))
    good.latency_s = 0.1
    process = workspace.start(*flags)
    good.wait_for_calls(4)
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.code == 1
    assert done.problems[-1] == (
        "compare_judges: stopped: interrupted; the same command again goes on"
    )
    assert not dice.calls_by_row()
    judged = len(workspace.journal("a"))
    assert 0 < judged < SCALE_ROWS
    good.latency_s = 0.0
    good.forget()
    assert workspace.run(*flags).code == 0
    assert sum(good.calls_by_row().values()) == SCALE_ROWS - judged


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--judge", "URL"], "is not NAME=URL"),
        (["--judge", "a=URL"], "given once"),
        (["--judge", "a=URL", "--judge", "a=OTHER"], "given twice"),
        (["--judge", "a=URL", "--judge", "b=URL"], "have one address"),
        (["--judge", "a=URL", "--judge", "b=nowhere"], "is not NAME=URL"),
        ([], "--judge"),
        (["BOTH", "--data", "nowhere.csv"], "nowhere.csv"),
        (["BOTH", "--data", "PAIRS"], "has pairs"),
        (["BOTH", "--data", str(ROOT / "mlflow_tracking/data/evaluation_data.csv")], "human_score"),
        (["BOTH", "--prompt", "nowhere.txt"], "nowhere.txt"),
        (["BOTH", "--json", "/nowhere/table.json"], "--json"),
        (["BOTH", "--journal-dir", "/proc/nowhere"], "/proc/nowhere"),
        (["BOTH", "--hours-for", "0"], "--hours-for"),
        (["--judge", f"a={AWAY}", "--judge", "b=http://127.0.0.1:10/v1"], "no judge is there"),
    ],
    ids=[
        "no-name",
        "one-judge",
        "one-name",
        "one-address",
        "no-url",
        "no-judge",
        "no-file",
        "pairs",
        "no-grades",
        "no-prompt",
        "no-folder",
        "no-place-for-the-journals",
        "no-rows",
        "nobody-there",
    ],
)
def test_a_mistake_is_one_line(
    good: JudgeStub,
    dice: JudgeStub,
    tmp_path: Path,
    graded: Path,
    compare: Any,
    flags: list[str],
    word: str,
) -> None:
    both = named(("a", good.base_url), ("b", dice.base_url))
    given = [one for flag in flags for one in (both if flag == "BOTH" else [flag])]
    places = {"URL": good.base_url, "OTHER": dice.base_url, "PAIRS": str(pairs_csv(tmp_path))}
    for place, value in places.items():
        given = [flag.replace(place, value) for flag in given]
    found = compare(graded, *given)
    assert found.code == 2
    [problem] = [line for line in found.err.splitlines() if not line.startswith("note:")]
    assert word in problem
    assert not good.calls_by_row()


@pytest.mark.server
def test_a_real_judge_is_timed_on_rows_that_are_new_to_its_cache(
    judge_server: JudgeServer, good: JudgeStub, compare: Any
) -> None:
    flags = [*named(("real", judge_server.base_url), ("stub", good.base_url)), "--prompt", ENGLISH]
    for journals in ("first", "second"):  # the server has seen the rows by then
        found = compare(SHIPPED, *flags, "--limit", "6", journals=journals)
        assert found.code == 0
        real = found.judge("real")
        assert (real["model"], real["scored"]) == (judge_server.model, 6)
        assert real["tokens"]["completion"] == 1
        assert 0 < real["tokens"]["cached"] < 0.95 * real["tokens"]["prompt"]
        assert real["speed"]["rows"] == 6
