"""What can be asked of a judge, whoever answers: a server, or a file of replies?

Asked by `python mlflow_tracking/run_experiment.py` through judge_client.py, and by
`python mlflow_tracking/batch_requests.py` through batch_file.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llm_client.adaptive_limit import AdaptiveLimit
from llm_client.reply import Reply


class Caller(Protocol):
    """Has a judge answer."""

    limit: AdaptiveLimit  # how many rows may be judged at once

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """One chat completion; raises CallFailed or ServerGone."""
        ...

    async def count_tokens(self, model: str, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of the prompt as the judge gets it; raises CallFailed or ServerGone."""
        ...


@dataclass(frozen=True)
class RetryPolicy:
    """The bounds within which a call is tried again."""

    attempts: int = 6
    timeout_s: float = 300.0  # of one call
    wait_for_server_s: float = 300.0


class CallFailed(Exception):
    """A call without a reply. `status`: the HTTP status, 0 for none."""

    def __init__(self, message: str, status: int, attempts: int, timed_out: bool = False) -> None:
        super().__init__(message)
        self.status, self.attempts, self.timed_out = status, attempts, timed_out


class JudgingStopped(Exception):
    """Nothing more can be judged for now; the message is one line. What is judged is kept."""


class QuotaUsedUp(JudgingStopped):
    """The server answers no more calls of this account: no waiting brings that back."""


class ServerGone(JudgingStopped):
    """The server could not be reached for longer than the policy waits."""
