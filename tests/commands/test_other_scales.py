"""Do the commands keep to the prompt's own scale, from the graded file to the comparison?

python -m pytest tests/commands/test_other_scales.py
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from tests.support.experiment_process import Done, Workspace, call, write_csv
from tests.support.judge_stub import serving
from tests.support.scale_stub import ScaleStub, place_of, prompt_of

ROWS = 24
LEVELS = ("poor", "fair", "good")


@pytest.fixture(scope="module")
def stub() -> Iterator[ScaleStub]:
    stub = ScaleStub()
    with serving(stub):
        yield stub


class Commands:
    """The commands of one workspace, on one file."""

    def __init__(
        self, folder: Path, stub: ScaleStub, capfd: pytest.CaptureFixture[str], *grades: str
    ) -> None:
        self.workspace, self.folder, self.stub, self.capfd = Workspace(folder), folder, stub, capfd
        self.data = write_csv(folder / "rows.csv", rows(*grades))

    def __call__(self, name: str, *words: str) -> Done:
        self.workspace.script = ROOT / f"mlflow_tracking/{name}.py"
        judges = name not in ("grade_rows", "compare_runs")
        url = self.stub.base_url if judges else ""
        return call(self.workspace, self.capfd, *words, base_url=url)

    def judge(self, kind: str, *words: str) -> str:
        """Have the file judged; the run's id."""
        prompt = str(prompt_of(self.folder, kind, "{context}"))
        done = self("run_experiment", "--data", str(self.data), "--prompt", prompt, *words)
        assert done.code == 0, done.err
        return self.workspace.last_run().id


def rows(*grades: str) -> list[dict[str, str]]:
    table = [
        {"inputs": f"What is item-{n}?", "predictions": f"It is {n}.", "context": f"passage {n}"}
        for n in range(ROWS)
    ]
    for row, grade in zip(table, grades, strict=False):
        row["human_score"] = grade
    return table


def ten() -> list[str]:
    """What the stub's judge gives on 0-10."""
    return [str(place_of(f"item-{n}") % 11) for n in range(ROWS)]


def words() -> list[str]:
    """What it gives on three levels."""
    return [LEVELS[place_of(f"item-{n}") % 3] for n in range(ROWS)]


@pytest.fixture
def commands(tmp_path: Path, stub: ScaleStub, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(tmp_path, stub, capfd)


# comparing runs


def test_runs_of_two_scales_are_not_subtracted(commands: Commands) -> None:
    first, second = commands.judge("0-10"), commands.judge("poor/fair/good")
    done = commands("compare_runs", first, second)
    assert done.code == 2 and len(done.problems) == 1
    assert "A scores on 0-10, B on poor/fair/good; a difference of means says nothing" in done.err
    assert "B - A" not in done.out


def test_runs_of_one_scale_are_compared_on_it(commands: Commands) -> None:
    first, second = commands.judge("checklist"), commands.judge("checklist", "--limit", "12")
    done = commands("compare_runs", first, second)
    assert done.code == 0, done.err
    assert "B - A        +0.00" in done.out and "0-12-0" in done.out
    assert "scales differ" not in done.err


def test_yes_and_no_compare_with_1_5_and_say_so(commands: Commands) -> None:
    first, second = commands.judge("1-5"), commands.judge("yes/no")
    done = commands("compare_runs", first, second)
    assert done.code == 0, done.err
    assert "note: the runs' scales differ (A: 1-5; B: yes/no)" in done.err


# people's scores


@pytest.mark.parametrize(
    ("kind", "grades"), [("0-10", ten()), ("poor/fair/good", words())], ids=["0-10", "words"]
)
def test_a_judge_is_validated_on_its_own_scale(
    tmp_path: Path,
    stub: ScaleStub,
    capfd: pytest.CaptureFixture[str],
    kind: str,
    grades: list[str],
) -> None:
    commands = Commands(tmp_path, stub, capfd, *grades)
    prompt = str(prompt_of(tmp_path, kind))
    done = commands("validate_judge", "--data", str(commands.data), "--prompt", prompt, "--quick")
    assert done.code == 0, done.err
    run = commands.workspace.last_run()
    assert run.params["scale"] == kind
    assert run.metrics["llm_judge_validation/mean_absolute_error_integer"] == 0
    assert run.metrics["llm_judge_validation/exact_share_integer"] == 1
    found = json.loads((run.folder / "validation.json").read_text(encoding="utf-8"))
    assert len(found["confusion"]) == (11 if kind == "0-10" else 3)
    assert sum(line[place] for place, line in enumerate(found["confusion"])) == ROWS


def test_a_score_off_the_prompts_scale_is_one_line_before_any_call(
    tmp_path: Path, stub: ScaleStub, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(tmp_path, stub, capfd, *["10"] * ROWS)
    stub.forget()
    for kind, wanted in (("1-5", "map it to 1-5"), ("poor/fair/good", "to poor/fair/good")):
        prompt, data = str(prompt_of(tmp_path, kind)), str(commands.data)
        done = commands("validate_judge", "--data", data, "--prompt", prompt, "--quick")
        assert done.code == 2 and len(done.problems) == 1 and wanted in done.err
        done = commands("compare_prompts", "--data", data, prompt)
        assert done.code == 2 and len(done.problems) == 1 and wanted in done.err
    assert not stub.calls


def test_prompts_of_two_scales_are_compared_by_ranks_and_that_is_told(
    tmp_path: Path, stub: ScaleStub, capfd: pytest.CaptureFixture[str]
) -> None:
    commands = Commands(tmp_path, stub, capfd, *ten())
    prompts = [str(prompt_of(tmp_path, kind)) for kind in ("0-10", "poor/fair/good", "checklist")]
    out = tmp_path / "table.json"
    done = commands("compare_prompts", "--data", str(commands.data), "--json", str(out), *prompts)
    assert done.code == 0, done.err
    notes = [line for line in done.err.splitlines() if "compared by ranks alone" in line]
    assert [prompt in note for prompt, note in zip(prompts[1:], notes, strict=True)] == [True] * 2
    assert "people's scores are read on 0-10" in notes[0]
    first, *others = json.loads(out.read_text())
    assert first["whole"]["value"] == pytest.approx(1)
    assert all(other["whole"]["value"] < 1 for other in others)


# grades of a run's own rows


@pytest.mark.parametrize(
    ("kind", "grades", "lowest", "highest"),
    [("0-10", ten(), 0, 10), ("poor/fair/good", words(), 1, 3)],
    ids=["0-10", "words"],
)
def test_rows_are_graded_on_the_scale_of_the_run(
    commands: Commands, kind: str, grades: list[str], lowest: int, highest: int
) -> None:
    run = commands.judge(kind)
    opened = commands("grade_rows", "open", "--rows", "20", "--folder", str(commands.folder))
    assert opened.code == 0, opened.err
    with (commands.folder / "to_grade.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        assert line["context"] == f"passage {int(line['row']) - 1}", "graders see what it saw"
        line["human_score"] = grades[int(line["row"]) - 1]
    graded = str(write_csv(commands.folder / "graded.csv", lines))
    told = commands("grade_rows", "report", "--graded", graded)
    assert told.code == 0, told.err
    metrics = commands.workspace.last_run().metrics
    assert lowest <= metrics["llm_judge/human_graded_mean"] <= highest
    wide = commands("grade_rows", "report", "--graded", graded, "--plan", str(highest - lowest))
    assert wide.code == 2 and len(wide.problems) == 1
    assert f"between 0 and {highest - lowest}: scores are {kind}" in wide.err
    again = commands.judge(kind, "--graded", graded)
    assert again != run
    mean = commands.workspace.last_run().metrics["llm_judge/human_graded_mean"]
    assert mean == metrics["llm_judge/human_graded_mean"]
    other = str(prompt_of(commands.folder, "1-5"))
    data = str(commands.data)
    refused = commands("run_experiment", "--data", data, "--prompt", other, "--graded", graded)
    assert refused.code == 2 and len(refused.problems) == 1
