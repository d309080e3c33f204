"""Does a run with --calibration record both scores, and only for the judge that was measured?

python -m pytest tests/test_calibrated_run.py
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.calibration import Calibration
from mlflow_tracking.estimate import Estimate
from mlflow_tracking.judge_prompt import load_prompt
from tests.experiment_process import Workspace, call, numbered_rows, write_csv
from tests.judge_stub import JudgeStub, serving

SHIPPED = load_prompt(ROOT / "mlflow_tracking/prompts/judge_prompt.txt")
MEASURED = Estimate(0.3, 0.1, 0.5, 60)


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


def saved(folder: Path, judge: str = "stub-judge", prompt: str = SHIPPED.sha256) -> Path:
    """A map that takes half a point from every score above 1.5."""
    path = folder / "calibration.json"
    knots = ((1.0, 1.0), (1.5, 1.0), (5.0, 4.5))
    Calibration(knots, 60, judge, prompt, MEASURED, MEASURED, MEASURED).save(path)
    return path


def test_raw_and_calibrated_scores_stand_side_by_side(
    stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workspace, data = Workspace(tmp_path), write_csv(tmp_path / "rows.csv", numbered_rows(8))
    flags = ("--data", str(data), "--calibration", str(saved(tmp_path)))
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    run = workspace.last_run()
    table = run.table("judge_results.json")
    for row in table:
        assert row["calibrated_score"] == pytest.approx(
            max(1, row["expected_score"] - 0.5), abs=2e-3
        )
    mean = sum(row["calibrated_score"] for row in table) / 8
    assert run.metrics["llm_judge/calibrated_score_mean"] == pytest.approx(mean, abs=2e-3)
    assert run.params["calibration"] == "calibration.json"
    assert f"calibrated   {mean:.2f}" in done.out


def test_a_row_without_a_score_has_no_calibrated_one(
    stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [*numbered_rows(2), {"inputs": "What is item-9?", "predictions": ""}]
    workspace, data = Workspace(tmp_path), write_csv(tmp_path / "rows.csv", rows)
    flags = ("--data", str(data), "--calibration", str(saved(tmp_path)))
    assert call(workspace, capfd, *flags, base_url=stub.base_url).code == 1
    values = [row["calibrated_score"] for row in workspace.last_run().table("judge_results.json")]
    assert values[2] is None
    assert None not in values[:2]


@pytest.mark.parametrize(
    ("judge", "prompt", "word"),
    [("other-judge", SHIPPED.sha256, "other-judge"), ("stub-judge", "0" * 64, "prompt")],
    ids=["another judge", "another prompt"],
)
def test_a_calibration_of_another_judge_is_refused(
    stub: JudgeStub,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    judge: str,
    prompt: str,
    word: str,
) -> None:
    workspace = Workspace(tmp_path)
    path = saved(tmp_path, judge, prompt)
    done = call(workspace, capfd, "--calibration", str(path), base_url=stub.base_url)
    assert done.code == 2
    assert word in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not workspace.runs()


def test_a_file_that_is_no_calibration_is_one_line(
    stub: JudgeStub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "none.json"
    path.write_text("{}")
    done = call(Workspace(tmp_path), capfd, "--calibration", str(path), base_url=stub.base_url)
    assert done.code == 2
    assert "none.json" in done.err
    assert len(done.err.strip().splitlines()) == 1
