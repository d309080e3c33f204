"""Which of two answers does the judge prefer, asked directly? In both orders, by one token each.

    python mlflow_tracking/validate_judge.py --data pairs.csv --pairwise

A judge that prefers a place and not an answer contradicts itself when the two change places
(Wang et al., 2023, arXiv:2305.17926), which is why both orders are asked.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_client.reply import Reply
from mlflow_tracking.judge import Judge, Question
from mlflow_tracking.judge_call import CONTINUE, reply_outcome
from mlflow_tracking.judge_passes import JudgePass
from mlflow_tracking.judge_prompt import JudgePrompt, fill, read_prompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.score_probabilities import score_probabilities
from mlflow_tracking.verdict import SCALE, Score, Status, Verdict
from mlflow_tracking.verdict_format import PromptError, VerdictFormat

ORDERS = ("pairs, a first", "pairs, b first")  # the passes' names
_CHOICE = re.compile(r"^([^\n:\[\]{}]{1,60}): \[[^\]\n]*1[^\]\n]*2[^\]\n]*\]$", re.M)
_FIRST, _SECOND = "1", "2"


@dataclass(frozen=True)
class PairQuestion(Question):
    """Two answers to a question; `answer` is the one that is shown first."""

    second: str = ""


def load_pairwise_prompt(path: Path) -> JudgePrompt:
    """Read the prompt that compares two answers; raises PromptError with what is missing."""
    text, digest, system, user = read_prompt(path, ("question", "answer_a", "answer_b"))
    choice = _CHOICE.search(text)
    if choice is None:
        raise PromptError(f"{path}: declares no choice; add a line such as 'Better: [1 or 2]'")
    label = choice[1].strip()
    return JudgePrompt(path, text, digest, system, user, VerdictFormat((label,), (label,), ""))


class PairJudge(Judge):
    """Has the judge choose between two answers.

    Its verdict is a score of preference: 5 where the first answer is the better one, 1 where the
    second is, with their probabilities at the ends of the scale.
    """

    def key(self, item: Question) -> str:
        """As a row's, of both answers."""
        parts = [super().key(item), _second(item), _code_digest()]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def messages(self, item: Question) -> list[dict[str, str]]:
        """The prompt with both answers, without the choice."""
        prompt = self.settings.prompt
        texts = {
            "question": item.question,
            "answer_a": item.answer,
            "answer_b": _second(item),
            "reference": item.reference,
        }
        safe = {name: self.safety.neutralise(text) for name, text in texts.items()}
        parts = [("system", prompt.system), ("user", prompt.user)]
        return [{"role": role, "content": fill(text, safe)} for role, text in parts if text]

    async def _call(self, item: Question) -> Verdict:
        reply = await self.client.chat(_request(self.settings, self.messages(item)))
        return _read(reply, self.settings)


def pairwise_passes(judge: JudgeSettings, pairs: Sequence[PairQuestion]) -> list[JudgePass]:
    """Both orders of every pair; `judge.prompt` is one of load_pairwise_prompt."""
    # Its own prompt says what is material; leaving spans out is a matter of single answers.
    asked = replace(judge, score_only=False, check_manipulation=False, temperature=0.0)
    swapped = [replace(pair, answer=pair.second, second=pair.answer) for pair in pairs]
    both = zip(ORDERS, (pairs, swapped), strict=True)
    return [JudgePass(name, asked, tuple(order), kind=PairJudge) for name, order in both]


def chance_of_first(verdict: Verdict | None) -> float | None:
    """How sure the judge was that the answer shown first is the better one, 0 to 1."""
    score = verdict.overall if verdict else None
    if score is None:
        return None
    if score.expected is None:
        return float(score.value == SCALE[-1])
    return (score.expected - SCALE[0]) / (SCALE[-1] - SCALE[0])


def _request(settings: JudgeSettings, messages: list[dict[str, str]]) -> dict[str, Any]:
    begun = {"role": "assistant", "content": settings.prompt.format.score_prefix}
    body: dict[str, Any] = {
        "model": settings.model,
        "messages": [*messages, begun],
        "max_tokens": 1,
        "seed": settings.seed,
        "temperature": settings.temperature,
        "logprobs": True,
        "top_logprobs": 5,
    }
    if settings.constrained:
        body["structured_outputs"] = {"regex": f"[{_FIRST}{_SECOND}]"}
    return body | CONTINUE


def _read(reply: Reply, settings: JudgeSettings) -> Verdict:
    form, choice = settings.prompt.format, reply.text.strip()
    verdict = reply_outcome(reply, Status.OK, form.score_prefix + reply.text)
    if choice not in (_FIRST, _SECOND):
        reason = f"neither 1 nor 2 after '{form.overall}:': {reply.text[:40]!r}"
        return replace(verdict, status=Status.UNPARSABLE, reason=reason)
    digits = score_probabilities(reply.tokens, reply.text, reply.text.index(choice))
    value = SCALE[-1] if choice == _FIRST else SCALE[0]
    return replace(verdict, scores={form.overall: Score(value, _preference(digits))})


def _preference(digits: tuple[float, ...] | None) -> tuple[float, ...] | None:
    """Probabilities of the digits 1-5 as those of a preference."""
    if digits is None or not digits[0] + digits[1]:
        return None
    first = digits[0] / (digits[0] + digits[1])
    return (1 - first, 0.0, 0.0, 0.0, first)


def _second(item: Question) -> str:
    assert isinstance(item, PairQuestion), "a pair"
    return item.second


def _code_digest() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
