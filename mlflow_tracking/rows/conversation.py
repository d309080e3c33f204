r"""How is a conversation read? As labelled turns, of which the last answer is judged.

    rendered('[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]')
    == "User: Hi\n\nAssistant: Hello"

A cell that holds a JSON list of messages as OpenAI's chat has them, or of their parts, is read so
for `python mlflow_tracking/run_experiment.py --data chats.jsonl --columns question=messages`. Every
other text stays as it is.

A turn begins in a line's first column. Further lines of a turn are indented, so that 'Assistant:'
in what a user wrote begins no turn, and code keeps its shape.
"""

import ast
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_INDENT = "    "
_BREAK = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")  # of lines, for any reader
_CHAT = re.compile(r"""\s*\[\s*\{.*["'](?:role|type)["']\s*:""", re.DOTALL)
_ROLES = {"system", "developer", "user", "assistant", "tool", "function"}  # one of them is there
_ROLE = re.compile(r"[^\W\d_][\w-]{0,40}")
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
_MEDIUM = re.compile(r"(?:input_)?(image|audio|video|file|document)(?:_url)?")


@dataclass(frozen=True)
class Turn:
    """What one side says, once."""

    role: str
    name: str  # of who says it; '' for none
    text: str

    def __str__(self) -> str:
        named = f" ({self.name})" if self.name else ""
        whole = f"{self.role[:1].upper()}{self.role[1:]}{named}: {self.text}"
        return _BREAK.sub(lambda end: end[0] + _INDENT, whole)


def rendered(cell: str) -> str:
    """A conversation as labelled turns, a list of parts as its text, any other cell as it is."""
    values = _listed(cell)
    turns = _turns(values)
    return _joined(turns) if turns else _parts(values, lone=True) or cell


def answer_text(cell: str) -> str:
    """An answer as it is judged: a message that stands alone is its text."""
    turns = _turns(_listed(cell))
    return turns[0].text if len(turns) == 1 and _is_answer(turns[0]) else rendered(cell)


def question_and_answer(question: str, answer: str | None) -> tuple[str, str | None]:
    """What is asked and what is judged of two cells; without both answers the second is None.

    A conversation that ends with an assistant's turn holds the answer, unless the row has another.
    """
    turns, given = _turns(_listed(question)), None if answer is None else answer_text(answer)
    if turns and _is_answer(turns[-1]):
        last = turns[-1].text
        if not given or given.isspace() or given.strip() == last.strip():
            return _joined(turns[:-1]), last
    return (_joined(turns) if turns else rendered(question)), given


def messages_of(cell: str) -> list[dict[str, Any]]:
    """A conversation as the messages that it is, in types that JSON has; [] for any other cell."""
    values = _listed(cell)
    return list(json.loads(_whole(_as_json(values)))) if _turns(values) else []


def _joined(turns: Sequence[Turn]) -> str:
    return "\n\n".join(map(str, turns))


def _is_answer(turn: Turn) -> bool:
    return turn.role == "assistant"


def _listed(cell: str) -> list[Any]:
    """The list in a cell that may hold messages; [] if it holds none.

    pandas writes a list into a CSV as Python does, with single quotes.
    """
    if not _CHAT.match(cell):
        return []
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            with warnings.catch_warnings(action="ignore"):  # of a backslash that escapes nothing
                found = ast.literal_eval(cell.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return []
    return found if isinstance(found, list) else []


def _turns(values: list[Any]) -> list[Turn]:
    """The turns, if every value is a message; [] otherwise."""
    turns = [turn for turn in map(_turn, values) if turn]
    known = any(turn.role in _ROLES for turn in turns)
    return turns if known and len(turns) == len(values) else []


def _turn(message: Any) -> Turn | None:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return None
    content, calls, name = message.get("content", ""), _calls(message), message.get("name")
    text = content if isinstance(content, str) else "" if content is None else _parts(content)
    if not _ROLE.fullmatch(message["role"]) or text is None:
        return None
    if not calls and "content" not in message:
        return None
    whole = _whole("\n".join(filter(None, [text, *calls])))
    return Turn(message["role"].lower(), _whole(name) if isinstance(name, str) else "", whole)


def _parts(values: Any, lone: bool = False) -> str | None:
    """The text of a list of parts; None if it is none.

    A list that stands `lone` in a cell may be anybody's JSON: its parts must be known, one a text.
    """
    if not isinstance(values, list) or (lone and not any(map(_is_text, values))):
        return None
    texts = [_part(value, lone) for value in values]
    known = [text for text in texts if text is not None]
    return _whole("\n".join(known)) if len(known) == len(texts) else None


def _part(part: Any, lone: bool) -> str | None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return part if isinstance(part, str) and not lone else None
    if _is_text(part):
        return str(part[_TEXTS[kind]])
    if medium := _MEDIUM.fullmatch(kind):
        return f"[{medium[1]}]"
    rest = {name: value for name, value in part.items() if name != "type" and value is not None}
    return None if lone else f"[{kind}] {_as_json(rest)}"


def _is_text(part: Any) -> bool:
    name = _TEXTS.get(str(part.get("type"))) if isinstance(part, dict) else None
    return name is not None and isinstance(part.get(name), str)


def _calls(message: dict[str, Any]) -> list[str]:
    """What an assistant's turn asks of tools, as name and arguments."""
    given = message.get("tool_calls") or []
    calls = [*(given if isinstance(given, list) else [given]), message.get("function_call")]
    told = [_call(call) for call in calls if call]
    refusal = message.get("refusal")
    return [refusal, *told] if isinstance(refusal, str) and refusal else told


def _call(call: Any) -> str:
    named = call.get("function", call) if isinstance(call, dict) else call
    if not isinstance(named, dict) or not isinstance(named.get("name"), str):
        return f"[call] {_as_json(call)}"
    given = named.get("arguments", "")
    return f"[call] {named['name']}({given if isinstance(given, str) else _as_json(given)})"


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _whole(text: str) -> str:
    """Without half characters, which JSON can write and no server takes."""
    return text if text.isascii() else text.encode(errors="replace").decode()
