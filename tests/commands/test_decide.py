"""Is a rule learnt, kept and applied, and are its undecided rows a second judge's?

python -m pytest tests/commands/test_decide.py
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from tests.support.experiment_process import Done, Recorded, Workspace, call, numbered_rows
from tests.support.experiment_process import write_csv as write
from tests.support.graded_csv import grade_of, label_csv, pairs_csv, scale_csv
from tests.support.judge_stub import Call, JudgeStub, row_of, serving

VALIDATE, RUN, GRADE = (
    ROOT / f"mlflow_tracking/{name}.py"
    for name in ("validate_judge", "run_experiment", "grade_rows")
)
PROMPTS = ROOT / "mlflow_tracking/prompts"
PROMPT = PROMPTS / "judge_prompt_en.txt"
PREFIX = "llm_judge_validation/"
ROWS = 80
ASKED = ("--prompt", str(PROMPT), "--score-only", "--no-claim")
Capture = pytest.CaptureFixture[str]


def number(text: str) -> int:
    """Of the row that a text is about; -1 for an example of the preflight's."""
    row = row_of(text)
    return int(row.removeprefix("item-")) if row.startswith("item-") else -1


def is_hard(call: Call) -> bool:
    return number(call.text) % 4 == 0


def errs_where_it_is_hard(call: Call) -> int:
    grade = grade_of(call.answer)
    return (1 if grade > 2 else 5) if is_hard(call) else grade


def is_sure_where_it_is_easy(call: Call) -> float:
    return 0.4 if is_hard(call) else 0.9


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[JudgeStub, JudgeStub]]:
    with serving(JudgeStub()) as first, serving(JudgeStub()) as second:
        yield first, second


@pytest.fixture
def stub(servers: tuple[JudgeStub, JudgeStub]) -> JudgeStub:
    """A judge that knows where it errs; each test begins with it as it was."""
    return renewed(servers[0], judge=errs_where_it_is_hard, sure=is_sure_where_it_is_easy)


@pytest.fixture
def larger(servers: tuple[JudgeStub, JudgeStub]) -> JudgeStub:
    """A judge that is always right."""
    judge = {"judge": lambda call: grade_of(call.answer)}
    return renewed(servers[1], model="larger", root="/models/larger", **judge)


def renewed(stub: JudgeStub, **changes: object) -> JudgeStub:
    running = {name: value for name, value in stub.__dict__.items() if name.startswith("_")}
    stub.__dict__.update({**JudgeStub().__dict__, **running}, port=stub.port, **changes)
    stub.forget()
    return stub


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path, script=RUN)


def learn(workspace: Workspace, capfd: Capture, stub: JudgeStub, *flags: str) -> Done:
    """validate_judge.py on graded rows, with the rule at `rule.json`."""
    validation = Workspace(workspace.folder, with_database=False, script=VALIDATE)
    data = () if "--data" in flags else ("--data", str(scale_csv(workspace.folder, ROWS)))
    promise = ("--quick", "--max-wrong", "0.1", "--write-rule", str(rule_of(workspace)))
    return call(validation, capfd, *data, *ASKED, *promise, *flags, base_url=stub.base_url)


def rule_of(workspace: Workspace) -> Path:
    return workspace.folder / "rule.json"


def apply(workspace: Workspace, capfd: Capture, stub: JudgeStub, *flags: str) -> Done:
    """run_experiment.py with the rule, on the same rows."""
    data = ("--data", str(scale_csv(workspace.folder, ROWS)))
    decide = ("--decide", str(rule_of(workspace)))
    return call(workspace, capfd, *data, *ASKED, *decide, *flags, base_url=stub.base_url)


def decisions(run: Recorded) -> dict[int, str]:
    """By the number in the row's text."""
    table = run.table("judge_results.json")
    return {number(row["inputs"].rstrip("?")): row["decision"] for row in table}


class TestARule:
    @pytest.fixture
    def learnt(self, workspace: Workspace, capfd: Capture, stub: JudgeStub) -> Done:
        done = learn(workspace, capfd, stub)
        assert done.code == 0, done.err
        return done

    def test_undecided_rows_are_graded_first_and_the_mean_stays_honest(
        self, learnt: Done, workspace: Workspace, capfd: Capture, stub: JudgeStub
    ) -> None:
        assert apply(workspace, capfd, stub).code == 0
        marks = decisions(workspace.last_run())
        grading = Workspace(workspace.folder, with_database=False, script=GRADE)
        folder = ("--folder", str(workspace.folder))
        opened = call(grading, capfd, "open", "--undecided", "--rows", "24", *folder)
        assert opened.code == 0, opened.err
        with (workspace.folder / "to_grade.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            row["human_score"] = str(grade_of(row["predictions"]))
        drawn = Counter(marks[number(row["inputs"].rstrip("?"))] for row in rows)
        assert drawn == {"undecided": 18, "decided": 6}
        graded = write(workspace.folder / "graded.csv", rows)
        told = call(grading, capfd, "report", "--graded", str(graded))
        assert told.code == 0, told.err
        found = workspace.last_run().metrics
        low, high = (found[f"llm_judge/human_mean_{end}"] for end in ("low", "high"))
        assert low <= 3.0 <= high  # of 80 rows with grades 1 to 5; the judge errs on a quarter

    def test_says_on_what_it_rests(self, workspace: Workspace, learnt: Done) -> None:
        rule = json.loads(rule_of(workspace).read_text())
        found = (rule["signal"], rule["graded_rows"], rule["decided"], rule["wrong"])
        assert found == ("entropy", 80, 60, 0)
        assert (rule["coverage"], rule["max_wrong"], rule["confidence"]) == (0.75, 0.1, 0.95)
        assert rule["upper_bound"] == pytest.approx(1 - 0.05 ** (1 / 60))  # Clopper-Pearson
        judge = rule["judged_by"]
        assert (judge["judge"], judge["score_only"]) == ("/models/stub-judge", True)
        assert judge["claim"] == "not asked"

    def test_is_recorded_with_the_validation(self, workspace: Workspace, learnt: Done) -> None:
        run = workspace.last_run()
        assert (run.folder / "decision_rule.json").read_text() == rule_of(workspace).read_text()
        metrics = {n.removeprefix(PREFIX): value for n, value in run.metrics.items()}
        assert metrics["rule_coverage"] == metrics["decided_by_entropy_coverage"] == 0.75
        assert metrics["rule_bound"] == metrics["decided_by_entropy_bound"] < 0.1
        assert "60 of 80 graded rows, 0 of them wrong" in learnt.out

    def test_tells_decided_rows_from_others(
        self, workspace: Workspace, learnt: Done, capfd: Capture, stub: JudgeStub
    ) -> None:
        done = apply(workspace, capfd, stub)
        assert done.code == 0, done.err
        run = workspace.last_run()
        expected = {n: "decided" if n % 4 else "undecided" for n in range(ROWS)}
        assert decisions(run) == expected
        metrics = {n.removeprefix("llm_judge/"): value for n, value in run.metrics.items()}
        assert (metrics["rows_decided"], metrics["rows_undecided"]) == (60, 20)
        assert (metrics["coverage"], metrics["promised_risk"]) == (0.75, 0.1)
        assert (run.folder / "decision_rule.json").read_text() == rule_of(workspace).read_text()
        assert len(run.params["decision_rule_sha256"]) == 64
        promise = "At most 10 % of decided rows are wrong (by more than a point), with 95 % "
        page = (run.folder / "report.html").read_text()
        for text in (done.out, run.tags["mlflow.note.content"], page):
            assert "60 of 80 rows decided" in text
            assert promise in text
        assert "first_score" not in run.table("judge_results.json")[0]

    def test_is_shown_by_check(
        self, workspace: Workspace, learnt: Done, capfd: Capture, stub: JudgeStub
    ) -> None:
        done = apply(workspace, capfd, stub, "--check")
        assert done.code == 0, done.err
        said = "rule         the judge decides where the entropy of its probabilities is below "
        assert said in done.out
        assert len(workspace.runs()) == 1

    def test_keeps_a_column_of_the_file_that_has_its_name(
        self, workspace: Workspace, learnt: Done, capfd: Capture, stub: JudgeStub
    ) -> None:
        data = scale_csv(workspace.folder, 8, decision="mine")
        flags = ("--data", str(data), "--decide", str(rule_of(workspace)))
        done = call(workspace, capfd, *ASKED, *flags, base_url=stub.base_url)
        assert done.code == 0, done.err
        row = workspace.last_run().table("judge_results.json")[1]
        assert (row["decision"], row["csv_decision"]) == ("decided", "mine")

    def test_leaves_a_row_without_a_verdict_undecided(
        self, workspace: Workspace, learnt: Done, capfd: Capture, stub: JudgeStub
    ) -> None:
        stub.faults = lambda call: "prose" if number(call.text) == 7 else ""
        done = apply(workspace, capfd, stub)
        assert done.code == 1
        assert decisions(workspace.last_run())[7] == "undecided"

    @pytest.mark.parametrize(
        ("flags", "root", "told"),
        [
            (("--prompt", str(PROMPTS / "judge_prompt.txt")), "", "prompt_sha256 is"),
            (("--temperature", "0.7"), "", "temperature is 0.7 here and 0.0 there"),
            (("--on-too-long", "truncate"), "", "on_too_long is 'truncate' here"),
            ((), "/models/other", "judge is '/models/other' here and '/models/stub-judge' there"),
        ],
        ids=("prompt", "temperature", "long rows", "model"),
    )
    def test_of_another_judge_is_refused_before_any_row(
        self,
        workspace: Workspace,
        learnt: Done,
        capfd: Capture,
        stub: JudgeStub,
        flags: tuple[str, ...],
        root: str,
        told: str,
    ) -> None:
        stub.forget()
        stub.root = root or stub.root
        done = apply(workspace, capfd, stub, *flags)
        assert (done.code, len(done.problems)) == (2, 1)
        assert told in done.problems[0]
        assert not stub.calls_by_row()
        assert len(workspace.runs()) == 1  # the validation


def test_another_signal_shares_the_error(
    workspace: Workspace, capfd: Capture, stub: JudgeStub
) -> None:
    data = scale_csv(workspace.folder, 30)
    stub.judge = lambda call: grade_of(call.answer)
    assert learn(workspace, capfd, stub, "--data", str(data)).code == 0
    assert json.loads(rule_of(workspace).read_text())["threshold"] is None  # all are decided
    done = learn(workspace, capfd, stub, "--data", str(data), "--by-distance")
    assert done.code == 3
    assert "by distance, 36 graded rows are needed at least, and there are 30" in done.out


def test_labels_are_decided_by_the_side_of_the_judge(
    workspace: Workspace, capfd: Capture, stub: JudgeStub
) -> None:
    data = label_csv(workspace.folder, ROWS)
    done = learn(workspace, capfd, stub, "--data", str(data))
    assert done.code == 0, done.err
    rule = json.loads(rule_of(workspace).read_text())
    assert (rule["decided"], rule["wrong"]) == (60, 0)
    assert rule["wrong_means"] == "right for wrong, or wrong for right"


def test_where_nothing_can_be_promised_no_rule_is_written(
    workspace: Workspace, capfd: Capture, stub: JudgeStub
) -> None:
    stub.judge = lambda call: 1 + (grade_of(call.answer) + 2) % 5
    done = learn(workspace, capfd, stub)
    assert done.code == 3, done.err
    assert not rule_of(workspace).exists()
    assert "No rule can promise that: by entropy, 60 of the 60 surest rows are wrong" in done.out
    assert "rule         none" in done.out
    run = workspace.last_run()
    assert run.status == "FINISHED"
    assert run.metrics[f"{PREFIX}decided_by_entropy_coverage"] == 0
    assert f"{PREFIX}rule_coverage" not in run.metrics


def test_too_few_graded_rows_are_told(
    workspace: Workspace, capfd: Capture, stub: JudgeStub
) -> None:
    data = scale_csv(workspace.folder, 20)
    done = learn(workspace, capfd, stub, "--data", str(data))
    assert done.code == 3
    assert "by entropy, 29 graded rows are needed at least, and there are 20" in done.out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no decision rule"),
        ('["entropy"]', "is no decision rule"),
        ('{"signal": "entropy"}', "is no decision rule"),
        (None, "No such file"),
    ],
    ids=("no JSON", "a list", "half of one", "no file"),
)
def test_what_is_no_rule_is_one_line(
    workspace: Workspace, capfd: Capture, stub: JudgeStub, content: str | None, told: str
) -> None:
    if content is not None:
        rule_of(workspace).write_text(content)
    done = apply(workspace, capfd, stub)
    assert (done.code, len(done.problems)) == (2, 1)
    assert told in done.problems[0]
    assert "validate_judge.py --max-wrong" in done.problems[0]
    assert workspace.runs() == []


@pytest.mark.parametrize(
    ("script", "flags", "told"),
    [
        (RUN, ("--second-opinion", "http://x/v1"), "--second-opinion is for --decide"),
        (RUN, ("--decide", "r.json", "--stock"), "--stock"),
        (VALIDATE, ("--second-prompt", str(PROMPT)), "--second-prompt is for --max-wrong"),
        (VALIDATE, ("--max-wrong", "7"), "is not a share"),
    ],
)
def test_flags_that_make_no_sense_are_told(
    workspace: Workspace,
    capfd: Capture,
    stub: JudgeStub,
    script: Path,
    flags: tuple[str, ...],
    told: str,
) -> None:
    workspace = Workspace(workspace.folder, script=script)
    data = ("--data", str(scale_csv(workspace.folder)))
    done = call(workspace, capfd, *data, *flags, base_url=stub.base_url)
    assert done.code == 2
    assert told in done.err


def test_pairs_give_no_rule(workspace: Workspace, capfd: Capture, stub: JudgeStub) -> None:
    done = learn(workspace, capfd, stub, "--data", str(pairs_csv(workspace.folder)))
    assert done.code == 2
    assert "has pairs; --max-wrong needs graded answers" in done.err


class TestASecondOpinion:
    @pytest.fixture(autouse=True)
    def learnt(self, workspace: Workspace, capfd: Capture, stub: JudgeStub) -> None:
        assert learn(workspace, capfd, stub).code == 0
        stub.forget()

    def test_counts_on_undecided_rows_alone(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub, larger: JudgeStub
    ) -> None:
        larger.faults = lambda call: "prose" if number(call.text) == 8 else ""
        flags = ("--second-opinion", larger.base_url, "--traces", "100")
        done = apply(workspace, capfd, stub, *flags)
        assert done.code == 0, done.err
        assert set(larger.calls_by_row()) == {f"item-{n}" for n in range(0, ROWS, 4)}
        run = workspace.last_run()
        expected = {n: "decided" if n % 4 else "second_opinion" for n in range(ROWS)}
        assert decisions(run) == expected | {8: "undecided"}
        for row in run.table("judge_results.json"):
            n, grade = number(row["inputs"].rstrip("?")), grade_of(row["predictions"])
            errs = 1 if grade > 2 else 5
            assert row["first_score"] == (grade if n % 4 else errs)
            assert row["score"] == (errs if n == 8 else grade)
        counts = [run.metrics[f"llm_judge/rows_{n}"] for n in ("decided", "second_opinion")]
        assert counts == [60, 19]
        assert run.metrics["llm_judge/rows_undecided"] == 1
        assert run.params["second_judge_model"] == "larger"
        assert "19 rows have the verdict of larger: no promise" in done.out

    def test_is_what_mlflow_shows(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub, larger: JudgeStub
    ) -> None:
        done = apply(workspace, capfd, stub, "--second-opinion", larger.base_url, "--traces", "80")
        assert done.code == 0, done.err
        run = workspace.last_run()
        scores = run.table("eval_results_table.json")
        right = [grade_of(row["predictions"]) for row in scores]
        assert [row["llm_judge_accuracy/v1/score"] for row in scores] == right
        assert run.metrics["llm_judge_accuracy/v1/mean"] == sum(right) / len(right)
        assert judges_of_traces(workspace, run) == {"larger", "stub-judge"}

    def test_is_asked_for_once(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub, larger: JudgeStub
    ) -> None:
        flags = ("--second-opinion", larger.base_url)
        assert apply(workspace, capfd, stub, *flags).code == 0
        before = decisions(workspace.last_run())
        stub.forget()
        larger.forget()
        done = apply(workspace, capfd, stub, *flags, "--resume", "last")
        assert done.code == 0, done.err
        assert not stub.calls_by_row() and not larger.calls_by_row()
        assert decisions(workspace.last_run()) == before

    def test_that_failed_is_asked_for_again(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub, larger: JudgeStub
    ) -> None:
        larger.faults = lambda call: "prose" if number(call.text) == 8 else ""
        flags = ("--second-opinion", larger.base_url)
        assert apply(workspace, capfd, stub, *flags).code == 0
        renewed(larger, model="larger", root="/models/larger")
        assert apply(workspace, capfd, stub, *flags, "--resume", "last").code == 0
        assert set(larger.calls_by_row()) == {"item-8"}
        assert decisions(workspace.last_run())[8] == "second_opinion"

    def test_of_a_server_that_is_not_there_is_told_before_any_row(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub
    ) -> None:
        done = apply(workspace, capfd, stub, "--second-opinion", "http://127.0.0.1:9/v1")
        assert done.code == 2
        assert "127.0.0.1:9" in done.err
        assert not stub.calls_by_row()

    def test_of_the_same_judge_is_none(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub
    ) -> None:
        done = apply(workspace, capfd, stub, "--second-opinion", stub.base_url)
        assert done.code == 2
        assert "serves the first judge" in done.err


def judges_of_traces(workspace: Workspace, run: Recorded) -> set[str]:
    from mlflow import MlflowClient

    client = MlflowClient(workspace.uri)
    experiment = client.get_run(run.id).info.experiment_id
    traces = client.search_traces(locations=[experiment], run_id=run.id)
    return {one.source.source_id for trace in traces for one in trace.info.assessments}


class TestTwoPrompts:
    """The first prompt is sure of every row; the second disagrees where the first is wrong."""

    @pytest.fixture
    def second(self, workspace: Workspace) -> Path:
        path = workspace.folder / "other.txt"
        path.write_text(PROMPT.read_text().replace("strict and impartial", "SECOND"))
        return path

    @pytest.fixture(autouse=True)
    def learnt(self, workspace: Workspace, capfd: Capture, stub: JudgeStub, second: Path) -> None:
        def judge(call: Call) -> int:
            by_second = "SECOND" in str(call.body["messages"])
            return grade_of(call.answer) if by_second else errs_where_it_is_hard(call)

        stub.judge, stub.sure = judge, lambda call: 0.9
        done = learn(workspace, capfd, stub, "--second-prompt", str(second))
        assert done.code == 0, done.err
        second.unlink()  # the rule has its text
        stub.forget()

    def test_decide_where_they_agree(
        self, workspace: Workspace, capfd: Capture, stub: JudgeStub
    ) -> None:
        assert json.loads(rule_of(workspace).read_text())["signal"] == "two_prompts"
        done = apply(workspace, capfd, stub)
        assert done.code == 0, done.err
        assert set(stub.calls_by_row().values()) == {2}
        expected = {n: "decided" if n % 4 else "undecided" for n in range(ROWS)}
        assert decisions(workspace.last_run()) == expected

    def test_are_asked_once(self, workspace: Workspace, capfd: Capture, stub: JudgeStub) -> None:
        assert apply(workspace, capfd, stub).code == 0
        stub.forget()
        assert apply(workspace, capfd, stub, "--resume", "last").code == 0
        assert not stub.calls_by_row()


def test_a_run_without_a_rule_says_nothing_of_decisions(
    workspace: Workspace, capfd: Capture, stub: JudgeStub
) -> None:
    data = write(workspace.folder / "rows.csv", numbered_rows(3))
    done = call(workspace, capfd, "--data", str(data), *ASKED, base_url=stub.base_url)
    assert done.code == 0, done.err
    run = workspace.last_run()
    assert "decision" not in run.table("judge_results.json")[0]
    assert not [name for name in run.metrics if "decided" in name or "coverage" in name]
    assert "decide" not in done.out + run.tags["mlflow.note.content"]
