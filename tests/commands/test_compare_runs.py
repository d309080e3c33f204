"""Which of several runs is better: what is printed, what is recorded, and what cannot be compared?

    python -m pytest tests/commands/test_compare_runs.py

The runs are written into MLflow as run_experiment.py leaves them; test_grade_rows.py and
test_other_scales.py compare runs that it made.
"""

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest

from llm_client.settings import ROOT
from mlflow_tracking.grading.judged_run import last_run
from mlflow_tracking.recording.results import RESULTS_TABLE
from mlflow_tracking.recording.run import RUN_TAGS
from tests.support.experiment_process import Done, Workspace, call, write_csv
from tests.support.graded_csv import answer_of, grade_of
from tests.support.judge_stub import JudgeStub, serving

ROWS = 40
EVEN = [1 + n % 4 for n in range(ROWS)]
BETTER = [score + (n % 5 != 0) for n, score in enumerate(EVEN)]
Scores = Sequence[float | None]


class Runs:
    """Runs of a judge in one experiment, and the command that compares them."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        script = ROOT / "mlflow_tracking/compare_runs.py"
        self.workspace, self.folder, self.capfd = Workspace(folder, script=script), folder, capfd
        mlflow.set_tracking_uri(self.workspace.uri)
        self.experiment("ours")

    def experiment(self, name: str) -> None:
        mlflow.create_experiment(name, artifact_location=(self.folder / name).as_uri())
        mlflow.set_experiment(name)

    def add(self, name: str, scores: Scores, questions: str = "q", **params: str) -> str:
        """The id of a run with these scores; each has answers of its own."""
        told = {"judge_model": "judge", "prompt_file": "p.txt", "scale": "1-5"} | params
        lines = [(n, f"{questions} {n}?", f"{name} {n}", s) for n, s in enumerate(scores, 1)]
        table = pd.DataFrame(lines, columns=["row", "inputs", "predictions", "score"])
        with mlflow.start_run(run_name=name, tags=RUN_TAGS) as run:
            mlflow.log_params(told)
            mlflow.log_table(table, RESULTS_TABLE)
        return str(run.info.run_id)

    def compare(self, *words: str, **settings: str) -> Done:
        return call(self.workspace, self.capfd, *words, **settings)


@pytest.fixture
def runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Runs]:
    before = mlflow.get_tracking_uri()
    yield Runs(tmp_path, capfd)
    mlflow.set_tracking_uri(before)


def test_systems_are_ordered_by_their_means_and_the_pairs_that_differ_are_told(runs: Runs) -> None:
    lacking: Scores = [None, *EVEN[1:-1], 5]
    done = runs.compare(runs.add("first", EVEN), runs.add("best", BETTER), runs.add("c", lacking))
    assert done.code == 0, done.err
    table = [re.split(r" {2,}", line) for line in done.out.splitlines()]
    best, third, first = (next(row for row in table if row[0] == name) for name in "BCA")
    assert [table.index(row) for row in (best, third, first)] == [3, 4, 5]
    assert best[1:5] == ["best", "judge", "39", f"{np.mean(BETTER[1:]):.2f}"]
    assert best[-2:] == ["63-15-0", "0"] and third[-1] == "1"
    assert "39 rows that all scored, by inputs" in done.out
    assert re.search(r"^B - A        \+0\.82 \(\+0\.\d\d to \+0\.\d\d\): differs$", done.out, re.M)
    assert re.search(
        r"^C - A        \+0\.03 \(-0\.\d\d to \+0\.\d\d\): cannot tell$", done.out, re.M
    )
    assert "95 %, all 3 together" in done.out


def test_a_comparison_is_a_run_beside_those_that_it_compares(runs: Runs) -> None:
    ids = [runs.add("first", EVEN), runs.add("best", BETTER)]
    file = runs.folder / "comparison.md"
    done = runs.compare(*ids, "--markdown", str(file))
    assert done.code == 0, done.err
    run = runs.workspace.last_run()
    assert run.id in done.out and "look at it   mlflow ui --backend-store-uri" in done.out
    assert run.status == "FINISHED" and run.tags["experiment_type"] == "llm_judge_comparison"
    assert [run.params["system_A"], run.params["system_B"]] == ids
    assert run.metrics["llm_judge_comparison/mean_B"] == np.mean(BETTER)
    assert run.metrics["llm_judge_comparison/pairs_that_differ"] == 1
    tables = {"comparison.md", "systems.json", "differences.json", "scores.json"}
    assert tables | {"plots/means.png", "plots/rows.png"} == set(run.artifacts)
    [difference] = run.table("differences.json")
    assert difference["differs"] and difference["difference"] == np.mean(np.subtract(BETTER, EVEN))
    assert [row["B"] for row in run.table("scores.json")] == BETTER
    text = file.read_text(encoding="utf-8")
    assert text == (run.folder / "comparison.md").read_text(encoding="utf-8")
    assert text == run.tags["mlflow.note.content"] and text.count("\n| ") == 3
    assert last_run("ours") == ids[1]  # which is the newest that judged


def test_an_interval_of_a_mean_ends_where_the_scale_does(runs: Runs) -> None:
    done = runs.compare(runs.add("best", [2, *[5] * 11]), runs.add("b", EVEN[:12]))
    assert done.code == 0, done.err
    assert re.search(r"^A  best .* 4\.75 +4\.20 to 5\.00 ", done.out, re.M)
    assert runs.workspace.last_run().metrics["llm_judge_comparison/mean_A_high"] == 5


def test_the_furthest_apart_rows_are_listed(runs: Runs) -> None:
    other = [5 if n == 7 else score for n, score in enumerate(EVEN)]
    ids = [runs.add("a", EVEN), runs.add("b", EVEN), runs.add("c", BETTER), runs.add("d", other)]
    told = runs.compare(*ids, "--moved", "2").out
    head, first, second, end = told[told.index("  row ") :].splitlines()[:4]
    assert head.split() == ["row", "A", "B", "C", "D", "question"]
    assert first.split() == ["8", "4", "4", "5", "5", "q", "8?"]
    assert second.split()[:5] == ["2", "2", "2", "3", "2"] and not end
    assert "question" not in runs.compare(*ids, "--moved", "0").out


def test_many_systems_stay_readable(runs: Runs) -> None:
    noise = np.random.default_rng(3).integers(-1, 2, (12, ROWS))
    ids = [
        runs.add(f"run {n}", np.clip(np.array(EVEN) + more + (n > 9), 1, 5).tolist())
        for n, more in enumerate(noise)
    ]
    done = runs.compare(*ids)
    assert done.code == 0, done.err
    table = runs.workspace.last_run().table("differences.json")
    found = sorted(table, key=lambda row: -abs(row["difference"]))
    differ = [f"{row['system']} - {row['less']}" for row in found if row["differs"]]
    assert len(table) == 66 and 0 < len(differ) < 66
    told = [line.partition("  ")[0] for line in done.out.splitlines() if line.endswith("differs")]
    assert told == differ[:20]
    assert f"{66 - len(differ)} pairs cannot be told apart; all in differences.json" in done.out


def test_what_the_runs_do_not_share_is_told(runs: Runs) -> None:
    ids = [
        runs.add("a", EVEN, judge_model="small", prompt_sha256="1" * 64),
        runs.add("b", BETTER, judge_model="large", prompt_sha256="2" * 64),
        runs.add("c", BETTER, judge_model="small", prompt_sha256="1" * 64),
    ]
    done = runs.compare(*ids)
    assert "note: the runs' judges differ (A, C: small; B: large)" in done.err
    assert "note: the runs' prompts differ (A, C: p.txt 11111111; B: p.txt 22222222)" in done.err
    assert "scales" not in done.err
    assert "Note: the runs' judges differ" in runs.workspace.last_run().tags["mlflow.note.content"]


def test_runs_of_two_experiments_are_compared_in_the_usual_one(runs: Runs) -> None:
    first = runs.add("a", EVEN)
    runs.experiment("theirs")
    done = runs.compare(first, runs.add("b", BETTER), MLFLOW_EXPERIMENT_NAME="usual")
    assert done.code == 0, done.err
    experiment = mlflow.get_experiment_by_name("usual")
    assert experiment is not None and f"experiments/{experiment.experiment_id}/runs/" in done.out


def test_what_cannot_be_compared_ends_in_one_line(runs: Runs) -> None:
    half: Scores = [None] * (ROWS // 2)
    ids = {
        "A": runs.add("a", EVEN),
        "B": runs.add("b", BETTER),
        "OTHER": runs.add("c", EVEN, questions="r"),
        "FRONT": runs.add("d", [*EVEN[: ROWS // 2], *half]),
        "BACK": runs.add("e", [*half, *EVEN[ROWS // 2 :]]),
        "NOTHING": runs.add("f", [None] * ROWS),
        "TEN": runs.add("g", EVEN, scale="0-10"),
    }
    for words, cause in (
        ("A", "give two runs or more"),
        ("A B A", "stands there twice"),
        (f"A {'0' * 32}", f"run {'0' * 32}: not in sqlite"),
        ("A B OTHER", "no question that both judged"),
        ("A FRONT BACK", "no question that both judged"),
        ("A NOTHING", "no question that both judged"),
        ("A B TEN", "A scores on 1-5, C on 0-10; a difference of means says nothing"),
        ("A B --markdown /nowhere/c.md", "there is no folder /nowhere"),
    ):
        done = runs.compare(*(ids.get(word, word) for word in words.split()))
        assert done.code == 2 and not done.out, words
        assert cause in done.err and done.err.count("\n") == 1
    assert len(runs.workspace.runs()) == len(ids)


def test_a_noisy_judge_still_orders_three_systems(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From the files of answers to the table; the second and the third are equally good."""
    ids: list[str] = []
    with serving(JudgeStub()) as stub:
        stub.judge = lambda given: min(5, max(1, grade_of(given.answer) + noise_of(given.answer)))
        for name, better in (("a.csv", 0), ("b.csv", 1), ("c.csv", 1)):
            rows = [
                {
                    "inputs": f"What is item-{n}?",
                    "predictions": f"{name} {answer_of(n, 2 + better)}",
                }
                for n in range(ROWS)
            ]
            data = str(write_csv(tmp_path / name, rows))
            judged = Workspace(tmp_path, with_database=not ids)
            flags = ("--data", data, "--run-name", name, "--score-only", "--no-claim")
            assert call(judged, capfd, *flags, base_url=stub.base_url).code == 0
            ids.append(judged.last_run().id)
    script = ROOT / "mlflow_tracking/compare_runs.py"
    done = call(Workspace(tmp_path, with_database=False, script=script), capfd, *ids)
    assert done.code == 0, done.err
    assert re.findall(r"^(. - .) .*: (.*)$", done.out, re.M) == [
        ("B - A", "differs"),
        ("C - A", "differs"),
        ("C - B", "cannot tell"),
    ]
    assert re.findall(r"^([A-C])  ", done.out, re.M)[2] == "A"


def noise_of(answer: str) -> int:
    """-1, 0 or 1, by chance but always the same of one answer."""
    return zlib.crc32(answer.encode()) % 3 - 1


def test_names_may_be_anything(runs: Runs) -> None:
    odd = "|цена | $5 и $6 \\frac *жирный* " + "очень длинное имя " * 4
    done = runs.compare(runs.add(odd, EVEN), runs.add("b", BETTER))
    assert done.code == 0, done.err
    [line] = [
        line
        for line in runs.workspace.last_run().tags["mlflow.note.content"].splitlines()
        if line.startswith("| A ")
    ]
    assert line.startswith("| A | \\|цена \\| $5") and "\\*жирный" in line
