"""What did the model under test answer, and if nothing, why?

Made by `python mlflow_tracking/run_experiment.py --answers-from URL`, kept in a journal of answers.
"""

import time
from dataclasses import asdict, dataclass
from typing import Any

from llm_client.caller import CallFailed
from llm_client.reply import Reply


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to one question, or the reason why there is none."""

    text: str = ""
    reason: str = ""  # why there is no answer
    finish_reason: str = ""
    cut: bool = False  # at --answer-max-tokens; it is an answer all the same
    prompt_tokens: int = 0
    completion_tokens: int = 0
    latency_s: float = 0.0
    attempts: int = 0  # calls made, retries included
    ended_at: float = 0.0  # when the reply came, in seconds since 1970
    model: str = ""  # who answered, as the server names it
    root: str = ""  # what the server says the name stands for

    @property
    def failed(self) -> bool:
        """Whether there is no answer."""
        return bool(self.reason)

    def to_json(self) -> dict[str, Any]:
        """The answer as JSON types; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Answer":
        """Read back `to_json`; raises KeyError, TypeError or ValueError for other data."""
        answer = cls(**data)
        if not isinstance(answer.text, str) or bool(answer.text.strip()) == answer.failed:
            raise ValueError("neither an answer nor a reason for none")
        return answer


def read_answer(reply: Reply, model: str, root: str) -> Answer:
    """The answer in a reply; one that is empty is none."""
    text, why = reply.text, reply.declined.replace("the judge", "the model")
    if not why and not text.strip():
        ended = f" (finish_reason {reply.finish_reason})" if reply.finish_reason else ""
        why = f"the model wrote nothing{ended}"
    return Answer(
        "" if why else text,
        why,
        reply.finish_reason,
        reply.at_length,
        reply.prompt_tokens,
        reply.completion_tokens,
        round(reply.latency_s, 4),
        reply.attempts,
        round(time.time(), 3),
        model,
        root,
    )


def failed_answer(failure: CallFailed, model: str, root: str) -> Answer:
    """What a call comes to that has no reply."""
    now = round(time.time(), 3)
    why = str(failure) or "the call failed"
    return Answer(reason=why, attempts=failure.attempts, ended_at=now, model=model, root=root)
