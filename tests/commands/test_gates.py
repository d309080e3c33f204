"""Does a run that is not good enough end with 3, one that lacks verdicts with 1, and why?

python -m pytest tests/commands/test_gates.py
"""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]  # comes with MLflow

from llm_client.settings import ROOT
from mlflow_tracking.comparing.gates import Outcome, write_junit
from tests.support.experiment_process import Done, Workspace, call, write_csv
from tests.support.graded_csv import answer_of, grade_of
from tests.support.judge_stub import Call, JudgeStub, serving
from tests.support.scale_stub import ScaleStub, prompt_of

ROWS = 40
PROMPT = ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt"
ASKED = ("--prompt", str(PROMPT), "--score-only", "--no-claim", "--retries", "0")
FIRST = "BASELINE"  # stands for the id of the first run
PAGE = (ROOT / "docs/runs.md").read_text(encoding="utf-8")

Faults = Callable[[Call], str]
Capture = pytest.CaptureFixture[str]


def answers(folder: Path, name: str, shift: int = 0) -> Path:
    """Answers of grades that the stub can read, 3 on average; `shift` moves every other one."""
    grades = [min(5, max(1, 1 + n % 5 + (shift if n % 2 else 0))) for n in range(ROWS)]
    return write_csv(
        folder / name,
        [
            {"inputs": f"What is item-{n}?", "predictions": answer_of(n, grade)}
            for n, grade in enumerate(grades)
        ],
    )


def fails_on_two(given: Call) -> str:
    return "http_500" if re.search(r"item-(7|8)\b", given.text) else ""


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def stub(server: JudgeStub) -> JudgeStub:
    """A judge that reads the grade, without faults."""
    server.judge, server.faults = (lambda given: grade_of(given.answer)), (lambda given: "")
    server.latency_s = 0.0
    server.forget()
    return server


@pytest.fixture(scope="module")
def first(server: JudgeStub, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A judged run, made once; each test has a copy of its database."""
    folder = tmp_path_factory.mktemp("first")
    server.judge = lambda given: grade_of(given.answer)
    data = str(answers(folder, "same.csv"))
    done = Workspace(folder).run("--data", data, *ASKED, base_url=server.base_url)
    assert done.code == 0, done.err
    return Workspace(folder, with_database=False)


@pytest.fixture
def workspace(first: Workspace, tmp_path: Path) -> Workspace:
    shutil.copy(first.folder / "mlflow.db", tmp_path / "mlflow.db")
    answers(tmp_path, "same.csv")
    answers(tmp_path, "worse.csv", shift=-1)
    # Artifacts stand where the database says, which is in the first folder: tests add to them.
    shutil.rmtree(first.last_run().folder / "grading", ignore_errors=True)
    return Workspace(tmp_path, with_database=False)


class Judging:
    """The command in a workspace that has a first run."""

    def __init__(self, workspace: Workspace, stub: JudgeStub, capfd: Capture) -> None:
        self.workspace, self.stub, self.capfd = workspace, stub, capfd
        self.baseline = workspace.last_run().id
        self.junit, self.summary = workspace.folder / "gates.xml", workspace.folder / "gates.md"

    def judge(self, *flags: str, data: str = "same.csv") -> Done:
        words = [self.baseline if flag == FIRST else flag for flag in flags]
        files = ("--junit", str(self.junit), "--summary", str(self.summary))
        rows = ("--data", str(self.workspace.folder / data))
        given = (*rows, *ASKED, *files, *words)  # of a flag given twice the last one counts
        return call(self.workspace, self.capfd, *given, base_url=self.stub.base_url)

    def grade(self, *words: str) -> Done:
        script = ROOT / "mlflow_tracking/grade_rows.py"
        workspace = Workspace(self.workspace.folder, with_database=False, script=script)
        return call(workspace, self.capfd, *words)

    def fill(self, run: str, rows: int) -> Path:
        """What people give on rows of a run that are drawn by chance: the grade that they have."""
        sheet = self.workspace.folder / "to_grade.csv"
        for old in (sheet, sheet.with_suffix(".xlsx")):
            old.unlink(missing_ok=True)
        folder = ("--folder", str(self.workspace.folder))
        opened = self.grade("open", "--run", run, "--rows", str(rows), *folder)
        assert opened.code == 0, opened.err
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file))
        for line in lines:
            line["human_score"] = str(grade_of(line["predictions"]))
        return write_csv(sheet.with_name(f"graded-{run[:8]}.csv"), lines)

    def cases(self) -> dict[str, str]:
        """Of the JUnit file: each case's name, and what became of it."""
        suite = ET.parse(self.junit).getroot().find("testsuite")
        assert suite is not None
        found = {
            case.get("name", ""): next((child.tag for child in case), "passed") for case in suite
        }
        counts = {"failures": "failure", "skipped": "skipped"}
        assert int(suite.get("tests", "")) == len(found)
        for name, tag in counts.items():
            assert int(suite.get(name, "")) == list(found.values()).count(tag)
        return found


@pytest.fixture
def judging(workspace: Workspace, stub: JudgeStub, capfd: Capture) -> Judging:
    return Judging(workspace, stub, capfd)


def gate_lines(done: Done) -> list[str]:
    return [line for line in done.out.splitlines() if line.startswith("gate ")]


@pytest.mark.parametrize(
    ("flags", "data", "faults", "code", "said"),
    [
        ((), "same.csv", None, 0, ()),
        (("--min-score", "2.5"), "same.csv", None, 0, ("passed: the judge's mean of 40 of 40",)),
        (("--min-score", "3"), "same.csv", None, 3, ("missed: the judge's mean", "below 3")),
        (("--min-score", "4.5"), "same.csv", None, 3, ("below 4.5",)),
        (("--min-score", "1", "--limit", "9"), "same.csv", None, 3, ("fewer than 10 rows",)),
        (("--not-worse-than", FIRST), "same.csv", None, 0, ("is 0.00 (0.00 to 0.00) by the",)),
        (
            ("--not-worse-than", FIRST, "--margin", "0"),
            *("same.csv", None, 0, ("its lower end 0.00 is not below 0",)),
        ),
        (
            ("--not-worse-than", FIRST),
            "worse.csv",
            None,
            3,
            ("missed: this run less that one is -",),
        ),
        (("--not-worse-than", FIRST, "--margin", "0.9"), "worse.csv", None, 0, ("passed",)),
        (
            ("--not-worse-than", FIRST, "--min-score", "2"),
            *("worse.csv", None, 3, ("--min-score 2: passed", "--margin 0.1: missed")),
        ),
        (
            ("--min-score", "2"),
            *("same.csv", fails_on_two, 1, ("not decided: 2 of 40 rows have no verdict",)),
        ),
        (
            ("--min-score", "5"),
            *("same.csv", fails_on_two, 1, ("not decided: 2 of 40 rows have no verdict",)),
        ),
        (
            ("--min-score", "2", "--min-scored", "0.9"),
            *("same.csv", fails_on_two, 0, ("the judge's mean of 38 of 40 rows",)),
        ),
        (
            ("--min-score", "5", "--min-scored", "0.9"),
            *("same.csv", fails_on_two, 3, ("the judge's mean of 38 of 40 rows",)),
        ),
        (
            ("--not-worse-than", FIRST, "--min-scored", "0.9"),
            *("same.csv", fails_on_two, 0, ("over 38 of 40 rows",)),
        ),
    ],
    ids=[
        *("no-gate", "clears", "mean-clears-but-not-its-bound", "misses", "too-few-rows"),
        *("the-same", "no-margin", "worse", "worse-within-margin", "one-of-two-missed"),
        *("lacks-verdicts", "lacks-verdicts-and-would-miss", "few-may-lack", "few-lack-and-misses"),
        "few-lack-of-a-pair",
    ],
)
def test_a_gate_has_an_exit_code_and_a_line(
    judging: Judging,
    flags: tuple[str, ...],
    data: str,
    faults: Faults | None,
    code: int,
    said: tuple[str, ...],
) -> None:
    if faults:
        judging.stub.faults = faults
    done = judging.judge(*flags, data=data)
    assert done.code == code, done.out + done.err
    lines = gate_lines(done)
    assert len(lines) == len({"--min-score", "--not-worse-than"} & set(flags))
    assert all(any(words in line for line in lines) for words in said), lines
    whole, *gates = judging.cases().values()
    assert whole == ("failure" if code == 1 else "passed")
    assert ("failure" in gates) == (code == 3)
    assert set(gates) <= ({"skipped"} if code == 1 else {"failure", "passed"})
    page = judging.summary.read_text(encoding="utf-8")
    assert f"exit code {code}." in page
    described = judging.workspace.last_run().tags["mlflow.note.content"]
    assert page.endswith(described + "\n")
    means = "".join(line for line in lines if "--min-score" in line)
    assert all(one in described for one in re.findall(r"\d\.\d\d \(\d\.\d\d to \d\.\d\d", means))
    for line in lines:
        gate, word, why = line.removeprefix("gate").strip().split(": ", 2)
        assert f"**`{gate}`: {word}.** {why}." in page


@pytest.mark.parametrize(
    ("flags", "data", "cause"),
    [
        (("--min-score", "good"), "same.csv", "'good' is not a score"),
        (("--min-score", "nan"), "same.csv", "'nan' is not a score"),
        (("--min-score", "5.5"), "same.csv", "--min-score 5.5: the prompt scores on 1-5"),
        (("--min-score", "0.5"), "same.csv", "give a mean of 1 to 5"),
        (("--margin", "0.2"), "same.csv", "--margin is for --not-worse-than"),
        (("--not-worse-than", FIRST, "--margin", "4"), "same.csv", "any run would pass"),
        (("--not-worse-than", "f" * 32), "same.csv", f"run {'f' * 32}: not in sqlite"),
        (("--not-worse-than", FIRST), "other.csv", "has no score of any question of"),
        (("--not-worse-than", FIRST, "--resume", FIRST), "same.csv", "name another one"),
        (("--summary", "/nowhere/a.md"), "same.csv", "there is no folder /nowhere"),
        (("--junit", "/tmp"), "same.csv", "--junit /tmp: is a folder"),
    ],
)
def test_a_bar_that_cannot_be_is_told_before_a_row_is_judged(
    judging: Judging, flags: tuple[str, ...], data: str, cause: str
) -> None:
    write_csv(
        judging.workspace.folder / "other.csv",
        [{"inputs": f"Why {n}?", "predictions": "So."} for n in range(12)],
    )
    done = judging.judge(*flags, data=data)
    assert done.code == 2, done.out + done.err
    assert cause in done.problems[-1] and len(done.problems) == 1
    assert not any("item-" in one.text for one in judging.stub.calls)
    assert [run.id for run in judging.workspace.runs()] == [judging.baseline]
    assert not judging.junit.exists() and not judging.summary.exists()


@pytest.mark.parametrize(
    ("flags", "cause"),
    [
        (("--not-worse-than", FIRST), "scores on 1-5, this run's prompt on 0-10; take a run or a"),
        (("--min-score", "11"), "'11' is not a score"),
        (("--min-score", "9.5"), ""),
    ],
)
def test_the_scale_is_the_prompts(judging: Judging, flags: tuple[str, ...], cause: str) -> None:
    folder, mine = judging.workspace.folder, judging.junit
    words = [judging.baseline if flag == FIRST else flag for flag in flags]
    rows = ("--data", str(folder / "same.csv"), "--prompt", str(prompt_of(folder, "0-10")))
    with serving(ScaleStub()) as other:
        where = {"base_url": other.base_url}
        done = call(judging.workspace, judging.capfd, *rows, *words, "--junit", str(mine), **where)
        judged = any("item-" in one.text for one in other.calls)
    assert (done.code, judged, mine.exists()) == ((2, False, False) if cause else (3, True, True))
    assert cause in done.err


def test_another_prompt_is_told(judging: Judging) -> None:
    prompt = judging.workspace.folder / "mine.txt"
    shutil.copy(PROMPT, prompt)
    done = judging.judge("--prompt", str(prompt), "--not-worse-than", FIRST)
    assert done.code == 0, done.err
    assert "this one is by stub-judge with mine.txt: the judge's difference is" in done.err


def test_a_resumed_run_is_gated_when_it_is_complete(judging: Judging) -> None:
    judging.stub.faults = fails_on_two
    stopped = judging.judge("--min-score", "3")
    assert stopped.code == 1 and stopped.problems[-1].startswith("go on with the 2 rows")
    judging.stub.faults = lambda given: ""
    resumed = judging.workspace.resume(stopped)
    assert resumed.code == 3, resumed.err
    assert judging.cases() == {"every row has a verdict": "passed", "--min-score 3": "failure"}


def test_a_run_that_goes_on_is_not_held_against_itself(judging: Judging) -> None:
    assert judging.judge().code == 0
    itself = judging.workspace.last_run().id
    done = judging.judge("--resume", "last", "--not-worse-than", itself)
    assert done.code == 1 and f"stopped: --not-worse-than {itself}: is this very run" in done.err
    assert list(judging.cases().values()) == ["failure", "skipped"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("flag", ["--junit", "--summary"])
def test_a_file_that_cannot_be_written_passes_nothing(judging: Judging, flag: str) -> None:
    done = judging.judge("--min-score", "1", flag, "/dev/full")
    assert done.code == 1, done.out + done.err
    assert done.problems == [
        "run_experiment: --summary or --junit: No space left on device; name another file"
    ]


def test_a_run_that_was_interrupted_passes_nothing(judging: Judging) -> None:
    interrupted: list[str] = []

    def interrupts(given: Call) -> str:
        if "item-" in given.text and not interrupted:
            interrupted.append(given.row)
            os.kill(os.getpid(), signal.SIGINT)
        return ""

    judging.stub.faults, judging.stub.latency_s = interrupts, 0.1
    done = judging.judge("--min-score", "1", "--concurrency", "2")
    assert done.code == 1, done.out + done.err
    why = "the run stopped: interrupted"
    assert gate_lines(done) == [f"gate         --min-score 1: not decided: {why}"]
    assert judging.cases() == {"every row has a verdict": "failure", "--min-score 1": "skipped"}
    page = judging.summary.read_text(encoding="utf-8")
    assert f"**`every row has a verdict`: missed.** {why}." in page


class TestPeople:
    """The judge gives a point less than people do."""

    @pytest.fixture(autouse=True)
    def harsh(self, judging: Judging) -> None:
        judging.stub.judge = lambda given: max(1, grade_of(given.answer) - 1)

    def test_decide_where_rows_are_graded(self, judging: Judging) -> None:
        graded = judging.fill(judging.baseline, 24)
        alone = judging.judge("--min-score", "2.5")
        assert alone.code == 3 and "(no row is graded)" in alone.out
        done = judging.judge("--min-score", "2.5", "--graded", str(graded))
        assert done.code == 0, done.out + done.err
        [line] = gate_lines(done)
        assert "people's mean of all 40 rows, estimated from 24 grades, is " in line
        low = judging.workspace.last_run().metrics["llm_judge/human_mean_low"]
        assert f"its lower end {low:.2f} is not below 2.5" in line
        page = judging.summary.read_text(encoding="utf-8")
        assert line.partition(": passed: ")[2] in page and "**People would give" in page

    def test_of_too_few_grades_the_judge_decides(self, judging: Judging) -> None:
        graded = judging.fill(judging.baseline, 8)
        done = judging.judge("--min-score", "2.5", "--graded", str(graded))
        assert done.code == 3, done.out + done.err
        assert "(8 grades give people's no interval)" in gate_lines(done)[0]

    def test_one_graded_run_leaves_it_to_the_judge(self, judging: Judging) -> None:
        graded = judging.fill(judging.baseline, 24)
        assert judging.grade("report", "--run", judging.baseline, "--graded", str(graded)).code == 0
        done = judging.judge("--not-worse-than", FIRST, "--margin", "3", data="worse.csv")
        assert done.code == 0 and "(only one of the two runs is graded)" in done.out, done.out

    def test_decide_on_the_difference_where_both_are_graded(self, judging: Judging) -> None:
        graded = judging.fill(judging.baseline, 24)
        assert judging.grade("report", "--run", judging.baseline, "--graded", str(graded)).code == 0
        better = str(answers(judging.workspace.folder, "better.csv", shift=1))
        assert judging.judge(data=better).code == 0
        graded = judging.fill(judging.workspace.last_run().id, 24)
        done = judging.judge(
            *("--not-worse-than", FIRST, "--graded", str(graded), "--margin", "0"), data=better
        )
        assert done.code == 0, done.out + done.err
        assert "by people, over 40 rows, of which 24 are graded in both runs" in done.out


def test_what_xml_cannot_have_is_not_in_the_file(tmp_path: Path) -> None:
    why = "the run stopped: \x00\x1b[31m<judge> & co \ud800"
    outcomes = [Outcome("--min-score 3", passed, why) for passed in (False, None, True)]
    write_junit(tmp_path / "gates.xml", outcomes, 1.5)
    [suite] = ET.parse(tmp_path / "gates.xml").getroot()
    assert [[child.tag for child in case] for case in suite] == [["failure"], ["skipped"], []]
    assert "<judge> & co" in suite[0][0].get("message", "")


@pytest.fixture(scope="module")
def steps() -> list[dict[str, str]]:
    """Of the workflow on the page."""
    [block] = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.M | re.S)
    found: list[dict[str, str]] = yaml.safe_load(block)["jobs"]["judge"]["steps"]
    return found


class TestTheWorkflowOfThePage:
    def test_starts_and_stops_the_judge_by_targets_that_there_are(
        self, steps: list[dict[str, str]]
    ) -> None:
        made = [step["run"] for step in steps if step.get("run", "").startswith("make ")]
        assert made == ["make setup server", "make stop"]
        for line in made:
            dry = ["make", "-n", "-C", str(ROOT), *line.split()[1:]]
            assert subprocess.run(dry, capture_output=True, check=False).returncode == 0

    @pytest.mark.parametrize(("score", "code"), [(5, 0), (2, 3)])
    def test_judges_and_gates(
        self,
        steps: list[dict[str, str]],
        judging: Judging,
        tmp_path: Path,
        score: int,
        code: int,
    ) -> None:
        judging.stub.judge = lambda given: score
        [script] = [step["run"] for step in steps if "run_experiment.py" in step.get("run", "")]
        script = script.replace(".venv/bin/python", sys.executable)
        journals = f"run_experiment.py --journal-dir {tmp_path / 'journals'} "
        files = {"RUNNER_TEMP": str(tmp_path), "GITHUB_STEP_SUMMARY": str(judging.summary)}
        settings = {"JUDGE_BASE_URL": judging.stub.base_url, "BASELINE": "", **files}
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script.replace("run_experiment.py ", journals)],
            cwd=ROOT,
            env=judging.workspace.environment(**settings),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert judging.cases()["--min-score 3.5"] == ("passed" if code == 0 else "failure")
        assert f"exit code {code}." in judging.summary.read_text(encoding="utf-8")
