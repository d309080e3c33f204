"""What did the judge decide on a row, and how sure was it? Score, justification, status.

Shown by `python mlflow_tracking/run_experiment.py`, kept by its journal.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from llm_client.reply import TokenLogprobs
from mlflow_tracking.judge.prompt import Counts
from mlflow_tracking.rows.item import SCALE

CUT_MARK = " […]"  # ends a justification that is not whole
# Of 200 attacked answers 59 differ by more, of 20 honest wrong ones 3, of 52 right ones none
# (judge_prompt.txt, docs/manipulation.md).
SUSPECT_POINTS = 2.0
_SCORES_BESIDE = ("claim_score", "answer_score")


class Status(StrEnum):
    """Why a row has the verdict that it has, or has none."""

    OK = "ok"
    UNPARSABLE = "unparsable"  # the reply is not in the declared form
    TRUNCATED = "truncated"  # the reply hit max_tokens; the score may be there all the same
    TOO_LONG = "too_long"  # the row does not fit the judge's context; no call was made
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    EMPTY_INPUT = "empty_input"  # no question or no answer; no call was made


FAILURES = tuple(status for status in Status if status is not Status.OK)


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a verdict and what the judge's probabilities say of it."""

    value: int  # 1-5
    probabilities: tuple[float, ...] | None = None  # of 1..5, sum 1; None: the server gave none

    @property
    def expected(self) -> float | None:
        """The mean of the 1-5 distribution, as in G-Eval (Liu et al., 2023, arXiv:2303.16634)."""
        if self.probabilities is None:
            return None
        return sum(s * p for s, p in zip(SCALE, self.probabilities, strict=True))

    @property
    def finest(self) -> float:
        """The expected score, or the whole one where there is none."""
        return self.value if self.expected is None else self.expected

    @property
    def entropy(self) -> float | None:
        """The distribution's entropy in bits: 0 (sure) to 2.32 (no idea)."""
        if self.probabilities is None:
            return None
        return -sum(p * math.log2(p) for p in self.probabilities if p > 0) + 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome for one row. `scores` is empty exactly when the row has no verdict."""

    status: Status
    reason: str = ""  # why there is no verdict, or what is odd about the one there is
    scores: dict[str, Score] = field(default_factory=dict)  # by label; the last is the overall one
    justification: str = ""
    raw_reply: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    latency_s: float = 0.0
    calls: int = 0  # that were needed: a justification or a second look is one of its own
    attempts: int = 0  # calls made, retries included
    ended_at: float = 0.0  # when the reply came, in seconds since 1970; 0: no call was made
    answer_truncated: bool = False  # --on-too-long truncate cut the answer's middle
    judged_answer: str = ""  # what its reply is about where that is not the row's whole answer
    claim: str = ""  # what the judge quoted of the answer, '' where it was not asked
    claim_not_in_answer: bool = False  # it quoted what the answer does not say: nothing rests on it
    claim_score: Score | None = None  # of the claim alone
    answer_score: Score | None = None  # of the whole answer, where it was scored beside its claim
    invented_quote: str = ""  # what the justification quotes and the row does not say

    @property
    def overall(self) -> Score | None:
        """The score that counts, or None: there is never a number without a verdict."""
        return list(self.scores.values())[-1] if self.scores else None

    @property
    def failed(self) -> bool:
        """Whether the row has no score."""
        return not self.scores

    @property
    def disagreement(self) -> float | None:
        """Points by which the whole answer's score is above its claim's; None without both."""
        if self.claim_score is None or self.answer_score is None:
            return None
        return self.answer_score.finest - self.claim_score.finest

    @property
    def suspected_manipulation(self) -> bool:
        """Whether the answer sounds much better than what it claims."""
        return (self.disagreement or 0.0) > SUSPECT_POINTS

    def to_json(self) -> dict[str, Any]:
        """The verdict as JSON types; `from_json` reads it back."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["scores"] = {label: _score_json(score) for label, score in self.scores.items()}
        for name in _SCORES_BESIDE:
            values[name] = _score_json(values[name]) if values[name] else None
        return values

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Verdict":
        """Read back `to_json`; raises KeyError, TypeError or ValueError for other data."""
        status = Status(data["status"])
        scores = {label: _read_score(score) for label, score in dict(data["scores"]).items()}
        if bool(scores) != (status is Status.OK) and not (scores and status is Status.TRUNCATED):
            raise ValueError(f"the status {status} with {len(scores)} scores")
        return cls(
            **{
                **data,
                "status": status,
                "scores": scores,
                **{
                    name: _read_score(data[name]) if data[name] else None for name in _SCORES_BESIDE
                },
            }
        )


def weigh(claim: Verdict, whole: Verdict, counts: Counts) -> Verdict:
    """The verdict on a claim and the one on its whole answer, as one.

    Of an answer that sounds much better than what it claims, the mean is the claim's score.
    """
    both = replace(claim, answer_score=whole.overall)
    if whole.overall is None:
        reason = f"the whole answer was not scored: {whole.reason}"
        if counts == "claim":
            return replace(both, reason=reason)
        return replace(both, status=whole.status, reason=reason, scores={})
    lower = (both.disagreement or 0.0) < 0
    if counts == "claim" or (counts == "smaller" and not lower):
        return both
    scores = whole.scores
    if counts == "mean":
        if both.suspected_manipulation:
            return both
        scores = {name: mean_score(one, whole.scores[name]) for name, one in claim.scores.items()}
    return replace(
        both,
        status=whole.status,
        reason=whole.reason,
        finish_reason=whole.finish_reason,
        scores=scores,
        raw_reply=whole.raw_reply,
        justification=whole.justification,
        judged_answer="",
    )


def mean_score(one: Score, other: Score) -> Score:
    """The score between two: of a middle that is no score, the one nearer to what both expect."""
    if one.probabilities is None or other.probabilities is None:
        return Score((one.value + other.value) // 2)
    both = zip(one.probabilities, other.probabilities, strict=True)
    probabilities = tuple((a + b) / 2 for a, b in both)
    expected = Score(one.value, probabilities).finest
    middle = (one.value + other.value) / 2
    given = [s for s, p in zip(SCALE, probabilities, strict=True) if p > 0]
    value = min(given, key=lambda score: (abs(score - middle), abs(score - expected)))
    return Score(value, probabilities)


def _score_json(score: Score) -> dict[str, Any]:
    return {"value": score.value, "probabilities": score.probabilities}


def _read_score(data: dict[str, Any]) -> Score:
    value, probabilities = data["value"], data["probabilities"]
    if value not in SCALE or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a score")
    if probabilities is None:
        return Score(value)
    if len(probabilities) != len(SCALE):
        raise ValueError(f"{len(probabilities)} probabilities")
    return Score(value, tuple(float(share) for share in probabilities))


def verdict_line(key: str, verdict: Verdict) -> str:
    """One line of the journal."""
    return json.dumps({"key": key, **verdict.to_json()}, ensure_ascii=False)


def score_probabilities(
    tokens: Sequence[TokenLogprobs], reply: str, place: int
) -> tuple[float, ...] | None:
    """Probabilities of 1..5 for the digit at index `place` of `reply`, renormalised to sum 1.

    As in G-Eval (arXiv:2303.16634).

    The digit's token is found by its place in bytes: tokenizers differ in whether it is '5' or
    ' 5'. None if the tokens do not spell the reply (then nothing is known, and nothing is guessed).
    """
    found = token_at(tokens, reply, place)
    return _distribution(*found) if found else None


def token_at(
    tokens: Sequence[TokenLogprobs], reply: str, place: int
) -> tuple[TokenLogprobs, int] | None:
    """The token that holds the sign at `place`, and that sign's place in the token's bytes.

    Spelled from the end: a judge that thinks may have drafted the same words before.
    """
    text = reply.rstrip("\ufffd").encode("utf-8", "replace")
    wanted, end = len(reply[:place].encode("utf-8", "replace")), len(text)
    for token in reversed(tokens):
        start = end - len(token.text)
        if text.endswith(token.text, 0, end):
            if start <= wanted < end:
                return token, wanted - start
            end = start
        elif not _is_hidden(token.text):
            return None
    return None


def _is_hidden(token: bytes) -> bool:
    """Control tokens are left out of a reply's text, and so is half a character at its end.

    Measured: the 1.5B judge writes `<|im_start|>` within a justification now and then.
    """
    if re.fullmatch(rb"[<\[].*[>\]]", token, re.S):
        return True
    try:
        token.decode()
    except UnicodeDecodeError:
        return True
    return False


def _distribution(token: TokenLogprobs, place: int) -> tuple[float, ...] | None:
    """Sum the alternatives that put a digit of the scale at `place`, after the same bytes.

    The digit is a whole number: '10' is no 1. Alternatives of other text count for nothing.
    """
    prefix = token.text[:place]
    mass = dict.fromkeys(SCALE, 0.0)
    for text, logprob in {token.text: token.logprob, **dict(token.alternatives)}.items():
        digit = text[place : place + 1]
        alone = digit.isdigit() and not text[place + 1 : place + 2].isdigit()
        if text.startswith(prefix) and alone and int(digit) in mass:
            mass[int(digit)] += math.exp(logprob)
    total = sum(mass.values())
    return tuple(mass[score] / total for score in SCALE) if total > 0 else None
