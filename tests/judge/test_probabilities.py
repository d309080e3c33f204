"""How sure was the judge? The distribution over a scale at the score's own token.

python -m pytest tests/judge/test_probabilities.py
"""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_client.reply import TokenLogprobs
from mlflow_tracking.judge.verdict import Score, mean_score, score_distribution
from mlflow_tracking.rows.scale import ONE_TO_FIVE

NEVER = -9999.0  # what vLLM says of a token that the constraint forbids


def token(text: str | bytes, others: dict[str, float] | None = None) -> TokenLogprobs:
    """A token; `others` maps each alternative, itself included, to its probability."""
    raw = text if isinstance(text, bytes) else text.encode()
    shares = others or {}
    logprobs = tuple((k.encode(), math.log(p) if p > 0 else NEVER) for k, p in shares.items())
    return TokenLogprobs(raw, dict(logprobs).get(raw, -0.1), logprobs)


def spell(*pieces: str | TokenLogprobs) -> tuple[list[TokenLogprobs], str]:
    tokens = [piece if isinstance(piece, TokenLogprobs) else token(piece) for piece in pieces]
    return tokens, b"".join(t.text for t in tokens).decode()


def score_probabilities(
    tokens: Sequence[TokenLogprobs], reply: str, place: int
) -> tuple[float, ...] | None:
    found = score_distribution(tokens, reply, place, ONE_TO_FIVE)
    return found.probabilities if found else None


def digits(prefix: str = "", suffix: str = "") -> dict[str, float]:
    shares = {"1": 0.05, "2": 0.05, "3": 0.1, "4": 0.3, "5": 0.5}
    return {f"{prefix}{digit}{suffix}": share for digit, share in shares.items()}


DISTRIBUTION = pytest.approx((0.05, 0.05, 0.1, 0.3, 0.5))


@pytest.mark.parametrize(
    ("pieces", "mark"),
    [
        (["Score", ":", " ", token("5", digits()), "\n", "Justification: a"], "5"),
        (["Score", ":", token(" 5", digits(" ")), "\n", "Justification: a"], "5"),
        (["Score: ", token("5\n", digits("", "\n")), "Justification: a"], "5"),
        (["Score", token(": 5\n", digits(": ", "\n")), "Justification: a"], "5"),
        ([token("Score: 5", digits("Score: ")), "\nJustification: a"], "5"),
        (["Just: 1 of 2\n", "Score: ", token("5", digits())], "5"),
    ],
    ids=["own-token", "with-a-space", "with-a-newline", "with-both", "with-its-label", "last"],
)
def test_the_scores_token_is_found_however_the_reply_is_cut_into_tokens(
    pieces: list[str | TokenLogprobs], mark: str
) -> None:
    tokens, reply = spell(*pieces)
    assert score_probabilities(tokens, reply, reply.index(mark)) == DISTRIBUTION


def test_a_character_that_is_split_over_tokens_does_not_shift_the_place() -> None:
    raw = "Оценка".encode()
    head = [token(raw[:3]), token(raw[3:8]), token(raw[8:]), token(": ")]
    text = "Обоснование: да"
    tokens = [*head, token("5", digits()), token("\n"), token(text.encode()[:5])]
    tokens.append(token(text.encode()[5:]))
    reply = f"Оценка: 5\n{text}"
    assert score_probabilities(tokens, reply, reply.index("5")) == DISTRIBUTION


def test_each_of_several_scores_has_its_own_distribution() -> None:
    sure = {"1": 1.0, "2": 0.0, "5": 0.0}
    tokens, reply = spell("A: ", token("1", sure), "\nB: ", token("5", digits()), "\nWhy: x")
    assert score_probabilities(tokens, reply, 3) == (1.0, 0.0, 0.0, 0.0, 0.0)
    assert score_probabilities(tokens, reply, reply.index("5")) == DISTRIBUTION


@pytest.mark.parametrize(
    ("alternatives", "expected"),
    [
        ({"5": 0.6, "four": 0.2, "**": 0.2}, (0, 0, 0, 0, 1)),
        ({"5": 0.3, "4": 0.1, "0": 0.3, "9": 0.3}, (0, 0, 0, 0.25, 0.75)),
        ({"5": 0.2, "5\n": 0.1, "4": 0.1, "10": 0.6}, (0, 0, 0, 0.25, 0.75)),
        ({"5": 0.5, "42": 0.25, "4.": 0.25}, (0, 0, 0, 1 / 3, 2 / 3)),
        ({"5": 0.5, "": 0.25, " ": 0.25}, (0, 0, 0, 0, 1)),
        ({"5": 0.5, "1": 0, "2": 0, "3": 0, "4": 0}, (0, 0, 0, 0, 1)),
    ],
    ids=["words", "outside-the-scale", "ten-is-no-one", "longer-numbers", "empty", "forbidden"],
)
def test_only_whole_numbers_of_the_scale_count(
    alternatives: dict[str, float], expected: tuple[float, ...]
) -> None:
    tokens, reply = spell("Score: ", token("5", alternatives), "\nWhy: x")
    assert score_probabilities(tokens, reply, 7) == pytest.approx(expected)


def test_an_alternative_counts_only_after_the_same_bytes() -> None:
    tokens, reply = spell("Score:", token(" 5", {" 5": 0.5, "\n4": 0.3, "4": 0.2}), "\nWhy: x")
    assert score_probabilities(tokens, reply, reply.index("5")) == (0, 0, 0, 0, 1)


def test_a_token_that_is_missing_from_its_own_alternatives_counts_all_the_same() -> None:
    chosen = TokenLogprobs(b"5", math.log(0.2), ((b"4", math.log(0.6)),))
    tokens, reply = spell("Score: ", chosen, "\nWhy: x")
    assert score_probabilities(tokens, reply, 7) == pytest.approx((0, 0, 0, 0.75, 0.25))


@pytest.mark.parametrize(
    ("tokens", "reply"),
    [
        ([], "Score: 5\nWhy: x"),
        ([token("Score: "), token("5", digits())], "Score: 5\nWhy: x"),
        ([token("Score: 4\nWhy: x")], "Score: 5\nWhy: x"),
        ([token("Score: "), token("5"), token("\nWhy: \ud83d".encode("utf-8", "replace"))], "?"),
        ([token("Score: 5\nWhy: x")], "Score: 5\nWhy: \ud800x"),
        ([TokenLogprobs(b"Score: 5\nWhy: x", NEVER, ())], "Score: 5\nWhy: x"),
    ],
    ids=["none", "too-few", "others", "other-reply", "lone-surrogate", "forbidden"],
)
def test_nothing_is_said_where_nothing_is_known(tokens: list[TokenLogprobs], reply: str) -> None:
    assert score_probabilities(tokens, reply, min(7, len(reply) - 1)) is None


def test_tokens_around_the_reply_do_no_harm() -> None:
    """A reasoning parser takes the thoughts out of the text and leaves their tokens."""
    draft = [token("<think>"), token("Score: "), token("5", {"5": 1.0}), token("\nWhy: x")]
    tokens, reply = spell("Score: ", token("5", digits()), "\nWhy: x")
    found = score_probabilities([*draft, token("</think>\n"), *tokens, token("")], reply, 7)
    assert found == DISTRIBUTION


def test_a_reply_that_ends_in_half_a_character_is_found() -> None:
    tokens, reply = spell("Score: ", token("5", digits()), "\nWhy: на")
    tokens.append(token("д".encode()[:1]))
    assert score_probabilities(tokens, f"{reply}�", 7) == DISTRIBUTION


def test_expected_score_and_entropy_are_those_of_the_distribution() -> None:
    score = Score(5, (0.05, 0.05, 0.1, 0.3, 0.5))
    assert score.expected == pytest.approx(0.05 + 0.1 + 0.3 + 1.2 + 2.5)
    # -(2 * 0.05 log2 0.05 + 0.1 log2 0.1 + 0.3 log2 0.3 + 0.5 log2 0.5)
    assert score.entropy == pytest.approx(0.4322 + 0.3322 + 0.5211 + 0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("probabilities", "expected", "entropy"),
    [
        ((0.0, 0.0, 0.0, 0.0, 1.0), 5.0, 0.0),
        ((0.2,) * 5, 3.0, math.log2(5)),
        ((0.5, 0.0, 0.0, 0.0, 0.5), 3.0, 1.0),
        (None, None, None),
    ],
    ids=["sure", "no-idea", "torn", "unknown"],
)
def test_expected_score_and_entropy_at_their_ends(
    probabilities: tuple[float, ...] | None, expected: float | None, entropy: float | None
) -> None:
    score = Score(5, probabilities)
    assert score.expected == (None if expected is None else pytest.approx(expected))
    assert score.entropy == (None if entropy is None else pytest.approx(entropy))
    assert entropy is None or math.copysign(1, score.entropy or 0.0) == 1, "no minus zero"


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["1", "2", "3", "4", "5", "0", "10", "5\n", " ", "x"]),
        st.floats(-9999, 0),
        max_size=10,
    ),
    st.floats(-50, 0),
    st.sampled_from(["", " ", ": "]),
)
def test_a_distribution_sums_to_one(
    alternatives: dict[str, float], logprob: float, prefix: str
) -> None:
    pairs = tuple(((prefix + text).encode(), value) for text, value in alternatives.items())
    chosen = TokenLogprobs(f"{prefix}5".encode(), logprob, pairs)
    tokens, reply = spell("Score", chosen, "\nWhy: x")
    found = score_probabilities(tokens, reply, reply.index("5"))
    if found is None:
        assert max([*(v for k, v in alternatives.items() if k in "12345"), -9999]) < -700
        return
    assert len(found) == 5
    assert sum(found) == pytest.approx(1.0)
    assert all(0 <= share <= 1 for share in found)
    expected, entropy = Score(5, found).expected, Score(5, found).entropy
    assert expected is not None
    assert entropy is not None
    assert 1 - 1e-9 <= expected <= 5 + 1e-9
    assert -1e-9 <= entropy <= math.log2(5) + 1e-9


def test_a_control_token_within_a_justification_hides_no_score() -> None:
    pieces = [token("Why: bad."), token("<|im_start|>"), token("\nScore: "), token("5", digits())]
    reply = "Why: bad.\nScore: 5"
    tokens = [*pieces, token("<|im_end|>")]
    assert score_probabilities(tokens, reply, reply.index("5")) == DISTRIBUTION


# --- the mean of two scores -----------------------------------------------------------------

SURE = {value: tuple(float(value == other) for other in range(1, 6)) for value in range(1, 6)}


@pytest.mark.parametrize(
    ("one", "other", "value", "expected"),
    [
        (Score(4), Score(4), 4, 4.0),
        (Score(2), Score(4), 3, 3.0),
        (Score(1), Score(2), 1, 1.0),
        (Score(5, SURE[5]), Score(2), 3, 3.0),
        (Score(4, SURE[4]), Score(4, SURE[4]), 4, 4.0),
        (Score(1, (1.0, 0.0), (1, 5)), Score(5, (0.0, 1.0), (1, 5)), 1, 3.0),
        (Score(1, (0.9, 0.1), (1, 5)), Score(5, (0.2, 0.8), (1, 5)), 1, 2.8),
        (Score(1, (0.8, 0.2), (1, 5)), Score(5, (0.1, 0.9), (1, 5)), 5, 3.2),
        (Score(1, None, (1, 5)), Score(5, None, (1, 5)), 1, 1.0),
        (Score(2, (0.1, 0.8, 0.1, 0.0, 0.0)), Score(4, (0.0, 0.0, 0.1, 0.8, 0.1)), 3, 3.0),
        (Score(2, (0.1, 0.9, 0.0, 0.0, 0.0)), Score(5, (0.0, 0.0, 0.1, 0.1, 0.8)), 3, 3.3),
        (Score(4, (0.0, 0.0, 0.1, 0.9, 0.0)), Score(5, (0.0, 0.0, 0.0, 0.1, 0.9)), 4, 4.4),
    ],
    ids=[
        *("equal", "between", "no half without probabilities", "one without them", "sure"),
        *("a decision, undecided", "a decision, no", "a decision, yes", "a decision, unknown"),
        *("the middle", "the half nearer to what is expected", "a half below"),
    ],
)
def test_the_mean_of_two_scores_is_one_that_the_judge_could_give(
    one: Score, other: Score, value: int, expected: float
) -> None:
    for mean in (mean_score(one, other), mean_score(other, one)):
        assert mean.value == value
        assert mean.finest == pytest.approx(expected)
        if mean.probabilities:
            assert sum(mean.probabilities) == pytest.approx(1)
