"""Which rows does the model under test answer, and what came of it? Asked once, kept on disk.

    python mlflow_tracking/run_experiment.py --answers-from http://127.0.0.1:8001/v1 --data my.csv

Answers are kept in a journal of their own, not in a run's: the same ones serve a second run with
another judge or another prompt.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from llm_client.caller import CallFailed, RetryPolicy
from llm_client.judge_client import JudgeClient
from llm_client.settings import redacted
from mlflow_tracking.answering.answer import Answer, failed_answer, read_answer
from mlflow_tracking.answering.model import AnswerSettings
from mlflow_tracking.answering.prompt import Messages
from mlflow_tracking.judge.journal import RecordJournal
from mlflow_tracking.judge.judging import OnRecord, ask_each
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Status, Verdict
from mlflow_tracking.rows.item import ANSWER, DataError, DataSet, Row
from mlflow_tracking.stats.estimate import Estimate


class AnswerJournal(RecordJournal[Answer]):
    """The answers of one model under test to the questions of one file."""

    kind, doing = Answer, "asking for these answers"

    def _check_header(self, old: Mapping[str, Any]) -> None:
        """The file's name stands for all that its header says, which a fault may have lost."""


@dataclass(frozen=True)
class Asked:
    """One answer that is asked for: what is sent, and which of the row's answers it is."""

    messages: Messages
    sample: int  # from 1


@dataclass(frozen=True)
class Exchange:
    """What the model under test was sent for a row and what it answered, for the row's trace."""

    request: Mapping[str, Any]
    answer: Answer


@dataclass(frozen=True)
class Spread:
    """The scores of a question's answers; `sd` is the sample's, None of fewer than two scores."""

    row: int  # in the file
    question: str
    n: int
    mean: float | None
    sd: float | None
    min: float | None
    max: float | None


@dataclass(frozen=True)
class Answers:
    """The rows that are judged, and what a model under test answers to those without an answer."""

    settings: AnswerSettings
    rows: DataSet  # a question's samples are rows of their own
    of_rows: tuple[int, ...]  # by row: the number in the file of what it is an answer to
    asked: tuple[Asked | None, ...]  # by row; None: its answer is the file's, or it asks nothing
    known: Mapping[str, Answer]  # by key, of any rows

    @cached_property
    def by_row(self) -> list[Answer | None]:
        """What came of each row; None: nothing yet, or nothing was asked."""
        return [self.known.get(key) for key in self.keys]

    @cached_property
    def keys(self) -> list[str]:
        """What each row's answer is kept under; '' for a row that is not asked about."""
        return [self.settings.key(o.messages, o.sample) if o else "" for o in self.asked]

    @property
    def untried(self) -> int:
        """Rows that nothing is known of."""
        both = zip(self.asked, self.by_row, strict=True)
        return sum(one is not None and answer is None for one, answer in both)

    @property
    def wanted(self) -> int:
        """Rows that the model is asked about."""
        return sum(one is not None for one in self.asked)

    @property
    def given(self) -> int:
        """Rows that have an answer of the model's."""
        return sum(answer is not None and not answer.failed for answer in self.by_row)

    @cached_property
    def data(self) -> DataSet:
        """The rows with their answers, as far as there are any."""
        texts = [answer.text if answer else None for answer in self.by_row]
        rows = [
            row if one is None else _answered(row, text or "")
            for row, one, text in zip(self.rows.rows, self.asked, texts, strict=True)
        ]
        digest = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
        return replace(self.rows, rows=tuple(rows), answers_sha256=digest)

    def no_verdicts(self, judge: JudgeSettings) -> dict[str, Verdict]:
        """By the judge's key the verdicts on rows that have no answer: nobody is asked for one."""
        failed = [
            (row.item, answer.reason)
            for row, answer in zip(self.data.rows, self.by_row, strict=True)
            if answer and answer.failed
        ]
        return {judge.key(item): Verdict(Status.NO_ANSWER, reason) for item, reason in failed}

    def exchanges(self) -> dict[int, Exchange]:
        """What was sent and answered, by the row's number."""
        every = zip(self.rows.rows, self.asked, self.by_row, strict=True)
        return {
            row.number: Exchange(self.settings.body(one.messages, one.sample), answer)
            for row, one, answer in every
            if one and answer
        }

    def columns(self) -> dict[str, Sequence[object]]:
        """For the table of results, by name."""
        cut = [answer is not None and answer.cut for answer in self.by_row]
        if self.settings.samples == 1:
            return {"answer_cut": cut}
        samples = [one.sample if one else 1 for one in self.asked]
        return {"of_row": self.of_rows, "sample": samples, "answer_cut": cut}

    def metrics(self) -> dict[str, float]:
        """`llm_judge/answers_given` and its like; equal rows cost one call."""
        calls = {key: one for key, one in zip(self.keys, self.by_row, strict=True) if one}.values()
        found = {
            "answers_given": self.given,
            "answers_cut": self._cut,
            "answer_prompt_tokens": sum(one.prompt_tokens for one in calls),
            "answer_completion_tokens": sum(one.completion_tokens for one in calls),
        }
        return {f"llm_judge/{name}": float(value) for name, value in found.items()}

    @property
    def _cut(self) -> int:
        return sum(answer is not None and answer.cut for answer in self.by_row)

    def told(self) -> str:
        """Who answered how many rows, in words."""
        settings = self.settings
        cut = f", {self._cut} cut at {settings.max_tokens} tokens" if self._cut else ""
        where = f"{settings.model} at {redacted(settings.base_url)}"
        return f"{self.given} of {self.wanted} given by {where}{cut}"

    def faults(self) -> list[str]:
        """Why rows have no answer, the most frequent reason first, in words."""
        reasons = Counter(one.reason for one in self.by_row if one and one.failed)
        return [f"{count} without an answer: {why}" for why, count in reasons.most_common()]

    def spreads(self, verdicts: Sequence[Verdict | None]) -> list[Spread]:
        """How the scores of each question's answers differ, where there are several."""
        by_row: dict[int, list[float]] = {}
        questions: dict[int, str] = {}
        for of_row, row, verdict in zip(self.of_rows, self.rows.rows, verdicts, strict=True):
            questions[of_row] = row.item.question
            scores = by_row.setdefault(of_row, [])
            if verdict and verdict.overall:
                scores.append(verdict.overall.value)
        return [_spread(of_row, questions[of_row], found) for of_row, found in by_row.items()]

    def mean(self, verdicts: Sequence[Verdict | None]) -> Estimate:
        """The judge's mean with its interval over other questions like these."""
        from mlflow_tracking.stats.several_means import mean_over_groups  # a second of scipy's

        scored = [
            (verdict.overall.value, of_row)
            for verdict, of_row in zip(verdicts, self.of_rows, strict=True)
            if verdict and verdict.overall
        ]
        return mean_over_groups([score for score, _ in scored], [row for _, row in scored])


def _spread(row: int, question: str, scores: list[float]) -> Spread:
    if not scores:
        return Spread(row, question, 0, None, None, None, None)
    sd = float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    mean = float(np.mean(scores))
    return Spread(row, question, len(scores), mean, sd, min(scores), max(scores))


def pooled_spread(spreads: Sequence[Spread]) -> float | None:
    """The standard deviation within a question; None where no question has two scores.

    Pooled: a mean of deviations would be lower with fewer answers to a question (0.80 of the true
    one with two normal scores, 0.89 with three).
    """
    found = [(one.n - 1, one.sd) for one in spreads if one.sd is not None]
    if not found:
        return None
    freedom, deviations = np.array(found).T
    return float(np.sqrt(freedom @ deviations**2 / freedom.sum()))


def told_spread(spread: float, spreads: Sequence[Spread]) -> str:
    """The pooled spread in words."""
    questions = sum(one.sd is not None for one in spreads)
    return (
        f"{spread:.2f} points: the standard deviation between the answers to one question, "
        f"pooled over {questions} questions"
    )


def _answered(row: Row, text: str) -> Row:
    item = replace(row.item, answer=text)
    return replace(row, item=item, columns={**row.columns, ANSWER: text})


def asked_rows(data: DataSet, settings: AnswerSettings) -> Answers:
    """The rows of `data` without an answer, as many times as samples are wanted; none is known yet.

    A row without a question is not asked about. Raises DataError where every row has an answer.
    """
    if not any(map(_is_asked, data.rows)):
        raise DataError(
            f"{data.path}: every row has an answer already, in {ANSWER} or as a conversation's "
            "last turn; leave --answers-from out to have them judged, or give a file of questions"
        )
    rows, of_rows, asked = list[Row](), list[int](), list[Asked | None]()
    for row in data.rows:
        wanted = _is_asked(row)
        messages = settings.prompt.messages(row, data.named) if wanted else []
        for sample in range(1, settings.samples + 1 if wanted else 2):
            rows.append(replace(row, number=len(rows) + 1))
            of_rows.append(row.number)
            asked.append(Asked(messages, sample) if wanted else None)
    kept = sum(bool(row.item.answer.strip()) for row in data.rows)
    note = f"{kept} of {len(data.rows)} rows have an answer already, which is judged as it is"
    notes = (*data.notes, *([note] if kept else []))
    data = replace(data, rows=tuple(rows), notes=notes)
    return Answers(settings, data, tuple(of_rows), tuple(asked), {})


def _is_asked(row: Row) -> bool:
    return bool(row.item.question.strip()) and not row.item.answer.strip()


async def ask_all(
    answers: Answers,
    journal: AnswerJournal,
    policy: RetryPolicy,
    concurrency: int | None,
    on_answer: OnRecord[Answer],
) -> None:
    """Ask for every answer that the journal has not; each is told, with how many rows it is for.

    Raises JudgingStopped and JournalError; what was told is in the journal.
    """
    settings = answers.settings
    asked = [one for one in answers.asked if one]
    keys = [key for key in answers.keys if key]
    async with JudgeClient(settings.base_url, settings.api_key, policy, concurrency) as client:

        async def ask(one: Asked) -> Answer:
            try:
                reply = await client.chat(settings.body(one.messages, one.sample))
            except CallFailed as failure:
                return failed_answer(failure, settings.model, settings.root)
            return read_answer(reply, settings.model, settings.root)

        every = range(len(asked))
        await ask_each(asked, keys, every, ask, journal, client.limit, on_answer)
