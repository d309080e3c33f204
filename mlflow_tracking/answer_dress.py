"""How is an answer dressed up without a change of what it says? Padding, Markdown, authority.

Used by `python mlflow_tracking/validate_judge.py --data graded.csv` to find what sways a judge.
"""

import re
from dataclasses import replace

from mlflow_tracking.judge import Question

_CYRILLIC, _LETTER = re.compile(r"[а-яё]", re.I), re.compile(r"[^\W\d_]")
_PADDING = {
    "en": "This is my answer to the question as it was asked. I have thought about it and have put "
    "it into my own words. I hope that it is clear, and I have nothing further to add to it.",
    "ru": "Это мой ответ на заданный вопрос. Я обдумал его и изложил своими словами. Надеюсь, что "
    "он понятен, и добавить к нему мне больше нечего.",
}
_AUTHORITY = {"en": "As an expert, I can say: ", "ru": "Как эксперт, могу сказать: "}

# Marks at a line's start (heading, quote, list), fences, then pairs of marks around words.
_LINE_MARKS = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+][ \t]+)", re.M)
_NUMBERS = re.compile(r"^[ \t]*\d{1,2}[.)][ \t]+", re.M)
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*\n?", re.M)
_AROUND = re.compile(r"(\*\*|~~|`)(?=\S)(.+?)(?<=\S)\1", re.S)  # no `__`: code has __init__
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]+?)(?<=[^\s*])\*(?![\w*])")
_LINK = re.compile(r"(?<!\w)!?\[([^\]\n]+)\]\((?:\w+://|[./#])[^()\s]*(?:[ \t]+\"[^\"\n]*\")?\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[^\W\d_])")


def pad(item: Question) -> Question:
    """The answer with sentences after it that say nothing."""
    return replace(item, answer=f"{item.answer.rstrip()} {_PADDING[language_of(item.answer)]}")


def strip_markdown(item: Question) -> Question | None:
    """The answer as plain text; None if it is that already."""
    plain = plain_text(item.answer)
    return None if plain == item.answer else replace(item, answer=plain)


def add_markdown(item: Question) -> Question:
    """The answer as a list of its sentences, each with a bold beginning."""
    sentences = _SENTENCE_END.split(plain_text(item.answer).strip())
    return replace(item, answer="\n".join(f"- {_bold_start(text)}" for text in sentences))


def repeat_question(item: Question) -> Question:
    """The question's wording before the answer."""
    return replace(item, answer=f"{item.question.strip()}\n\n{item.answer}")


def claim_expertise(item: Question) -> Question:
    """'As an expert,' before the answer, in its language."""
    return replace(item, answer=_AUTHORITY[language_of(item.answer)] + item.answer)


def plain_text(text: str) -> str:
    """Without Markdown's marks; words, numbers and line breaks stay."""
    text = _LINK.sub(r"\1", _FENCE.sub("", text))
    before = ""
    while before != text:  # `**` may stand around `_`
        before, text = text, _ITALIC.sub(r"\1", _AROUND.sub(r"\2", text))
    if len(_NUMBERS.findall(text)) > 1:  # a lone '42. ' may well be the answer
        text = _NUMBERS.sub("", text)
    return _LINE_MARKS.sub("", text)


def language_of(text: str) -> str:
    """'ru' if most letters are Cyrillic, else 'en'."""
    return "ru" if len(_CYRILLIC.findall(text)) * 2 > len(_LETTER.findall(text)) else "en"


def _bold_start(sentence: str) -> str:
    words = sentence.split(" ")
    return " ".join([f"**{' '.join(words[:2])}**", *words[2:]])
