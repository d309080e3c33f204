"""What did the judge decide on a row, and how sure was it? Score, justification, status.

Shown by `python mlflow_tracking/run_experiment.py`, kept by its journal.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from llm_client.reply import TokenLogprobs
from mlflow_tracking.judge.prompt import Counts
from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale

CUT_MARK = " […]"  # ends a justification that is not whole
# Of the scale: 2 points of 1-5. Of 200 attacked answers 59 differ by more, of 20 honest wrong ones
# 3, of 52 right ones none (judge_prompt.txt, docs/manipulation.md).
SUSPECT_SHARE = 0.5
_FEW = 0.01  # of a score's probability may be unknown: a hundredth of the scale at most
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
    NO_ANSWER = "no_answer"  # the model under test gave none; no call to the judge was made


FAILURES = tuple(status for status in Status if status is not Status.OK)


@dataclass(frozen=True, slots=True)
class Score:
    """One score of a verdict and what the judge's probabilities say of it."""

    value: float  # on its scale; a whole number unless it is the mean of several
    probabilities: tuple[float, ...] | None = None  # of `values`, sum 1; None: the server gave none
    values: tuple[int, ...] = ONE_TO_FIVE.values  # those of the scale
    mean: float | None = None  # of a checklist: what the expected scores of its lines come to

    @property
    def expected(self) -> float | None:
        """The distribution's mean, as in G-Eval (Liu et al., 2023, arXiv:2303.16634)."""
        if self.probabilities is None:
            return self.mean
        return sum(s * p for s, p in zip(self.values, self.probabilities, strict=True))

    @property
    def finest(self) -> float:
        """The expected score, or the whole one where there is none."""
        return self.value if self.expected is None else self.expected

    @property
    def entropy(self) -> float | None:
        """The distribution's entropy in bits: 0 (sure) to log2 of the scores (no idea)."""
        if self.probabilities is None:
            return None
        return -sum(p * math.log2(p) for p in self.probabilities if p > 0) + 0.0

    @property
    def span(self) -> int:
        """Points between the scale's ends."""
        return self.values[-1] - self.values[0]


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
    addressed: dict[str, str] = field(default_factory=dict)  # by text: what speaks to the judge

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
        span = self.claim_score.span if self.claim_score else 0
        return (self.disagreement or 0.0) > SUSPECT_SHARE * span

    @property
    def speaks_to_judge(self) -> str:
        """Which of the row's texts speak to the judge, and what they say; '' for none."""
        return "; ".join(f"{name}: «{passage}»" for name, passage in self.addressed.items())

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
    middle = (one.value + other.value) / 2
    if one.mean is not None or other.mean is not None:
        return replace(one, value=middle, mean=(one.finest + other.finest) / 2)
    if one.probabilities is None or other.probabilities is None:
        return Score(max(v for v in one.values if v <= middle), values=one.values)
    both = zip(one.probabilities, other.probabilities, strict=True)
    between = replace(one, probabilities=tuple((a + b) / 2 for a, b in both))
    value = min(one.values, key=lambda v: (abs(v - middle), abs(v - between.finest)))
    return replace(between, value=value)


def checklist_score(
    scores: Mapping[str, Score], weights: Mapping[str, float], scale: Scale
) -> Score:
    """The weighted mean of a checklist's lines, each from 0 to 1 on its own scale, on `scale`."""
    total = sum(weights.values())

    def mean(of: Callable[[Score], float]) -> float:
        shares = (
            w * (of(scores[n]) - scores[n].values[0]) / scores[n].span for n, w in weights.items()
        )
        return round(scale.low + scale.span * sum(shares) / total, 6)

    known = all(score.expected is not None for score in scores.values())
    finest = mean(lambda score: score.finest) if known else None
    return Score(mean(lambda score: score.value), values=scale.values, mean=finest)


def _score_json(score: Score) -> dict[str, Any]:
    kept: dict[str, Any] = {"value": score.value, "probabilities": score.probabilities}
    if score.values != ONE_TO_FIVE.values:
        kept["values"] = score.values
    return kept if score.mean is None else kept | {"mean": score.mean}


def _read_score(data: dict[str, Any]) -> Score:
    value, probabilities, mean = data["value"], data["probabilities"], data.get("mean")
    values = tuple(map(int, data.get("values", ONE_TO_FIVE.values)))
    if isinstance(value, bool) or not values[0] <= value <= values[-1]:
        raise ValueError(f"{value!r} is not a score")
    if probabilities is None:
        return Score(value, None, values, None if mean is None else float(mean))
    if len(probabilities) != len(values):
        raise ValueError(f"{len(probabilities)} probabilities")
    return Score(value, tuple(float(share) for share in probabilities), values)


@dataclass(frozen=True)
class Distribution:
    """What the tokens of a reply tell of a score: probabilities, and beginnings that are open.

    '1' is open between 1 and 10 where the reply wrote another score, for a tokenizer that has each
    digit by itself: how its probability is split nobody knows until the judge is asked.
    """

    scale: Scale
    mass: Mapping[int, float]  # by score
    open: Mapping[str, float]  # by beginning

    @property
    def probabilities(self) -> tuple[float, ...] | None:
        """Of the scale's values, renormalised to sum 1; None if too much is open, or nothing."""
        known, unknown = sum(self.mass.values()), sum(self.open.values())
        if known <= 0 or unknown > _FEW * (known + unknown):
            return None
        return tuple(self.mass[value] / known for value in self.scale.values)

    def split(self, beginning: str, then: "Distribution") -> "Distribution":
        """With what the judge says that goes on behind a beginning."""
        total = sum(then.mass.values())
        if not total:  # it goes on as no score does, so nothing is known
            return self
        share = self.open[beginning] / total
        mass = {value: known + share * then.mass[value] for value, known in self.mass.items()}
        return replace(self, mass=mass, open={k: v for k, v in self.open.items() if k != beginning})


def score_distribution(
    tokens: Sequence[TokenLogprobs], reply: str, place: int, scale: Scale, begun: str = ""
) -> Distribution | None:
    """The probabilities of the scores at index `place` of `reply`, as in G-Eval (arXiv:2303.16634).

    The score's first token is found by its place in bytes: tokenizers differ in whether it is '5'
    or ' 5'. `begun` is the score's beginning where the reply goes on behind it. None if the tokens
    do not spell the reply (then nothing is known, and nothing is guessed).
    """
    found = token_at(tokens, reply, place)
    if found is None:
        return None
    at, skip = found
    mass, still_open = dict.fromkeys(scale.values, 0.0), dict[str, float]()
    prefix, written, reach = tokens[at].text[:skip], begun.encode(), 1.0
    for token in tokens[at:]:
        goes_on = False
        if not token.alternatives and not scale.is_numbers:
            break  # one word alone says nothing about the other's probability
        for text, logprob in {token.text: token.logprob, **dict(token.alternatives)}.items():
            if not text.startswith(prefix):
                continue  # of another text before the same place
            said = written + text.removeprefix(prefix)
            share, shown = reach * math.exp(logprob), said.decode(errors="ignore")
            value = scale.value_begun(shown)
            if value is not None:
                mass[value] += share
            elif said and (scale.is_open(shown) or not shown):
                if text == token.text:
                    goes_on, following = True, (said, share)
                else:
                    still_open[shown] = still_open.get(shown, 0.0) + share
        if not goes_on:
            break
        (written, reach), prefix = following, b""
    else:
        still_open[written.decode(errors="ignore")] = reach
    return Distribution(scale, mass, still_open)


def token_at(tokens: Sequence[TokenLogprobs], reply: str, place: int) -> tuple[int, int] | None:
    """The index of the token that holds the sign at `place`, and that sign's place in its bytes.

    Spelled from the end: a judge that thinks may have drafted the same words before.
    """
    text = reply.rstrip("\ufffd").encode("utf-8", "replace")
    wanted, end = len(reply[:place].encode("utf-8", "replace")), len(text)
    for index in reversed(range(len(tokens))):
        token = tokens[index].text
        start = end - len(token)
        if text.endswith(token, 0, end):
            if start <= wanted < end:
                return index, wanted - start
            end = start
        elif not _is_hidden(token):
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
