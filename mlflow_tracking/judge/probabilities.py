"""How sure was the judge of its score? The distribution over 1-5 at the score's own token.

Used by `python mlflow_tracking/run_experiment.py`; the method is G-Eval's (arXiv:2303.16634).
"""

import math
import re
from collections.abc import Sequence

from llm_client.reply import TokenLogprobs
from mlflow_tracking.rows.item import SCALE


def score_probabilities(
    tokens: Sequence[TokenLogprobs], reply: str, place: int
) -> tuple[float, ...] | None:
    """Probabilities of 1..5 for the digit at index `place` of `reply`, renormalised to sum 1.

    The digit's token is found by its place in bytes: tokenizers differ in whether it is '5' or
    ' 5'. None if the tokens do not spell the reply (then nothing is known, and nothing is guessed).
    """
    found = token_at(tokens, reply, place)
    return _distribution(*found) if found else None


def token_at(
    tokens: Sequence[TokenLogprobs], reply: str, place: int
) -> tuple[TokenLogprobs, int] | None:
    """The token that holds the sign at `place`, and that sign's place in the token's bytes.

    Spelled from the end: a judge that thinks may have drafted the same words before.
    """
    text = reply.rstrip("\ufffd").encode("utf-8", "replace")
    wanted, end = len(reply[:place].encode("utf-8", "replace")), len(text)
    for token in reversed(tokens):
        start = end - len(token.text)
        if text.endswith(token.text, 0, end):
            if start <= wanted < end:
                return token, wanted - start
            end = start
        elif not _is_hidden(token.text):
            return None
    return None


def _is_hidden(token: bytes) -> bool:
    """Control tokens are left out of a reply's text, and so is half a character at its end.

    Measured: the 1.5B judge writes `<|im_start|>` within a justification now and then.
    """
    if re.fullmatch(rb"[<\[].*[>\]]", token, re.S):
        return True
    try:
        token.decode()
    except UnicodeDecodeError:
        return True
    return False


def _distribution(token: TokenLogprobs, place: int) -> tuple[float, ...] | None:
    """Sum the alternatives that put a digit of the scale at `place`, after the same bytes.

    The digit is a whole number: '10' is no 1. Alternatives of other text count for nothing.
    """
    prefix = token.text[:place]
    mass = dict.fromkeys(SCALE, 0.0)
    for text, logprob in {token.text: token.logprob, **dict(token.alternatives)}.items():
        digit = text[place : place + 1]
        alone = digit.isdigit() and not text[place + 1 : place + 2].isdigit()
        if text.startswith(prefix) and alone and int(digit) in mass:
            mass[int(digit)] += math.exp(logprob)
    total = sum(mass.values())
    return tuple(mass[score] / total for score in SCALE) if total > 0 else None
