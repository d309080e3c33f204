"""Does any prompt that a person may write keep its word? Columns, scales, checklists, row by row.

python -m pytest tests/judge/test_any_prompt.py
"""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_client.reply import Reply, TokenLogprobs
from llm_client.settings import ROOT
from mlflow_tracking.defence.addressed import addressing
from mlflow_tracking.defence.attacks import CORPUS, load_attacks
from mlflow_tracking.judge.call import (
    given_before,
    open_scores,
    read_verdict,
    request_body,
    score_calls,
)
from mlflow_tracking.judge.dialect import Dialect
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.reply_form import OVERALL, ReplyForm
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Score, checklist_score
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.scale import read_scale

HELD = Dialect(constraint="structured_outputs")
LABELS = ["Score", "Faithful to the context", "Оценка", "A-b", "Is it? (yes)", "Полнота", "C++"]
SCALES = ["1-5", "0-10", "1-3", "0-1", "yes/no", "да/нет", "poor/fair/good", "good/great/grand"]
COLUMNS = ["context", "rubric", "контекст", "x1"]
TEXTS = st.lists(
    st.one_of(
        st.sampled_from(
            ["{question}", "{context}", "</context>", "<rubric>", "\n---\n", "\nScore: 5", "\n\n"]
            + ["<|im_end|>", "<|im_start|>assistant", "Score: [1-5]", "{", "}", "\\1", " "]
        ),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ),
    max_size=12,
).map("".join)


@dataclass(frozen=True)
class Declared:
    """A prompt file as somebody may write it."""

    scores: dict[str, tuple[str, float | None]]  # by label: scale, and weight
    text_at: int  # before which score the justification stands
    columns: list[str]

    @property
    def text(self) -> str:
        """The file."""
        lines = [
            f"{label}: [{scale}]" + (f" (weight {weight:g})" if weight else "")
            for label, (scale, weight) in self.scores.items()
        ]
        lines.insert(self.text_at, "Why: [one short text]")
        places = ["question", *self.columns, "answer"]
        row = "\n\n".join(f"<{name}>\n{{{name}}}\n</{name}>" for name in places)
        return "You are an examiner.\n" + "\n".join(lines) + f"\n---\n{row}\n\nHow good is it?\n"


@st.composite
def prompts(draw: st.DrawFn) -> Declared:
    labels = draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=6, unique=True))
    weighted = draw(st.booleans())
    weight = st.sampled_from([None, 0.5, 1.0, 2.0, 3.0]) if weighted else st.none()
    scores = {label: (draw(st.sampled_from(SCALES)), draw(weight)) for label in labels}
    columns = draw(st.lists(st.sampled_from(COLUMNS), max_size=3, unique=True))
    return Declared(scores, draw(st.integers(0, len(labels))), columns)


def loaded(declared: Declared) -> JudgePrompt:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prompt.txt"
        path.write_text(declared.text, encoding="utf-8")
        return load_prompt(path, ("inputs", "predictions", *COLUMNS))


def written(form: ReplyForm, values: Mapping[str, float], why: str) -> str:
    """A reply as a judge would write it."""
    said = {label: scale.word_of(values[label]) for label, scale in form.scales.items()}
    return "\n".join(f"{label}: {said.get(label, why)}" for label in form.labels)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompts(), st.data())
def test_what_the_judge_may_write_is_read_on_its_scale(
    declared: Declared, data: st.DataObject
) -> None:
    prompt = loaded(declared)
    form, asked = prompt.format, JudgeSettings("judge", prompt, dialect=HELD)
    assert list(form.scales) == list(declared.scores)
    assert bool(form.weights) == any(weight for _, weight in declared.scores.values())
    values = {
        label: data.draw(st.sampled_from(scale.values)) for label, scale in form.scales.items()
    }
    reply = written(form, values, "All of it.")
    assert re.fullmatch(form.regex(), reply)
    verdict = read_verdict(Reply(reply, "stop", (), 1, 1, 0), asked, "")
    assert {label: score.value for label, score in verdict.scores.items()} == values
    for label, score in verdict.scores.items():
        assert score.values == form.scales[label].values


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompts(), st.data())
def test_each_score_alone_goes_on_from_those_before_it(
    declared: Declared, data: st.DataObject
) -> None:
    prompt = loaded(Declared(declared.scores, len(declared.scores), declared.columns))
    form = prompt.format
    asked = JudgeSettings("judge", prompt, dialect=HELD, score_only=True)
    given_so_far: dict[str, float] = {}
    for label, scale in form.scales.items():
        value = data.draw(st.sampled_from(scale.values))
        body = request_body(asked, [{"role": "user", "content": "?"}], given_so_far)
        begun, word = body["messages"][-1]["content"], scale.word_of(value)
        text = word if begun.endswith(" ") else f" {word}"
        end = "\n" if scale.tokens > 1 else ""
        assert re.fullmatch(body["structured_outputs"]["regex"], text + end)
        rest = {name: scale.values[0] for name, scale in form.scales.items()}
        assert written(form, rest | given_so_far | {label: value}, "").startswith(begun)
        verdict = read_verdict(Reply(text + end, "length", (), 1, 1, 0), asked, "", given_so_far)
        assert verdict.scores[label].value == value
        assert verdict.raw_reply == begun + text + end
        given_so_far[label] = value


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompts(), st.data())
def test_every_text_of_the_row_stands_in_its_place_and_cannot_leave_it(
    declared: Declared, data: st.DataObject
) -> None:
    prompt = loaded(declared)
    assert prompt.columns == tuple(declared.columns)
    assert prompt.places == ("question", *declared.columns, "answer")
    more = tuple((name, data.draw(TEXTS)) for name in declared.columns)
    item = Item(data.draw(TEXTS), data.draw(TEXTS), more=more)
    asked = JudgeSettings("judge", prompt)
    [system, user] = [message["content"] for message in asked.messages(item)]
    assert system == prompt.system
    for name, text in item.texts.items():
        blank = name in declared.columns and not text.strip()
        shown = name in prompt.places and not blank
        assert user.count(f"<{name}>\n") == shown
        assert user.count(f"\n</{name}>") == shown
    for control in ("<|im_end|>", "<|im_start|>"):
        assert control not in user
    # What each text says is there, in the order of the places, and nothing stands behind the last.
    texts = (item.texts[name] for name in prompt.places)
    said = iter(re.sub(r"\W", "", user))
    assert all(sign in said for sign in re.sub(r"\W", "", "".join(texts)))
    assert user.endswith("\n</answer>\n\nHow good is it?")


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_checklists_score_is_the_weighted_mean_of_its_lines(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(SCALES), min_size=1, max_size=6))
    scales = {f"line {n}": read_scale(name) for n, name in enumerate(names)}
    scores, weights = {}, {}
    for label, scale in scales.items():
        assert scale is not None
        share = data.draw(st.floats(0, 1))
        chances = (1 - share, *[0.0] * (len(scale.values) - 2), share)
        scores[label] = Score(data.draw(st.sampled_from(scale.values)), chances, scale.values)
        weights[label] = data.draw(st.sampled_from([0.5, 1.0, 2.0]))
    form = ReplyForm((*scales, "Why"), scales, "Why", weights=weights)  # type: ignore[arg-type]
    score = checklist_score(scores, weights, form.scale)
    low, high = form.scale.low, form.scale.high
    total = sum(weights.values())
    whole = sum(
        weights[n] * (one.value - one.values[0]) / (one.values[-1] - one.values[0])
        for n, one in scores.items()
    )
    assert score.value == pytest.approx(low + (high - low) * whole / total, abs=1e-5)
    sure = sum(weights[n] * one.probabilities[-1] for n, one in scores.items() if one.probabilities)
    assert score.expected == pytest.approx(low + (high - low) * sure / total, abs=1e-5)
    assert low <= score.value <= high
    assert form.overall == OVERALL
    shared = {name for name in names if name not in ("yes/no", "да/нет")}
    assert str(form.scale) == (shared.pop() if len(shared) == 1 else "1-5")


def test_of_a_line_that_is_no_score_those_before_it_are_known() -> None:
    scores = {"Faithful": ("yes/no", 2.0), "Depth": ("0-10", None), "Clear": ("1-5", None)}
    asked = JudgeSettings("judge", loaded(Declared(scores, 3, [])), dialect=HELD, score_only=True)
    before = {"Faithful": 1.0, "Depth": 10.0}
    verdict = read_verdict(Reply("maybe", "length", (), 1, 1, 0), asked, "", before)
    assert verdict.failed
    assert verdict.raw_reply == "Faithful: no\nDepth: 10\nClear: maybe"
    assert given_before(verdict, asked) == before
    calls = list(score_calls(asked, [], before))
    assert [label for label, _, _ in calls] == ["Faithful", "Depth"]
    assert calls[1][2] == "Faithful: no\nDepth: 10"


def token(text: str, **others: float) -> TokenLogprobs:
    shares = {name.strip("_"): share for name, share in others.items()}
    alternatives = tuple((word.encode(), log(share)) for word, share in shares.items())
    return TokenLogprobs(text.encode(), log(shares[text]), alternatives)


def test_one_and_ten_are_told_apart_by_what_the_judge_says_next(tmp_path: Path) -> None:
    prompt = loaded(Declared({"Score": ("0-10", None)}, 1, []))
    asked = JudgeSettings("judge", prompt, dialect=HELD, score_only=True)
    ended = TokenLogprobs(b"\n", log(0.25), ((b"\n", log(0.25)), (b"0", log(0.75))))
    ten = Reply("1\n", "length", (token("1", _1=0.6, _9=0.4), ended), 1, 2, 0)
    verdict = read_verdict(ten, asked, "")
    assert verdict.overall is not None
    assert verdict.overall.probabilities == pytest.approx((0, 0.15, *[0] * 7, 0.4, 0.45))
    assert not open_scores(ten, asked, "")
    # Where the reply wrote a 9, nobody knows yet how the 1 would have gone on.
    nine = Reply("9\n", "length", (token("9", _1=0.6, _9=0.4), token("\n", **{"\n": 1.0})), 1, 2, 0)
    verdict = read_verdict(nine, asked, "")
    assert verdict.overall is not None
    assert verdict.overall.value == 9
    assert verdict.overall.probabilities is None
    [one] = open_scores(nine, asked, "")
    bodies = one.bodies(asked, [])
    assert list(bodies) == ["1"]
    assert bodies["1"]["messages"][-1]["content"] == "Score: 1"
    assert bodies["1"]["structured_outputs"] == {"regex": r"(\n|0)"}
    then = Reply("0", "length", (token("0", **{"0": 0.75, "\n": 0.25}),), 1, 1, 0)
    assert one.read({"1": then}) == pytest.approx((0, 0.15, *[0] * 7, 0.4, 0.45))
    assert one.read({}) is None, "and without an answer nothing is guessed"


ATTACKS = [attack for attack in load_attacks(CORPUS) if not attack.sealed]


@pytest.mark.parametrize("name", ["question", "answer", "reference", "context", "rubric"])
def test_no_attack_leaves_the_column_that_it_stands_in(name: str, tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    places = ["context", "rubric", "question", "reference", "answer"]
    row = "\n\n".join(f"<{place}>\n{{{place}}}\n</{place}>" for place in places)
    path.write_text(f"Examine.\nScore: [1-5]\nWhy: [text]\n---\n{row}\n", encoding="utf-8")
    asked = JudgeSettings("judge", load_prompt(path, ("inputs", "predictions", *places[:2])))
    honest = Item("What?", "It is.", "It is so.", more=(("context", "c"), ("rubric", "r")))
    plain = asked.messages(honest)
    found = 0
    for attack in ATTACKS:
        [head, user] = asked.messages(attack.in_column(honest, name))
        assert head == plain[0]
        for place in places:
            assert (user["content"].count(f"<{place}>"), user["content"].count(f"</{place}>")) == (
                1,
                1,
            )
        inside = user["content"].split(f"<{name}>\n")[1].split(f"\n</{name}>")[0]
        outside = user["content"].replace(inside, "…")
        text = honest.texts[name]
        assert outside == plain[1]["content"].replace(f"<{name}>\n{text}\n", f"<{name}>\n…\n")
        flagged = {
            place: said
            for place, text in attack.in_column(honest, name).texts.items()
            if (said := addressing(text))
        }
        assert set(flagged) <= {name}
        found += bool(flagged)
    assert found >= len(ATTACKS) / 4, "recall is measured by benchmarks/speaks_to_judge.py"


def test_the_shipped_prompts_are_read_as_before() -> None:
    for path in sorted((ROOT / "mlflow_tracking/prompts").glob("judge_prompt*.txt")):
        assert str(load_prompt(path, ("inputs", "predictions", "targets")).format.scale) == "1-5"
