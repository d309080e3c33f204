"""Is the answer right, yes or no? A score that is one decision, and the probability behind it.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/decision_prompt_en.txt

A small judge tells right from wrong better than it tells a 2 from a 3: the probability of its first
word ranks answers better than the five probabilities of a digit (README, "Which prompt"). The
word right is a 5 and the word wrong a 1, so that the expected score is 1 + 4 P(right). It stands
without a label: after one ('Correct: yes') the same judge agreed less with people.
"""

import math
import re
from dataclasses import dataclass

from llm_client.reply import TokenLogprobs
from mlflow_tracking.verdict import SCALE

DECISION = "decision"  # the label of the score, which the reply does not write

_DECLARATION = re.compile(
    r"^[ \t]*\[([^\W\d_]{1,20})[ \t]*(?:/|\||or|или)[ \t]*([^\W\d_]{1,20})\][ \t]*$", re.M
)
_LOWEST, _HIGHEST = SCALE[0], SCALE[-1]


@dataclass(frozen=True)
class Decision:
    """The two words that the judge may begin its reply with."""

    right: str
    wrong: str

    def word(self, score: int) -> str:
        """The word that stands for the lowest or the highest score."""
        return self.right if score == _HIGHEST else self.wrong

    def regex(self) -> str:
        """One of the words, for vLLM's `structured_outputs`."""
        return f"({self.right}|{self.wrong})"

    def score(self, written: str) -> int | None:
        """The score of a word, or of a beginning that only one of the words has; None for others.

        A word can be several tokens, of which one may be all that there is.
        """
        start = written.strip(" \t\n.,!*_`").casefold()
        fits = [word.casefold().startswith(start) for word in (self.right, self.wrong)]
        if not start or sum(fits) != 1:
            return None
        return _HIGHEST if fits[0] else _LOWEST

    def probabilities(self, token: TokenLogprobs) -> tuple[float, ...] | None:
        """Of 1..5, at the reply's first token; all of it lies on 1 and 5. None if nothing fits."""
        if not token.alternatives:  # one word alone says nothing about the other's probability
            return None
        mass = dict.fromkeys(SCALE, 0.0)
        for text, logprob in {token.text: token.logprob, **dict(token.alternatives)}.items():
            score = self.score(text.decode(errors="ignore"))
            if score is not None:
                mass[score] += math.exp(logprob)
        total = sum(mass.values())
        return tuple(mass[score] / total for score in SCALE) if total > 0 else None


def read_decision(text: str) -> Decision | None:
    """The decision that a prompt file declares, if it declares one."""
    match = _DECLARATION.search(text)
    return Decision(match[1], match[2]) if match else None
