"""Who answers, and how is it asked? The model under test, found out before any question is asked.

python mlflow_tracking/run_experiment.py --check --answers-from http://127.0.0.1:8001/v1
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from llm_client.caller import JudgingStopped, RetryPolicy, ServerGone
from llm_client.judge_client import JudgeClient
from llm_client.server_faults import START_SERVER
from llm_client.settings import redacted, split_base_urls
from mlflow_tracking.answering.prompt import AnswerPrompt, Messages
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.preflight import check_health, find_model, host_warning
from mlflow_tracking.judge.rehearsal import PreflightError, ask_as_taken

# The judge's flags, which the checks that are made of both servers name, and those of the model
# under test.
_OUR_WORDS = {
    "--base-url": "--answers-from",
    "--model": "--answer-model",
    "VLLM_API_KEY": "ANSWER_API_KEY",
    "which judges": "which answers",
    "the judge ": "the model ",
    "cannot judge": "cannot answer",
    f"start one: {START_SERVER}": "start the model under test, or correct --answers-from",
}
_REHEARSED = 1  # token of a reply that only shows whether the request is taken


@dataclass(frozen=True)
class AnswerSettings:
    """Everything about the model under test that could change an answer."""

    base_url: str  # of several servers: separated by commas
    api_key: str = field(repr=False)
    prompt: AnswerPrompt = AnswerPrompt()
    model: str = ""  # '': the one that the server serves
    root: str = ""
    temperature: float = 0.0
    max_tokens: int = 512
    samples: int = 1  # answers to each question
    dialect: Dialect = Dialect(constraint="")

    def body(self, messages: Messages, sample: int) -> dict[str, Any]:
        """The chat completion that answers, for the sample of that number (from 1)."""
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "seed": sample - 1,
            "stream": False,
        }
        return self.dialect.phrase(body, ())

    def key(self, messages: Messages, sample: int) -> str:
        """What an answer is kept under."""
        asked = [messages, self.model, self.root, self.temperature, self.max_tokens, sample]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]

    def params(self) -> dict[str, Any]:
        """Every setting that could change an answer, by the name of its param."""
        return {
            "answers_from": redacted(self.base_url),
            "answer_model": self.model,
            "answer_root": self.root,
            "answer_prompt": self.prompt.name or "none",
            "answer_prompt_sha256": self.prompt.sha256 or "none",
            "answer_max_tokens": self.max_tokens,
            "answer_temperature": self.temperature,
            "answers_per_row": self.samples,
        }


async def find_answerer(wanted: AnswerSettings) -> tuple[AnswerSettings, tuple[str, ...]]:
    """The model that answers at `wanted.base_url`, and notes; raises PreflightError.

    Several servers must serve the same one.
    """
    found, notes = wanted, list[str]()
    try:
        for url in split_base_urls(wanted.base_url):
            async with JudgeClient(url, wanted.api_key, _impatient()) as client:
                card = await find_model(client, found.model)
                await check_health(client)
                notes += host_warning(client.base_url)
            root, length = str(card.get("root") or ""), card.get("max_model_len")
            if isinstance(length, int) and length <= wanted.max_tokens:
                raise PreflightError(
                    f"--answer-max-tokens {wanted.max_tokens}: the model's context has {length} "
                    "tokens, no question fits beside such an answer; give fewer"
                )
            found = replace(found, model=str(card["id"]), root=found.root or root)
    except PreflightError as mistake:
        raise PreflightError(_in_our_words(str(mistake))) from None
    return found, tuple(notes)


async def rehearse_answer(found: AnswerSettings) -> tuple[AnswerSettings, tuple[str, ...]]:
    """Ask for a token as a row asks, and leave out what the server does not take; raises
    PreflightError where nothing is left.
    """
    system = [{"role": "system", "content": found.prompt.system}] if found.prompt.system else []
    messages = [*system, {"role": "user", "content": "What is 2 + 2?"}]
    short = replace(found, max_tokens=_REHEARSED)
    try:
        async with JudgeClient(found.base_url, found.api_key, _impatient()) as client:
            dialect, _ = await ask_as_taken(
                client, found.dialect, lambda now: replace(short, dialect=now).body(messages, 1)
            )
    except ServerGone as gone:
        raise PreflightError(f"--answers-from {gone}; start it") from None
    except (PreflightError, JudgingStopped) as mistake:
        raise PreflightError(_in_our_words(str(mistake))) from None
    told = dialect.told()
    notes = (f"--answers-from {redacted(found.base_url)}: {told}",) if told else ()
    return replace(found, dialect=dialect), notes


def _impatient() -> RetryPolicy:
    """A server that is down is told within seconds."""
    return RetryPolicy(attempts=4, timeout_s=120, wait_for_server_s=0)


def _in_our_words(mistake: str) -> str:
    for theirs, ours in _OUR_WORDS.items():
        mistake = mistake.replace(theirs, ours)
    return mistake
