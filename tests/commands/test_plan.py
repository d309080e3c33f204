"""Does a plan tell how long a run takes, and is nothing that it judged asked for again?

python -m pytest tests/commands/test_plan.py
"""

import random
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.command.plan import ROWS, Sample, explained, spread
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.stats.estimate import Estimate
from tests.support.experiment_process import Done, Workspace, call, write_csv
from tests.support.judge_stub import JudgeStub, serving

PROMPTS = ROOT / "mlflow_tracking/prompts"
ENGLISH = PROMPTS / "judge_prompt_en.txt"
FLAGS = ("--no-claim", "--prompt", str(ENGLISH))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


def write_rows(folder: Path, count: int, name: str = "rows.csv") -> Path:
    """Rows in no order of their lengths; the number of a row says how long it is."""
    numbers = random.Random(0).sample(range(count), count)
    rows = [
        {"inputs": f"What is item-{n}?", "predictions": f"It is item-{n}{' really' * n}."}
        for n in numbers
    ]
    return write_csv(folder / name, rows)


def asked_rows(stub: JudgeStub) -> set[int]:
    """The rows that were asked about since the stub forgot."""
    found = {int(row.removeprefix("item-")) for row in stub.calls_by_row()}
    stub.forget()
    return found


def judge(
    workspace: Workspace,
    capfd: pytest.CaptureFixture[str],
    stub: JudgeStub,
    csv: Path,
    *flags: str,
) -> Done:
    return call(workspace, capfd, "--data", str(csv), *FLAGS, *flags, base_url=stub.base_url)


# ---------------------------------------------------------------- which rows


def test_the_rows_are_spread_over_the_lengths_and_in_the_files_order() -> None:
    lengths = random.Random(1).sample(range(160), 160)
    places = spread(lengths)
    assert sorted(lengths[place] for place in places) == list(range(5, 160, 10))
    assert places == sorted(places)
    assert not set(places) & set(spread(lengths, without=places))


def test_of_few_rows_all_are_taken() -> None:
    assert spread([5, 1, 3]) == [0, 1, 2]
    assert spread([5, 1, 3], without=[0, 1, 2]) == []


# ---------------------------------------------------------------- what is judged, and kept


def test_a_run_asks_for_no_row_that_was_planned_with(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    csv = write_rows(tmp_path, 64)
    done = judge(workspace, capfd, stub, csv, "--plan")
    assert done.code == 0 and workspace.runs() == []
    assert "16 of 64 different rows (64 in all), spread over their lengths" in done.out
    assert re.search(r"^time         \d+\.\d s \(\d+\.\d to \d+\.\d\)$", done.out, re.M), done.out
    assert re.search(r"^tokens       [\d,]+ of prompts, 50 % from the cache;", done.out, re.M)
    assert re.search(
        r"^one token .* with --score-only, estimated by 16 other rows$", done.out, re.M
    )
    assert re.search(r"^some reasons .* --explain-below 3: \d+ % score below 3$", done.out, re.M)
    alone = {int(c.row[5:]) for c in stub.calls if c.row[:5] == "item-" and c.begun}
    whole = asked_rows(stub) - alone
    assert sorted(whole) == list(range(2, 64, 4)) and len(alone) == ROWS

    again = judge(workspace, capfd, stub, csv, "--plan")
    assert again.out == done.out and asked_rows(stub) == set()

    assert judge(workspace, capfd, stub, csv).code == 0
    assert asked_rows(stub) == set(range(64)) - whole
    run = workspace.last_run()
    assert run.metrics["llm_judge/rows_scored"] == 64
    assert len({line["key"] for line in workspace.journal(run.id)}) == 64

    assert judge(workspace, capfd, stub, csv, "--score-only").code == 0
    assert asked_rows(stub) == set(range(64)) - alone
    assert workspace.last_run().metrics["llm_judge/rows_scored"] == 64


def test_a_run_of_fewer_rows_takes_over_its_own_alone(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    csv = write_rows(tmp_path, 32)
    assert judge(workspace, capfd, stub, csv, "--plan").code == 0
    asked_rows(stub)
    assert judge(workspace, capfd, stub, csv, "--limit", "8").code == 0
    assert 0 < len(asked_rows(stub)) < 8
    assert len(workspace.journal(workspace.last_run().id)) == 8


def other_data(csv: Path) -> list[str]:
    return ["--data", str(write_rows(csv.parent, 21, "other.csv"))]


def other_prompt(csv: Path) -> list[str]:
    prompt = csv.parent / "prompt.txt"
    prompt.write_text(ENGLISH.read_text(encoding="utf-8") + "\nBe strict.\n", encoding="utf-8")
    return ["--prompt", str(prompt)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(other_data, id="data"),
        pytest.param(other_prompt, id="prompt"),
        pytest.param(lambda csv: ["--max-tokens", "200"], id="length of a reply"),
        pytest.param(lambda csv: ["--seed", "1"], id="seed"),
    ],
)
def test_nothing_is_shared_with_a_run_of_another(
    other: Callable[[Path], list[str]],
    workspace: Workspace,
    stub: JudgeStub,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    csv = write_rows(tmp_path, 20)
    assert judge(workspace, capfd, stub, csv, "--plan").code == 0
    asked_rows(stub)
    assert judge(workspace, capfd, stub, csv, *other(csv)).code == 0
    assert len(asked_rows(stub)) == workspace.last_run().metrics["llm_judge/rows_total"] >= 20


def test_of_fewer_than_sixteen_rows_all_are_judged(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    csv = write_rows(tmp_path, 5)
    done = judge(workspace, capfd, stub, csv, "--plan")
    assert done.code == 0
    assert "5 of 5 different rows (5 in all), all there are" in done.out
    assert "not estimated, that takes 16 rows more" in done.out
    assert asked_rows(stub) == set(range(5))


def test_equal_rows_are_planned_once(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = {"inputs": "What is item-1?", "predictions": "It is item-1."}
    done = judge(workspace, capfd, stub, write_csv(tmp_path / "same.csv", [row] * 40), "--plan")
    assert "1 of 1 different rows (40 in all)" in done.out
    assert sum(stub.calls_by_row().values()) == 1


def test_a_plan_with_one_token_a_row_tells_of_nothing_else(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done = judge(workspace, capfd, stub, write_rows(tmp_path, 40), "--plan", "--score-only")
    assert done.code == 0 and "time  " in done.out
    assert "one token" not in done.out and len(asked_rows(stub)) == ROWS


def test_a_plan_that_was_killed_asks_for_nothing_again_that_it_has(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path
) -> None:
    csv, stub.latency_s = write_rows(tmp_path, 31), 0.3
    words = ("--data", str(csv), *FLAGS, "--plan", "--concurrency", "1")
    process = workspace.start(*words, base_url=stub.base_url)
    stub.wait_for_calls(6)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    first = asked_rows(stub)
    stub.latency_s = 0.0
    done = workspace.run(*words, base_url=stub.base_url)
    assert done.code == 0 and "16 of 31 different rows" in done.out
    second = asked_rows(stub)
    assert len(first | second) == ROWS and len(first & second) <= 1  # the one in flight


# ---------------------------------------------------------------- what goes wrong


def test_rows_without_a_verdict_are_told_and_tried_again(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    csv = write_rows(tmp_path, 20)
    stub.faults = lambda call: "prose" if call.row in ("item-3", "item-4") else ""
    done = judge(workspace, capfd, stub, csv, "--plan", "--limit", "16")
    missing = asked_rows(stub) & {3, 4}
    assert done.code == 0
    assert f"note: {len(missing)} of the 16 rows have no verdict" in done.err
    assert f"{ROWS - len(missing)} of 16 different rows" in done.out
    stub.faults = lambda call: ""
    assert judge(workspace, capfd, stub, csv, "--plan", "--limit", "16").code == 0
    assert asked_rows(stub) == missing


def test_a_plan_of_which_nothing_is_judged_says_so(
    workspace: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.faults = lambda call: "prose" if call.row.startswith("item-") else ""
    done = judge(workspace, capfd, stub, write_rows(tmp_path, 20), "--plan")
    assert done.code == 1 and "planned" not in done.out
    assert "none of the 16 rows was judged" in done.problems[-1]


@pytest.mark.parametrize(
    "flags",
    [
        ("--check",),
        ("--stock",),
        ("--resume", "last"),
        ("--decide", "rule.json"),
        ("--graded", "graded.csv"),
    ],
    ids=lambda flags: flags[0],
)
def test_what_cannot_be_planned(
    flags: Sequence[str], workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    done = call(workspace, capfd, "--plan", *flags, base_url=stub.base_url)
    assert done.code == 2 and stub.calls == []
    assert f"--plan goes without {flags[0]}" in done.err


# ---------------------------------------------------------------- is the estimate right?


def served(work: Sequence[float], at_once: int, shared: bool) -> list[tuple[float, float]]:
    """When each row is in flight, `at_once` of them; of a shared server each gets a part."""
    now, left, spans = 0.0, dict[int, float](), [(0.0, 0.0)] * len(work)
    waiting = iter(range(len(work)))
    while True:
        for row in waiting if len(left) < at_once else ():
            left[row], spans[row] = work[row], (now, 0.0)
            if len(left) == at_once:
                break
        if not left:
            return spans
        speed = 1 / len(left) if shared else 1.0
        first = min(left, key=lambda row: left[row])
        step = left[first]
        now += step / speed
        left = {row: rest - step for row, rest in left.items() if row != first}
        spans[first] = (spans[first][0], now)


@pytest.mark.parametrize("shared", [True, False], ids=["at its limit", "not at its limit"])
@pytest.mark.parametrize("at_once", [1, 4, 8])
def test_the_range_covers_the_time_of_all_rows_that_grow_with_their_length(
    at_once: int, shared: bool
) -> None:
    covered = 0
    for seed in range(100):
        chance = random.Random(seed)
        lengths = [int(chance.lognormvariate(6, 0.7)) for _ in range(300)]
        work = [(0.3 + length / 1000) * chance.uniform(0.8, 1.2) for length in lengths]
        truth = max(ended for _, ended in served(work, at_once, shared))
        places = spread(lengths)
        spans = served([work[place] for place in places], at_once, shared)
        verdicts = [Verdict(Status.OK, scores={"Score": Score(3)})] * ROWS
        found = Sample([lengths[p] for p in places], verdicts, list(spans), lengths).seconds
        assert found.low is not None and found.high is not None
        covered += found.low <= truth <= found.high
    assert covered >= 88  # of 95, which sixteen rows do not quite reach


def test_reasons_for_some_cost_their_share_of_what_all_of_them_cost() -> None:
    whole, alone = Estimate(100, 90, 110, 16), Estimate(40, 30, 50, 16)
    found = explained(whole, alone, Estimate(0.5, 0.25, 0.75, 16))
    assert (found.value, found.low, found.high) == (70, 45, 95)
    assert explained(alone, whole, Estimate(0.5, 0.25, 0.75, 16)).value == 100  # never less
