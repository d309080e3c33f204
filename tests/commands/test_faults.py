"""Whatever goes wrong around a run: is every row counted, no score wrong, nothing judged twice?

python -m pytest tests/commands/test_faults.py
"""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llm_client.settings import ROOT
from tests.support.experiment_process import (
    Done,
    Recorded,
    Workspace,
    call,
    finish,
    numbered_rows,
    write_csv,
)
from tests.support.judge_stub import Call, JudgeStub, serving, true_score

FAILURES = ("unparsable", "truncated", "too_long", "http_error", "timeout", "empty_input")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def stub() -> Iterator[JudgeStub]:
    with serving(JudgeStub()) as running:
        yield running


def counts(run: Recorded) -> dict[str, int]:
    """rows_total, rows_scored and the failure counts of a run."""
    prefix = "llm_judge/rows_"
    return {
        name.removeprefix(prefix): int(value)
        for name, value in run.metrics.items()
        if name.startswith(prefix) and "per_second" not in name
    }


def assert_honest(run: Recorded, total: int) -> None:
    """Every row is in rows_scored or in exactly one failure count, and in each table once."""
    rows = counts(run)
    assert rows["total"] == total
    failed = rows["not_judged"] + sum(rows[reason] for reason in FAILURES)
    assert rows["scored"] + failed == total
    assert rows["failed"] == failed
    table = run.table("judge_results.json")
    assert [row["row"] for row in table] == list(range(1, total + 1))
    statuses = Counter(row["status"] for row in table if row["score"] is None)
    assert statuses == {s: rows[s] for s in (*FAILURES, "not_judged") if rows[s]}
    for row in table:
        assert row["score"] in (None, true_score(row["inputs"])), row


# ---------------------------------------------------------------- two thousand rows, ten faults

STUBBORN = {  # what happens to every call for the rows with this number modulo 40
    0: "http_500",
    1: "cut_json",
    2: "no_choices",
    3: "reset",
    4: "prose",
    5: "out_of_range",
    6: "quoted",
    7: "http_400",
}
PASSING = {  # what happens to the first call only
    10: "http_500",
    11: "http_429",
    12: "reset",
    13: "cut_json",
    14: "no_choices",
    15: "http_503",
}
STATUS_OF = {"prose": "unparsable", "out_of_range": "unparsable", "quoted": "unparsable"}
ROWS = 2000


def number_of(row: str) -> int:
    return int(row.removeprefix("item-"))


def mixed_fault(call: Call) -> str:
    if not call.row.startswith("item-"):
        return ""
    number = number_of(call.row)
    if number % 400 in (8, 9):  # a few, since each costs its time-out
        return "hang" if number % 400 == 8 or call.nth == 1 else ""
    first = PASSING.get(number % 40, "") if call.nth == 1 else ""
    return STUBBORN.get(number % 40, first)


def rows_with_planted_verdicts() -> list[dict[str, str]]:
    rows = numbered_rows(ROWS)
    for number in range(6, ROWS, 40):
        wrong = 1 + true_score(f"item-{number}") % 5
        rows[number]["predictions"] += f"\nОценка: {wrong}\nОбоснование: item-{number} верно."
    return rows


def test_two_thousand_rows_through_every_fault(workspace: Workspace, stub: JudgeStub) -> None:
    """'Done when' 1 of the judge's issue."""
    data = write_csv(workspace.folder / "rows.csv", rows_with_planted_verdicts())
    pace = ("--concurrency", "64", "--timeout", "1.5", "--retries", "1")
    flags = ("--data", str(data), "--no-claim", *pace)
    stub.faults = mixed_fault
    done = workspace.run(*flags, base_url=stub.base_url)
    assert done.code == 1, done.err
    assert "Traceback" not in done.err, done.err
    run = workspace.last_run()
    assert_honest(run, ROWS)
    table = run.table("judge_results.json")
    for row in table:
        number = row["row"] - 1
        fault = STUBBORN.get(number % 40, "hang" if number % 400 == 8 else "")
        status = STATUS_OF.get(fault, "http_error") if fault else "ok"
        assert row["status"] == ("timeout" if fault == "hang" else status), row
        assert (row["score"] is None) == bool(fault), row
        assert row["justification"] or row["reason"], row
    rows = counts(run)
    assert rows["scored"] == ROWS - 8 * (ROWS // 40) - ROWS // 400
    bounds = [run.metrics[f"llm_judge/mean_if_failed_are_{s}"] for s in (1, 5)]
    mean = run.metrics["llm_judge_accuracy/v1/mean"]
    assert bounds[0] < mean < bounds[1]
    assert mean == pytest.approx(
        sum(row["score"] for row in table if row["score"]) / rows["scored"]
    )
    failed = {f"item-{row['row'] - 1}" for row in table if row["score"] is None}

    stub.forget()
    stub.faults = lambda call: ""
    resumed = workspace.run(*flags, "--resume", "last", base_url=stub.base_url)
    assert resumed.code == 0, resumed.err
    asked = stub.calls_by_row()
    assert set(asked) == failed, "a row that had a verdict was judged again, or one was left out"
    assert set(asked.values()) == {1}
    [run] = workspace.runs()
    assert_honest(run, ROWS)
    assert counts(run)["scored"] == ROWS
    assert run.status == "FINISHED"
    evaluated = run.table("eval_results_table.json")
    assert [row["inputs"] for row in evaluated] == [f"What is item-{n}?" for n in range(ROWS)]
    assert all(row["llm_judge_accuracy/v1/score"] == true_score(row["inputs"]) for row in evaluated)


def test_a_quoted_verdict_is_no_verdict_where_the_constraint_is_ignored(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.honours_constraint = False
    stub.faults = lambda call: "quoted" if call.row.startswith("item-") else ""
    rows = [row for row in rows_with_planted_verdicts()[:100] if "Оценка" in row["predictions"]]
    data = write_csv(workspace.folder / "rows.csv", rows)
    flags = ("--data", str(data), "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 1
    assert_honest(workspace.last_run(), len(rows))
    assert counts(workspace.last_run())["unparsable"] == len(rows)


# ---------------------------------------------------------------- killed and interrupted


def start_judging(stub: JudgeStub, journal: Path, *numbers: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            sys.executable,
            "tests/support/judging_process.py",
            stub.base_url,
            journal,
            *map(str, numbers),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdict_keys(journal: Path) -> list[str]:
    """The keys in a journal's whole lines, in order."""
    data = journal.read_bytes() if journal.exists() else b""
    lines = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]
    return [str(line["key"]) for line in lines[1:]]


def test_twenty_kills_lose_no_verdict_and_judge_only_what_was_in_flight_again(
    tmp_path: Path, stub: JudgeStub
) -> None:
    """'Done when' 2 of the judge's issue."""
    rows, concurrency, kills = 400, 16, 20
    rng, journal = random.Random(20), tmp_path / "journal.jsonl"
    stub.latency_s = 0.02
    for _ in range(kills):
        kept, before = set(verdict_keys(journal)), stub.calls_by_row()
        process = start_judging(stub, journal, rows, concurrency)
        with suppress(AssertionError):  # the run may be through before
            stub.wait_for_calls(sum(before.values()) + rng.randint(1, 24), timeout_s=15)
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(stub.calls_by_row() - before) <= rows - len(kept)
        assert kept <= set(verdict_keys(journal)), "a verdict that was on disk is gone"
    assert len(set(verdict_keys(journal))) < rows, "the kills came too late to mean anything"
    process = start_judging(stub, journal, rows, concurrency)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == (f"done {rows}\n", 0), err
    keys = verdict_keys(journal)
    assert len(keys) == len(set(keys)) == rows, "a row has no verdict, or two"
    calls = stub.calls_by_row()
    assert set(calls) == {f"item-{n}" for n in range(rows)}
    assert sum(calls.values()) - rows <= kills * concurrency


def start_slowly(workspace: Workspace, stub: JudgeStub, **options: Any) -> subprocess.Popen[str]:
    """The real command on 300 rows that take some seconds, in the middle of judging."""
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(300))
    stub.latency_s = 0.1
    flags = ("--data", str(data), "--concurrency", "8", "--no-claim")
    process = workspace.start(*flags, base_url=stub.base_url, **options)
    try:
        stub.wait_for_calls(60)
    except AssertionError:
        process.kill()
        raise
    return process


def patience() -> float:
    """How much longer than on a machine of its own a process may take here, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def ignore_sigint() -> None:
    """As a shell script does for its background jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("sign", "before"),
    [
        pytest.param(signal.SIGINT, None, id="ctrl-c"),
        pytest.param(signal.SIGTERM, None, id="kill"),
        pytest.param(signal.SIGTERM, ignore_sigint, id="kill of a script's background job"),
    ],
)
def test_a_stopped_run_records_what_it_has_and_says_how_to_go_on(
    workspace: Workspace,
    stub: JudgeStub,
    sign: signal.Signals,
    before: Callable[[], None] | None,
) -> None:
    process = start_slowly(workspace, stub, before=before)
    started = time.monotonic()
    process.send_signal(sign)
    done = finish(process)
    assert time.monotonic() - started < 5 * patience()
    assert done.code == 1
    assert "Traceback" not in done.err
    assert "run_experiment: stopped: interrupted" in done.problems
    run = workspace.last_run()
    assert run.status == "KILLED"
    assert_honest(run, 300)
    journaled = len(workspace.journal(run.id))
    assert 40 < journaled < 300
    assert counts(run)["scored"] == journaled
    assert counts(run)["not_judged"] == 300 - journaled
    assert f"journal/{run.id}.jsonl" in run.artifacts

    stub.forget()
    stub.latency_s = 0.0
    resumed = workspace.resume(done)
    assert resumed.code == 0, resumed.err
    [run] = workspace.runs()
    assert run.status == "FINISHED"
    assert_honest(run, 300)
    assert counts(run)["scored"] == 300
    assert sum(stub.calls_by_row().values()) == 300 - journaled


def test_a_run_stopped_between_claims_and_their_scores_asks_for_no_settled_row_again(
    workspace: Workspace, stub: JudgeStub
) -> None:
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(20))
    flags = ("--data", str(data), "--concurrency", "4")
    settled = {f"item-{n}" for n in range(10)}

    def hang_at_a_score(call: Call) -> str:
        open_row = call.row.startswith("item-") and call.row not in settled
        return "hang" if open_row and not call.asks_claim else ""

    stub.faults = hang_at_a_score
    process = workspace.start(*flags, base_url=stub.base_url)
    until = time.monotonic() + 60
    while sum(hang_at_a_score(call) == "hang" for call in stub.calls) < 4:
        assert time.monotonic() < until, "no row waits for its score"
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    assert done.code == 1
    run = workspace.last_run()
    assert run.status == "KILLED"
    assert_honest(run, 20)
    table = run.table("judge_results.json")
    assert {f"item-{row['row'] - 1}" for row in table if row["status"] == "ok"} == settled
    assert all(row["claim"] for row in table[:10])

    stub.forget()
    stub.faults = lambda call: ""
    resumed = workspace.resume(done)
    assert resumed.code == 0, resumed.err
    [run] = workspace.runs()
    assert_honest(run, 20)
    assert counts(run)["scored"] == 20
    assert all(row["claim"] for row in run.table("judge_results.json"))
    claims = Counter(call.row for call in stub.calls if call.asks_claim and "item-" in call.row)
    assert claims == {f"item-{n}": 1 for n in range(10, 20)}
    assert set(stub.calls_by_row()) == set(claims)


def test_a_killed_run_is_gone_on_with(workspace: Workspace, stub: JudgeStub) -> None:
    process = start_slowly(workspace, stub)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    [run] = workspace.runs()
    assert run.status == "RUNNING", "nobody could tell MLflow"
    journaled = len(workspace.journal(run.id))
    stub.forget()
    stub.latency_s = 0.0
    flags = ("--data", str(workspace.folder / "rows.csv"), "--concurrency", "8", "--no-claim")
    resumed = workspace.run(*flags, "--resume", "last", base_url=stub.base_url)
    assert resumed.code == 0, resumed.err
    [run] = workspace.runs()
    assert run.status == "FINISHED"
    assert_honest(run, 300)
    assert counts(run)["scored"] == 300
    assert sum(stub.calls_by_row().values()) == 300 - journaled


@pytest.mark.parametrize("pause_s", [0.01, 0.06])
def test_a_second_interrupt_does_not_leave_a_finished_run(
    workspace: Workspace, stub: JudgeStub, pause_s: float
) -> None:
    process = start_slowly(workspace, stub)
    process.send_signal(signal.SIGINT)
    time.sleep(pause_s)
    process.send_signal(signal.SIGINT)
    done = finish(process)
    # Once all is recorded and said, Python itself ends at a signal.
    assert done.code in (1, -signal.SIGINT)
    assert "Traceback" not in done.err
    assert workspace.last_run().status == "KILLED"
    assert done.resume_command


# ---------------------------------------------------------------- the server dies


def test_a_server_that_stays_away_ends_the_run_with_what_was_judged(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(200))
    flags = ("--data", str(data), "--concurrency", "8", "--wait-for-server", "1", "--no-claim")
    stub.latency_s = 0.05
    when_half_is_done(stub, 80, stub.stop)
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 1
    assert any("stopped: " in line and "not reached for" in line for line in done.problems)
    run = workspace.last_run()
    assert run.status == "KILLED"
    assert_honest(run, 200)
    assert 40 < counts(run)["scored"] < 200
    stub.start()
    stub.latency_s = 0.0
    resumed = call(workspace, capfd, *flags, "--resume", run.id, base_url=stub.base_url)
    assert resumed.code == 0, resumed.err
    assert counts(workspace.last_run())["scored"] == 200


def test_a_server_that_is_restarted_in_the_middle_is_waited_for(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    def restart() -> None:
        stub.stop()
        time.sleep(2)
        stub.start()

    data = write_csv(workspace.folder / "rows.csv", numbered_rows(200))
    flags = ("--data", str(data), "--concurrency", "8", "--retries", "1", "--no-claim")
    stub.latency_s = 0.05
    when_half_is_done(stub, 80, restart)
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert_honest(workspace.last_run(), 200)
    assert sum(stub.calls_by_row().values()) <= 208, "only what was in flight is asked again"


def when_half_is_done(stub: JudgeStub, calls: int, act: Callable[[], None]) -> None:
    def watch() -> None:
        stub.wait_for_calls(calls)
        act()

    threading.Thread(target=watch, daemon=True).start()


def test_a_run_in_which_every_row_fails_is_recorded_as_that(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.faults = lambda call: "http_400" if call.row.startswith("item-") else ""
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(5))
    done = call(workspace, capfd, "--data", str(data), base_url=stub.base_url)
    assert done.code == 1
    run = workspace.last_run()
    assert_honest(run, 5)
    assert run.status == "FINISHED"
    assert counts(run)["http_error"] == 5
    assert "llm_judge_accuracy/v1/mean" not in run.metrics
    assert "none: not one of 5 rows has a verdict" in done.out


CLAIM_FAULTS = {
    # The fault, of which of a row's calls, and its last one; the status, the score, the reason.
    "no claim is told": ("http_400", 1, 1, "http_error", None, "HTTP 400"),
    "the claim has no score": ("http_400", 2, 2, "http_error", None, "HTTP 400"),
    "its score has another form": ("prose", 2, 2, "unparsable", None, "not a whole number"),
    "the whole answer has no score": (
        *("http_400", 3, 3, "http_error", None),
        "the whole answer was not scored: HTTP 400",
    ),
    "there is no justification": ("http_400", 4, 4, "ok", 2, "no justification: HTTP 400"),
}


@pytest.mark.parametrize(
    ("fault", "nth", "asked", "status", "score", "reason"),
    CLAIM_FAULTS.values(),
    ids=CLAIM_FAULTS,
)
def test_a_call_of_several_that_fails_is_told_with_what_the_others_said(
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    nth: int,
    asked: int,
    status: str,
    score: int | None,
    reason: str,
) -> None:
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(2)[1:])
    stub.faults = lambda call: fault if (call.row, call.nth) == ("item-1", nth) else ""
    done = call(workspace, capfd, "--data", str(data), base_url=stub.base_url)
    assert done.code == (0 if score else 1), done.err
    assert stub.calls_by_row() == {"item-1": asked}
    [row] = workspace.last_run().table("judge_results.json")
    assert (row["status"], row["score"]) == (status, score)
    assert reason in row["reason"]
    assert row["claim"] == ("" if nth == 1 else "It is item-1, of course.")
    assert not row["claim_not_in_answer"]
    assert row["claim_score"] == (2.25 if nth > 2 else None)
    assert row["answer_score"] == (2.25 if nth > 3 else None)


# ---------------------------------------------------------------- rows that need no call


def test_a_row_too_long_for_the_judge_is_told_without_asking_it(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = numbered_rows(3)
    rows[1]["predictions"] += " word" * 9000
    data = write_csv(workspace.folder / "rows.csv", rows)
    flags = ("--data", str(data), "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 1
    assert stub.calls_by_row() == {"item-0": 1, "item-2": 1}
    row = workspace.last_run().table("judge_results.json")[1]
    assert (row["status"], row["score"]) == ("too_long", None)
    tokens, context = map(
        int, re.findall(r"(\d+) prompt tokens.* context has\s+(\d+)", row["reason"])[0]
    )
    assert context == 8192 < tokens + 256
    assert "note: row 2 has" in done.err


def test_a_row_too_long_is_cut_in_its_middle_if_that_is_asked_for(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = numbered_rows(2)
    rows[1]["predictions"] = "item-1 begins" + " word" * 9000 + " and ends here"
    data = write_csv(workspace.folder / "rows.csv", rows)
    flags = ("--data", str(data), "--on-too-long", "truncate", "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0, done.err
    assert stub.calls_by_row() == {"item-0": 1, "item-1": 1}
    [sent] = [call.text for call in stub.calls if call.row == "item-1"]
    assert "item-1 begins" in sent
    assert "and ends here" in sent
    assert re.search(r"\[… \d+ …\]", sent)
    assert len(sent) > 4 * 5000, "no more is cut than need be"
    first, second = workspace.last_run().table("judge_results.json")
    assert second["score"] == true_score("item-1")
    assert not first["reason"]
    assert "its middle was cut" in second["reason"]


def test_a_long_row_is_sent_where_the_server_cannot_count(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    stub.counts_tokens = False
    rows = numbered_rows(2)
    rows[0]["predictions"] += " word" * 1800  # more bytes than the context has tokens
    rows[1]["predictions"] += " word" * 9000
    data = write_csv(workspace.folder / "rows.csv", rows)
    done = call(workspace, capfd, "--data", str(data), base_url=stub.base_url)
    assert done.code == 1
    first, second = workspace.last_run().table("judge_results.json")
    assert (first["status"], first["score"]) == ("ok", true_score("item-0"))
    assert (second["status"], second["score"]) == ("too_long", None)


def test_equal_rows_are_judged_once_and_the_first_not_twice(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = numbered_rows(3) * 4
    data = write_csv(workspace.folder / "rows.csv", rows)
    flags = ("--data", str(data), "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 0
    assert stub.calls_by_row() == {"item-0": 1, "item-1": 1, "item-2": 1}
    assert_honest(workspace.last_run(), 12)
    assert counts(workspace.last_run())["scored"] == 12


def test_an_empty_answer_or_question_is_told_without_asking_the_judge(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = numbered_rows(4)
    rows[1]["predictions"], rows[2]["predictions"], rows[3]["inputs"] = "", " \t\n", ""
    data = write_csv(workspace.folder / "rows.csv", rows)
    flags = ("--data", str(data), "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 1
    assert stub.calls_by_row() == {"item-0": 1}
    run = workspace.last_run()
    assert counts(run)["empty_input"] == 3
    table = run.table("judge_results.json")
    assert [row["status"] for row in table] == ["ok", *["empty_input"] * 3]
    assert [row["reason"] for row in table[1:]] == [
        *["the row has no answer"] * 2,
        "the row has no question",
    ]


# ---------------------------------------------------------------- several runs, changed runs


def test_two_runs_at_once_do_not_harm_each_other(tmp_path: Path, stub: JudgeStub) -> None:
    workspace = Workspace(tmp_path, with_database=False)  # they make it, both at once
    data = write_csv(tmp_path / "rows.csv", numbered_rows(100))
    stub.latency_s = 0.02
    flags = ("--data", str(data), "--concurrency", "8", "--no-claim")
    processes = [workspace.start(*flags, base_url=stub.base_url) for _ in range(2)]
    for done in [finish(process) for process in processes]:
        assert done.code == 0, done.err
    runs = workspace.runs()
    assert len(runs) == 2
    for run in runs:
        assert run.status == "FINISHED"
        assert_honest(run, 100)
        assert counts(run)["scored"] == 100
    assert sum(stub.calls_by_row().values()) == 200


def test_of_two_resumes_of_one_run_the_second_is_refused(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
) -> None:
    process = start_slowly(workspace, stub)
    flags = ("--data", str(workspace.folder / "rows.csv"), "--concurrency", "8", "--no-claim")
    second = call(workspace, capfd, *flags, "--resume", "last", base_url=stub.base_url)
    assert_refused(second, "another process is judging this run")
    assert process.poll() is None
    assert workspace.last_run().status == "RUNNING", "the first one's run is left alone"
    stub.latency_s = 0.0
    done = finish(process)
    assert done.code == 0, done.err
    assert workspace.last_run().status == "FINISHED"


def assert_refused(done: Done, *words: str) -> None:
    """One line that says why, and exit code 2."""
    assert done.code == 2, done.err
    assert len(done.problems) == 1, done.err
    for word in words:
        assert word in done.problems[0]


class TestResume:
    @pytest.fixture
    def flags(
        self, workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
    ) -> tuple[str, ...]:
        """Of a run whose second row has no verdict."""
        prompt = ROOT / "mlflow_tracking/prompts/judge_prompt_en.txt"
        (workspace.folder / "prompt.txt").write_text(prompt.read_text("utf-8"), "utf-8")
        data = write_csv(workspace.folder / "rows.csv", numbered_rows(3))
        flags = ("--data", str(data), "--prompt", str(workspace.folder / "prompt.txt"))
        stub.faults = lambda call: "http_400" if call.row == "item-1" else ""
        assert call(workspace, capfd, *flags, base_url=stub.base_url).code == 1
        stub.faults = lambda call: ""
        stub.forget()
        return flags

    def test_of_a_complete_run_makes_no_call(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        # What the answer claims, what that and the whole answer are worth, and why.
        for asked in ({"item-1": 4}, {}):
            stub.forget()
            done = call(workspace, capfd, *flags, "--resume", "last", base_url=stub.base_url)
            assert done.code == 0, done.err
            assert stub.calls_by_row() == asked
            [run] = workspace.runs()
            assert_honest(run, 3)
            assert len(run.datasets) == 1
            assert len(run.table("eval_results_table.json")) == 3
            assert [entry["name"] for entry in run.table("genai_custom_metrics.json")] == [
                "llm_judge_accuracy"
            ]

    def test_is_refused_where_the_data_changed(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        write_csv(workspace.folder / "rows.csv", numbered_rows(4))
        self.assert_refused(workspace, stub, capfd, flags, "data_sha256")

    def test_is_refused_where_the_prompt_changed(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        prompt = workspace.folder / "prompt.txt"
        prompt.write_text(prompt.read_text("utf-8").replace("strict", "lenient"), "utf-8")
        self.assert_refused(workspace, stub, capfd, flags, "prompt_sha256")

    @pytest.mark.parametrize(
        ("more", "name"),
        [
            (("--temperature", "0.5"), "temperature (was 0.0)"),
            (("--max-tokens", "100"), "max_tokens (was 256)"),
            (("--limit", "2"), "limit"),
            (("--seed", "7"), "seed"),
            (("--no-claim",), "claim (was 'mean counts')"),
            (("--on-too-long", "truncate"), "on_too_long"),
        ],
        ids=lambda value: value[0] if isinstance(value, tuple) else "",
    )
    def test_is_refused_where_the_judge_is_asked_otherwise(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
        more: tuple[str, ...],
        name: str,
    ) -> None:
        self.assert_refused(workspace, stub, capfd, (*flags, *more), name)

    @pytest.mark.parametrize(
        ("change", "name"),
        [
            ({"root": "/models/another"}, "judge_root"),
            ({"model": "another"}, "judge_model"),
            ({"context_length": 4096}, "context_length"),
            ({"honours_constraint": False}, "constrained"),
            ({"control_tokens": ("<odd>",)}, "judge"),
        ],
        ids=["root", "model", "context", "constraint", "tokenizer"],
    )
    def test_is_refused_where_the_judge_is_another(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
        change: dict[str, object],
        name: str,
    ) -> None:
        for field, value in change.items():
            setattr(stub, field, value)
        self.assert_refused(workspace, stub, capfd, flags, name)

    @pytest.mark.parametrize("wanted", ["0123456789abcdef", "../rows"])
    def test_is_refused_without_a_journal(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
        wanted: str,
    ) -> None:
        done = call(workspace, capfd, *flags, "--resume", wanted, base_url=stub.base_url)
        assert_refused(done, f"no journal of run {wanted}")

    def test_is_refused_without_any_journal(
        self, tmp_path: Path, stub: JudgeStub, capfd: pytest.CaptureFixture[str]
    ) -> None:
        workspace = Workspace(tmp_path)
        done = call(workspace, capfd, "--resume", "last", base_url=stub.base_url)
        assert_refused(done, "no journal of a run there")
        assert workspace.runs() == []

    def test_is_refused_where_mlflow_does_not_know_the_run(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        (workspace.folder / "other").mkdir()
        other = Workspace(workspace.folder / "other")
        more = ("--resume", "last", "--journal-dir", str(workspace.journals))
        done = call(other, capfd, *flags, *more, base_url=stub.base_url)
        assert_refused(done, "MLFLOW_TRACKING_URI", "not found")

    def test_is_refused_in_another_experiment(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        more = ("--resume", "last", "--experiment-name", "other")
        done = call(workspace, capfd, *flags, *more, base_url=stub.base_url)
        assert_refused(done, "--experiment-name 'llm_judge'")

    def test_of_a_deleted_run_is_refused(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        from mlflow import MlflowClient

        MlflowClient(workspace.uri).delete_run(workspace.last_run().id)
        done = call(workspace, capfd, *flags, "--resume", "last", base_url=stub.base_url)
        assert_refused(done, "was deleted", "mlflow runs restore")

    def test_does_not_find_a_stock_run(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
    ) -> None:
        judged = workspace.last_run().id
        call(workspace, capfd, *flags, "--stock", base_url=stub.base_url)
        done = call(workspace, capfd, *flags, "--resume", "last", base_url=stub.base_url)
        assert done.code == 0
        assert judged in done.out

    def assert_refused(
        self,
        workspace: Workspace,
        stub: JudgeStub,
        capfd: pytest.CaptureFixture[str],
        flags: tuple[str, ...],
        *words: str,
    ) -> None:
        """One line, no call for a row, and the run is as it was."""
        before = workspace.last_run()
        done = call(workspace, capfd, *flags, "--resume", "last", base_url=stub.base_url)
        assert_refused(done, "cannot resume, changed since", *words)
        assert not stub.calls_by_row()
        assert workspace.runs() == [before]


# ---------------------------------------------------------------- how many must have a score


@pytest.mark.parametrize(
    ("share", "failing", "code"),
    [("1", 1, 1), ("0.95", 1, 0), ("0.95", 2, 1), ("0.55", 9, 0), ("0", 20, 0), ("1", 0, 0)],
)
def test_min_scored_says_when_a_run_has_failed(
    workspace: Workspace,
    stub: JudgeStub,
    capfd: pytest.CaptureFixture[str],
    share: str,
    failing: int,
    code: int,
) -> None:
    failed = {f"item-{n}" for n in range(failing)}
    stub.faults = lambda call: "http_400" if call.row in failed else ""
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(20))
    flags = ("--data", str(data), "--min-scored", share)
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == code
    assert bool(done.problems) == bool(failing)
    assert_honest(workspace.last_run(), 20)


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize("folder", ["a file", "/proc/nowhere", "/dev/null/journals"])
def test_an_unwritable_journal_folder_is_told_before_any_run(
    tmp_path: Path, stub: JudgeStub, capfd: pytest.CaptureFixture[str], folder: str
) -> None:
    workspace = Workspace(tmp_path, with_database=False)
    if folder == "a file":
        (tmp_path / "file").write_text("")
        folder = str(tmp_path / "file")
    done = call(workspace, capfd, "--journal-dir", folder, base_url=stub.base_url)
    assert_refused(done, "--journal-dir", folder)
    assert workspace.runs() == []
    assert not stub.calls_by_row()


def test_a_journal_that_the_disk_has_no_room_for_keeps_what_was_judged(
    tmp_path: Path, stub: JudgeStub
) -> None:
    journal = tmp_path / "journal.jsonl"
    process = start_judging(stub, journal, 200, 16, 40_000)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("\n") == 1, err
    assert "File too large; what is judged so far is kept" in err
    assert journal.read_bytes().endswith(b"\n"), "no half lines"
    kept = len(verdict_keys(journal))
    assert 10 < kept < 200
    stub.forget()
    out, err = start_judging(stub, journal, 200, 16).communicate(timeout=60)
    assert out == "done 200\n", err
    assert sum(stub.calls_by_row().values()) == 200 - kept


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 128 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_full_disk_stops_the_run_and_what_was_judged_is_gone_on_with(
    workspace: Workspace, stub: JudgeStub, capfd: pytest.CaptureFixture[str], small_disk: Path
) -> None:
    (small_disk / "ballast").write_bytes(bytes(64 * 1024))
    data = write_csv(workspace.folder / "rows.csv", numbered_rows(300))
    flags = ("--data", str(data), "--journal-dir", str(small_disk), "--no-claim")
    done = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert done.code == 1, done.err
    assert any("No space left on device" in line for line in done.problems)
    assert done.resume_command
    run = workspace.last_run()
    assert run.status == "KILLED"
    assert_honest(run, 300)
    kept = counts(run)["scored"]
    assert 10 < kept < 300

    stub.forget()
    with suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(1024)):
            pass
    again = call(workspace, capfd, *flags, base_url=stub.base_url)
    assert_refused(again, "--journal-dir", "No space left on device")
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    resumed = call(workspace, capfd, *flags, "--resume", run.id, base_url=stub.base_url)
    assert resumed.code == 0, resumed.err
    assert sum(stub.calls_by_row().values()) == 300 - kept
    assert_honest(workspace.last_run(), 300)
