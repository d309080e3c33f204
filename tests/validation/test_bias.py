"""Does a probe change an answer's dress only, and is a shift measured against the same rows?

python -m pytest tests/validation/test_bias.py
"""

from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.defence.attacks import CORPUS, load_corpus
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Score, Status, Verdict
from mlflow_tracking.rows.item import DataError, Item
from mlflow_tracking.rows.language import language_of_prompt, language_of_row
from mlflow_tracking.validation.bias import (
    PROBES,
    add_markdown,
    bias_passes,
    claim_expertise,
    inapplicable,
    injection_passes,
    load_parallel,
    mean_shift,
    measure_injection,
    measure_shifts,
    pad,
    plain_text,
    repeat_question,
    strip_markdown,
)
from mlflow_tracking.validation.consistency import (
    BASE,
    both_ways_passes,
    consistency_passes,
    consistency_table,
    measure_both_ways,
    measure_consistency,
    other_concurrency,
)
from mlflow_tracking.validation.passes import stratified

PROMPTS = ROOT / "mlflow_tracking/prompts"
ITEM = Item("What is a router?", "A router forwards packets. It works at layer 3.", "ref")
RUSSIAN = Item("Что такое маршрутизатор?", "Он пересылает пакеты между сетями.")


def settings(prompt: str = "judge_prompt.txt", **changes: object) -> JudgeSettings:
    return JudgeSettings("judge", load_prompt(PROMPTS / prompt), **changes)  # type: ignore[arg-type]


def scored(*values: int | None) -> list[Verdict | None]:
    return [
        None if value is None else Verdict(Status.OK, scores={"Score": Score(value)})
        for value in values
    ]


MARKDOWN = {
    "bold": ("It is **very** hot", "It is very hot"),
    "italic": ("It is *very* hot", "It is very hot"),
    "both at once": ("It is ***very*** hot", "It is very hot"),
    "code": ("call `open()` first", "call open() first"),
    "heading": ("## Answer\nIt rains", "Answer\nIt rains"),
    "list": ("- one\n* two", "one\ntwo"),
    "numbered list": ("1. one\n2) two", "one\ntwo"),
    "quote": ("> said he", "said he"),
    "fence": ("```python\nx = 1\n```\ndone", "x = 1\ndone"),
    "link": ("see [the page](http://a.b/c)", "see the page"),
    "nested": ("**a `b` c**", "a b c"),
}
NO_MARKDOWN = {
    "a product": "2 * 3 * 4 = 24",
    "a power": "2**10 is 1024",
    "names": "snake_case and __init__.py are names",
    "a minus": "it was -5 degrees",
    "a number": "42. That is the answer",
    "a year": "In 1999. Or later",
    "hash": "C# is a language, see issue #5",
    "brackets": "a[0](x) is called",
    "less than": "a > b",
}


@pytest.mark.parametrize(("text", "plain"), MARKDOWN.values(), ids=MARKDOWN)
def test_markdown_goes_and_the_words_stay(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize("text", [*NO_MARKDOWN.values(), ITEM.answer], ids=[*NO_MARKDOWN, "plain"])
def test_what_only_looks_like_markdown_is_left_alone(text: str) -> None:
    assert strip_markdown(Item("q", text)) is None


def test_added_markdown_is_taken_off_again() -> None:
    dressed = add_markdown(ITEM)
    assert dressed.answer == "- **A router** forwards packets.\n- **It works** at layer 3."
    assert plain_text(dressed.answer).replace("\n", " ") == ITEM.answer


@pytest.mark.parametrize("item", [ITEM, RUSSIAN], ids=["English", "Russian"])
def test_dress_speaks_the_answers_language_and_keeps_its_words(item: Item) -> None:
    for change in (pad, claim_expertise, repeat_question):
        new = change(item)
        assert item.answer in new.answer
        assert new.answer != item.answer
        assert language_of_row(new) == language_of_row(item) is not None
        assert (new.question, new.reference) == (item.question, item.reference)
    assert repeat_question(item).answer.startswith(item.question)
    assert len(pad(item).answer) > len(item.answer) + 100


def test_the_languages_are_compared_on_the_same_truth() -> None:
    pairs = load_parallel(100)
    assert len(pairs) == 32 == len({pair.russian for pair in pairs})
    assert len(load_parallel(7)) == 7
    for pair in pairs:
        assert language_of_row(pair.russian) == "ru"
        assert language_of_row(pair.english) == "en"


def test_a_probe_is_measured_on_the_rows_that_it_changed() -> None:
    items = [Item(f"q{n}", f"**a** {n}" if n < 12 else f"a {n}") for n in range(15)]
    passes = {one.name: one for one in bias_passes(settings(), items, 30)}
    assert [len(passes[probe.key].items) for probe in PROBES] == [15, 12, 15, 15, 15]
    verdicts = {one.name: scored(*[3] * len(one.items)) for one in passes.values()}
    verdicts[BASE] = scored(*[1] * 12, *[5] * 3)
    shifts = {one.key: one.by.integer for one in measure_shifts(items, verdicts, seed=0)}
    shift = shifts["markdown_stripped"]
    assert (shift.value, shift.n) == (2, 12)  # the three rows of score 5 have none
    assert shifts["padding"].value == pytest.approx((12 * 2 - 3 * 2) / 15)
    language = shifts["language"]
    assert (language.value, language.n) == (0, 30)


def test_no_markdown_anywhere_is_a_result_and_no_fault() -> None:
    items = [Item(f"q{n}", f"a {n}") for n in range(12)]
    assert inapplicable(items) == {"markdown_stripped"}
    verdicts = {
        one.name: scored(*[3] * len(one.items)) for one in bias_passes(settings(), items, 30)
    }
    verdicts[BASE] = scored(*[3] * 12)
    [one] = [x for x in measure_shifts(items, verdicts, 0) if x.key == "markdown_stripped"]
    assert one.by.expected.note == "only 0 of 12 have Markdown"


def test_rows_without_a_verdict_shift_nothing() -> None:
    before = scored(1, None, *[2] * 10)
    after = scored(2, 5, *[2] * 9, None)
    shift = mean_shift(before, after, seed=0).integer
    assert shift.n == 10
    assert shift.value == pytest.approx(0.1)


def test_repeats_are_asked_for_anew_and_told_apart() -> None:
    items = [Item(f"q{n}", f"a{n}") for n in range(12)]
    judge = settings(seed=7)
    passes = {one.name: one for one in consistency_passes(judge, items, 3, 32)}
    cold = [one for name, one in passes.items() if name.startswith("same again")]
    own = [one for name, one in passes.items() if name.startswith("own temperature")]
    assert len(cold) == 2  # and the base
    assert len({one.settings.salt for one in cold}) == 2
    assert [one.settings.temperature for one in own] == [None] * 3
    assert len({one.settings.seed for one in own}) == 3
    assert passes["other order"].items != tuple(items)
    assert sorted(passes["other order"].items, key=str) == sorted(items, key=str)
    assert passes["other concurrency"].concurrency == 1 == other_concurrency(4)
    assert other_concurrency(1) > 1


def test_a_shuffled_pass_is_compared_row_by_row() -> None:
    items = [Item(f"q{n}", f"a{n}") for n in range(12)]
    passes = consistency_passes(settings(), items, 2, 32)

    def score(item: Item) -> int:
        return 1 + int(item.answer[1:]) % 5

    verdicts = {one.name: scored(*map(score, one.items)) for one in passes}
    verdicts[BASE] = scored(*map(score, items))
    found = measure_consistency(items, verdicts, seed=0)
    assert found.order.value == 0
    verdicts["other concurrency"] = scored(*[2] * 12)  # the judge gives a 2 to rows 1, 6, 11
    flips = dict(consistency_table(measure_consistency(items, verdicts, seed=0)).named())
    assert flips["flips_other_concurrency"].value == pytest.approx(9 / 12)
    assert flips["flips_temperature_0"].value == 0


@pytest.mark.parametrize("prompt", ["judge_prompt_criteria.txt", "decision_prompt_en.txt"])
def test_the_two_directions_differ_in_one_word_and_nothing_else(prompt: str) -> None:
    right, wrong = both_ways_passes(settings(prompt).for_probes(), [ITEM])
    one, other = (str(judge.settings.messages(ITEM)).split() for judge in (right, wrong))
    assert sum(a != b for a, b in zip(one, other, strict=True)) == 1
    asked = right.settings.prompt
    assert language_of_prompt(asked.text) == language_of_prompt(settings(prompt).prompt.text)
    assert right.settings.score_only
    assert right.settings.claim is None


def test_the_same_word_to_both_directions_is_counted_by_row() -> None:
    right = scored(*[5] * 6, *[1] * 5, 5, None)
    wrong = scored(5, *[1] * 5, 1, 1, *[5] * 3, None, 5)
    found = measure_both_ways({"is_it_right": right, "is_it_wrong": wrong})
    assert found.yes_twice.n == found.no_twice.n == 11  # two rows lack one of the words
    assert found.yes_twice.value == pytest.approx(1 / 11)
    assert found.no_twice.value == pytest.approx(2 / 11)


def test_probes_ask_for_one_token_where_the_prompt_allows_it() -> None:
    assert settings().for_probes().score_only
    assert not settings("judge_prompt_criteria.txt").for_probes().score_only
    assert not settings(dialect=Dialect(constraint="")).for_probes().score_only


def test_the_injection_is_measured_by_the_sealed_attacks_against_their_own_wrong_answers() -> None:
    corpus = load_corpus(CORPUS, per_attack=1, only_sealed=True)
    plain, attacked = injection_passes(settings())
    same = (plain.items == corpus.wrong, attacked.items == corpus.attacked)  # shows no sealed text
    assert same == (True, True)
    before, after = [2] * len(plain.items), [2] * len(attacked.items)
    before[corpus.plain[0]], after[0] = 1, 5
    shares = corpus.plain.count(corpus.plain[0]) - 1  # other attacks on that answer: 1 to 2
    found = measure_injection({plain.name: scored(*before), attacked.name: scored(*after)}, seed=0)
    assert found.by.finer.value == pytest.approx((4 + shares) / len(after))
    assert f"{len(after)} attacks" in found.label


def test_a_sample_has_all_human_scores_alike_and_is_the_same_again() -> None:
    human = [1.0] * 50 + [3.0] * 4 + [5.0] * 20
    chosen = stratified(human, 12, seed=3)
    assert [sum(human[i] == score for i in chosen) for score in (1, 3, 5)] == [4, 4, 4]
    assert chosen == stratified(human, 12, seed=3) == sorted(chosen)
    assert chosen != stratified(human, 12, seed=4)
    # What a rare score has not, the others fill.
    many = stratified(human, 20, seed=3)
    assert [sum(human[i] == score for i in many) for score in (1, 3, 5)] == [8, 4, 8]
    assert stratified(human, 0) == []
    assert len(stratified(human, 10_000)) == len(human)


def test_a_missing_corpus_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="wrong_and_right_answers.jsonl: cannot be read"):
        load_corpus(tmp_path, 1)
