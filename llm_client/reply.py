"""What did the judge's server reply? A chat completion's JSON, as text, tokens and cost.

Read by `python mlflow_tracking/run_experiment.py`, for each call that `judge_client.py` makes. The
text and why it ended decide; all else is optional, and costs nothing where it has another shape.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_DIGIT = re.compile(rb"\d")
_BEGINNING = 4  # tokens: white space and the word
_COLONS = (b":", b": ", "：".encode())
# Where thinking judges, and servers with a parser for them, put their words.
_REASONING = ("reasoning_content", "reasoning", "reasoning_text", "thinking", "thoughts")
# Why a reply ended, in the words of OpenAI's API and of those who came before or after it.
_WHOLE = {"stop", "eos", "eos_token", "stop_sequence", "end_turn", "stop_token"}
_LENGTH = {"length", "max_tokens", "max_length"}
_FAULTS = {"abort", "aborted", "error", "cancelled", "canceled", "timeout", "overloaded"}
_DECLINED = {"content_filter", "safety", "recitation", "blocklist", "prohibited_content", "refusal"}
_TOOLS = {"tool_calls", "function_call", "tool_use"}
_ENDS = ".!?…\"»”')]}*`"  # of a reply whose server does not say why it ended


class BadReply(Exception):
    """The server answered with a fault of its own; `status`: the HTTP status that it names."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of a reply: its bytes, its log probability, and its alternatives' (natural log).

    Alternatives are kept where a score can stand: of tokens with a digit, of the first ones of an
    answer, for a decision or a choice, and of the first ones behind a colon. Reading those of all
    forty tokens of a verdict took a tenth of the client's time.
    """

    text: bytes
    logprob: float
    alternatives: tuple[tuple[bytes, float], ...]


@dataclass(frozen=True)
class Reply:
    """A chat completion, with what it cost."""

    text: str
    finish_reason: str  # '' if the server does not say
    tokens: tuple[TokenLogprobs, ...]  # empty if the server sent no log probabilities
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int  # of the prompt, from the server's prefix cache
    latency_s: float = 0.0  # of the call that succeeded
    attempts: int = 1

    @property
    def cut(self) -> bool:
        """Whether the reply ended before its end, or may have."""
        if self.finish_reason in _WHOLE:
            return False
        return bool(self.finish_reason) or not self.text.rstrip().endswith(tuple(_ENDS))

    @property
    def at_length(self) -> bool:
        """Whether it was cut at max_tokens."""
        return self.finish_reason in _LENGTH

    @property
    def declined(self) -> str:
        """Why there is no answer, '' if there is one."""
        if self.finish_reason in _DECLINED:
            return f"the server's filter let no answer through ({self.finish_reason})"
        if self.finish_reason in _TOOLS:
            return f"the judge called a tool in place of an answer ({self.finish_reason})"
        return ""


def read_reply(answer: Any) -> Reply:
    """The first choice of a chat completion; raises BadReply for an error or another shape."""
    _raise_error(answer)
    try:
        choice = answer["choices"][0]
        message = choice["message"]
        _raise_error(choice)
        reason, text = choice.get("finish_reason"), _said(message.get("content"))
    except (LookupError, TypeError, AttributeError):
        raise BadReply("the reply has another shape than a chat completion") from None
    reason = reason.lower() if isinstance(reason, str) else ""
    if reason in _FAULTS:
        raise BadReply(f"the server broke the reply off ({reason})", 500)
    tokens = _read_logprobs(choice.get("logprobs"))
    if not text and reason not in _LENGTH:
        said = (message.get(name) for name in _REASONING)
        text = next((found for found in said if isinstance(found, str) and found), "")
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    return Reply(
        text=text.encode(errors="replace").decode(),  # half a surrogate cannot be written anywhere
        finish_reason=sys.intern(reason),  # one text for all rows
        tokens=tokens,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        cached_tokens=_count(details.get("cached_tokens") if isinstance(details, dict) else 0),
    )


def read_body(text: str) -> Any:
    """A response's JSON; of a stream of events that nobody asked for, what they add up to.

    Raises BadReply for what is neither.
    """
    try:
        if text.lstrip().startswith("data:"):
            return _joined(json.loads(line) for line in _events(text))
        return json.loads(text)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BadReply("the reply is no JSON") from None


def _events(text: str) -> Iterable[str]:
    lines = (line.removeprefix("data:").strip() for line in text.splitlines())
    return (line for line in lines if line.startswith("{"))


def _joined(chunks: Iterable[dict[str, Any]]) -> dict[str, Any]:
    content, reason, usage, tokens = "", None, None, list[Any]()
    for chunk in chunks:
        _raise_error(chunk)
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices") or []:
            content += _said((choice.get("delta") or {}).get("content"))
            reason = choice.get("finish_reason") or reason
            tokens += ((choice.get("logprobs") or {}).get("content")) or []
    logprobs = {"content": tokens} if tokens else None
    choice = {"message": {"content": content}, "finish_reason": reason, "logprobs": logprobs}
    return {"choices": [choice], "usage": usage}


def _raise_error(found: Any) -> None:
    """Some servers and routers tell of an error in a reply of status 200."""
    error = found.get("error") if isinstance(found, dict) else None
    if not error:
        return
    message = error.get("message") or error if isinstance(error, dict) else error
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    raise BadReply(" ".join(str(message).split())[:300], status)


def _said(content: Any) -> str:
    """A text, or a list of parts with texts."""
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        return "".join(text for text in texts if isinstance(text, str))
    if content is not None and not isinstance(content, str):
        raise TypeError("no text")
    return content or ""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _read_logprobs(logprobs: Any) -> tuple[TokenLogprobs, ...]:
    """Those of OpenAI's shape; none if a token's own is missing, for which nothing stands in."""
    try:
        return tuple(_tokens((logprobs or {}).get("content") or []))
    except (LookupError, TypeError, ValueError, AttributeError):
        return ()


def _tokens(content: Iterable[Mapping[str, Any]]) -> Iterable[TokenLogprobs]:
    start = 0
    for index, token in enumerate(content):
        text = _token_bytes(token)
        asked = index - start < _BEGINNING or _DIGIT.search(text)
        # The answer begins after the thoughts, and a label's score after its colon.
        if b"think" in text or text.endswith(_COLONS):
            start = index + 1
        others = (token.get("top_logprobs") or []) if asked else []
        alternatives = tuple(
            (_token_bytes(other), float(other["logprob"]))
            for other in others
            if other.get("logprob") is not None and not math.isnan(other["logprob"])
        )
        yield TokenLogprobs(text, float(token["logprob"]), alternatives)


def _token_bytes(token: Mapping[str, Any]) -> bytes:
    """A token may be half a character: its bytes tell, its text cannot."""
    raw = token.get("bytes")
    return bytes(raw) if raw is not None else str(token["token"]).encode(errors="replace")
