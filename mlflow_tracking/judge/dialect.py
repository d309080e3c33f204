"""In which words is this engine asked? What it takes of a request, and what holds it to a form.

Found by rehearsal.py for `python mlflow_tracking/run_experiment.py --check`, kept in the params.
docs/engines.md has what was tried of which engine.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlflow_tracking.judge.reply_form import Piece, gbnf_of, json_schema_of, regex_of

Body = Mapping[str, Any]
Pieces = Sequence[Piece]


def _json_format(pieces: Pieces) -> dict[str, Any]:
    schema = {"name": "verdict", "strict": True, "schema": json_schema_of(pieces)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


# How a reply is held to a form, in the order in which it is tried. The last gives JSON.
CONSTRAINTS: Mapping[str, Callable[[Pieces], dict[str, Any]]] = {
    "structured_outputs": lambda pieces: {
        "structured_outputs": {"regex": regex_of(pieces)}
    },  # vLLM
    "grammar": lambda pieces: {"grammar": gbnf_of(pieces)},  # llama.cpp
    "regex": lambda pieces: {"regex": regex_of(pieces)},  # SGLang
    "ebnf": lambda pieces: {"ebnf": gbnf_of(pieces)},  # SGLang with xgrammar, which reads GBNF
    "response_format": _json_format,  # OpenAI, Ollama, LM Studio, TGI, LiteLLM
}
_GO_ON = ("continue_final_message", "add_generation_prompt")
_SYSTEM = re.compile(
    r"system\b.{0,30}\brole|role\b.{0,40}\bsystem|roles? must alternate|alternat\w+ user"
    r"|system (?:message|prompt|instruction)s?\b.{0,30}\b(?:not|un)",
    re.I | re.S,
)
_AT_MOST = re.compile(
    r"(?:<=?|less than or equal to|at most|maximum(?: of)?|between \d+ and|up to)\D{0,12}(\d+)"
)


@dataclass(frozen=True)
class Dialect:
    """What a server takes; by default all that vLLM does."""

    constraint: str = "structured_outputs"  # one of CONSTRAINTS, '' for none that holds
    system_role: bool = True
    goes_on: bool = True  # with a reply that is begun for it
    top_logprobs: int = 20  # at most; 0: no log probabilities
    length: str = "max_tokens"  # the name of that field
    refused: tuple[str, ...] = ()  # other fields that it does not take

    @property
    def as_json(self) -> bool:
        """Whether replies are JSON objects."""
        return self.constraint == "response_format"

    def phrase(self, body: Body, pieces: Pieces) -> dict[str, Any]:
        """The request as this server takes it, its reply held to `pieces`."""
        said = {name: value for name, value in body.items() if name not in self.refused}
        said[self.length] = said.pop("max_tokens")
        if not self.system_role:
            said["messages"] = _without_system(said["messages"])
        if self.constraint:
            said |= CONSTRAINTS[self.constraint](pieces)
        if "logprobs" in said:
            said["top_logprobs"] = min(said["top_logprobs"], self.top_logprobs)
        if not self.top_logprobs:
            said.pop("logprobs", None)
            said.pop("top_logprobs", None)
        return said

    def without(self, complaint: str, sent: Body, named: bool = False) -> "Dialect | None":
        """This one without what a server's error message names, or what can be spared the most.

        None if nothing of `sent` is left to spare; with `named` only what the message names is.
        """
        text, messages = complaint.lower(), sent["messages"]
        if messages[0]["role"] == "system" and _SYSTEM.search(text):
            return replace(self, system_role=False)
        for name in sorted(sent, key=len, reverse=True):
            if re.search(rf"(?<![a-z_]){name}(?![a-z_])", text) and (
                less := self._spared(name, text)
            ):
                return less
        if named:
            return None
        for name in (*CONSTRAINTS, *_GO_ON, "seed", "stream", "top_logprobs", "temperature"):
            if name in sent and (less := self._spared(name, "")):
                return less
        return replace(self, system_role=False) if messages[0]["role"] == "system" else None

    def _spared(self, name: str, text: str) -> "Dialect | None":
        if name in ("model", "messages"):
            return None
        if name == self.length:
            other = {"max_tokens": "max_completion_tokens"}.get(name)
            return replace(self, length=other) if other else None
        if name in ("top_logprobs", "logprobs"):
            bounds = [int(n) for n in _AT_MOST.findall(text) if int(n) < self.top_logprobs]
            return replace(self, top_logprobs=max(bounds, default=0))
        if name in CONSTRAINTS:
            return replace(self, constraint=next_constraint(name))
        if name in _GO_ON:
            return replace(self, goes_on=False)
        return replace(self, refused=(*self.refused, name))

    def told(self) -> str:
        """What is asked otherwise than vLLM is asked, in words; '' for nothing."""
        held = self.constraint not in ("", "structured_outputs")
        parts = {
            f"replies are held to the form by {self.constraint}": held,
            "no system role, the rubric stands in the user message": not self.system_role,
            "seems to ignore continue_final_message, so that the label is asked for, too": (
                not self.goes_on
            ),
            f"at most {self.top_logprobs} alternatives of a token": 0 < self.top_logprobs < 20,
            f"{self.length} in place of max_tokens": self.length != "max_tokens",
            f"takes no {', '.join(self.refused)}": bool(self.refused),
        }
        return "; ".join(text for text, said in parts.items() if said)


def next_constraint(name: str) -> str:
    """What is tried after a constraint that does not hold; '' after the last."""
    names = [*CONSTRAINTS, ""]
    return names[names.index(name) + 1]


def common(dialects: Sequence[Dialect]) -> Dialect:
    """What several servers of one judge all take."""
    first = dialects[0]
    constraints = {one.constraint for one in dialects}
    return Dialect(
        first.constraint if len(constraints) == 1 else "",
        all(one.system_role for one in dialects),
        all(one.goes_on for one in dialects),
        min(one.top_logprobs for one in dialects),
        first.length,
        tuple(dict.fromkeys(name for one in dialects for name in one.refused)),
    )


def _without_system(messages: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """The rubric at the head of the user's message."""
    said = [dict(message) for message in messages]
    if said[0]["role"] != "system":
        return said
    rubric, question, *rest = said
    return [{**question, "content": f"{rubric['content']}\n\n{question['content']}"}, *rest]
