"""Is a judge of known quality found out, and is the validation of it recorded, resumable, honest?

python -m pytest tests/commands/test_validate_judge.py
"""

import json
import math
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.rows.item import Row
from mlflow_tracking.rows.row_files import load_rows
from tests.support import graded_csv as judges
from tests.support.experiment_process import Done, Recorded, Workspace, call, finish, write_csv
from tests.support.graded_csv import label_csv, pairs_csv, scale_csv
from tests.support.judge_stub import (
    PREFLIGHT_CALLS_WITH_CLAIM,
    Call,
    JudgeStub,
    is_it_so,
    serving,
)
from tests.support.vllm_process import JudgeServer
from tests.support.whole_answers import whole_answer_prompt

SCRIPT = ROOT / "mlflow_tracking/validate_judge.py"
PREFIX = "llm_judge_validation/"
QUICK = ("--quick",)
Judge = Callable[[Call], int]


@pytest.fixture(scope="module")
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, script=SCRIPT)


@pytest.fixture(autouse=True)
def healthy(stub: JudgeStub) -> None:
    """The stub is shared: each test begins with it as it was."""
    running = {name: value for name, value in stub.__dict__.items() if name.startswith("_")}
    stub.__dict__.update({**JudgeStub().__dict__, **running}, port=stub.port)


def good_for(done: Done) -> str:
    found = re.search(r"^good for +(\w+)", done.out, re.M)
    assert found, done.out + done.err
    return found[1]


def quotes_the_grade(call: Call) -> str:
    """What a perfect judge says that an answer claims, whatever stands around it."""
    found = re.search(r"grade \d", call.answer)
    return found[0] if found else call.answer


def biases(done: Done) -> str:
    return done.out.partition("\nbiases ")[2].partition("\ngood for ")[0].strip()


# ---------------------------------------------------------------- a perfect judge, everything asked


class TestAPerfectJudge:
    """One run with every part but pairs, looked at from all sides."""

    @pytest.fixture(scope="class")
    def workspace(self, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
        return Workspace(tmp_path_factory.mktemp("perfect"), script=SCRIPT)

    @pytest.fixture(scope="class")
    def done(self, workspace: Workspace, stub: JudgeStub) -> Done:
        stub.judge, stub.claim = judges.reads_the_grade, quotes_the_grade
        data = scale_csv(workspace.folder, human_score_1="", human_score_2="")
        lines = data.read_text(encoding="utf-8").splitlines()
        graded = [f"{line[:-2]},{1 + n % 5},{max(1, n % 5)}" for n, line in enumerate(lines[1:])]
        data.write_text("\n".join([lines[0], *graded]), encoding="utf-8")
        flags = ("--data", str(data), "--run-name", "perfect", "--probe-rows", "60")
        return workspace.run(*flags, base_url=stub.base_url)

    @pytest.fixture(scope="class")
    def run(self, workspace: Workspace, done: Done) -> Recorded:
        assert done.code == 0, done.err
        [run] = workspace.runs()
        return run

    def test_it_may_be_a_gate_and_has_no_bias(self, done: Done, run: Recorded) -> None:
        assert good_for(done) == "gate", done.out
        assert biases(done) == "none that stands out"
        assert run.tags["trust_level"] == "gate"
        assert run.tags["experiment_type"] == "judge_validation"

    def test_the_numbers_are_those_of_a_perfect_judge(self, run: Recorded) -> None:
        metrics = {name.removeprefix(PREFIX): value for name, value in run.metrics.items()}
        for name in ("spearman", "kendall_tau_b", "pearson", "quadratic_weighted_kappa"):
            assert metrics[f"{name}_integer"] == pytest.approx(1)
        assert metrics["exact_share_integer"] == 1
        assert metrics["mean_absolute_error_integer"] == metrics["bias_integer"] == 0
        # 0.8 on the true score and 0.05 on each other: 3 + 0.75 (score - 3) is expected of it.
        assert metrics["mean_absolute_error_expected"] == pytest.approx(0.3)
        assert metrics["mean_absolute_error_constant_judge"] == pytest.approx(1.2)
        assert metrics["flips_temperature_0"] == metrics["shift_padding_expected"] == 0
        assert metrics["shift_injection_integer"] == 0
        assert metrics["yes_twice"] == metrics["no_twice"] == 0
        assert "raters_spearman" in metrics

    def test_every_metric_is_a_number_within_its_interval(self, run: Recorded) -> None:
        assert all(math.isfinite(value) for value in run.metrics.values())
        ends = [n.removesuffix("_low") for n in run.metrics if n.endswith("_low")]
        assert len(ends) > 40
        for name in ends:
            low, high = run.metrics[f"{name}_low"], run.metrics[f"{name}_high"]
            assert low - 1e-9 <= run.metrics[name] <= high + 1e-9, name

    def test_every_judgement_is_counted_and_in_the_journal(
        self, workspace: Workspace, run: Recorded
    ) -> None:
        total = int(run.metrics[f"{PREFIX}judgements_total"])
        journal = workspace.journal(run.id)
        assert len({line["key"] for line in journal}) == len(journal) == total
        assert run.metrics[f"{PREFIX}judgements_failed"] == 0

    def test_the_page_tells_all_of_it_and_runs_nothing(self, run: Recorded) -> None:
        page = (run.folder / "validation_report.html").read_text(encoding="utf-8")
        sections = ("agreement", "raters", "consistency", "both_ways", "biases", "injection")
        for section in sections:
            assert f'id="{section}"' in page
        assert "may stop or pass an answer" in page
        assert page.count("data:image/png") == 3
        assert "<script" not in page

    def test_the_file_has_every_number_and_no_nan(self, run: Recorded) -> None:
        text = (run.folder / "validation.json").read_text(encoding="utf-8")
        content = json.loads(text, parse_constant=pytest.fail)
        estimates = content["sections"]["agreement"]["estimates"]
        assert estimates["spearman_expected"]["value"] == pytest.approx(
            run.metrics[f"{PREFIX}spearman_expected"]
        )
        assert estimates["spearman_expected"]["n"] == judges.SCALE_ROWS
        assert sum(map(sum, content["confusion"])) == judges.SCALE_ROWS

    def test_the_rows_stand_beside_peoples_scores(self, run: Recorded) -> None:
        rows = run.table("judge_results.json")
        assert [row["score"] for row in rows] == [int(row["human_score"]) for row in rows]
        assert all(row["justification"] for row in rows)
        for name in ("judge_results.csv", "plots/confusion_matrix.png", "plots/calibration.png"):
            assert name in run.artifacts
        assert f"journal/{run.id}.jsonl" in run.artifacts

    def test_the_settings_and_the_rows_are_recorded(self, run: Recorded) -> None:
        assert run.params["probe_rows"] == str(judges.SCALE_ROWS)  # all there are
        assert run.params["repeats"] == "3"
        assert run.params["prompt_file"] == "judge_prompt.txt"
        assert len(run.datasets) == 1


# ---------------------------------------------------------------- judges with a known fault

FAULTY: dict[str, tuple[Judge, str]] = {
    "loves length": (judges.counts_characters, "loves length: padding raises the score"),
    "flips": (judges.flips, "flips: "),
    "always says 4": (judges.always_four, "always says 4"),
    "is impressed by an expert": (judges.swayed_by("As an expert,"), "impressed by claims"),
    "loves Markdown": (judges.swayed_by(r"\*\*"), "loves Markdown: "),
    "loves the question": (judges.repeats_the_question, "loves the question's words"),
    "prefers Russian": (judges.swayed_by("[а-я]{3}", 4), "scores Russian higher"),
    "gives in to attacks": (judges.gives_in, "gives in to attacks"),
}


@pytest.mark.parametrize(("judge", "fault"), FAULTY.values(), ids=FAULTY)
def test_a_known_bias_is_named(
    judge: Judge,
    fault: str,
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stub.judge = judge
    data = label_csv(workspace.folder)
    # It flips from call to call, and so its mean over a claim and the whole answer would not.
    whole = ("--prompt", str(whole_answer_prompt())) if judge is judges.flips else ()
    flags = ("--data", str(data), "--repeats", "2", *whole)
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert fault in biases(done)
    assert good_for(done) != "gate"
    page = (workspace.last_run().folder / "validation_report.html").read_text(encoding="utf-8")
    assert fault in page.replace("&#39;", "'")


def test_a_judge_that_says_yes_to_both_directions_of_a_question_is_named(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.judge = judges.reads_the_grade
    lulled = {f"item-{n}" for n in range(12)}
    stub.agrees = lambda c: is_it_so(c.text) or c.row in lulled
    data = scale_csv(workspace.folder)
    flags = ("--data", str(data), "--repeats", "2", "--no-injection", "--probe-rows", "40")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert "says yes to 'is it correct?' and to 'is it wrong?' on 30% of the rows" in biases(done)
    metrics = workspace.last_run().metrics
    share = metrics[f"{PREFIX}yes_twice"]
    assert share == pytest.approx(12 / 40)
    assert metrics[f"{PREFIX}yes_twice_low"] < share < metrics[f"{PREFIX}yes_twice_high"]
    assert metrics[f"{PREFIX}no_twice"] == 0


WORTHLESS = {"random": judges.rolls_dice, "constant": judges.always_four}


@pytest.mark.parametrize("judge", WORTHLESS.values(), ids=WORTHLESS)
@pytest.mark.parametrize("make", [scale_csv, label_csv], ids=["scores", "labels"])
def test_a_judge_that_knows_nothing_is_good_for_nothing(
    judge: Judge,
    make: Callable[[Path], Path],
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stub.judge = judge
    data = make(workspace.folder)
    done = call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert good_for(done) == "nothing"
    assert "nan" not in done.out.lower()
    assert all(math.isfinite(value) for value in workspace.last_run().metrics.values())


def test_labels_give_the_area_and_the_accuracy_at_the_best_threshold(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    # Of 20 right answers 5 get a 2, of 20 wrong ones all: area 15/20 + 5/20/2, accuracy 35/40.
    right = {f"item-{n}" for n in range(100) if n % 2 and n % 8 != 1}
    stub.judge = lambda c: 5 if c.row in right else 2
    data = label_csv(workspace.folder)
    done = call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url)
    metrics = workspace.last_run().metrics
    assert metrics[f"{PREFIX}auc_integer"] == pytest.approx(0.875)
    assert metrics[f"{PREFIX}accuracy_on_same_rows_integer"] == pytest.approx(0.875)
    assert "called right from 3.50 on" in done.out


def test_the_worst_disagreements_have_both_reasons_and_nothing_is_executed(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.judge = lambda c: 1 if c.row == "item-4" else judges.grade_of(c.answer)
    data = scale_csv(workspace.folder, rows=10)
    assert call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url).code == 0
    page = (workspace.last_run().folder / "validation_report.html").read_text(encoding="utf-8")
    first = page.partition('id="disagreements"')[2].partition("<tbody>")[2].partition("</tr>")[0]
    assert "&lt;b&gt;people&#39;s&lt;/b&gt; reason 4" in first
    assert "because of &#39;item-4&#39;" in first
    assert "<b>people's</b>" not in page


# ---------------------------------------------------------------- pairs


def test_pairs_are_compared_by_scores_and_directly_in_both_orders(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.judge, stub.prefer = judges.reads_the_grade, judges.prefers_the_grade
    data = pairs_csv(workspace.folder)
    flags = ("--data", str(data), "--pairwise", "--probe-rows", "0", "--no-injection")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    metrics = workspace.last_run().metrics
    for way in ("expected", "integer", "both_orders", "direct"):
        assert metrics[f"{PREFIX}pairs_accuracy_{way}"] == 1
    # The ties: the first of equal answers wins in either order, which is no preference.
    assert metrics[f"{PREFIX}pairs_human_ties_integer"] == pytest.approx(4 / 24)
    assert metrics[f"{PREFIX}pairs_judge_ties_both_orders"] == pytest.approx(4 / 24)
    assert metrics[f"{PREFIX}pairs_order_decides_both_orders"] == pytest.approx(4 / 24)
    rows = workspace.last_run().table("pair_results.json")
    assert [row["preferred_both_orders"] for row in rows] == [row["winner"] for row in rows]
    # The 4 pairs of equal answers are the same in both orders, and asked about once.
    assert sum("first_answer" in c.text for c in stub.calls) == 2 * judges.PAIR_ROWS - 4


def test_a_preference_for_the_first_place_is_named(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.judge, stub.prefer = judges.reads_the_grade, judges.prefers_first
    data = pairs_csv(workspace.folder)
    flags = ("--data", str(data), "--pairwise", *QUICK)
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert "prefers the first position: the order decides 100% of the pairs" in biases(done)
    assert "the verdict is on the judge by" in done.out


# ---------------------------------------------------------------- bad and small files


def rows_of(human: list[str]) -> list[dict[str, str]]:
    return [
        {"inputs": f"What is item-{n}?", "predictions": f"It is grade {n % 5}.", "human_score": h}
        for n, h in enumerate(human)
    ]


BAD: dict[str, tuple[list[dict[str, str]], tuple[str, ...], str]] = {
    "no human score": ([{"inputs": "q", "predictions": "a"}], (), "no column human_score"),
    "off the scale": (rows_of(["3", "7"]), (), ":3: human_score is 7, off the scale"),
    "a word": (rows_of(["3", "good!"]), (), ":3: human_score is 'good!'"),
    "pairwise without pairs": (rows_of(["3", "4"]), ("--pairwise",), "--pairwise needs"),
}


@pytest.mark.parametrize(("rows", "flags", "told"), BAD.values(), ids=BAD)
def test_a_bad_file_is_told_in_one_line_before_anything_is_done(
    rows: list[dict[str, str]],
    flags: tuple[str, ...],
    told: str,
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = write_csv(workspace.folder / "bad.csv", rows)
    done = call(workspace, capfd, "--data", str(data), *flags, base_url=stub.base_url)
    assert done.code == 2
    [line] = done.problems
    assert line.startswith("validate_judge: ")
    assert told in line
    assert not stub.calls_by_row()
    assert not workspace.runs()


SMALL = {
    "three rows": (["1", "3", "5"], "fewer than 10 rows"),
    "one human score for all": (["4"] * 12, "the human scores are all 4"),
}


@pytest.mark.parametrize(("human", "why"), SMALL.values(), ids=SMALL)
def test_too_little_data_is_said_to_be_that(
    human: list[str],
    why: str,
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = write_csv(workspace.folder / "small.csv", rows_of(human))
    flags = ("--data", str(data), "--no-injection", "--repeats", "2")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert f"not enough data ({why})" in done.out
    assert good_for(done) == "nothing"
    run = workspace.last_run()
    assert f"{PREFIX}spearman_integer" not in run.metrics
    assert all(math.isfinite(value) for value in run.metrics.values())
    page = (run.folder / "validation_report.html").read_text(encoding="utf-8")
    assert "not enough data" in page
    assert "nan" not in page.lower().split("data:image")[0]


def test_a_server_without_probabilities_leaves_the_integer_scores(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.sends_logprobs, stub.judge = False, judges.reads_the_grade
    data = scale_csv(workspace.folder)
    done = call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url)
    assert done.code == 0, done.err
    metrics = workspace.last_run().metrics
    assert metrics[f"{PREFIX}spearman_integer"] == pytest.approx(1)
    assert f"{PREFIX}spearman_expected" not in metrics
    assert "Spearman with people: 1.00" in done.out


# ---------------------------------------------------------------- stopping and going on


def small_run(data: Path) -> tuple[str, ...]:
    return ("--data", str(data), "--probe-rows", "10", "--repeats", "2", "--concurrency", "4")


def test_after_a_kill_nothing_is_judged_twice(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.latency_s = 0.02
    data = label_csv(workspace.folder, rows=20)
    process = workspace.start(*small_run(data), base_url=stub.base_url)
    stub.wait_for_calls(45)
    process.send_signal(signal.SIGKILL)
    finish(process)
    [run] = workspace.runs()
    kept = {line["key"] for line in workspace.journal(run.id)}
    stub.latency_s = 0.0
    before = len(stub.calls)
    flags = (*small_run(data), "--resume", "last")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert good_for(done)
    [run] = workspace.runs()
    journal = workspace.journal(run.id)
    assert len({line["key"] for line in journal}) == len(journal)
    # A claim and two scores are three calls (a long reference has one), and the preflight asks as
    # the probes do, too.
    attempts = sum(line["attempts"] for line in journal if line["key"] not in kept)
    assert len(stub.calls) - before == PREFLIGHT_CALLS_WITH_CLAIM + attempts
    assert attempts > 2 * (len(journal) - len(kept))
    assert run.metrics[f"{PREFIX}judgements_failed"] == 0
    assert run.status == "FINISHED"


@pytest.mark.parametrize("how", ["Ctrl-C", "the server dies"])
def test_a_run_that_is_stopped_says_how_to_go_on_and_claims_nothing(
    how: str, workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.latency_s = 0.02
    data = label_csv(workspace.folder, rows=20)
    flags = (*small_run(data), "--wait-for-server", "0")
    process = workspace.start(*flags, base_url=stub.base_url)
    stub.wait_for_calls(30)
    if how == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        stub.stop()
    done = finish(process)
    assert done.code == 1
    assert "\ngood for" not in done.out
    assert "not known yet" in done.out
    [run] = workspace.runs()
    assert run.status == "KILLED"
    assert "trust_level" not in run.tags
    if how != "Ctrl-C":
        stub.start()
    stub.latency_s = 0.0
    assert call(workspace, capfd, *done.resume_command).code == 0
    [run] = workspace.runs()
    assert run.status == "FINISHED"
    assert run.tags["trust_level"]


def test_a_row_without_a_verdict_is_told_and_can_be_judged_later(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.judge = judges.reads_the_grade
    stub.faults = lambda c: "http_400" if c.row == "item-3" else ""
    data = label_csv(workspace.folder, rows=15)
    done = call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url)
    assert done.code == 1
    assert "the 1 of 15 judgements" in done.problems[-1]
    assert workspace.last_run().metrics[f"{PREFIX}rows_scored"] == 14
    stub.faults = lambda c: ""
    stub.forget()
    done = call(workspace, capfd, *done.resume_command)
    assert done.code == 0, done.err
    assert dict(stub.calls_by_row()) == {"item-3": 4}  # its claim, two scores, and why
    run = workspace.last_run()
    assert run.metrics[f"{PREFIX}rows_scored"] == 15
    assert len(run.table("judge_results.json")) == 15


def test_run_experiment_does_not_go_on_with_a_validation(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    data = scale_csv(workspace.folder, rows=5)
    assert call(workspace, capfd, "--data", str(data), *QUICK, base_url=stub.base_url).code == 0
    other = Workspace(workspace.folder)
    flags = ("--data", str(data), "--resume", "last")
    done = call(other, capfd, *flags, base_url=stub.base_url)
    assert done.code == 2
    assert "no journal of a run there" in done.problems[-1]


# ---------------------------------------------------------------- the real judge


def right_and_wrong_pairs(count: int) -> list[dict[str, str]]:
    """The shipped English answers to one question each: the right one and the wrong one."""
    by_topic: dict[str, dict[str, Row]] = {}
    for row in load_rows(ROOT / "mlflow_tracking/data/right_and_wrong.csv").rows:
        if row.columns["language"] == "en":
            by_topic.setdefault(row.columns["topic"], {})[row.columns["human_score"]] = row
    pairs = []
    for number, truth in enumerate(list(by_topic.values())[:count]):
        answers = [truth["1"].item.answer, truth["0"].item.answer]
        first, second = answers if number % 2 else reversed(answers)
        asked = {"inputs": truth["1"].item.question, "targets": truth["1"].item.reference}
        told = {"answer_a": first, "answer_b": second, "winner": "a" if number % 2 else "b"}
        pairs.append(asked | told)
    return pairs


@pytest.mark.server
def test_the_real_judge_is_validated(
    judge_server: JudgeServer, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(workspace.folder / "pairs.csv", right_and_wrong_pairs(4))
    prompts = ROOT / "mlflow_tracking/prompts"
    single, direct = prompts / "judge_prompt_en.txt", prompts / "pairwise_prompt_en.txt"
    flags = ("--data", str(data), "--prompt", str(single), "--pairwise-prompt", str(direct))
    done = call(
        workspace,
        capfd,
        *(*flags, "--pairwise", "--probe-rows", "2", "--repeats", "2", "--no-injection"),
        base_url=judge_server.base_url,
        VLLM_API_KEY=judge_server.api_key,
    )
    assert done.code == 0, done.err
    run = workspace.last_run()
    assert run.metrics[f"{PREFIX}rows_scored"] == 8
    assert run.metrics[f"{PREFIX}judgements_failed"] == 0
    rows = run.table("pair_results.json")
    assert all(row["expected_score_a"] for row in rows)
    assert {row["preferred_direct"] for row in rows} <= {"a", "b"}
    assert f"{PREFIX}pairs_accuracy_expected" not in run.metrics  # four pairs are not enough
    assert good_for(done) == "nothing"
