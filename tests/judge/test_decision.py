"""Is a yes or a no read as strictly as a digit, with the probability behind it?

python -m pytest tests/judge/test_decision.py
"""

import re
from collections.abc import Sequence
from math import log
from pathlib import Path

import pytest

from llm_client.reply import Reply, TokenLogprobs, read_reply
from llm_client.settings import ROOT
from mlflow_tracking.judge.call import explain_body, read_explanation, read_verdict, request_body
from mlflow_tracking.judge.prompt import check_score_only, load_prompt
from mlflow_tracking.judge.reply_form import PromptError, read_form
from mlflow_tracking.judge.reply_parser import UnparsableReply, parse_decision_reply
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Status
from mlflow_tracking.rows.scale import choice

PROMPT = load_prompt(ROOT / "mlflow_tracking/prompts/decision_prompt_en.txt")
RUSSIAN = load_prompt(ROOT / "mlflow_tracking/prompts/decision_prompt.txt")
WHOLE = JudgeSettings("judge", PROMPT)
SHORT = JudgeSettings("judge", PROMPT, score_only=True, explain_below=3)
_SHARES = (("no", 0.9), ("yes", 0.1))
MESSAGES = [{"role": "user", "content": "Is it?"}]


def token(text: str, *others: tuple[str, float]) -> TokenLogprobs:
    """A token and its alternatives, each with its probability."""
    alternatives = tuple((word.encode(), log(share)) for word, share in others)
    return TokenLogprobs(text.encode(), dict(alternatives).get(text.encode(), 0.0), alternatives)


def reply(text: str, tokens: Sequence[TokenLogprobs] = (), finish: str = "stop") -> Reply:
    return Reply(text, finish, tuple(tokens), 100, 20, 0)


class TestTheDeclaration:
    @pytest.mark.parametrize(
        ("line", "words"),
        [
            ("[yes/no]", ("yes", "no")),
            ("  [да/нет]  ", ("да", "нет")),
            ("[correct or wrong]", ("correct", "wrong")),
            ("[верно или неверно]", ("верно", "неверно")),
            ("[pass|fail]", ("pass", "fail")),
        ],
    )
    def test_the_first_word_is_the_good_one(self, line: str, words: tuple[str, str]) -> None:
        form = read_form(Path("p.txt"), f"{line}\nJustification: [text]\n")
        assert form.decision == choice(*words)
        assert form.scores_first

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("[yes/no]\nScore: [1-5]\nJustification: [text]", "Score"),
            ("Justification: [text]\n[yes/no]", "first line"),
            ("[yes/no]", "no justification"),
            ("[yes/no]\nWhy: [text]\nMore: [text]", "2 texts"),
        ],
        ids=["beside a score", "after the text", "without a text", "with two texts"],
    )
    def test_what_it_cannot_stand_beside_is_told(self, text: str, why: str) -> None:
        with pytest.raises(PromptError, match=why):
            read_form(Path("p.txt"), text)

    def test_the_server_is_held_to_the_two_words(self) -> None:
        for prompt, words, label in (
            (PROMPT, ("yes", "no"), "Justification"),
            (RUSSIAN, ("да", "нет"), "Обоснование"),
        ):
            pattern = re.compile(prompt.format.regex())
            for word in words:
                assert pattern.fullmatch(f"{word}\n{label}: It is so.")
                assert not pattern.fullmatch(f"{word} {word}\n{label}: It is so.")
            assert not pattern.fullmatch(f"maybe\n{label}: It is so.")

    def test_the_shipped_prompts_allow_one_token_a_row(self) -> None:
        check_score_only(PROMPT)
        check_score_only(RUSSIAN)


class TestTheReply:
    @pytest.mark.parametrize(
        ("text", "score", "justification"),
        [
            ("yes\nJustification: It is right.", 5, "It is right."),
            ("No.\nJustification: It is wrong.", 1, "It is wrong."),
            ("**YES**\n\n**Justification:** All of it.", 5, "All of it."),
            ("<think>no? no.</think>\nyes\nJustification: Right.", 5, "Right."),
            ("no\nJustification: 'yes', it says.\nyes\nJustification: 5", 1, None),
        ],
        ids=["plain", "a full stop", "Markdown", "thoughts before", "the first line counts"],
    )
    def test_it_is_read(self, text: str, score: int, justification: str | None) -> None:
        parsed = parse_decision_reply(text, PROMPT.format)
        assert parsed.scores == {"decision": score}
        word = "yes" if score == 5 else "no"
        assert text[parsed.places["decision"] :].casefold().startswith(word)
        assert justification is None or parsed.justification == justification

    @pytest.mark.parametrize(
        "text",
        [
            "yes, because it is right\nJustification: Right.",
            "The answer is yes\nJustification: Right.",
            "ye\nJustification: Right.",
            "yes no\nJustification: Both.",
            "5\nJustification: Right.",
            "yes",
            "yes\nJustification:",
            "yes\nBecause it is right.",
            "",
            "<think>yes",
        ],
    )
    def test_anything_else_is_no_verdict(self, text: str) -> None:
        with pytest.raises(UnparsableReply):
            parse_decision_reply(text, PROMPT.format)

    def test_a_cut_reply_keeps_its_decision(self) -> None:
        verdict = read_verdict(reply("no\nJustification: It is wr", finish="length"), WHOLE, "")
        assert verdict.status is Status.TRUNCATED
        assert verdict.overall is not None
        assert verdict.overall.value == 1
        assert verdict.justification == "It is wr […]"


class TestTheProbability:
    def test_the_expected_score_is_1_and_4_times_the_good_words_probability(
        self,
    ) -> None:
        tokens = [token("yes", ("yes", 0.75), ("no", 0.25)), token("\nJustification: Right.")]
        verdict = read_verdict(reply("yes\nJustification: Right.", tokens), WHOLE, "")
        assert verdict.overall is not None
        assert verdict.overall.value == 5
        assert verdict.overall.probabilities == pytest.approx((0.25, 0.75))
        assert verdict.overall.expected == pytest.approx(1 + 4 * 0.75)

    def test_other_spellings_add_up_and_other_words_count_for_nothing(self) -> None:
        shares = (("yes", 0.3), (" Yes", 0.1), ("no", 0.1), ("maybe", 0.4), ("\n", 0.1))
        verdict = read_verdict(reply("yes", [token("yes", *shares)]), SHORT, "")
        assert verdict.overall is not None
        assert verdict.overall.probabilities == pytest.approx((0.2, 0.8))

    def test_a_word_of_several_tokens_is_known_by_its_beginning(self) -> None:
        asked = JudgeSettings("judge", RUSSIAN, score_only=True)
        verdict = read_verdict(reply("н", [token("н", ("н", 0.6), ("да", 0.4))]), asked, "")
        assert verdict.overall is not None
        assert verdict.overall.probabilities == pytest.approx((0.6, 0.4))
        assert choice("да", "нет").value_of("не") == 1
        assert choice("верно", "вера").value_of("вер") is None

    @pytest.mark.parametrize(
        "before", [[], ["<think>", "hm", " hm", " hm", " hm", "</think>", "\n"]]
    )
    def test_it_is_read_from_what_the_server_sends(self, before: list[str]) -> None:
        def sent(text: str) -> dict[str, object]:
            others = [{"token": word, "logprob": log(share)} for word, share in _SHARES]
            return {"token": text, "logprob": log(0.9), "top_logprobs": others}

        pieces = [*before, "no", "\n", "Just", "ification", ":", " Wrong", "."]
        answer = {
            "choices": [
                {
                    "message": {"content": "".join(pieces)},
                    "finish_reason": "stop",
                    "logprobs": {"content": [sent(piece) for piece in pieces]},
                }
            ]
        }
        verdict = read_verdict(read_reply(answer), WHOLE, "")
        assert verdict.overall is not None
        assert verdict.overall.expected == pytest.approx(1 + 4 * 0.1)

    def test_a_word_without_alternatives_says_nothing_about_the_other(self) -> None:
        verdict = read_verdict(reply("no\nJustification: Wrong.", [token("no")]), WHOLE, "")
        assert verdict.overall is not None
        assert verdict.overall.expected is None

    def test_without_log_probabilities_there_is_no_expected_score(self) -> None:
        verdict = read_verdict(reply("yes\nJustification: Right."), WHOLE, "")
        assert verdict.overall is not None
        assert verdict.overall.expected is None


class TestOneToken:
    def test_nothing_is_begun_for_the_judge(self) -> None:
        body = request_body(SHORT, MESSAGES)
        assert body["messages"] == MESSAGES
        assert body["max_tokens"] == 1
        assert body["structured_outputs"] == {"regex": "(yes|no)"}
        assert "continue_final_message" not in body

    def test_a_no_is_justified_after_the_word(self) -> None:
        scored = read_verdict(reply("no", [token("no", ("no", 0.9), ("yes", 0.1))]), SHORT, "")
        body = explain_body(SHORT, MESSAGES, {"decision": 1})
        assert body["messages"][-1] == {"role": "assistant", "content": "no\nJustification:"}
        explained = read_explanation(reply(" It is wrong."), scored, SHORT, "")
        assert explained.scores == scored.scores
        assert explained.justification == "It is wrong."

    @pytest.mark.parametrize("text", ["maybe", "", "5"])
    def test_another_word_is_no_score(self, text: str) -> None:
        verdict = read_verdict(reply(text), SHORT, "")
        assert verdict.status is Status.UNPARSABLE
        assert not verdict.scores
