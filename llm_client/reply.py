"""What did the judge's server reply? A chat completion's JSON, as text, tokens and cost.

Read by `python mlflow_tracking/run_experiment.py`, for each call that `judge_client.py` makes.
"""

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_DIGIT = re.compile(rb"\d")
_BEGINNING = 4  # tokens: white space and the word


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of a reply: its bytes, its log probability, and its alternatives' (natural log).

    Alternatives are kept where a score can stand: of tokens with a digit, and of the first ones of
    an answer, for a decision or a choice. Reading those of all forty tokens of a verdict took a
    tenth of the client's time.
    """

    text: bytes
    logprob: float
    alternatives: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Reply:
    """A chat completion, with what it cost."""

    text: str
    finish_reason: str
    tokens: tuple[TokenLogprobs, ...]  # empty if the server sent no log probabilities
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of the prompt, from the server's prefix cache
    latency_s: float = 0.0  # of the call that succeeded
    attempts: int = 1


def read_reply(answer: Mapping[str, Any]) -> Reply:
    """The first choice; raises LookupError, TypeError or AttributeError for another shape."""
    choice = answer["choices"][0]
    text = choice["message"].get("content") or ""
    usage = answer.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    return Reply(
        text=text.encode(errors="replace").decode(),  # half a surrogate cannot be written anywhere
        finish_reason=sys.intern(choice.get("finish_reason") or ""),  # one text for all rows
        tokens=_read_logprobs(choice.get("logprobs")),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def _read_logprobs(logprobs: Mapping[str, Any] | None) -> tuple[TokenLogprobs, ...]:
    tokens, start = [], 0
    for index, token in enumerate((logprobs or {}).get("content") or []):
        text = _token_bytes(token)
        if b"think" in text:  # the answer begins after the thoughts
            start = index + 1
        asked = index - start < _BEGINNING or _DIGIT.search(text)
        others = (token.get("top_logprobs") or []) if asked else []
        alternatives = tuple((_token_bytes(other), float(other["logprob"])) for other in others)
        tokens.append(TokenLogprobs(text, float(token["logprob"]), alternatives))
    return tuple(tokens)


def _token_bytes(token: Mapping[str, Any]) -> bytes:
    """A token may be half a character: its bytes tell, its text cannot."""
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode(errors="replace")
