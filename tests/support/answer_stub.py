"""What would a model under test answer? A server of its own beside the judge's stub.

with serving(JudgeStub()) as judge, serving(AnswerStub()) as model:
    subprocess.run([..., "--answers-from", model.base_url, "--base-url", judge.base_url])
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.judge_stub import Call, JudgeStub


def _about(call: Call) -> str:
    return f"It is {call.row}, by sample {call.body.get('seed')}."


@dataclass
class AnswerStub(JudgeStub):
    """A model that answers what `answers` says, cut at its tokens where `cut` says so.

    It can be the judge as well.
    """

    model: str = "stub-model"
    root: str = "/models/stub-model"
    answers: Callable[[Call], str] = _about
    cut: Callable[[Call], bool] = lambda call: False

    def _text(self, call: Call, fault: str) -> str | None:
        if call.body.get("logprobs"):  # asked as a judge
            return super()._text(call, fault)
        return self.answers(call)

    def _completion(
        self, call: Call, text: str | None, finish: str, prompt_tokens: int
    ) -> dict[str, Any]:
        finish = "length" if self.cut(call) else finish
        return super()._completion(call, text, finish, prompt_tokens)

    def asked(self) -> list[Call]:
        """The calls for rows, without what was asked to find out whether it answers."""
        return [call for call in self.calls if call.row.startswith("item-")]
