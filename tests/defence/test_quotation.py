"""Does a quotation stand in an answer, and can the judge write nothing but one?

python -m pytest tests/defence/test_quotation.py
"""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_tracking.defence.quotation import (
    count_words,
    invented_quotations,
    quotable,
    stands_in,
)
from mlflow_tracking.judge.dialect import Piece, gbnf_of, regex_of


def runs(text: str, words: int) -> set[str]:
    """Every run of up to so many words, with what separates them."""
    parts = quotable(text)
    return {
        "".join(parts[start : end + 1])
        for start in range(0, len(parts), 2)
        for end in range(start, min(start + 2 * words, len(parts)), 2)
    }


def regex_for(text: str, words: int) -> re.Pattern[str]:
    return re.compile(regex_of([Piece(name="c", passages=tuple(quotable(text)), words=words)]))


# --- words and gaps -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (" \n\t ", []),
        ("... — !?", ["—"]),
        ("?!…", []),
        ("Lyon", ["Lyon"]),
        ("  Lyon.  ", ["Lyon"]),
        ("It is Lyon.", ["It", " ", "is", " ", "Lyon"]),
        ("one,  two\nthree", ["one", ",  ", "two", "\n", "three"]),
        ("**bold** `code`", ["bold", "** `", "code"]),
        ("«Война и мир»", ["Война", " ", "и", " ", "мир"]),
        ("don't, 3.5 or $5", ["don't", ", ", "3.5", " ", "or", " ", "$5"]),
        ("O(log n) steps", ["O(log", " ", "n)", " ", "steps"]),
        ("f(x) = x**2;", ["f(x)", " ", "=", " ", "x**2"]),
        ("首都是东京。", ["首", "", "都", "", "是", "", "东", "", "京"]),
        ("東京 Tokyo です", ["東", "", "京", " ", "Tokyo", " ", "で", "", "す"]),
        ("a\u00a0b", ["a", "\u00a0", "b"]),
    ],
    ids=[
        *("empty", "blank", "a dash", "marks", "one", "blanks around", "three", "gaps", "markdown"),
        *("Russian", "marks inside", "brackets", "code", "Chinese", "Japanese", "no-break space"),
    ],
)
def test_a_text_is_words_and_what_separates_them(text: str, parts: list[str]) -> None:
    assert quotable(text) == parts
    assert count_words(text) == len(parts[::2])
    assert "".join(parts) in text


# --- does it stand there --------------------------------------------------------------------

RUSSIAN = "Столица Франции — город Лион, её знают все: 3,5 млн жителей."


STANDS = {
    "a word": ("Lyon", "It is Lyon.", True),
    "case": ("it IS lyon", "It is Lyon.", True),
    "a mark of its own": ("Lyon!", "It is (Lyon)", True),
    "in quotes": ("“Lyon”", "It is Lyon", True),
    "a word too many": ("is Paris", "It is Lyon", False),
    "another ending": ("Lyons", "It is Lyon", False),
    "half a word": ("Ly", "It is Lyon", False),
    "half a number": ("5", "It is 15", False),
    "a number": ("3.5", "It is 3.5 m", True),
    "another number": ("3.6", "It is 3.5 m", False),
    "code": ("O(log n)", "It takes O(log n) steps.", True),
    "words twice": ("O(n log n)", "It takes O(log n) steps.", True),
    "other code": ("O(m)", "It takes O(log n) steps.", False),
    "blanks in code": ("x ** 2", "x**2", True),
    "an underscore": ("snake case", "snake_case", True),
    "nothing": ("", "It is Lyon", False),
    "only marks": ("...", "It is Lyon...", False),
    "of no answer": ("Lyon", "", False),
    "nothing of nothing": ("", "", False),
    "of an answer of marks": ("Lyon", "?!…", False),
    "Russian": ("столица лион", RUSSIAN, True),
    "Russian endings": ("столицей Лионом", RUSSIAN, True),
    "a Russian case": ("городу", RUSSIAN, True),
    "a derived Russian word": ("городские", RUSSIAN, False),
    "ё for е": ("ее", RUSSIAN, True),
    "ё in capitals": ("ЁЖ", "Это еж.", True),
    "another Russian word": ("Париж", RUSSIAN, False),
    "a Russian word for a short one": ("3,5 миллиона", RUSSIAN, False),
    "20 for 2": ("двадцать", "Их было два.", False),
    "30 for 3": ("тридцать", "Их было три.", False),
    "50 for 5": ("пятьдесят", "Их было пять.", False),
    "90 for 9": ("девяносто", "Их было девять.", False),
    "Chinese": ("东京", "首都是东京。", True),
    "another Chinese city": ("北京", "首都是东京。", False),
    "Japanese": ("です", "東京です", True),
}


@pytest.mark.parametrize(("quotation", "text", "there"), STANDS.values(), ids=STANDS.keys())
def test_a_quotation_stands_in_a_text(quotation: str, text: str, there: bool) -> None:
    assert stands_in(quotation, text) is there


# --- what a justification quotes ------------------------------------------------------------

SOURCES = (
    "Who wrote the novel «Война и мир»?",
    "def is_even(n):\n    return n % 2 == 1  # it’s no “odd” number",
    "Роман «Война и мир» написал Лев Толстой, 3.5 тома. The capital of France is Lyon, I think.",
    "Score: [1-5] Если дан эталонный ответ",
)
QUOTED = {
    "no quotation": ("It names Paris.", []),
    "nothing": ("", []),
    "straight": ('It says "Paris".', ["Paris"]),
    "English": ("It says “Paris”.", ["Paris"]),
    "German": ("Er sagt „Paris“.", ["Paris"]),
    "Polish": ("Mówi „Paris”.", ["Paris"]),
    "Russian": ("Сказано «Париж».", ["Париж"]),
    "Japanese": ("「東京」です", ["東京"]),
    "single": ("It says ‘Paris’.", ["Paris"]),
    "single and straight": ("It says 'Paris'.", ["Paris"]),
    "code": ("It has `% 1`, not `% 2`.", ["% 1"]),
    "a block of code": ("```\nn % 3\n```", ["n % 3"]),
    "two": ('"Paris" and «Рим», not "Lyon"', ["Paris", "Рим"]),
    "twice": ('"Paris", I said "Paris"', ["Paris"]),
    "of the answer": ('It says "Lyon".', []),
    "of the prompt": ('Ответ не дан в «эталонном», "Score" is 1.', []),
    "case and a comma": ('It says "The Capital of FRANCE is lyon," and so on.', []),
    "other punctuation": ("Сказано «Лев Толстой — 3,5 тома.»", []),
    "Russian endings": ("В романе «Войны и мира» Льва «Толстого»", []),
    "other blanks": ("It returns `n%2==1`.", []),
    "another line": ("It has `def is_even(n): return n % 2 == 1`.", []),
    "another operator": ("It has `n / 2 == 1`.", ["n / 2 == 1"]),
    "a number": ('It says "3.5", not "3.6".', ["3.6"]),
    "half a word": ('It says "Ly".', ["Ly"]),
    "words from here and there": ('It says "France is even".', ["France is even"]),
    "a word left out": ('It says "The capital is Lyon".', ["The capital is Lyon"]),
    "another order": ('It says "Lyon is capital".', ["Lyon is capital"]),
    "an ellipsis": ('It says "The capital … is Lyon" and "The ... Lyon [...]".', []),
    "an ellipsis and more": ('It says "The capital … is Rome".', ["The capital … is Rome"]),
    "from two texts": ('It says "odd number Роман".', ["odd number Роман"]),
    "nested alike": ("Сказано «Роман «Война и мир» написал Лев».", []),
    "nested alike, invented": ("Это «Роман «Война» написал».", ["Роман «Война» написал"]),
    "nested otherwise": ('Сказано «Роман "Мир" написал».', ['Роман "Мир" написал']),
    "unclosed": ('It says "Paris, which is wrong', []),
    "unclosed before another": ('It says "Paris, or «Рим».', ["Рим"]),
    "cut": ('It says "Lyon" and "Par […]', []),
    "apostrophes": ("It doesn't say what the judges' and the students' notes don't.", []),
    "an apostrophe inside": ("It says ‘it’s no odd’ and 'it's no even'.", ["it's no even"]),
    "inches": ('A 5" disk is no 3" disk.', []),
    "marks alone": ('It ends in "..." and has "—" in «».', []),
    "an operator alone": ("It uses `%` and `+`.", ["+"]),
}


@pytest.mark.parametrize(("text", "invented"), QUOTED.values(), ids=QUOTED.keys())
def test_what_a_justification_quotes_is_looked_up(text: str, invented: list[str]) -> None:
    assert invented_quotations(text, SOURCES) == invented


def test_a_letter_of_two_signs_is_the_letter_of_one() -> None:
    assert not invented_quotations("«Толсто\u0438\u0306»", ["Толсто\u0439"])


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40), st.integers(1, 4), st.sampled_from(["«»", "“”", "„“", "``", '""']))
def test_no_run_of_a_text_is_invented_whatever_its_marks(text: str, words: int, marks: str) -> None:
    for run in runs(text, words):
        if not set(run) & set("«»“”„`\"'‘’「」"):
            assert not invented_quotations(f"It says {marks[0]}{run}{marks[1]}.", [text]), run


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab «»“”„`\"'‘’「」.… %1", max_size=40))
def test_what_is_found_stands_in_the_justification(text: str) -> None:
    assert all(quotation in text for quotation in invented_quotations(text, [""]))


# --- what the judge can write ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("quotation", "allowed"),
    [
        ("It is Lyon", True),
        ("Lyon, (not", True),
        ("is", True),
        ("", False),
        ("It Lyon", False),
        ("it is Lyon", False),
        ("It is Lyon, (not", False),
        ("Lyon ", False),
        ("Lyo", False),
    ],
)
def test_the_judge_can_write_a_run_of_three_words_and_nothing_else(
    quotation: str, allowed: bool
) -> None:
    pattern = regex_for("It is Lyon, (not Paris).", words=3)
    assert bool(pattern.fullmatch(quotation)) is allowed


def test_the_same_as_a_grammar() -> None:
    piece = Piece(name="c", passages=tuple(quotable('a "b"\nc\\d')), words=2)
    assert gbnf_of([piece]) == r'root ::= ("a" (" \"b")? | "b" ("\"\nc\\d")? | "c\\d")'


ALPHABET = st.sampled_from(
    [*"ab.*(){}[]|\\^$+?-/ \n\t\"'é", "Лион", "ё", "首", "です", "O(n)", "»"]
)
TEXTS = st.lists(ALPHABET, max_size=14).map("".join)


@settings(max_examples=200, deadline=None)
@given(st.one_of(TEXTS, st.text(max_size=25)), st.integers(1, 4))
def test_every_run_can_be_written_and_stands_in_the_text(text: str, words: int) -> None:
    if not quotable(text):
        return
    pattern = regex_for(text, words)
    for run in runs(text, words):
        assert pattern.fullmatch(run), run
        assert run in text
        if re.search(r"[^\W_]", run):
            assert stands_in(run, text), run


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.integers(1, 3), st.data())
def test_nothing_but_a_run_can_be_written(text: str, words: int, data: st.DataObject) -> None:
    if not quotable(text):
        return
    allowed = runs(text, words)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    near = [text[start:end], data.draw(TEXTS), data.draw(st.sampled_from(sorted(allowed))) + "."]
    pattern = regex_for(text, words)
    for candidate in near:
        assert bool(pattern.fullmatch(candidate)) == (candidate in allowed), candidate


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_the_parts_of_any_text_stand_in_it_in_order(text: str) -> None:
    parts = quotable(text)
    assert "".join(parts) in text
    assert all(parts[::2])
    assert len(parts) % 2 == (1 if parts else 0)
