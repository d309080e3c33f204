"""In which order are rows asked? Those that share what comes first, else as they stand.

python -m pytest tests/judge/test_order.py
"""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mlflow_tracking.custom_metrics import evaluate_with_llm_judge
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection, by_shared, order_notes
from mlflow_tracking.judge.prompt import load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import Item
from tests.support.judge_stub import JudgeStub, serving
from tests.support.whole_answers import whole_answer_prompt

PASSAGES = st.sampled_from(["a passage", "another"]).map(lambda text: (("context", text),))
ITEMS = st.lists(
    st.builds(
        Item, st.sampled_from("pqr"), st.sampled_from("ab"), st.sampled_from("xy"), more=PASSAGES
    )
)
PLACES = st.permutations(["question", "answer", "reference", "context"])


@given(ITEMS, PLACES)
def test_each_row_once_and_those_that_share_a_beginning_together(
    items: list[Item], places: list[str]
) -> None:
    order = by_shared(items, places)
    assert sorted(order) == list(range(len(items)))
    for end in range(1, len(places) + 1):
        groups = [tuple(items[at].texts[name] for name in places[:end]) for at in order]
        starts = [group for n, group in enumerate(groups) if n == 0 or groups[n - 1] != group]
        assert len(starts) == len(set(groups))
    firsts = [item.texts[places[0]] for item in items]
    ordered = [items[at].texts[places[0]] for at in order]
    assert list(dict.fromkeys(ordered)) == list(dict.fromkeys(firsts))


def test_a_run_asks_in_that_order_and_gives_the_verdicts_in_the_files(tmp_path: Path) -> None:
    questions = ["the sea?", "the sky?", "the sea?", "the sky?"]
    answers = [f"item-{n}" for n in range(4)]
    journal = Journal(tmp_path / "journal.jsonl", {})
    settings = JudgeSettings("stub-judge", load_prompt(whole_answer_prompt("judge_prompt_en.txt")))
    with serving(JudgeStub()) as stub:
        judge = JudgeConnection(stub.base_url, "", settings, journal, concurrency=1)
        verdicts = evaluate_with_llm_judge(answers, questions, judge=judge)
        assert [call.answer for call in stub.calls] == ["item-0", "item-2", "item-1", "item-3"]
    journal.close()
    assert all(name in one.raw_reply for name, one in zip(answers, verdicts, strict=True))


def test_a_long_text_that_rows_share_is_better_shown_first() -> None:
    passages = ["a " * 200, "b " * 200]
    items = [
        Item(f"Question {n}?", "Yes.", more=(("context", passages[n % 2]),)) for n in range(40)
    ]
    [note] = order_notes(items, ["question", "context", "answer"])
    assert note.startswith("40 rows have 2 different {context}, which stands behind {question}")
    assert not order_notes(items, ["context", "question", "answer"])
    assert not order_notes(items[:9], ["question", "context", "answer"]), "of a few it matters not"
    short = [Item(item.question, "Yes.", more=(("context", "a"),)) for item in items]
    assert not order_notes(short, ["question", "context", "answer"])
