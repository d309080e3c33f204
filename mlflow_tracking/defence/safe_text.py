"""How does a row's text enter a prompt without becoming part of it?

Used by `python mlflow_tracking/run_experiment.py`, measured layer by layer by
`python mlflow_tracking/probe_injection.py`.

vLLM's chat endpoint reads control text inside a message (`<|im_end|>`) as the real control token,
so that an answer could close its own turn and write the judge's. Brackets of such text are
replaced by look-alikes that no tokenizer has in a control token; the words stay readable.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

# What the families of chat models use, for servers that do not tell theirs. Full-width forms are
# DeepSeek's (`<｜User｜>`), `<0x0A>` are sentencepiece's bytes, `<|turn>` and `<turn|>` Gemma 4's.
_FAMILIES = re.compile(
    r"[<＜][|｜][^<>＜＞\n]{1,60}?[|｜][>＞]"
    r"|<\|\w{1,30}>|<\w{1,30}\|>"
    r"|[<＜]/?(?:s|bos|eos|pad|unk|mask|cls|sep|think|thinking|tool_call|tool_response|tools"
    r"|start_of_turn|end_of_turn|start_of_image|end_of_image|unused\d+|extra_id_\d+|0x[0-9a-f]{2}"
    r"|system|user|assistant|reserved_\d+|SPECIAL_\d+|sop|eop)[>＞]"
    r"|<</?SYS>>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|IMG|PREFIX"
    r"|MIDDLE|SUFFIX|THINK|CLS|SEP|PAD|MASK|UNK|BOS|EOS|gMASK|sMASK)\]",
    re.I,
)
_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "[": "⟦", "]": "⟧", "＜": "‹", "＞": "›"})
# Of whatever a model may take for a line
_BREAKS = r"\n\r\v\f\x85\u2028\u2029"
_LINE_START = rf"((?:\A|(?<=[{_BREAKS}]))[^\S{_BREAKS}]*)"
_MAY_BE_CONTROL = re.compile(r"[<＜\[]")  # without one of these no family's token is there
_FORBIDDEN = {"\x00": "␀"}  # a NUL ends the text in some tokenizers and breaks SQLite's views


@dataclass(frozen=True)
class ControlTokens:
    """The control tokens of the served model's tokenizer, as text, besides the known families."""

    literals: frozenset[str] = field(default=frozenset())

    def defuse(self, text: str) -> str:
        """`text` without control tokens, their words kept: `<|im_end|>` becomes `‹|im_end|›`."""
        before = text if not _MAY_BE_CONTROL.search(text) else ""
        while before != text:  # one token may stand inside another: `<|im_<|im_end|>end|>`
            before, text = text, _FAMILIES.sub(lambda match: match[0].translate(_LOOK_ALIKES), text)
        for literal in sorted(self.literals, key=len, reverse=True):
            while literal in text and len(literal) > 1:  # 'aaa' holds 'aa' twice
                text = text.replace(literal, _broken(literal))
        return text


def _broken(literal: str) -> str:
    """The literal with look-alike brackets or, without any, a space after its first sign."""
    changed = literal.translate(_LOOK_ALIKES)
    return changed if changed != literal else f"{literal[:1]} {literal[1:]}"


@dataclass(frozen=True)
class Delimiters:
    """The lines of a prompt file that stand around its placeholders."""

    tags: tuple[str, ...]  # `<answer>`, `</answer>`: found anywhere in a text
    lines: tuple[str, ...]  # `---`, `Answer:`: found at the start of a line

    def neutralise(self, text: str) -> str:
        """`</answer>` becomes `‹/answer›`; a line that begins like a delimiter gets a `|`."""
        if not text:
            return text
        for tag in self.tags:
            text = _tag(tag).sub(lambda found: found[0].translate(_LOOK_ALIKES), text)
        for line in self.lines:
            text = _delimiter_line(line).sub(r"\1| \2", text)
        return text


@functools.cache
def _tag(tag: str) -> re.Pattern[str]:
    name = re.escape(tag.strip("</>"))
    # with attributes, too
    return re.compile(rf"[<＜]\s*+/?\s*+{name}(?:[\s/][^<>＜＞]{{0,100}})?[>＞]", re.I)


@functools.cache
def _delimiter_line(line: str) -> re.Pattern[str]:
    return re.compile(rf"{_LINE_START}({re.escape(line)})", re.I)


def delimiters_around(template: str, places: Sequence[str]) -> Delimiters:
    """What a row would have to write to leave one of its `places` in `template`."""
    place = re.compile("|".join(re.escape(f"{{{name}}}") for name in places))
    lines = [line.strip() for line in template.splitlines()]
    found: set[str] = set()
    for index, line in enumerate(lines):
        if place.search(line):
            found.update(part.strip() for part in place.split(line))
            before = [text for text in lines[:index] if text][-1:]
            after = [text for text in lines[index + 1 :] if text][:1]
            found.update(text for text in before + after if not place.search(text))
    tags = {tag for text in found for tag in re.findall(r"</?[^<>/\s]+>", text)}
    plain = {text for text in found if len(text) >= 3} - tags
    return Delimiters(tuple(sorted(tags)), tuple(sorted(plain)))


@dataclass(frozen=True)
class TextSafety:
    """What is done to a row's text; None leaves a layer out, which only the probe does."""

    tokens: ControlTokens | None
    delimiters: Delimiters | None

    def neutralise(self, text: str) -> str:
        """The text as it may stand in a prompt: no control tokens, no delimiter of the file."""
        for bad, good in _FORBIDDEN.items():
            text = text.replace(bad, good)
        if self.tokens:
            text = self.tokens.defuse(text)
        return self.delimiters.neutralise(text) if self.delimiters else text
