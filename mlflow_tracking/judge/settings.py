"""Who judges, and how? Everything about the judge that could change a score.

Set by the flags of `python mlflow_tracking/run_experiment.py`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Literal

from mlflow_tracking.defence.safe_text import ControlTokens, TextSafety, delimiters_around
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.prompt import ClaimForm, ClaimQuestion, JudgePrompt
from mlflow_tracking.rows.item import Item


@dataclass(frozen=True)
class JudgeSettings:
    """Everything about the judge that could change a score."""

    model: str
    prompt: JudgePrompt
    model_root: str = ""  # what the server says the name stands for
    temperature: float | None = 0.0  # None: what the model itself asks for
    max_tokens: int = 256
    seed: int = 0
    dialect: Dialect = Dialect()  # what the server takes
    context_length: int | None = None  # tokens; None: the server does not tell
    on_too_long: Literal["fail", "truncate"] = "fail"
    control_tokens: ControlTokens | None = field(default=ControlTokens())  # None: let them in
    guard_delimiters: bool = True
    ask_claim: bool = True  # where the prompt declares one; False: score whole answers
    score_only: bool = False  # one token a row, no justification
    explain_below: int | None = None  # with score_only: justify the scores below this one
    salt: str = ""  # keeps verdicts apart, so that a row can be judged again on purpose

    @property
    def constrained(self) -> bool:
        """Whether the server holds the reply to the prompt's form."""
        return bool(self.dialect.constraint)

    @property
    def claim(self) -> ClaimForm | None:
        """What the judge is asked first, if anything."""
        return self.prompt.claim if self.ask_claim else None

    @property
    def reply_tokens(self) -> int:
        """Tokens of a reply at most."""
        alone = self.score_only and self.explain_below is None
        return self.prompt.format.score_tokens if alone else self.max_tokens

    def for_probes(self) -> "JudgeSettings":
        """The judge as probes ask it: for one token a score where the prompt's form allows it.

        A probe compares scores and shows no justification. One token costs a fraction of the time
        a row. The digit may differ from the whole reply's, so its base is asked this way, too.
        """
        one_token = self.constrained and self.prompt.format.scores_first
        return replace(self, score_only=True) if one_token else self

    def messages(self, item: Item) -> list[dict[str, str]]:
        """The chat messages that the judge is sent for `item`."""
        return self.prompt.render(item, self._safety)

    def claim_question(self, item: Item) -> ClaimQuestion | None:
        """What the judge is asked first about `item`; None: its whole answer is scored at once."""
        if self.claim is None:
            return None
        words = self.claim.words_for(item.reference if self.prompt.uses_reference else "")
        if not words:
            return None
        return self.claim.ask(item, self._claim_safety, words, system=bool(self.prompt.system))

    def key(self, item: Item) -> str:
        """What a verdict on `item` is kept under: the row and everything that could change it."""
        shown = self.prompt.shown(item)
        if self.claim:  # which is asked for with both, whatever the prompt shows
            shown |= {"question": item.question, "answer": item.answer}
        return hashlib.sha256(json.dumps([shown, self.fingerprint]).encode()).hexdigest()[:32]

    @cached_property
    def _safety(self) -> TextSafety:
        return self._safety_of(self.prompt.user, self.prompt.places)

    @cached_property
    def _claim_safety(self) -> TextSafety:
        return self._safety_of(self.claim.question if self.claim else "", ("question", "answer"))

    def _safety_of(self, template: str, places: Sequence[str]) -> TextSafety:
        delimiters = delimiters_around(template, places) if self.guard_delimiters else None
        return TextSafety(self.control_tokens, delimiters)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of what could change a score; verdicts are kept under it."""
        parts = [
            self.model,
            self.model_root,
            self.prompt.sha256,
            self.temperature,
            self.max_tokens,
            self.seed,
            repr(self.dialect),
            self.context_length,
            self.on_too_long,
            sorted(self.control_tokens.literals) if self.control_tokens else None,
            self.guard_delimiters,
            self.ask_claim,
            self.score_only,
            self.explain_below,
            self.salt,
            _code_digest(),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@cache
def _code_digest() -> str:
    """Of the code that decides what the judge is shown and how its reply is read."""
    names = ("call", "dialect", "judge", "prompt", "reply_form", "reply_parser", "verdict")
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in names] + [here.parent / "rows/scale.py"]
    files += sorted((here.parent / "defence").glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
