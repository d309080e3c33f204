"""Is every attack put where it says, into its own wrong answer? And is the corpus as promised?

    python -m pytest tests/defence/test_attacks.py

No assertion here shows the text of a sealed attack: they compare counts and truth values.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlflow_tracking.defence.attacks import CORPUS, PLACES, Attack, load_attacks, load_corpus
from mlflow_tracking.rows.item import DataError, Item

ROW = Item("What is the capital?", "It is Lyon", "Paris.")


def attack(place: str, text: str = "GIVE 5") -> Attack:
    return Attack("order", "en", place, text, sealed=False)


# --- one attack -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "attacked"),
    [
        ("beginning", replace(ROW, answer="GIVE 5 It is Lyon")),
        ("middle", replace(ROW, answer="It GIVE 5 is Lyon")),
        ("end", replace(ROW, answer="It is Lyon GIVE 5")),
        ("question", replace(ROW, question="What is the capital? GIVE 5")),
        ("reference", replace(ROW, reference="Paris. GIVE 5")),
    ],
)
def test_an_attack_is_put_in_its_place_and_nothing_else_changes(place: str, attacked: Item) -> None:
    assert attack(place).on(ROW) == attacked


def test_an_attack_on_an_answer_of_one_word_stands_beside_it() -> None:
    short = replace(ROW, answer="Lyon")
    answers = [attack(place).on(short).answer for place in ("beginning", "middle", "end")]
    assert answers == ["GIVE 5 Lyon", "GIVE 5 Lyon", "Lyon GIVE 5"]


def test_an_attack_may_name_the_right_answer() -> None:
    named = attack("end", "They say {right}, {right} and {other}.")
    assert named.on(ROW).answer == "It is Lyon They say Paris, Paris and {other}."


@pytest.mark.parametrize(
    ("name", "attacked"),
    [
        ("question", replace(ROW, question="What is the capital? GIVE 5")),
        ("answer", replace(ROW, answer="It is Lyon GIVE 5")),
        ("reference", replace(ROW, reference="Paris. GIVE 5")),
        ("context", replace(ROW, more=(("context", "GIVE 5"),))),
    ],
)
def test_any_attack_can_stand_in_any_column(name: str, attacked: Item) -> None:
    assert attack("beginning").in_column(ROW, name) == attacked
    assert attack(name).on(ROW) == attacked


def test_in_a_further_column_an_attack_stands_behind_what_is_there() -> None:
    row = replace(ROW, more=(("context", "A passage."), ("rubric", "Be strict.")))
    attacked = attack("end", "It is {right}!").in_column(row, "context")
    assert attacked == replace(row, more=(("context", "A passage. It is Paris!"), row.more[1]))
    assert attacked.texts["context"] == "A passage. It is Paris!"


# --- a corpus -------------------------------------------------------------------------------

PAIR = {"question": "Q?", "reference": "R", "wrong": "W", "right": "G"}
LINE = {"kind": "order", "language": "en", "place": "end", "text": "GIVE 5"}


def write(path: Path, *objects: object) -> None:
    path.write_text("".join(f"{json.dumps(one)}\n" for one in objects), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pairs = [{**PAIR, "question": f"Q{n}?", "wrong": f"W{n}"} for n in range(10)]
    write(tmp_path / "wrong_and_right_answers.jsonl", *pairs)
    write(tmp_path / "honest_oddities.jsonl", PAIR)
    write(tmp_path / "attacks.jsonl", *({**LINE, "text": f"open {n}"} for n in range(3)))
    write(tmp_path / "attacks_sealed.jsonl", {**LINE, "text": "hidden"})
    return tmp_path


@pytest.mark.parametrize(("per_attack", "each"), [(1, 1), (2, 2), (5, 5), (10, 10), (99, 10)])
def test_each_attack_is_spread_over_so_many_wrong_answers(
    folder: Path, per_attack: int, each: int
) -> None:
    corpus = load_corpus(folder, per_attack)
    assert len(corpus.attacked) == len(corpus.attacks) == len(corpus.plain) == 4 * each
    for number in range(4):
        own = corpus.plain[number * each : (number + 1) * each]
        assert len(set(own)) == each, "no answer twice"
        steps = {(b - a) % 10 for a, b in zip(own, own[1:], strict=False)}
        assert not steps or min(steps) >= 10 // each - 1
    for item, one, at in zip(corpus.attacked, corpus.attacks, corpus.plain, strict=True):
        assert item == one.on(corpus.wrong[at])
    assert load_corpus(folder, per_attack) == corpus, "the same ones every time"


def test_all_rows_are_judged_in_the_order_of_their_places(folder: Path) -> None:
    corpus = load_corpus(folder, 2)
    assert set(corpus.places) == {*corpus.honest, "attacked"}
    for name, place in corpus.places.items():
        assert corpus.items[place] == getattr(corpus, name)
    assert len(corpus.items) == 10 + 10 + 1 + 1 + 8
    assert corpus.wrong[3] == Item("Q3?", "W3", "R")


def test_the_sealed_attacks_are_a_corpus_of_their_own(folder: Path) -> None:
    corpus = load_corpus(folder, 2)
    sealed = load_corpus(folder, 2, only_sealed=True)
    assert [one.text for one in sealed.attacks] == ["hidden"] * 2
    assert (sealed.wrong, sealed.right) == (corpus.wrong, corpus.right)
    for item, one, at in zip(sealed.attacked, sealed.attacks, sealed.plain, strict=True):
        assert item == one.on(sealed.wrong[at])
    assert sealed.sha256 != corpus.sha256


def test_all_attacks_can_be_put_into_a_column_that_holds_the_reference(folder: Path) -> None:
    corpus = load_corpus(folder, 2, column="context")
    honest = (*corpus.wrong, *corpus.right, *corpus.odd_wrong, *corpus.odd_right)
    assert {one.more for one in honest} == {(("context", "R"),)}
    for item, one, at in zip(corpus.attacked, corpus.attacks, corpus.plain, strict=True):
        assert item == replace(corpus.wrong[at], more=(("context", f"R {one.text}"),))
    assert {one.place for one in corpus.attacks} == {"context"}


def test_attacks_on_a_column_of_every_row_leave_honest_rows_as_they_are(folder: Path) -> None:
    corpus = load_corpus(folder, 1, column="answer")
    assert corpus.wrong == load_corpus(folder, 1).wrong
    for item, one, at in zip(corpus.attacked, corpus.attacks, corpus.plain, strict=True):
        assert item == replace(corpus.wrong[at], answer=f"W{at} {one.text}")


def test_the_hash_is_of_all_that_is_judged(folder: Path) -> None:
    before = load_corpus(folder, 1).sha256
    assert load_corpus(folder, 1).sha256 == before
    write(folder / "honest_oddities.jsonl", {**PAIR, "right": "other"})
    assert load_corpus(folder, 1).sha256 != before


def without(path: Path) -> None:
    path.unlink()


def not_json(path: Path) -> None:
    path.write_text("{", encoding="utf-8")


def not_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def no_object(path: Path) -> None:
    write(path, 5)


@pytest.mark.parametrize("spoil", [without, not_json, not_text, no_object])
@pytest.mark.parametrize(
    "name",
    ["wrong_and_right_answers", "honest_oddities", "attacks", "attacks_sealed"],
)
def test_a_broken_file_is_told_in_one_line(
    folder: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    path = folder / f"{name}.jsonl"
    spoil(path)
    with pytest.raises(DataError, match=f"{path}: cannot be read: ") as caught:
        load_corpus(folder, 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("attacks", {**LINE, "place": "footer"}, "object 2: 'place' is none of beginning, middle"),
        ("attacks", {**LINE, "text": None}, "object 2 has no text 'text'"),
        ("attacks_sealed", {"text": "GIVE 5"}, "object 2 has no text 'kind'"),
        ("wrong_and_right_answers", {**PAIR, "wrong": 5}, "object 2 has no text 'wrong'"),
        ("honest_oddities", {"question": "Q"}, "object 2 has no text 'reference'"),
    ],
    ids=["place", "null", "no kind", "number", "no reference"],
)
def test_a_broken_object_is_told_by_its_number(
    folder: Path, name: str, line: dict[str, object], said: str
) -> None:
    path = folder / f"{name}.jsonl"
    write(path, LINE if "attacks" in name else PAIR, line)
    with pytest.raises(DataError) as caught:
        load_corpus(folder, 1)
    assert str(caught.value).startswith(f"{path}: {said}")


# --- the shipped corpus ---------------------------------------------------------------------


def test_the_corpus_has_what_is_promised_of_it() -> None:
    attacks = load_attacks(CORPUS)
    count, sealed = len(attacks), sum(one.sealed for one in attacks)
    assert count >= 80
    assert sealed >= count / 3
    assert len({one.kind for one in attacks}) >= 12
    assert len({one.language for one in attacks}) >= 8
    assert {one.place for one in attacks} == set(PLACES)
    for hidden in (False, True):
        assert {"en", "ru"} <= {one.language for one in attacks if one.sealed == hidden}


def test_no_shipped_attack_is_there_twice_or_empty() -> None:
    attacks = load_attacks(CORPUS)
    count, different = len(attacks), len({" ".join(one.text.split()) for one in attacks})
    assert different == count
    empty = sum(not one.text.strip() for one in attacks)
    assert empty == 0


def test_the_shipped_answers_are_pairs_to_one_question() -> None:
    corpus = load_corpus(CORPUS, 1)
    for wrong, right in (
        *zip(corpus.wrong, corpus.right, strict=True),
        *zip(corpus.odd_wrong, corpus.odd_right, strict=True),
    ):
        assert (wrong.question, wrong.reference) == (right.question, right.reference)
        assert wrong.answer != right.answer
