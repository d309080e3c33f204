"""In which words is this engine asked? What it takes of a request, and what holds it to a form.

Found by rehearsal.py for `python mlflow_tracking/run_experiment.py --check`, kept in the params.
docs/engines.md has what was tried of which engine.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# Characters of a justification that the constraint allows. 400 characters are about 180 tokens of
# Russian with Qwen's tokenizer, which leaves the default --max-tokens 256 room for the score.
JUSTIFICATION_CHARS = 400

# A stop inside it is one of a number or of a single letter (Л. Н. Толстой), and nothing else: where
# a judge of 1.5B may write any sign after a stop, its next sentence begins there ('Франции.Э.тот').
# --max-tokens is the bound: a bound of such a group, or a list of abbreviations, costs xgrammar
# more than 50 ms a token (this 0.6).
_SENTENCE = r"[^\n.!?](?:[^\n.!?]|[0-9]\.[0-9]|[ («][A-Za-zА-Яа-яЁё]\.)*[.!?]?"
_SENTENCE_GBNF = r'[^\n.!?] ([^\n.!?] | [0-9] "." [0-9] | [ («] [A-Za-zА-Яа-яЁё] ".")* [.!?]?'


@dataclass(frozen=True)
class Piece:
    """A part of a reply: a literal text, one of some choices, or (without either) free text."""

    name: str = ""  # in a reply of JSON; a literal has none
    literal: str = ""
    choices: tuple[str, ...] = ()
    one_sentence: bool = False
    passages: tuple[str, ...] = ()  # words and gaps of a text, of which it quotes a run
    words: int = 0  # of such a run at most


def regex_of(pieces: Sequence[Piece]) -> str:
    """What the pieces allow as a regular expression, for vLLM's `structured_outputs` and SGLang."""
    return "".join(_parts(pieces, _escape, lambda one: _choices(one, "|", _escape), _SENTENCE, ""))


def gbnf_of(pieces: Sequence[Piece]) -> str:
    """The same as llama.cpp's grammar (GBNF), which xgrammar reads as EBNF, too."""
    parts = _parts(pieces, _quoted, lambda one: _choices(one, " | ", _quoted), _SENTENCE_GBNF, " ")
    return "root ::= " + " ".join(parts)


def _parts(
    pieces: Sequence[Piece],
    literal: Callable[[str], str],
    choices: Callable[[Sequence[str]], str],
    sentence: str,
    then: str,
) -> Iterator[str]:
    for piece in pieces:
        if piece.literal:
            yield literal(piece.literal)
        elif piece.passages:
            yield _passages(piece, literal, then)
        elif piece.choices:
            yield choices(piece.choices)
        else:
            yield sentence if piece.one_sentence else rf"[^\n]{{1,{JUSTIFICATION_CHARS}}}"


def _passages(piece: Piece, literal: Callable[[str], str], then: str) -> str:
    """Any run of the words, with the gaps between them; `then` stands between two parts."""
    words, gaps = piece.passages[::2], ("", *piece.passages[1::2])

    def from_word(start: int) -> str:
        text = ""
        for place in reversed(range(start, min(start + piece.words, len(words)))):
            gap = gaps[place] if place > start else ""
            text = literal(gap + words[place]) + (f"{then}({text})?" if text else "")
        return text

    bar = f"{then}|{then}"
    return f"({bar.join(from_word(start) for start in range(len(words)))})"


def json_schema_of(pieces: Sequence[Piece]) -> dict[str, Any]:
    """The same as an object with the labels as its names, for `response_format`."""

    def value(piece: Piece) -> dict[str, Any]:
        if not piece.choices:
            return {"type": "string"}
        if all(choice.isdecimal() for choice in piece.choices):
            return {"type": "integer", "enum": [int(choice) for choice in piece.choices]}
        return {"type": "string", "enum": list(piece.choices)}

    named = {piece.name: value(piece) for piece in pieces if not piece.literal and piece.name}
    closed = {"required": list(named), "additionalProperties": False}
    return {"type": "object", "properties": named, **closed}


def _choices(choices: Sequence[str], bar: str, written: Callable[[str], str]) -> str:
    if all(len(choice) == 1 and choice.isalnum() for choice in choices):
        digits = len(choices) > 2 and all(choice.isdecimal() for choice in choices)
        return f"[{choices[0]}-{choices[-1]}]" if digits else f"[{''.join(choices)}]"
    return f"({bar.join(map(written, choices))})"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _escape(text: str) -> str:
    """Escape for the grammar engines, which know fewer escapes than Python (no '\\ ')."""
    return re.sub(r"([\\.^$*+?{}\[\]|()/-])", r"\\\1", text).replace("\n", r"\n")


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
