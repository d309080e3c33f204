"""Do totals, report and pictures follow the prompt's own scale? 0-10, three levels, a checklist.

python -m pytest tests/recording/test_recorded_scales.py
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from llm_client.settings import ROOT
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.recording.plots import comparison, make_plots, means, png
from mlflow_tracking.recording.report import CUT_BESIDE, Report, render_report
from mlflow_tracking.recording.results import result_records, results_table, stored_name
from mlflow_tracking.recording.sample import worst_first
from mlflow_tracking.recording.summary import Summary, describe, summarise
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.item import DataSet, Item, Row
from mlflow_tracking.rows.scale import ONE_TO_FIVE, number_scale, read_scale
from mlflow_tracking.stats.estimate import Estimate
from tests.support.experiment_process import Recorded, Workspace, call, write_csv
from tests.support.judge_stub import serving
from tests.support.scale_stub import ScaleStub, place_of, prompt_of, read_prompt, scored

FAILED = Verdict(Status.TIMEOUT, "no answer")
# Of each kind the scores of some rows, and the two ends of its scale.
KINDS: dict[str, tuple[list[tuple[int, ...]], int, int]] = {
    "0-10": ([(0,), (10,), (7,)], 0, 10),
    "poor/fair/good": ([(1,), (3,), (2,)], 1, 3),
    "yes/no": ([(1,), (5,), (5,)], 1, 5),
    "checklist": ([(1, 1), (5, 3), (5, 2)], 1, 3),
}


def row(number: int, **columns: str) -> Row:
    cells = {"inputs": "a question?", "predictions": "an answer", **columns}
    more = tuple(columns.items())
    return Row(number, number + 1, Item("a question?", "an answer", more=more), cells)


def verdicts_of(folder: Path, kind: str) -> list[Verdict]:
    prompt = read_prompt(folder, kind)
    return [scored(prompt, *values) for values in KINDS[kind][0]]


def summary_of(folder: Path, kind: str, verdicts: Sequence[Verdict]) -> Summary:
    prompt = read_prompt(folder, kind)
    totals = Totals(prompt)
    totals.add(verdicts)
    return summarise(totals.overall, totals.metrics(len(verdicts), 1.0), prompt.format.scale)


def page_of(folder: Path, kind: str, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> str:
    judged = list(zip(rows, verdicts, strict=True))
    return render_report(Report("r", "id", {}, summary_of(folder, kind, verdicts), judged, {}))


# totals and words


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_are_those_of_the_scale_and_named_by_its_ends(tmp_path: Path, kind: str) -> None:
    _, low, high = KINDS[kind]
    verdicts = verdicts_of(tmp_path, kind)
    values = [v.overall.value for v in verdicts if v.overall]
    totals = Totals(read_prompt(tmp_path, kind))
    totals.add([*verdicts, FAILED])
    metrics = totals.metrics(4, 1.0)
    for end in (low, high):
        name = f"llm_judge/mean_if_failed_are_{end}"
        assert metrics[name] == pytest.approx((sum(values) + end) / 4)
    assert sum("mean_if_failed" in name for name in metrics) == 2
    assert metrics["llm_judge_accuracy/v1/mean"] == pytest.approx(sum(values) / 3)


def test_a_checklists_percentiles_are_of_its_means(tmp_path: Path) -> None:
    # Two thirds for 'Faithful' and one for 'Clear', on 1-3: 1, 3, and 1 + 2 (2/3 + 1/6) = 2.6667.
    verdicts = verdicts_of(tmp_path, "checklist")
    totals = Totals(read_prompt(tmp_path, "checklist"))
    totals.add(verdicts)
    metrics = totals.metrics(3, 1.0)
    assert metrics["llm_judge_accuracy/v1/median"] == pytest.approx(8 / 3, abs=1e-5)
    assert metrics["llm_judge_accuracy/v1/p90"] == pytest.approx(8 / 3 + 0.8 / 3, abs=1e-5)
    assert metrics["llm_judge_faithful/v1/mean"] == pytest.approx(11 / 3)
    assert metrics["llm_judge_clear/v1/mean"] == 2


@pytest.mark.parametrize(
    ("kind", "best", "ends"),
    [
        ("0-10", "** of 10,", "all 0s or 10s"),
        ("poor/fair/good", "** of 3 (1 poor, 2 fair, 3 good),", "all 1s or 3s"),
        ("yes/no", "** of 5,", "all 1s or 5s"),
        ("checklist", "** of 3,", "all 1s or 3s"),
    ],
)
def test_a_description_names_the_scale(tmp_path: Path, kind: str, best: str, ends: str) -> None:
    text = describe(summary_of(tmp_path, kind, [*verdicts_of(tmp_path, kind), FAILED]), {}, 0)
    assert best in text and ends in text


@pytest.mark.parametrize(
    ("kind", "shown", "bits"),
    [
        ("0-10", ["0", "10", "7"], "3.46"),
        ("poor/fair/good", ["1 poor", "3 good", "2 fair"], "1.58"),
        ("yes/no", ["1", "5", "5"], "1.00"),
        ("checklist", ["1", "3", "2.67"], ""),
    ],
)
def test_a_report_shows_scores_as_the_scale_has_them(
    tmp_path: Path, kind: str, shown: list[str], bits: str
) -> None:
    verdicts = verdicts_of(tmp_path, kind)
    if bits:
        count = len(verdicts[0].scores[next(iter(verdicts[0].scores))].values)
        verdicts = [unsure(one, (1 / count,) * count) for one in verdicts]
    page = page_of(tmp_path, kind, [row(n) for n in (1, 2, 3)], [*verdicts])
    for text in shown:
        assert f'score">{text}<' in page
    assert f"{bits} is no idea" in page if bits else "is no idea" not in page


def unsure(verdict: Verdict, probabilities: tuple[float, ...]) -> Verdict:
    scores = {n: replace(s, probabilities=probabilities) for n, s in verdict.scores.items()}
    return replace(verdict, scores=scores)


def test_a_point_of_1_5_is_a_quarter_of_the_scale_in_the_reports_lists(tmp_path: Path) -> None:
    prompt = read_prompt(tmp_path, "0-10")
    values = prompt.format.scale.values

    def differing(points: float) -> Verdict:
        claim, whole = Score(2, None, values), Score(2 + points, None, values)
        return replace(scored(prompt, 5), claim="x", claim_score=claim, answer_score=whole)

    near = page_of(tmp_path, "0-10", [row(1)], [differing(2)])
    far = page_of(tmp_path, "0-10", [row(1)], [differing(3)])
    assert 'id="differ"' not in near and 'id="differ"' in far
    assert "By more than 2.5 points." in far and "score over 5 points more" in far


def test_a_report_shows_further_columns_shortened(tmp_path: Path) -> None:
    text = "<b>passage</b> " * 100
    rows = [row(1, context=text), row(2, context=" ")]
    page = page_of(tmp_path, "1-5", rows, [scored(read_prompt(tmp_path, "1-5"), 4)] * 2)
    assert "context: &lt;b&gt;passage" in page and "<b>passage" not in page
    assert f"…{len(text) - CUT_BESIDE} more characters" in page
    assert page.count("context:") == 2, "in the list of the lowest and in the table, of one row"


def test_a_row_without_a_verdict_comes_before_a_zero(tmp_path: Path) -> None:
    prompt = read_prompt(tmp_path, "0-10")
    assert worst_first([scored(prompt, 0), FAILED, scored(prompt, 1)]) == [1, 0, 2]


# pictures


def axes_of(folder: Path, kind: str, name: str, verdicts: Sequence[Verdict]) -> Axes:
    rows = [(row(number), one) for number, one in enumerate(verdicts, 1)]
    figure = make_plots(rows, read_prompt(folder, kind).format.scale)[name]
    assert png(figure)
    [axes] = figure.axes
    return axes


def bars_of(axes: Axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle)]


@pytest.mark.parametrize(
    ("kind", "counts", "ticks"),
    [
        ("0-10", [1, *[0] * 6, 1, 0, 0, 1], list(map(str, range(11)))),
        ("poor/fair/good", [1, 1, 1], ["1 poor", "2 fair", "3 good"]),
        ("yes/no", [1, 0, 0, 0, 2], list("12345")),
    ],
)
def test_bars_are_those_of_the_scale(
    tmp_path: Path, kind: str, counts: list[int], ticks: list[str]
) -> None:
    axes = axes_of(tmp_path, kind, "scores.png", verdicts_of(tmp_path, kind))
    assert [bar.get_height() for bar in bars_of(axes)] == counts
    assert [label.get_text() for label in axes.get_xticklabels()] == ticks


def test_means_of_a_checklist_have_a_histogram_over_the_scale(tmp_path: Path) -> None:
    axes = axes_of(tmp_path, "checklist", "scores.png", verdicts_of(tmp_path, "checklist"))
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in bars_of(axes)]
    assert sum(height for *_, height in bars) == 3
    for value in (1, 8 / 3, 3):
        assert any(x <= value <= x + width and height for x, width, height in bars)
    low, high = axes.get_xlim()
    assert low < 1 and high > 3


def test_lines_of_other_scales_are_shown_as_shares_of_their_own(tmp_path: Path) -> None:
    verdicts = verdicts_of(tmp_path, "checklist")
    axes = axes_of(tmp_path, "checklist", "scores_by_criterion.png", verdicts)
    # 'Faithful' 1, 5, 5 of 1-5; 'Clear' 1, 3, 2 and the mean 1, 3, 2.67 of 1-3
    shares = [bar.get_width() for bar in bars_of(axes)]
    assert shares == pytest.approx([2 / 3, 1 / 2, 11 / 18], abs=1e-5)


def test_a_comparison_counts_means_at_the_nearest_score() -> None:
    figure = comparison([(0, 10), (2.4, 2.6), (2.4, 2.3)], number_scale(0, 10), "A", "B")
    grid, bars = figure.axes
    assert sorted(text.get_text() for text in grid.texts) == ["1", "1", "1"]
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in bars_of(bars)}
    assert {step: n for step, n in heights.items() if n} == {0: 2, 10: 1}


# tables


def test_a_checklists_lines_are_columns_beside_its_mean(tmp_path: Path) -> None:
    verdicts = [*verdicts_of(tmp_path, "checklist"), FAILED]
    rows = tuple(row(number) for number in (1, 2, 3, 4))
    table = results_table(DataSet(tmp_path / "x.csv", "0", ",", rows), verdicts)
    assert table["score"].tolist()[:3] == pytest.approx([1, 3, 8 / 3], abs=1e-5)
    assert table["Faithful"].tolist()[:3] == [1, 5, 5] and table["Clear"].tolist()[:3] == [1, 3, 2]
    assert table["entropy_bits"].isna().all() and "overall" not in table
    known = replace(verdicts[0].scores["overall"], mean=1.25)
    sure = replace(verdicts[0], scores={**verdicts[0].scores, "overall": known})
    [record] = result_records(rows[:1], [sure])
    assert (record["expected_score"], record["entropy_bits"]) == (1.25, None)


@pytest.mark.parametrize("name", ["context", "score", "Clear", "reason", "row", "decision"])
def test_a_column_is_found_again_under_its_name_in_the_table(tmp_path: Path, name: str) -> None:
    prompt = read_prompt(tmp_path, "checklist")
    [record] = result_records([row(1, **{name: "mine"})], [scored(prompt, 5, 2)])
    assert record[stored_name(name, record, prompt.format)] == "mine"


# a whole run


@pytest.fixture
def stub() -> Iterator[ScaleStub]:
    stub = ScaleStub()
    with serving(stub):
        yield stub


def run_of(
    folder: Path, kind: str, stub: ScaleStub, capfd: pytest.CaptureFixture[str], *flags: str
) -> tuple[Recorded, str]:
    rows = [
        {"inputs": f"What is item-{n}?", "predictions": "It is.", "context": f"passage {n}"}
        for n in range(8)
    ]
    data, prompt = write_csv(folder / "rows.csv", rows), prompt_of(folder, kind, "{context}")
    words = ("--data", str(data), "--prompt", str(prompt), *flags)
    workspace = Workspace(folder)
    done = call(workspace, capfd, *words, base_url=stub.base_url)
    assert done.code == 0 and "could not be recorded" not in done.err, done.err
    return workspace.last_run(), done.out


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_keeps_the_prompts_own_scale(
    tmp_path: Path, stub: ScaleStub, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    prompt = read_prompt(tmp_path, kind)
    form, scale = prompt.format, prompt.format.scale
    run, out = run_of(tmp_path, kind, stub, capfd, "--traces", "8")
    words = {name: one.words for name, one in form.scales.items()}

    def expected(number: int) -> float:
        place = place_of(f"item-{number}")
        given = [one.values[self_place(words[n], place)] for n, one in form.scales.items()]
        overall = scored(prompt, *given).overall
        assert overall is not None
        return overall.value

    def self_place(offered: Sequence[str], place: int) -> int:
        if len(offered) == 2:  # of a choice the good word is offered first
            return 1 - place % 2
        return place % len(offered)

    values = [expected(number) for number in range(8)]
    assert len(set(values)) > 1
    assert run.params["scale"] == str(scale) and read_scale(run.params["scale"]) == scale
    assert [each["score"] for each in run.table("judge_results.json")] == pytest.approx(values)
    mean = run.metrics["llm_judge_accuracy/v1/mean"]
    assert mean == pytest.approx(sum(values) / 8)
    where = "" if scale.for_people == ONE_TO_FIVE else f" on {scale}"
    assert f"mean score   {mean:.2f}{where} over 8 of 8 rows" in out
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "context: passage 3" in page
    assert {f"llm_judge/mean_if_failed_are_{end}" for end in KINDS[kind][1:]} <= set(run.metrics)


def test_every_shipped_prompt_has_a_scale_that_is_read_back() -> None:
    from mlflow_tracking.judge.prompt import load_prompt

    for path in sorted((ROOT / "mlflow_tracking/prompts").glob("judge_prompt*.txt")):
        scale = load_prompt(path).format.scale
        assert read_scale(str(scale)) == scale, path


def test_a_mean_is_drawn_with_its_interval_if_it_has_one() -> None:
    found = {"A  best": Estimate(4.9, 4.7, 5.0, 40), "B  few": Estimate(3.0, None, None, 4, "few")}
    figure = means(found, ONE_TO_FIVE)
    [axes] = figure.axes
    lines = [line.get_xydata().tolist() for line in axes.lines]  # type: ignore[union-attr]
    assert lines == [[[4.7, 0], [5, 0]], [[4.9, 0]], [[3, 1]]]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(found)
