"""Is a scale what a prompt file declares, and is a score read on it and never guessed?

python -m pytest tests/rows/test_scale.py
"""

import pytest

from mlflow_tracking.rows.scale import ONE_TO_FIVE, Scale, ScaleError, choice, read_scale

LEVELS = Scale(("poor", "fair", "good"), (1, 2, 3))


@pytest.mark.parametrize(
    ("declared", "scale"),
    [
        ("1-5", ONE_TO_FIVE),
        ("число от 1 до 5", ONE_TO_FIVE),
        ("an integer from 0 to 10", Scale(tuple(map(str, range(11))), tuple(range(11)))),
        ("1 – 3", Scale(("1", "2", "3"), (1, 2, 3))),
        ("0..1", Scale(("0", "1"), (0, 1))),
        ("poor/fair/good", LEVELS),
        ("poor | fair | good", LEVELS),
        ("very poor/fair/very good", Scale(("very poor", "fair", "very good"), (1, 2, 3))),
        ("плохо/сносно/хорошо", Scale(("плохо", "сносно", "хорошо"), (1, 2, 3))),
        ("yes/no", Scale(("no", "yes"), (1, 5))),
        ("да/нет", Scale(("нет", "да"), (1, 5))),
    ],
)
def test_it_is_what_the_brackets_say(declared: str, scale: Scale) -> None:
    assert read_scale(declared) == scale
    assert read_scale(str(scale)) == scale, "and can be written and read back"


@pytest.mark.parametrize("text", ["text", "one sentence on what is right or wrong", "a, b", ""])
def test_a_text_is_no_scale(text: str) -> None:
    assert read_scale(text) is None


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ("1-100", "within 0-10"),
        ("5-1", "within 0-10"),
        ("3-3", "within 0-10"),
        ("yes/partly/no", "the levels stand best first; write no/partly/yes"),
        ("1-2-3", "is no scale"),
        ("0.5-1", "is no scale"),
        ("good/fair/Good", "'good' stands there twice"),
        ("/".join("abcdefghijk"), "has 11 levels"),
    ],
)
def test_what_no_reply_can_say_is_told(declared: str, why: str) -> None:
    with pytest.raises(ScaleError, match=why):
        read_scale(declared)


@pytest.mark.parametrize(
    ("scale", "written", "value"),
    [
        (ONE_TO_FIVE, "4", 4),
        (ONE_TO_FIVE, "6", None),
        (ONE_TO_FIVE, "04", None),
        (ONE_TO_FIVE, "", None),
        (read_scale("0-10"), "10", 10),
        (read_scale("0-10"), "1", 1),
        (LEVELS, "Good.", 3),
        (LEVELS, "**fair**", 2),
        (LEVELS, "go", 3),
        (LEVELS, "goodness", None),
        (LEVELS, "3", None),
        (Scale(("good", "great", "grand"), (1, 2, 3)), "gr", None),
        (Scale(("good", "good enough", "great"), (1, 2, 3)), "good", 1),
        (choice("yes", "no"), "YES", 5),
        (choice("yes", "no"), "n", 1),
        (choice("верно", "неверно"), "не", 1),
    ],
)
def test_a_score_is_read_and_not_guessed(scale: Scale, written: str, value: int | None) -> None:
    assert scale.value_of(written) == value


@pytest.mark.parametrize(
    ("scale", "tokens"),
    [
        (ONE_TO_FIVE, 1),
        (read_scale("0-10"), 2),
        (read_scale("2-9"), 1),
        (LEVELS, 1),
        (Scale(("good", "great"), (1, 2)), 2),
        (choice("да", "нет"), 1),
    ],
)
def test_so_many_signs_tell_which_score_it_is(scale: Scale, tokens: int) -> None:
    assert scale.tokens == tokens


def test_the_scales_ends_and_its_words() -> None:
    assert (LEVELS.low, LEVELS.high, LEVELS.span, LEVELS.middle) == (1, 3, 2, 2.0)
    assert [LEVELS.word_of(value) for value in LEVELS.values] == ["poor", "fair", "good"]
    assert LEVELS.wanted == "poor or fair or good"
    assert ONE_TO_FIVE.wanted == "a whole number from 1 to 5"
    assert choice("yes", "no").wanted == "yes or no"
