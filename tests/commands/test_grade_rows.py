"""From a judged run to what people would give: are three numbers told apart, and is none made up?

python -m pytest tests/commands/test_grade_rows.py
"""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from openpyxl import load_workbook

from llm_client.settings import ROOT
from tests.support.experiment_process import Done, Recorded, Workspace, call, write_csv
from tests.support.graded_csv import answer_of, grade_of
from tests.support.judge_stub import Call, JudgeStub, serving

ROWS = 60


def rough(given: Call) -> int:
    """A judge that is right but for a point more on every third row."""
    number = re.search(r"item-(\d+)", given.text)
    return min(5, grade_of(given.text) + (number is not None and int(number[1]) % 3 == 0))


def answers(folder: Path, name: str, more: int = 0) -> Path:
    """A file with answers of grades that the stub can read; `more` makes some of them better."""
    rows = [
        {
            "inputs": f"What is item-{n}?",
            "predictions": answer_of(n, min(5, 1 + n % 5 + (more if n % 2 else 0))),
            "targets": f"It is item-{n}.",
            "topic": f"topic {n % 20}",
        }
        for n in range(ROWS)
    ]
    return write_csv(folder / name, rows)


@dataclass(frozen=True)
class Judged:
    """A judged run in a workspace of its own, and the commands that are called there."""

    workspace: Workspace
    stub: JudgeStub
    capfd: pytest.CaptureFixture[str]

    def command(self, script: str, *words: str) -> Done:
        """A command's main; those that judge get the server and the folder of journals."""
        path = ROOT / f"mlflow_tracking/{script}.py"
        workspace = Workspace(self.workspace.folder, with_database=False, script=path)
        return call(workspace, self.capfd, *words, base_url=self.stub.base_url)

    def grade(self, *words: str) -> Done:
        return self.command("grade_rows", *words)

    def open(self, *words: str) -> Done:
        return self.grade("open", "--folder", str(self.workspace.folder), *words)

    @property
    def sheet(self) -> Path:
        return self.workspace.folder / "to_grade.csv"

    @property
    def run(self) -> Recorded:
        return self.workspace.last_run()


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub(judge=rough)) as running:
        yield running


@pytest.fixture(scope="module")
def finished(stub: JudgeStub, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A judged run, made once; each test has a copy."""
    folder = tmp_path_factory.mktemp("finished")
    workspace = Workspace(folder)
    done = workspace.run("--data", str(answers(folder, "a.csv")), base_url=stub.base_url)
    assert done.code == 0, done.err
    return workspace


@pytest.fixture
def judged(
    finished: Workspace, stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Judged:
    # Artifacts stand where the database says, which is in the first folder: tests add to them.
    shutil.copy(finished.folder / "mlflow.db", tmp_path / "mlflow.db")
    shutil.copytree(finished.journals, tmp_path / "journals")
    answers(tmp_path, "a.csv")
    kept = finished.last_run().folder / "grading"
    shutil.rmtree(kept, ignore_errors=True)
    return Judged(Workspace(tmp_path, with_database=False), stub, capfd)


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def fill(path: Path, rows: int = ROWS, grade: Callable[[str], str] | None = None) -> Path:
    """What a person writes into the first rows: the grade that the answer has."""
    lines = lines_of(path)
    for line in lines[:rows]:
        own = str(grade_of(line["predictions"]))
        line["human_score"] = grade(line["predictions"]) if grade else own
    return write_csv(path.with_name("graded.csv"), lines)


def true_mean() -> float:
    return sum(1 + n % 5 for n in range(ROWS)) / ROWS


def test_three_numbers_are_told_apart_and_recorded(judged: Judged) -> None:
    opened = judged.open("--rows", "24")
    assert opened.code == 0, opened.err
    assert "24 of 60 rows: every row, with the same chance, seed 0" in opened.out
    told = judged.grade("report", "--graded", str(fill(judged.sheet)), "--plan", "0.1")
    assert told.code == 0, told.err
    numbers = judged.run.metrics
    judge = numbers["llm_judge/expected_score_mean"]
    assert f"the judge    {judge:.2f} is its mean over all 60 rows" in told.out
    graded = [grade_of(line["predictions"]) for line in lines_of(judged.sheet)]
    mean = sum(graded) / len(graded)
    assert f"people       {mean:.2f} is their mean over the 24 rows that they graded" in told.out
    people, low, high = (numbers[f"llm_judge/human_mean{end}"] for end in ("", "_low", "_high"))
    shown = f"{people:.2f} ({low:.2f} to {high:.2f}) is what people would give all 60 on average"
    assert shown in told.out
    assert low <= true_mean() <= high and high - low < 0.6
    assert numbers["llm_judge/human_rows"] == 24
    assert numbers["llm_judge/human_graded_mean"] == pytest.approx(mean)
    assert f"as much as {numbers['llm_judge/human_rows_worth']:.0f} without" in told.out
    assert "an interval of ±0.1 takes about" in told.out
    described = judged.run.tags["mlflow.note.content"].split("\n\n")
    assert described[1].startswith(f"**People would give {people:.2f} ({low:.2f} to {high:.2f})**")
    page = (judged.run.folder / "report.html").read_text(encoding="utf-8")
    assert f"{low:.2f} to {high:.2f}: 95 % interval of people's mean over all 60 rows" in page


def test_a_second_report_replaces_the_first_one(judged: Judged) -> None:
    judged.open("--rows", "40")
    for rows in (20, 40):
        assert judged.grade("report", "--graded", str(fill(judged.sheet, rows))).code == 0
    page = (judged.run.folder / "report.html").read_text(encoding="utf-8")
    described = judged.run.tags["mlflow.note.content"]
    assert page.count("what people would give") == 1 == described.count("**People would give")
    assert "40 rows were graded" in page and "The 40 rows" in described
    fewer = judged.grade("report", "--graded", str(fill(judged.sheet, 5)))
    assert "over the 40 rows that they graded" in fewer.out  # no grade of the run is lost
    again = judged.grade("report")  # without a file: those that are kept with the run
    assert again.code == 0 and "over the 40 rows that they graded" in again.out


def test_the_draw_is_recorded_with_the_chance_of_each_row(judged: Judged) -> None:
    assert judged.open("--rows", "20", "--strata").code == 0
    draw = json.loads((judged.run.folder / "grading/draw.json").read_text(encoding="utf-8"))
    assert draw["design"] == {"seed": 0, "strata": "score", "cluster": ""}
    for one in draw["drawn"]:
        taken = sum(other["stratum"] == one["stratum"] for other in draw["drawn"])
        assert one["chance"] == pytest.approx(taken / draw["stratum_units"][one["stratum"]])
    assert judged.grade("report", "--graded", str(fill(judged.sheet))).code == 0
    numbers = judged.run.metrics
    people, plain = (numbers[f"llm_judge/human_{name}"] for name in ("mean", "graded_mean"))
    assert abs(people - true_mean()) < 0.25
    assert people != plain  # each row stands for those of its stratum


def test_clusters_are_graded_whole_or_left_out(judged: Judged) -> None:
    assert judged.open("--rows", "51", "--cluster", "topic").code == 0
    told = judged.grade("report", "--graded", str(fill(judged.sheet, 50)))
    assert told.code == 0, told.err
    assert "3 of 51 drawn rows do not count, for want of a grade" in told.err
    assert judged.run.metrics["llm_judge/human_rows"] == 48


def test_a_cluster_with_a_deleted_row_is_not_graded_whole(judged: Judged) -> None:
    judged.open("--rows", "51", "--cluster", "topic")
    lines = lines_of(fill(judged.sheet))
    told = judged.grade(
        "report", "--graded", str(write_csv(judged.sheet.with_name("fewer.csv"), lines[1:]))
    )
    assert told.code == 0 and "3 of 51 drawn rows do not count" in told.err
    assert judged.run.metrics["llm_judge/human_rows"] == 48


def test_nothing_of_the_judges_is_in_the_files(judged: Judged) -> None:
    judged.open("--rows", "10")
    names = ["row", "inputs", "targets", "predictions", "human_score", "human_feedback"]
    names += ["drawn_from", "unit", "stratum", "stratum_units", "all_units"]
    assert all(list(line) == names for line in lines_of(judged.sheet))
    sheet = load_workbook(judged.sheet.with_suffix(".xlsx")).active
    assert [cell.value for cell in sheet[1]] == names
    assert sheet.data_validations.dataValidation[0].formula1 == '"1,2,3,4,5"'


def test_a_workbook_is_read_as_a_csv_is(judged: Judged) -> None:
    judged.open("--rows", "20")
    path = judged.sheet.with_suffix(".xlsx")
    book = load_workbook(path)
    for row in list(book.active.rows)[1:]:
        row[4].value = grade_of(row[3].value)
    book.save(path)
    by_csv = judged.grade("report", "--graded", str(fill(judged.sheet)))
    by_workbook = judged.grade("report", "--graded", str(path))
    assert by_workbook.code == 0, by_workbook.err
    assert by_workbook.out == by_csv.out


def test_an_answer_that_begins_with_an_equals_sign_is_no_formula(tmp_path: Path) -> None:
    from mlflow_tracking.grading.draw import Candidate, Design, draw_rows
    from mlflow_tracking.grading.sheet import grading_lines, write_sheets
    from mlflow_tracking.rows.item import Item
    from mlflow_tracking.rows.scale import choice

    draw, scale = draw_rows([Candidate(1, "1")], "digest", Design(), 1), choice("yes", "no")
    item = Item("2+2?", "=1+1\x07")
    _, path = write_sheets(tmp_path, grading_lines(draw, [item], scale), scale)
    cell = load_workbook(path).active["D2"]
    assert (cell.data_type, cell.value) == ("s", "=1+1")


def test_grades_in_a_file_are_not_overwritten(judged: Judged) -> None:
    judged.open("--rows", "10")
    assert judged.open("--rows", "20").code == 0  # blank, and so made anew
    assert len(lines_of(judged.sheet)) == 20
    shutil.copy(fill(judged.sheet, 1), judged.sheet)
    refused = judged.open("--rows", "30")
    assert refused.code == 2 and f"{judged.sheet}:2: has a grade; move the file" in refused.err
    assert len(lines_of(judged.sheet)) == 20


def test_a_graded_run_that_is_resumed_or_judged_again_keeps_its_grades(judged: Judged) -> None:
    judged.open("--rows", "20")
    graded = str(fill(judged.sheet))
    judged.grade("report", "--graded", graded)
    before, data = judged.run, str(judged.workspace.folder / "a.csv")
    resumed = judged.command("run_experiment", "--data", data, "--resume", before.id)
    assert resumed.code == 0, resumed.err
    assert "over the 20 rows that they graded" in resumed.out
    after = judged.run
    assert after.id == before.id
    assert after.metrics["llm_judge/human_mean"] == before.metrics["llm_judge/human_mean"]
    assert "**People would give" in after.tags["mlflow.note.content"]
    again = judged.command("run_experiment", "--data", data, "--graded", graded)
    assert again.code == 0 and "over the 20 rows that they graded" in again.out
    assert judged.run.id != before.id
    assert judged.run.metrics["llm_judge/human_rows"] == 20
    assert "grading/graded.csv" in judged.run.artifacts


class TestWhatGivesNoNumber:
    def test_rows_that_were_picked_by_hand(self, judged: Judged) -> None:
        picked = write_csv(
            judged.workspace.folder / "picked.csv",
            [{"inputs": "q", "predictions": "a", "human_score": str(1 + n % 5)} for n in range(20)],
        )
        told = judged.grade("report", "--graded", str(picked))
        assert told.code == 2 and "picked by hand say nothing of all rows" in told.err
        assert "llm_judge/human_mean" not in judged.run.metrics

    def test_grades_of_other_rows_than_the_runs(self, judged: Judged) -> None:
        judged.open("--rows", "20")
        graded = str(fill(judged.sheet))
        data = str(answers(judged.workspace.folder, "b.csv", more=1))
        calls = len(judged.stub.calls)
        told = judged.command("run_experiment", "--data", data, "--graded", graded)
        assert told.code == 2 and "drawn from other rows than this run's" in told.err
        asked = {each.row for each in judged.stub.calls[calls:]}
        assert len([row for row in asked if row.startswith("item-")]) <= 1  # the preflight's

    def test_fewer_than_fifteen_grades_give_no_interval(self, judged: Judged) -> None:
        judged.open("--rows", "20")
        told = judged.grade("report", "--graded", str(fill(judged.sheet, 14)))
        assert told.code == 0 and "no interval: 14 graded; an interval needs 15" in told.out
        assert "is a guess at what people would give all 60" in told.out
        names = {name for name in judged.run.metrics if name.startswith("llm_judge/human")}
        assert names == {"llm_judge/human_rows", "llm_judge/human_graded_mean"}
        assert "not known yet: 14 graded" in (judged.run.folder / "report.html").read_text()

    @pytest.mark.parametrize(
        ("changed", "cause"),
        [
            ({"human_score": "7"}, "human_score is 7, off the scale"),
            ({"human_score": "good"}, "human_score is 'good'"),
            ({"row": "61"}, "row is '61'; leave it as it was"),
            ({"row": "59"}, "is not row 59 of the run; sort whole lines only"),
            ({"predictions": "another"}, "is not row 60 of the run"),
            ({"stratum_units": "many"}, "stratum_units is 'many'"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
    )
    def test_a_cell_that_is_wrong(
        self, judged: Judged, changed: Mapping[str, str], cause: str
    ) -> None:
        judged.open("--rows", "20")
        path = fill(judged.sheet)
        lines = lines_of(path)
        told = judged.grade(
            "report", "--graded", str(write_csv(path, [{**lines[0], **changed}, *lines[1:]]))
        )
        assert told.code == 2 and f"{path}:2: {cause}" in told.err

    def test_a_run_without_a_draw_or_without_grades(self, judged: Judged) -> None:
        told = judged.grade("status")
        assert told.code == 2 and "no rows were drawn yet" in told.err
        judged.open("--rows", "20")
        told = judged.grade("report")
        assert told.code == 2 and "no row is graded yet" in told.err
        told = judged.grade("report", "--graded", str(judged.sheet))
        assert told.code == 2 and "no row is graded yet; fill in human_score" in told.err


def test_what_is_drawn_does_not_tell_the_judges_score(judged: Judged) -> None:
    judged.open("--rows", "30", "--strata")
    table = {row["row"]: row for row in judged.run.table("judge_results.json")}
    lines = lines_of(judged.sheet)
    scores = [int(table[int(line["row"])]["expected_score"] + 0.5) for line in lines]
    assert scores[:5] != sorted(scores[:5])  # the strata take turns in no order of theirs
    assert {line["stratum"] for line in lines} == {f"s{n}" for n in range(1, len(set(scores)) + 1)}
    assert [line["stratum"][1:] for line in lines] != list(map(str, scores))


class TestAFileThatIsNotWhatWasDrawn:
    def report(self, judged: Judged, lines: list[dict[str, str]]) -> Done:
        path = write_csv(judged.sheet.with_name("changed.csv"), lines)
        return judged.grade("report", "--graded", str(path))

    def graded(self, judged: Judged, *words: str) -> list[dict[str, str]]:
        assert judged.open("--rows", "30", *words).code == 0
        return lines_of(fill(judged.sheet))

    def test_a_row_twice(self, judged: Judged) -> None:
        lines = self.graded(judged)
        told = self.report(judged, [*lines, lines[3]])
        assert told.code == 2 and f"row {lines[3]['row']} stands there twice" in told.err

    def test_a_stratum_without_a_grade_has_no_mean(self, judged: Judged) -> None:
        lines = self.graded(judged, "--strata")
        told = self.report(judged, [line for line in lines if line["stratum"] != "s1"])
        assert told.code == 0
        units = next(line["stratum_units"] for line in lines if line["stratum"] == "s1")
        assert f"nothing is graded of a stratum with {units} of the rows" in told.out
        assert "llm_judge/human_mean" not in judged.run.metrics

    def test_units_that_are_not_those_of_a_draw(self, judged: Judged) -> None:
        lines = [{**line, "stratum_units": "7"} for line in self.graded(judged)]
        told = self.report(judged, lines)
        assert told.code == 2 and "are not those of one draw" in told.err
        assert "grading/graded.csv" not in judged.run.artifacts

    def test_grades_of_two_draws(self, judged: Judged) -> None:
        assert self.report(judged, self.graded(judged)).code == 0
        (judged.run.folder / "grading/draw.json").unlink()
        told = self.report(judged, self.graded(judged, "--strata"))
        assert told.code == 2 and "are not those of one draw" in told.err

    def test_a_windows_file_is_read_with_its_encoding(self, judged: Judged) -> None:
        lines = [{**line, "human_feedback": "верно"} for line in self.graded(judged)]
        path = write_csv(judged.sheet.with_name("changed.csv"), lines)
        path.write_bytes(path.read_text(encoding="utf-8").encode("cp1251"))
        assert judged.grade("report", "--graded", str(path)).code == 2
        told = judged.grade("report", "--graded", str(path), "--encoding", "cp1251")
        assert told.code == 0, told.err


def test_no_promise_rests_on_rows_of_unequal_chances(judged: Judged) -> None:
    judged.open("--rows", "30", "--strata")
    graded = str(fill(judged.sheet))
    told = judged.command("validate_judge", "--data", graded, "--quick", "--max-wrong", "0.3")
    assert told.code == 2 and "a promise needs rows that all had the same chance" in told.err


def test_grades_are_not_read_over_others(judged: Judged) -> None:
    judged.open("--rows", "20")
    output = judged.workspace.folder / "mine.csv"
    told = judged.grade("read", "--output", str(output))
    assert told.code == 2 and "nobody has graded a row in the queue yet" in told.err
    assert not output.exists()


class TestTwoRuns:
    """Run b's answers are better by half a point."""

    def graded_twice(self, judged: Judged, rows: int, seed_b: str = "0") -> tuple[str, str]:
        first = judged.run.id
        data = str(answers(judged.workspace.folder, "b.csv", more=1))
        assert judged.command("run_experiment", "--data", data).code == 0
        second = judged.run.id
        for run, seed in ((first, "0"), (second, seed_b)):
            judged.sheet.unlink(missing_ok=True)
            judged.sheet.with_suffix(".xlsx").unlink(missing_ok=True)
            opened = judged.open("--run", run, "--rows", str(rows), "--seed", seed)
            assert opened.code == 0, opened.err
            told = judged.grade("report", "--run", run, "--graded", str(fill(judged.sheet)))
            assert told.code == 0, told.err
        return first, second

    def test_rows_graded_in_both_are_compared_one_by_one(self, judged: Judged) -> None:
        told = judged.command("compare_runs", *self.graded_twice(judged, 30))
        assert told.code == 0, told.err
        [line] = [line for line in told.out.splitlines() if line.startswith("people")]
        assert "over 60 rows, of which 30 are graded in both runs" in line
        assert "cannot tell" not in line
        low, high = line.partition("(")[2].partition(")")[0].split(" to ")
        better = sum(1 + n % 5 < 5 for n in range(ROWS) if n % 2) / ROWS
        assert float(low) <= better <= float(high)

    def test_few_grades_cannot_tell(self, judged: Judged) -> None:
        told = judged.command("compare_runs", *self.graded_twice(judged, 14))
        assert "cannot tell which is better" in told.out

    def test_rows_graded_apart_are_compared_by_their_means(self, judged: Judged) -> None:
        told = judged.command("compare_runs", *self.graded_twice(judged, 16, seed_b="5"))
        assert told.code == 0, told.err
        assert "of two means, from 16 and 16 graded rows" in told.out

    def test_one_graded_run_says_nothing_of_the_other(self, judged: Judged) -> None:
        first, second = self.graded_twice(judged, 20)
        shutil.rmtree(judged.run.folder / "grading")
        told = judged.command("compare_runs", first, second)
        assert f"cannot tell of B; grade it: grade_rows.py report --run {second}" in told.out


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["ask"], "open, status, read or report?"),
        (["open", "--strata", "--cluster", "topic"], "exclude each other"),
        (["report", "--plan", "0"], "--plan 0 is not a number of points"),
        (["open", "--cluster", "nobody"], "no column nobody of the file; inputs, predictions"),
        (["open", "--cluster", "score"], "no column score of the file"),
        (["open", "--undecided"], "has no undecided rows; run_experiment.py --decide"),
        (["report", "--graded", "nowhere.csv"], "nowhere.csv: no such file; --graded takes"),
        (["open", "--run", "0" * 32], "run 00000000000000000000000000000000: not in"),
        (["read", "--output", "/nowhere/graded.csv"], "there is no folder /nowhere"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line(judged: Judged, words: list[str], cause: str) -> None:
    told = judged.grade(*words)
    assert told.code == 2
    assert cause in told.err and len(told.problems) == 1


def test_a_file_store_has_no_queues_and_the_files_all_the_same(
    judged: Judged, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path, with_database=False)
    workspace.uri = str(tmp_path / "store")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    data = str(tmp_path / "a.csv")
    done = workspace.run("--data", data, base_url=judged.stub.base_url)
    assert done.code == 0, done.err
    workspace.script = ROOT / "mlflow_tracking/grade_rows.py"
    opened = workspace.run("open", "--rows", "20", "--folder", str(tmp_path))
    assert opened.code == 0, opened.err
    [note] = [line for line in opened.err.splitlines() if line.startswith("note:")]
    assert "review queues" in note
    told = workspace.run("report", "--graded", str(fill(judged.sheet)))
    assert told.code == 0 and "is what people would give all 60" in told.out, told.err
