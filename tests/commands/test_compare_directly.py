"""Does --pairwise find the better of three systems, whatever else its judge likes, and go on?

    python -m pytest tests/commands/test_compare_directly.py

The judge reads the worth of two answers with noise, and likes long ones and the first place. The
runs are written into MLflow as run_experiment.py leaves them.
"""

import math
import os
import random
import re
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest

from llm_client.settings import ROOT
from mlflow_tracking.recording.results import RESULTS_TABLE
from mlflow_tracking.recording.run import RUN_TAGS
from tests.support.experiment_process import Done, Recorded, Workspace, call
from tests.support.judge_stub import Call, JudgeStub, serving

ROWS = 60
PROMPT = ROOT / "mlflow_tracking/prompts/pairwise_prompt_en.txt"
FOR_LONGER, FOR_FIRST = 2.5, 0.6  # in log odds
_WORTH = re.compile(r"worth (-?\d+\.\d+)")
_ANSWERS = re.compile(
    r"<first_answer>\n(.*)\n</first_answer>.*<second_answer>\n(.*)\n</second_answer>", re.S
)


def answers(system: int) -> list[str]:
    """A is the best and the briefest, C the worst and the longest."""
    chance = random.Random(system)
    told = []
    for n in range(ROWS):
        worth, more = chance.gauss(0.8 - 0.8 * system, 0.7), chance.gauss(150 + 110 * system, 90)
        told.append(f"It is item-{n}, worth {worth:.3f}." + " and" * max(0, int(more / 4)))
    return told


def prefers(given: Call) -> int:
    """1 or 2; the noise is that of the two answers, whichever stands first."""
    found = _ANSWERS.search(given.text)
    if found is None or "worth" not in given.text:  # the preflight's example
        return 1
    first, second = found.groups()
    chance = random.Random(zlib.crc32("".join(sorted((first, second))).encode())).random()
    noise = math.log(chance / (1 - chance)) * (1 if first < second else -1)
    worth, other = (float(_WORTH.findall(text)[0]) for text in (first, second))
    liking = FOR_FIRST + FOR_LONGER * math.tanh((len(first) - len(second)) / 150)
    return 1 if worth - other + noise + liking > 0 else 2


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def stub(server: JudgeStub) -> JudgeStub:
    server.prefer, server.faults = prefers, (lambda given: "")
    server.forget()
    return server


@pytest.fixture(scope="module")
def systems(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, list[str]]:
    """Three runs on the same questions."""
    workspace = Workspace(
        tmp_path_factory.mktemp("systems"), script=ROOT / "mlflow_tracking/compare_runs.py"
    )
    before, ids = mlflow.get_tracking_uri(), []
    mlflow.set_tracking_uri(workspace.uri)
    mlflow.create_experiment("ours", artifact_location=(workspace.folder / "a").as_uri())
    mlflow.set_experiment("ours")
    for system in range(3):
        rows = [(n + 1, f"What is item-{n}?", a, 3) for n, a in enumerate(answers(system))]
        table = pd.DataFrame(rows, columns=["row", "inputs", "predictions", "score"])
        with mlflow.start_run(run_name=f"system {system}", tags=RUN_TAGS) as run:
            mlflow.log_table(table, RESULTS_TABLE)
        ids.append(str(run.info.run_id))
    mlflow.set_tracking_uri(before)
    return workspace, ids


Compare = Callable[..., Done]


@pytest.fixture
def compare(
    systems: tuple[Workspace, list[str]],
    stub: JudgeStub,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> Compare:
    workspace, ids = systems

    def run(*flags: str, systems: int = len(ids)) -> Done:
        asked = ("--pairwise-prompt", str(PROMPT), "--base-url", stub.base_url)
        kept = ("--journal-dir", str(tmp_path), "--retries", "0", "--moved", "0")
        return call(workspace, capfd, *ids[:systems], *asked, *kept, *flags)

    return run


def last(systems: tuple[Workspace, list[str]]) -> Recorded:
    return systems[0].last_run()


def about_rows(stub: JudgeStub) -> int:
    return sum(bool(_ANSWERS.search(one.text)) and "item-" in one.text for one in stub.calls)


def test_the_best_is_found_though_the_judge_likes_length_and_the_first_place(
    compare: Compare, stub: JudgeStub, systems: tuple[Workspace, list[str]], tmp_path: Path
) -> None:
    file = tmp_path / "readme.md"
    done = compare("--pairwise", "--markdown", str(file))
    assert done.code == 0, done.err
    assert about_rows(stub) == 2 * 3 * ROWS
    assert "note: 180 comparisons, 60 for each pair of systems: 360 calls of one token" in done.err
    found = last(systems)
    told = {name.removeprefix("llm_judge_comparison/"): v for name, v in found.metrics.items()}
    a, b, c = (told[f"pairwise_win_rate_{name}"] for name in "ABC")
    assert a > b > c
    raw = [told[f"pairwise_raw_win_rate_{name}"] for name in "ABC"]
    assert raw != sorted(raw, reverse=True) or raw[0] - raw[2] < (a - c) / 2
    [_, pair, _] = found.table("pairwise_pairs.json")
    assert (pair["system"], pair["over"], pair["better"]) == ("A", "C", "A")
    assert pair["low"] > 0.5
    assert told["pairwise_longer_wins_low"] > 0.6
    assert told["pairwise_favours_first_low"] > 0.02
    assert "A over C" in done.out and "A is better" in done.out
    assert "favours the first" in done.out
    table = found.table("pairwise.json")
    assert len(table) == 180
    decided = [row for row in table if row["winner_a_first"] != row["winner_b_first"]]
    assert {row["winner"] for row in decided} == {"tie"}
    assert told["pairwise_order_decides"] == pytest.approx(len(decided) / 180)
    assert found.params["pairwise_judge"] == "stub-judge"
    assert found.params["pairwise_comparisons"] == "180 of 180"
    for text in (file.read_text(), (found.folder / "comparison.md").read_text()):
        assert "Asked directly: 180 comparisons by stub-judge (pairwise_prompt_en.txt)" in text


def test_some_pairs_are_asked_about_and_none_of_them_twice(
    compare: Compare, stub: JudgeStub
) -> None:
    first = compare("--pairwise", "--pairs", "30")
    assert first.code == 0, first.err
    assert about_rows(stub) == 60
    assert "30 comparisons of 180, drawn by chance (seed 0), 10 for each pair" in first.err
    stub.forget()
    again = compare("--pairwise", "--pairs", "30")
    assert about_rows(stub) == 0
    at = again.out.index("directly")
    assert again.out[at:].partition("\nrun ")[0] == first.out[at:].partition("\nrun ")[0]


def test_with_one_run_more_only_its_own_pairs_are_asked_about(
    compare: Compare, stub: JudgeStub
) -> None:
    assert compare("--pairwise", systems=2).code == 0
    assert about_rows(stub) == 2 * ROWS
    stub.forget()
    assert compare("--pairwise").code == 0
    assert about_rows(stub) == 2 * 2 * ROWS
    asked = [found.groups() for one in stub.calls if (found := _ANSWERS.search(one.text))]
    assert all(set(answers(2)) & set(both) for both in asked if "worth" in both[0])


def test_verdicts_that_are_missing_are_told_and_asked_for_again(
    compare: Compare, stub: JudgeStub, systems: tuple[Workspace, list[str]]
) -> None:
    stub.faults = lambda given: "http_500" if re.search(r"item-7\b", given.text) else ""
    done = compare("--pairwise")
    assert done.code == 1
    assert "3 of 180 comparisons have no verdict (http_error" in done.problems[-1]
    assert "; go on with them: python " in done.problems[-1]
    assert last(systems).metrics["llm_judge_comparison/pairwise_comparisons"] == 177
    stub.faults = lambda given: ""
    stub.forget()
    assert compare("--pairwise").code == 0
    assert about_rows(stub) == 6


def test_when_it_is_interrupted_the_same_command_goes_on(
    compare: Compare, stub: JudgeStub, systems: tuple[Workspace, list[str]]
) -> None:
    before = len(systems[0].runs())

    def interrupt(given: Call) -> str:
        if len(stub.calls) > 100 and given is stub.calls[100]:
            os.kill(os.getpid(), signal.SIGINT)
        return ""

    stub.faults = interrupt
    done = compare("--pairwise", "--concurrency", "4")
    assert done.code == 1
    assert done.problems[-1] == (
        "compare_runs: stopped: interrupted; the same command again goes on"
    )
    assert len(systems[0].runs()) == before
    asked, stub.faults = about_rows(stub), lambda given: ""
    stub.forget()
    assert compare("--pairwise").code == 0
    assert asked - 10 < 360 - about_rows(stub) <= asked < 150


def test_without_the_flag_nobody_is_asked(compare: Compare, stub: JudgeStub) -> None:
    done = compare()
    assert done.code == 0
    assert (len(stub.calls), "directly" in done.out) == (0, False)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--pairs", "3"), "--pairs is for --pairwise"),
        (("--pairwise", "--pairs", "0"), "'0' is not a whole number from 1"),
        (("--pairwise", "--base-url", "http://127.0.0.1:9/v1"), "no server answers"),
        (("--pairwise", "--model", "other"), "serves stub-judge, not other"),
        (
            ("--pairwise", "--pairwise-prompt", str(PROMPT.with_name("judge_prompt_en.txt"))),
            "has no placeholder {answer_a}",
        ),
    ],
    ids=["pairs alone", "no pairs", "no server", "no such model", "no prompt for pairs"],
)
def test_a_mistake_is_one_line_before_anything_is_printed(
    compare: Compare, flags: tuple[str, ...], told: str
) -> None:
    done = compare(*flags)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert told in done.err
