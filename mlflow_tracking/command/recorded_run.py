"""How is an experiment judged into MLflow? One run, from its first row to its last line.

    with recorded_run("run_experiment", experiment) as run:
        verdicts = run.judge_rows()
        run.record(verdicts)
    return run.exit_code

Of `python mlflow_tracking/run_experiment.py`, and of all commands that record a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd

from llm_client.settings import redacted
from mlflow_tracking.answering.answers import Answers, pooled_spread, told_spread
from mlflow_tracking.command.console import VerdictTable, print_summary, say, warn
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.frame import (
    INTERRUPTED,
    Judging,
    check_folder,
    judging,
    record_in_peace,
    resume_command,
    stop_on_sigterm,
)
from mlflow_tracking.custom_metrics import evaluate_stock, judge_items
from mlflow_tracking.judge.journal import Journal, JournalError
from mlflow_tracking.judge.judging import JudgeConnection, OnVerdict, keeping, known_verdicts
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.decisions import NO_DECISIONS, Decisions
from mlflow_tracking.recording.publish import publish
from mlflow_tracking.recording.results import (
    BY_QUESTION_TABLE,
    log_dataset,
    log_results,
    log_settings,
    remove_tables,
    results_table,
)
from mlflow_tracking.recording.run import (
    RUN_TAGS,
    Tracking,
    TrackingError,
    check_run,
    end_run,
    first_writes,
    give_up_run,
    look_at_it,
    mlflow_errors,
    open_experiment,
    start_run,
)
from mlflow_tracking.recording.summary import Summary, summarise
from mlflow_tracking.recording.totals import Totals
from mlflow_tracking.rows.item import Item


def tracking_of(experiment: Experiment) -> Tracking:
    """Where the experiment's runs go."""
    return Tracking(experiment.tracking_uri, experiment.run.experiment_name)


class RecordedRun:
    """A run that is being made, or that is gone on with."""

    def __init__(
        self,
        command: str,
        experiment: Experiment,
        place: tuple[str, str],
        journal: Journal | None,
        go_on: str,
    ) -> None:
        """`place`: the experiment's id and the run's; `go_on`: the command that goes on with it."""
        self.command, self.experiment, self.journal = command, experiment, journal
        self.experiment_id, self.run_id = place
        self.stopped = ""  # why it ended early; '' if it did not
        self.missing = ""  # what a run that goes on would judge, in words
        self.exit_code = 0
        self.judged, self.judged_s = 0, 0.0  # rows by this process, and seconds
        self.table = VerdictTable(experiment.data)
        self.summary: Summary | None = None  # of what was recorded
        self.in_flight: tuple[int, int] | None = None  # rows at once: at the end, and at most
        self.answers: Answers | None = None  # of a model under test
        self._answers_journal, self._answers_per_s = Path(), 0.0
        self._go_on = go_on

    @property
    def complete(self) -> bool:
        """Whether all that was to be judged has been tried."""
        return not self.stopped

    @cached_property
    def judge(self) -> JudgeConnection:
        """The judge, with this run's journal."""
        assert self.journal is not None, "a run with a journal"
        judge = self.experiment.connection(self.journal)
        none = self.answers.no_verdicts(judge.settings) if self.answers else {}
        return replace(judge, instead=none)

    @cached_property
    def dataset(self) -> Any:
        """The rows as MLflow's data set."""
        return log_dataset(self.experiment.data)

    def answered(self, answers: Answers, journal: Path, found: Judging) -> None:
        """Go on with what a model under test answered, before anything is judged."""
        self.answers, self._answers_journal = answers, journal
        self.experiment = replace(self.experiment, data=answers.data)
        self.table, self.stopped = VerdictTable(answers.data), found.stopped
        self._answers_per_s = found.done / found.seconds

    def take_over(self, known: Path) -> None:
        """Ask for nothing that the journal `known`, a plan's, has of these rows."""
        if known.is_file():
            settings, items = self.experiment.judge.settings, self.experiment.data.items
            self.judge.journal.take_over(known, dict.fromkeys(map(settings.key, items)))

    def judge_rows(self, shown: bool = True) -> list[Verdict | None]:
        """Have every row judged: its verdict, or None where judging stopped before.

        They are printed as they come, unless other verdicts may count in the end.
        """
        tell = self.table.show if shown else None
        return self._judge(self.experiment.data.items, self.judge, tell)

    def judge_again(self, judge: JudgeConnection, places: Sequence[int]) -> list[Verdict | None]:
        """Have the rows at `places` judged by another prompt or judge; in the run's journal."""
        items = self.experiment.data.asking(judge.settings.prompt.columns).items
        return self._judge([items[place] for place in places], judge, None)

    def _judge(
        self, items: Sequence[Item], judge: JudgeConnection, show: OnVerdict | None
    ) -> list[Verdict | None]:
        verdicts = known_verdicts(items, judge.settings, judge.journal)
        if self.stopped:
            return verdicts
        with self.judging(len(items)) as count:

            def tell(verdict: Verdict, places: Sequence[int]) -> None:
                count(verdict, places)
                if show:
                    show(verdict, places)

            judge_items(items, judge, keeping(verdicts, tell))
        return verdicts

    def judge_rows_with_stock(self) -> list[Verdict | None]:
        """Have MLflow's own scorer do it, as the baseline."""
        verdicts: list[Verdict | None] = []
        with self.judging(len(self.experiment.data.rows)) as tell:
            verdicts = evaluate_stock(self.dataset, self.judge)
            for place, verdict in enumerate(verdicts):
                if verdict:
                    tell(verdict, [place])
        self.judged = len(verdicts)
        return verdicts or [None] * len(self.experiment.data.rows)

    @contextmanager
    def judging(self, rows: int) -> Iterator[OnVerdict]:
        """Judge inside; gives what wants to be told each verdict and its places."""
        before = len(self.journal.fresh) if self.journal else 0
        with judging(rows) as found:
            yield found.told
        self.stopped, self.judged_s = found.stopped, self.judged_s + found.seconds
        self.judged += len(self.journal.fresh) - before if self.journal else 0
        for limit in self.judge.limits[:1]:  # later callers ask for nothing
            self.in_flight = limit.limit, limit.reached

    def cost(self, totals: Totals) -> dict[str, float]:
        """The run's metrics, with what only this process knows."""
        metrics = totals.metrics(self.judged, self.judged_s)
        if self.in_flight:
            now, most = self.in_flight
            metrics |= {"llm_judge/rows_in_flight": now, "llm_judge/rows_in_flight_max": most}
        return metrics

    def record(
        self, verdicts: Sequence[Verdict | None], decisions: Decisions = NO_DECISIONS
    ) -> None:
        """Metrics, tables, journal and views of the rows; then the table and the summary."""
        experiment, data = self.experiment, self.experiment.data
        judge, kept = experiment.judge.settings, self.journal if self._go_on else None
        totals, scale = Totals(judge.prompt), judge.prompt.format.scale
        totals.add(verdicts)
        totals.add_costs(decisions.beside)
        metrics = self.cost(totals) | decisions.metrics()
        answers = self.answers.columns() if self.answers else {}
        table = results_table(data, verdicts, {**decisions.columns(), **answers})
        log_results(table, metrics, kept.path if kept else None)
        summary = summarise(totals.overall, metrics, scale, decisions.told())
        self.summary = summary = self._with_answers(summary, verdicts)
        if self.stopped != INTERRUPTED:  # that is to stop at once; a resumed run makes the views
            rows = list(zip(data.rows, verdicts, strict=True))
            others = decisions.other_judges(data.rows)
            asked = self.answers.exchanges() if self.answers else None
            traces = experiment.run.traces
            publish(self.run_id, judge, rows, summary, traces, warn, others=others, answers=asked)
        self.table.close(verdicts)
        print_summary(metrics, scale)
        for line in (*(f"{what:<13}{told}" for what, told in summary.answered), *decisions.lines()):
            say(line)
        self.count_missing(int(metrics["llm_judge/rows_failed"]), len(verdicts))

    def _with_answers(self, summary: Summary, verdicts: Sequence[Verdict | None]) -> Summary:
        """The summary with what a model under test answered, which is recorded here.

        Where a question has several answers, the interval is over questions.
        """
        answers = self.answers
        if answers is None:
            return summary
        metrics, told = answers.metrics(), [("answers", answers.told())]
        if self._answers_per_s:
            metrics["llm_judge/answers_per_second"] = self._answers_per_s
        if self._answers_journal.is_file():
            mlflow.log_artifact(str(self._answers_journal), "answers")
        if answers.settings.samples > 1:
            spreads, mean = answers.spreads(verdicts), answers.mean(verdicts)
            mlflow.log_table(pd.DataFrame(map(asdict, spreads)), BY_QUESTION_TABLE)
            if (spread := pooled_spread(spreads)) is not None:
                metrics["llm_judge/answer_spread"] = spread
                told.append(("spread", told_spread(spread, spreads)))
            summary = replace(summary, interval=mean.interval, questions=mean.n)
        mlflow.log_metrics(metrics)
        return replace(summary, answered=tuple(told))

    def count_missing(self, missing: int, total: int) -> None:
        """So many of the rows have no verdict; are there enough that have one?"""
        if missing:
            self.missing = f"the {missing} rows that have no verdict"
        # As a quotient: 0.55 * 100 is more than 55.
        if (total - missing) / total < self.experiment.run.min_scored:
            self.exit_code = 1

    def miss(self, what: str) -> None:
        """What a run that goes on would judge, in words; without it there is more to be done."""
        self.missing, self.exit_code = what, 1

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Judge and record inside; what cannot be recorded ends the run, and is told."""
        tracking, place = tracking_of(self.experiment), ""
        try:
            with mlflow_errors(tracking):
                yield
                end_run(complete=self.complete)
            place = f"experiments/{self.experiment_id}/runs/{self.run_id}"
        except KeyboardInterrupt:
            record_in_peace()
            self.stopped = "interrupted while the run was recorded"
        except (JournalError, TrackingError) as fault:
            self.stopped = str(fault)
        except BaseException:  # a fault of ours or of a library: at least the run does not go on
            give_up_run(tracking)
            raise
        if self.journal:
            self.journal.close()
        if place:
            base_url = redacted(self.experiment.calls.base_url)
            say(f"judge        {self.experiment.judge.settings.model} at {base_url}")
            say(f"run          {self.run_id}")
            say("look at it   " + "\n             ".join(look_at_it(tracking, place)))
        else:
            give_up_run(tracking)
        if self.stopped:
            self.exit_code = 1
            warn(f"{self.command}: stopped: {self.stopped}")
        if self._go_on and (self.stopped or self.missing):
            warn(f"go on with {self.missing or 'it'}: {self._go_on}")


@contextmanager
def recorded_run(
    command: str,
    experiment: Experiment,
    tags: Mapping[str, str] = RUN_TAGS,
    as_input: str = "",
    journals: str = "",
    keeps_journal: bool = True,
) -> Iterator[RecordedRun]:
    """A run with a journal, made for the experiment or gone on with (--resume).

    `journals` is a folder below --journal-dir, for runs that --resume last of other commands is not
    to find. With a context `as_input` the rows are logged as the run's input at once, otherwise
    mlflow.evaluate does it. Raises a user's mistake before the run is made.
    """
    run = _begin(command, experiment, tags, journals, keeps_journal)
    with first_writes(tracking_of(experiment)):
        log_settings(experiment.params(), experiment.judge.settings.prompt)
        if as_input:
            log_dataset(experiment.data, as_input)
        remove_tables()
    with run.recorded():
        yield run


def _begin(
    command: str,
    experiment: Experiment,
    tags: Mapping[str, str],
    journals: str,
    keeps_journal: bool,
) -> RecordedRun:
    flags, tracking = experiment.run, tracking_of(experiment)
    folder = flags.journal_dir / journals
    check_folder(folder)
    experiment_id = open_experiment(tracking)
    journal = _journal_to_resume(folder, experiment, experiment_id) if flags.resume else None
    stop_on_sigterm()
    run_id = start_run(tracking, flags.run_name, journal.path.stem if journal else None, tags)
    if journal is None:
        journal = Journal(folder / f"{run_id}.jsonl", experiment.journal_header())
    if not keeps_journal:
        journal.path.unlink()  # and `--resume last` must not find it
    go_on = resume_command(run_id) if keeps_journal else ""
    return RecordedRun(command, experiment, (experiment_id, run_id), journal, go_on)


def _journal_to_resume(folder: Path, experiment: Experiment, experiment_id: str) -> Journal:
    """The journal of the run to go on with, locked; raises JournalError or TrackingError."""
    wanted = str(experiment.run.resume)  # a run's id, or 'last'
    if wanted == "last":
        journals = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        if not journals:
            raise JournalError(f"{folder}: no journal of a run there; start one without --resume")
        wanted = journals[-1].stem
    if not (folder / f"{wanted}.jsonl").is_file():
        raise JournalError(f"{folder}: no journal of run {wanted}; --resume takes an id or 'last'")
    check_run(tracking_of(experiment), wanted, experiment_id)
    return Journal(folder / f"{wanted}.jsonl", experiment.journal_header())
