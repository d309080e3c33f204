"""Is a judge that changed told from one that did not, by anchors that every run scores?

    python -m pytest tests/commands/test_anchors.py

The stub's judge reads the grade in the answer, and gives a point more from some moment on.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.choosing.anchors import ANCHORS, DRIFT, KEPT, SINCE
from tests.support.experiment_process import (
    Done,
    Recorded,
    Workspace,
    call,
    finish,
    numbered_rows,
    write_csv,
)
from tests.support.graded_csv import grade_of, pairs_csv, scale_csv
from tests.support.judge_stub import Call, serving
from tests.support.scale_stub import ScaleStub, prompt_of
from tests.support.vllm_process import JudgeServer

COUNT = 20
PROMPT = ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt"
ASKED = ("--prompt", str(PROMPT), "--score-only", "--no-claim", "--retries", "0")

Capture = pytest.CaptureFixture[str]


def as_graded(given: Call) -> int:
    return grade_of(given.answer)


def a_point_more(given: Call) -> int:
    """For answers of grade 1 to 4, which are four of five."""
    return min(5, grade_of(given.answer) + 1)


def more_for(wanted: str) -> Callable[[Call], int]:
    """A point more for some anchors."""

    def judge(given: Call) -> int:
        more = re.search(rf"item-({wanted})\b", given.text) is not None
        return min(5, grade_of(given.answer) + more)

    return judge


def failing_on(pattern: str) -> Callable[[Call], str]:
    return lambda given: "http_500" if re.search(pattern, given.text) else ""


@pytest.fixture(scope="module")
def server() -> Iterator[ScaleStub]:
    with serving(ScaleStub()) as running:
        assert isinstance(running, ScaleStub)
        yield running


class Runs:
    """Runs of one MLflow experiment with the same anchors."""

    def __init__(self, workspace: Workspace, stub: ScaleStub, capfd: Capture) -> None:
        self.workspace, self.stub, self.capfd = workspace, stub, capfd
        folder = workspace.folder
        self.data = write_csv(folder / "data.csv", numbered_rows(2))
        self.anchors = scale_csv(folder, COUNT)

    def run(self, *flags: str) -> Done:
        given = ("--data", str(self.data), *ASKED, "--anchors", str(self.anchors), *flags)
        return call(self.workspace, self.capfd, *given, base_url=self.stub.base_url)

    def word(self, *flags: str) -> str:
        """What a run says of the judge; it ends well whatever that is."""
        done = self.run(*flags)
        assert done.code == 0, done.err
        return self.last.tags[DRIFT]

    @property
    def last(self) -> Recorded:
        return self.workspace.last_run()


@pytest.fixture
def runs(server: ScaleStub, tmp_path: Path, capfd: Capture) -> Runs:
    server.judge, server.faults, server.root = as_graded, (lambda given: ""), "/models/stub-judge"
    server.forget()
    return Runs(Workspace(tmp_path), server, capfd)


def line_of(done: Done) -> str:
    """The one line about the judge, wherever it stands."""
    lines = [*done.out.splitlines(), *done.err.splitlines()]
    [line] = [line for line in lines if line.startswith("anchors ") or "the judge" in line[:80]]
    return line


def test_a_judge_that_changed_is_found_and_one_that_came_back_is_not(runs: Runs) -> None:
    assert [runs.word() for _ in range(2)] == ["first", "none"]
    assert runs.last.metrics["llm_judge/judge_drift"] == 0
    assert runs.last.metrics["llm_judge/judge_drift_p"] == 1
    assert runs.last.metrics["llm_judge/anchors_same"] == COUNT
    first = runs.workspace.runs()[-1]
    runs.stub.judge, runs.stub.root = a_point_more, "/models/quantised"
    done = runs.run()
    assert done.code == 0
    [note] = [line for line in done.err.splitlines() if line.startswith("note: another judge")]
    assert f"another judge than in run {first.id}, the first of 3: 4 of {COUNT} anchors" in note
    assert "judge_root (was '/models/stub-judge')" in note
    last = runs.last
    assert last.tags[DRIFT] == "found"
    assert last.tags[SINCE] == last.id
    assert last.metrics["llm_judge/judge_drift"] == pytest.approx(0.6)  # 0.75 of a point, 4 of 5
    assert last.metrics["llm_judge/judge_drift_p"] < 0.05
    assert note.removeprefix("note: another judge") in last.tags["mlflow.note.content"]
    runs.stub.judge, runs.stub.root = as_graded, "/models/stub-judge"
    done = runs.run()
    assert "no sign of another judge" in done.out
    assert "the first of 3" in done.out, "the run of the other judge does not count"
    assert runs.last.tags[DRIFT] == "none"


def test_scores_and_grades_are_kept_of_each_different_anchor(runs: Runs) -> None:
    lines = runs.anchors.read_text(encoding="utf-8").splitlines(keepends=True)
    runs.anchors.write_text("".join([*lines, lines[1]]), encoding="utf-8")
    assert "20 of 20 scored; the first run" in runs.run().out
    last = runs.last
    kept = json.loads((last.folder / KEPT).read_text(encoding="utf-8"))
    assert kept["scale"] == "1-5"
    assert kept["anchors_sha256"] == last.tags[ANCHORS] == last.params["anchors_sha256"]
    assert kept["scores"][3] == {"line": 5, "people": 4.0, "score": pytest.approx(3.75)}
    assert last.metrics["llm_judge/anchors_scored"] == COUNT
    assert last.metrics["llm_judge/anchors_spearman"] == pytest.approx(1)


def test_a_small_change_is_found_by_and_by_and_none_of_its_runs_counts(runs: Runs) -> None:
    assert [runs.word() for _ in range(2)] == ["first", "none"]
    runs.stub.judge = more_for("0|1|2|3|5|6")  # each alone could be noise
    assert [runs.word() for _ in range(3)] == ["none", "none", "found"]
    assert runs.last.tags[SINCE] == runs.workspace.runs()[-3].id
    assert "the first of 3" in line_of(runs.run())


def test_every_run_asks_anew_and_a_resumed_one_nothing_twice(runs: Runs) -> None:
    """The anchors are the rows, too, of which a plan has verdicts."""
    runs.data = runs.anchors
    planned = call(
        runs.workspace,
        runs.capfd,
        *("--data", str(runs.data), *ASKED, "--plan"),
        base_url=runs.stub.base_url,
    )
    assert planned.code == 0, planned.err
    runs.stub.forget()
    assert runs.run().code == 0
    asked = runs.stub.calls_by_row()
    assert sum(asked.values()) == COUNT + COUNT - 16  # each anchor, and the rows without a plan's
    runs.stub.forget()
    assert runs.word("--resume", runs.last.id) == "first"
    assert not runs.stub.calls_by_row()


def test_a_run_that_stops_at_the_anchors_goes_on_with_them(runs: Runs) -> None:
    def stops_the_command(given: Call) -> str:
        if "item-7" in given.text:
            os.kill(os.getpid(), signal.SIGINT)
        return ""

    runs.stub.faults = stops_the_command
    done = runs.run("--concurrency", "1")
    assert done.code == 1
    assert "--resume" in done.problems[-1]
    assert DRIFT not in runs.last.tags
    runs.stub.faults = lambda given: ""
    runs.stub.forget()
    assert runs.word("--resume", "last") == "first"
    assert 0 < sum(runs.stub.calls_by_row().values()) < COUNT


def test_what_cannot_be_compared_is_told_and_counts_for_nothing(runs: Runs) -> None:
    assert runs.word() == "first"
    done = runs.run("--prompt", str(prompt_of(runs.workspace.folder, "0-10")))
    assert "it scored on 1-5, this one on 0-10" in done.err
    assert runs.last.tags[DRIFT] == "unknown"
    assert "llm_judge/judge_drift" not in runs.last.metrics
    runs.data.write_text("inputs,predictions\nWhat is it?,It is this.\n", encoding="utf-8")
    for failing, word, missing in ((r"of grade", "unknown", COUNT), (r"item-(0|7)\b", "none", 2)):
        runs.stub.faults = failing_on(failing)
        assert runs.word() == word
        kept = json.loads((runs.last.folder / KEPT).read_text(encoding="utf-8"))
        assert sum(one["score"] is None for one in kept["scores"]) == missing
        assert runs.last.metrics["llm_judge/anchors_scored"] == COUNT - missing


def test_runs_of_other_anchors_and_other_experiments_are_not_compared(runs: Runs) -> None:
    assert runs.word("--experiment-name", "another") == "first"
    assert runs.word() == "first"
    scale_csv(runs.workspace.folder, COUNT + 1)
    assert runs.word() == "first"


def test_an_earlier_run_that_cannot_be_read_does_not_count(runs: Runs) -> None:
    assert runs.word() == "first"
    (runs.last.folder / KEPT).unlink()
    done = runs.run()
    assert "cannot be read; it does not count" in done.err
    assert runs.last.tags[DRIFT] == "first"


def test_a_prompt_that_gives_no_score_alone_is_asked_for_whole_replies(runs: Runs) -> None:
    runs.stub.honours_constraint = False
    try:
        given = ("--data", str(runs.data), "--prompt", str(PROMPT), "--no-claim")
        words = (*given, "--anchors", str(runs.anchors))
        done = call(runs.workspace, runs.capfd, *words, base_url=runs.stub.base_url)
    finally:
        runs.stub.honours_constraint = True
    assert done.code == 0, done.err
    assert "the anchors take whole replies" in done.err
    assert runs.last.tags[DRIFT] == "first"


def test_check_reads_the_anchors_and_makes_no_run(runs: Runs) -> None:
    done = runs.run("--check")
    assert done.code == 0, done.err
    assert f"anchors      {COUNT} of scale.csv" in done.out and "anchors" not in done.err
    assert not runs.workspace.runs()
    runs.anchors = scale_csv(runs.workspace.folder, 5)
    assert "note: scale.csv: of 5 anchors no change may be told" in runs.run("--check").err


@pytest.mark.parametrize(
    ("make", "flags", "cause"),
    [
        (lambda folder: folder / "nowhere.csv", (), "nowhere.csv"),
        (pairs_csv, (), "has pairs; graded answers are needed"),
        (lambda folder: write_csv(folder / "bare.csv", numbered_rows(2)), (), "human_score"),
        (scale_csv, ("--plan",), "--plan goes without --anchors"),
        (scale_csv, ("--stock",), "scores no --anchors"),
        (scale_csv, ("--prompt", "CONTEXT"), "shows the column context"),
    ],
    ids=["no file", "pairs", "not graded", "a plan", "MLflow's scorer", "a column lacks"],
)
def test_what_cannot_be_is_told_before_any_run(
    runs: Runs, make: Callable[[Path], Path], flags: tuple[str, ...], cause: str
) -> None:
    folder = runs.workspace.folder
    if "--stock" in flags:
        runs.data.touch()
    if "CONTEXT" in flags:
        flags = ("--prompt", str(prompt_of(folder, "1-5", more="{context}")))
        rows = [row | {"context": "The sea."} for row in numbered_rows(2)]
        write_csv(runs.data, rows)
    given = ("--data", str(runs.data), "--anchors", str(make(folder)), *flags)
    done = call(runs.workspace, runs.capfd, *given, base_url=runs.stub.base_url)
    assert done.code == 2, done.err
    [line] = done.problems
    assert cause in line
    assert not runs.workspace.runs()


@pytest.mark.server
@pytest.mark.timeout(1200)
def test_the_real_judge_is_the_same_in_the_next_run(
    judge_server: JudgeServer, tmp_path: Path
) -> None:
    workspace, anchors = Workspace(tmp_path), scale_csv(tmp_path, 8)
    data = write_csv(tmp_path / "data.csv", numbered_rows(1))
    words = ("--data", str(data), *ASKED, "--anchors", str(anchors))
    key = {"VLLM_API_KEY": judge_server.api_key}
    for word in ("first", "none"):
        done = finish(workspace.start(*words, base_url=judge_server.base_url, settings=key), 900)
        assert done.code == 0, done.err
        assert workspace.last_run().tags[DRIFT] == word
        assert workspace.last_run().metrics["llm_judge/anchors_scored"] == 8
