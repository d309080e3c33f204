"""What does a command look like in a terminal? Its real output, as a page that a browser renders.

Used by `make screenshots` (make_screenshots.py).
"""

import html
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; padding: 18px; background: #8d96a5; width: max-content; }}
main {{ background: #16181d; border-radius: 9px; box-shadow: 0 6px 22px #0008; width: {width}ch;
  font: 15px/1.4 "DejaVu Sans Mono", monospace; padding: 0 18px 14px; color: #d8dbe0; }}
header {{ margin: 0 -18px 12px; padding: 9px 14px; background: #2a2e36; text-align: center;
  border-radius: 9px 9px 0 0; color: #a9b0bb; font-size: 13px; }}
header i {{ float: left; width: 12px; height: 12px; border-radius: 6px; margin: 3px 7px 0 0; }}
pre {{ margin: 0; font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; }}
b {{ color: #8bd17c; font-weight: 400; }} u {{ color: #f0b866; text-decoration: none; }}
</style><main><header><i style="background:#ec6a5e"></i><i style="background:#f5bf4f"></i>
<i style="background:#61c554"></i>{title}</header><pre>{text}</pre></main>"""

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b\x0c\x0e-\x1f]")


def run(command: Sequence[str], cwd: Path) -> str:
    """What the command prints, both streams as they come; raises CalledProcessError if it fails."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    return plain(done.stdout)


def plain(output: str) -> str:
    """Output as it stands on the screen in the end: no colours, progress lines drawn over."""
    lines = _ESCAPES.sub("", output).split("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2].rstrip() for line in lines).strip("\n")


def excerpt(output: str, telling: re.Pattern[str], last: str) -> str:
    """The lines of `output` that match, up to one with `last`; says how many are left out."""
    kept: list[str] = []
    skipped = 0
    for line in output.split("\n"):
        if not telling.search(line) and last not in line:
            skipped += bool(line.strip())
            continue
        if skipped:
            kept.append(f"        […{skipped} lines]")
        kept.append(line)
        skipped = 0
        if last in line:
            break
    return "\n".join(kept)


def page(sessions: Sequence[tuple[str, str]], title: str, columns: int = 110) -> str:
    """The HTML of a terminal in which commands were typed, each with its output."""
    parts = [
        f"<b>$</b> <u>{html.escape(typed)}</u>\n{html.escape(output)}\n"
        for typed, output in sessions
    ]
    return _PAGE.format(
        width=columns, title=html.escape(title), text="\n".join(parts) + "<b>$</b> ▁"
    )
