"""How are whole answers judged with a prompt that is shipped? Its file, without the claim's line.

    flags = ("--prompt", str(whole_answer_prompt()))       # one call a row, as with --no-claim

For tests whose subject is calls, faults or what a prompt file may say.
"""

import tempfile
from functools import cache
from pathlib import Path

from llm_client.settings import ROOT
from mlflow_tracking.judge.prompt import load_prompt

PROMPTS = ROOT / "mlflow_tracking/prompts"


@cache
def whole_answer_prompt(name: str = "judge_prompt.txt") -> Path:
    """A copy of a shipped prompt file that declares no claim; it keeps its name."""
    text = (PROMPTS / name).read_text(encoding="utf-8")
    line, _, rest = text.partition("\n")
    assert line.startswith(("Claim: [", "Утверждение: [")), f"{name} begins otherwise: {line}"
    path = Path(tempfile.mkdtemp(prefix="whole-answers-")) / name
    path.write_text(rest.lstrip("\n"), encoding="utf-8")
    assert load_prompt(path).claim is None
    return path
