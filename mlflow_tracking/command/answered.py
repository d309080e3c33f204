"""How do rows get their answers before they are judged? From a model under test, all of them first.

    python mlflow_tracking/run_experiment.py --answers-from http://127.0.0.1:8001/v1
    python mlflow_tracking/run_experiment.py --answers-from http://127.0.0.1:8001/v1 --answers-only

With --answers-only the judge need not be there: where one model fits at a time, the answers are
made first, and the same flags without it have them judged when the other server runs.
"""

import asyncio
import hashlib
import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from llm_client.settings import (
    Settings,
    SettingsError,
    check_base_urls,
    redacted,
    split_base_urls,
)
from mlflow_tracking.answering.answer import Answer
from mlflow_tracking.answering.answers import AnswerJournal, Answers, ask_all, asked_rows
from mlflow_tracking.answering.model import AnswerSettings, find_answerer, rehearse_answer
from mlflow_tracking.answering.prompt import load_answer_prompt
from mlflow_tracking.command.answer_flags import AnswerFlags
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.flags import CallFlags, RowFlags, RunFlags
from mlflow_tracking.command.frame import Judging, check_folder, judging, same_command
from mlflow_tracking.command.recorded_run import RecordedRun
from mlflow_tracking.judge.rehearsal import PreflightError
from mlflow_tracking.rows.item import QUESTION, DataError, DataSet
from mlflow_tracking.rows.row_files import load_rows


@dataclass(frozen=True)
class Answering:
    """The answers that are wanted, checked before anything is made."""

    answers: Answers
    path: Path  # of their journal
    header: Mapping[str, object]
    calls: CallFlags
    reached: bool  # whether the server is there; if not, every answer is known
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What was checked, for --check."""
        settings, kept = self.answers.settings, self.answers.wanted - self.answers.untried
        there = "" if self.reached else " (not reached now)"
        return (
            f"answers from {redacted(settings.base_url)}{there}",
            f"answered by  {settings.model} (root {settings.root or 'unknown'})",
            f"answers      {kept} of {self.answers.wanted} are kept already",
        )

    def recorded(self, experiment: Experiment) -> Experiment:
        """With params of the model under test, the same for a run that goes on."""
        asked = self.answers.settings.params()
        params = {**experiment.more_params, **asked}
        return replace(experiment, more_params=params, same=(*experiment.same, *asked))

    def known(self, plan: bool, graded: Path | None) -> DataSet:
        """The rows with the answers that there are; raises DataError where a flag needs all."""
        flag = "--plan" if plan else "--graded" if graded else ""
        if flag and self.answers.untried:
            raise DataError(
                f"{flag} goes by the answers, and {self.answers.untried} of {self.answers.wanted} "
                f"are not made yet; make them first, with --answers-only in place of {flag}"
            )
        return replace(self.answers.data, notes=self.notes)

    def answer(self, run: RecordedRun) -> None:
        """Have the rows of a run answered, as far as the server lets us."""
        columns = run.experiment.judge.settings.prompt.columns
        answers = replace(self.answers, rows=self.answers.rows.asking(columns))
        found, answers = self._ask(answers)
        run.answered(answers, self.path, found)

    def only(self, command: str, check: bool, least: float) -> int:
        """Have the rows answered and nothing else; returns the exit code.

        With `check` not even that. `least` is the share that must have an answer for code 0.
        """
        for line in self.notes:
            warn(f"note: {line}")
        if check:
            say("\n".join(self.lines))
            return 0
        check_folder(self.path.parent)
        found, answers = self._ask(self.answers)
        say(f"answers      {answers.told()}; {found.done} of them asked for now")
        for fault in answers.faults():
            say(f"             {fault}")
        say(f"kept in      {self.path}")
        if found.stopped:
            warn(f"{command}: stopped: {found.stopped}")
        lacking = answers.wanted - answers.given
        if lacking:
            warn(f"go on with the {lacking} rows that have no answer: {same_command()}")
        if found.stopped or (answers.wanted - lacking) / answers.wanted < least:
            return 1
        say(f"judge them   {self._judge_command()}")
        return 0

    def _judge_command(self) -> str:
        """This very command without --answers-only; the model is named, whoever is served then."""
        words = [word for word in sys.argv[1:] if not word.startswith("--answers-o")]
        if not any(word.startswith("--answer-mod") for word in words):
            words += ["--answer-model", self.answers.settings.model]
        return shlex.join(["python", sys.argv[0], *words])

    def _ask(self, answers: Answers) -> tuple[Judging, Answers]:
        with judging(answers.wanted, "answering", "an answer") as found:
            if self.reached and any(one is None or one.failed for one in _asked(answers)):
                check_folder(self.path.parent)
                journal = AnswerJournal(self.path, self.header)
                try:
                    work = ask_all(
                        answers, journal, self.calls.policy, self.calls.concurrency, found.told
                    )
                    asyncio.run(work)
                finally:
                    journal.close()
                    found.done = len(journal.fresh)
                    answers = replace(answers, known={**answers.known, **journal.records})
            else:
                for answer in filter(None, _asked(answers)):
                    found.told(answer, [0])
        return found, answers


def _asked(answers: Answers) -> list[Answer | None]:
    return [one for one, asked in zip(answers.by_row, answers.asked, strict=True) if asked]


def plan_answers(
    flags: AnswerFlags, rows: RowFlags, calls: CallFlags, run: RunFlags, settings: Settings
) -> Answering | None:
    """Read the questions and check the model under test; None without --answers-from.

    Where its server cannot be reached, or serves another model, the kept answers count if they are
    all there. Raises the mistake of what is wrong.
    """
    if not flags.answers_from:
        return None
    data = load_rows(
        rows.data, rows.encoding, rows.limit, (QUESTION,), sheet=rows.sheet, named=rows.columns
    )
    wanted = _wanted(flags, calls, settings, data)
    header = _header(wanted, data)
    name = hashlib.sha256(json.dumps(header).encode()).hexdigest()[:16]
    path = run.journal_dir / "answers" / f"{name}.jsonl"
    kept = AnswerJournal.read(path) if path.is_file() else {}
    answers = replace(asked_rows(data, wanted), known=kept)
    try:
        found, notes = asyncio.run(find_answerer(wanted))
    except PreflightError as mistake:
        answers = _of_last_model(answers)
        if answers.untried or not answers.settings.model:  # nothing of it is kept
            count = answers.wanted - answers.untried
            raise PreflightError(f"{mistake} ({count} answers are kept)") from None
        note = f"{answers.settings.model} is not reached; its answers are the ones that are kept"
        return Answering(answers, path, header, calls, False, (*answers.rows.notes, note))
    answers = replace(answers, settings=found)
    if any(one is None or one.failed for one in _asked(answers)):
        found, more = asyncio.run(rehearse_answer(found))
        answers, notes = replace(answers, settings=found), (*notes, *more)
    notes = (*answers.rows.notes, *wanted.prompt.notes, *notes)
    return Answering(answers, path, header, calls, True, notes)


def _wanted(
    flags: AnswerFlags, calls: CallFlags, settings: Settings, data: DataSet
) -> AnswerSettings:
    try:
        url = check_base_urls(flags.answers_from)
    except SettingsError as mistake:
        told = str(mistake).replace("JUDGE_BASE_URL", "--answers-from")
        raise SettingsError(told) from None
    return AnswerSettings(
        url,
        _key_for(url, calls, settings),
        load_answer_prompt(flags.answer_prompt, data.columns),
        flags.answer_model,
        "",
        flags.answer_temperature,
        flags.answer_max_tokens,
        flags.answers_per_row,
    )


def _key_for(url: str, calls: CallFlags, settings: Settings) -> str:
    """The judge's key is for the judge's servers alone."""
    judges = set(split_base_urls(calls.base_url))
    own = settings.api_key if judges.issuperset(split_base_urls(url)) else ""
    return settings.answer_api_key or own


def _header(wanted: AnswerSettings, data: DataSet) -> dict[str, object]:
    """What the answers in one journal have in common; whose and of which rows is in their keys."""
    return {
        "data_sha256": data.sha256,
        "answers_from": redacted(wanted.base_url),
        "answer_prompt_sha256": wanted.prompt.sha256,
        "temperature": wanted.temperature,
        "max_tokens": wanted.max_tokens,
    }


def _of_last_model(answers: Answers) -> Answers:
    """With the kept answers of the model that is wanted, or of the last that answered."""
    wanted = answers.settings
    of_it = [one for one in answers.known.values() if one.model == (wanted.model or one.model)]
    last = max(of_it, key=lambda one: one.ended_at, default=Answer())
    return replace(answers, settings=replace(wanted, model=last.model, root=last.root))
