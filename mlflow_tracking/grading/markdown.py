r"""How is a row's text shown as it is on a page that renders Markdown? Its marks are escaped.

    as_markdown("if a*b:\n    c()") == "if a\*b:  \n\u00a0\u00a0\u00a0\u00a0c()"

MLflow's review page, opened by `python mlflow_tracking/grade_rows.py open`, renders the question
and the answer: code would lose its indentation, and an answer could show what it does not say.
"""

import re

UNCUT = 10_000_000  # characters

_MARKS = re.compile(
    r"""[\\`*_~<]|\[             # code, emphasis, HTML, links and pictures
      | &(?=\#?\w+;)             # a character by its name
      | :(?=//) | (?<=www)\. | @ # a link that begins here would show the backslashes after it
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FIRST = re.compile(r"^[-+=#>|:]")  # a list, a heading, a quotation, a table
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_BLANKS = re.compile(r"^ +| {2,}")  # HTML shows one of many, and none at a line's start
_CUT = " … (cut, see View full trace)"


def as_markdown(text: str, most: int = UNCUT) -> str:
    """Markdown that shows `text` line by line as it is, of at most so many characters."""
    shown = "  \n".join(map(_line, text.splitlines()))
    if len(shown) <= most:
        return shown
    return shown[: most - len(_CUT)].rstrip("\\ \n") + _CUT


def _line(text: str) -> str:
    escaped = _MARKS.sub(r"\\\g<0>", text.expandtabs(4))
    escaped = _NUMBERED.sub(r"\1\\\2", _FIRST.sub(r"\\\g<0>", escaped))
    return _BLANKS.sub(lambda blanks: "\u00a0" * len(blanks[0]), escaped) or "\u00a0"
