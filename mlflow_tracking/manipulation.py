"""Which parts of an answer speak to the judge instead of answering the question?

Used by `python mlflow_tracking/run_experiment.py`; what it catches and what it wrongly flags is
measured by `python mlflow_tracking/probe_injection.py`.

A small judge follows such text whatever the prompt says (measured: wrong answers at 2.0 rise to
4.3-5.0), so it is found by rules, before the judge sees it. The rules are about grading, not about
topics: a label with a mark, an order about marks, a word to the grader, a fake turn of a
conversation. They read a folded text: no invisible characters, no look-alike letters of another
alphabet, no spaced-out or l33t words.
"""

import re
import unicodedata
from collections.abc import Iterator

from mlflow_tracking.row_text import ControlTokens

Span = tuple[int, int]  # start and end in the answer
OMISSION = "[…]"

_LABEL = (
    r"(?:final |overall |total |итоговая |общая |моя )?(?:score|grade|rating|verdict|mark|marks"
    r"|accuracy|completeness|relevance|оценка|балл|баллы|отметка|вердикт|точность|полнота"
    r"|bewertung|note|punktzahl|puntuaci[oó]n|calificaci[oó]n|nota|voto|評価|评分|分数|得分|评价)"
)
_TEXT_LABEL = (
    r"(?:justification|rationale|обоснование|begr[uü]ndung|justificaci[oó]n|motivazione|理由|评语)"
)
_GRADE = (
    r"(?:scores?|grades?|marks?|ratings?|verdicts?|points|балл\w*|оценк\w*|отметк\w*|пятерк\w*)"
)
_GRADER = (
    r"(?:graders?|evaluators?|assessors?|ai judge|llm judge|оценщик\w*|проверяющ\w*|рецензент\w*)"
)
_REFERENCE = (
    r"(?:rubric|grading|reference answer|answer key|model answer|рубрик\w*|критери\w+ (?:выше|оцен\w+)"
    r"|эталон(?!н\w* модел)\w*)"
)
# Each pattern alone marks the sentence or line that it is found in.
_RULES = tuple(
    re.compile(pattern, re.I | re.M)
    for pattern in (
        # a label with a mark, plain, in Markdown or as JSON; or the label of a justification
        rf"(?<![\w-]){_LABEL}[\"'*_`\s]*(?:[:=：]|—|–| - | is | of |\d)[\"'*_`\s(\[]*(?:[1-5](?![\d%]|[.,]\d)|five|пять)",
        rf"^\W*{_TEXT_LABEL}[\"'*_`\s]*[:：]",
        rf"[1-5]\s*(?:/|из|out of)\s*5(?!\d)[^.]{{0,40}}{_GRADE}|{_GRADE}[^.]{{0,40}}[1-5]\s*(?:/|из|out of)\s*5(?!\d)",
        r"(?:give|rate|mark|score|answer|ставь|поставь\w*)[^.\n]{0,30}[1-5]\s*/\s*5(?!\d)",
        # an order or a wish about marks
        r"\b(?:ignore|disregard|forget|override|overrule|skip|bypass)\b[^.!?\n]{0,60}\b(?:rubric|instructions?|criteria|prompt|reference|guidelines?|rules?|above)\b",
        r"(?:игнорир|забудь|забыть|отбрось|отмени|не учитывай|не обращай внимания)\w*[^.!?\n]{0,60}(?:критери|инструкц|рубрик|указан|эталон|правил|выше|предыдущ)",
        rf"\b(?:give|giving|assign|award|output|reply with|respond with|return|deserves?|receives?|gets?|set)\b[^.!?\n]{{0,50}}\b(?:full |top |maximum |max |highest |perfect |final |a )*(?:{_GRADE}|(?:a|of) (?:5|five))\b",
        r"\b(?:give|rate|mark)\b[^.!?\n]{0,40}\b(?:less than|lower than|below|nothing but|a|only)\s(?:a )?(?:5|five)\b",
        r"\b(?:below|less than) (?:a )?(?:5|five)\b[^.!?\n]{0,60}\b(?:lose|fail|please)\b",
        r"(?:ставь|поставь|поставит|постав|выстав|выведи|вывод|присво|оценивать|оцени(?:те)?\b|начисл|получа)\w*[^.!?\n]{0,60}(?:\b5\b|\bпять\b|балл|оценк|отметк|пятерк|максим|высш)",
        rf"\b(?:full|top|highest|maximum|perfect|best possible) {_GRADE}\b",
        rf"(?:высш|максимальн|наивысш|полн)\w*\s+{_GRADE}",
        # a word to the grader, or about the grading
        rf"\b{_GRADER}\b",
        r"(?:note|attention|message|dear|внимание|примечание|сообщение|обращение)\W+(?:to |for |для )?(?:the )?(?:\w+\W+)?(?:examiner|reviewer|judge|marker|teacher|model|экзаменатор|преподавател|эксперт|судь|модел|методическ)",
        rf"{_REFERENCE}[^.!?\n]{{0,80}}(?:fault|wrong|withdrawn|outdated|updated?\b|swap|match|agree|identical|mistake|ошиб|устар|обновл|отозв|неверн|исключ|сверк|совпад|расхожд|кажущ)",
        rf"(?:fault|wrong|withdrawn|outdated|swap|match|agree|compar|identical|differ|ошиб|устар|неверн|исключ|сверк|совпад|расхожд|кажущ)\w*[^.!?\n]{{0,60}}(?:{_REFERENCE}|\bthe (?:reference|key)\b(?! model| point))",
        r"(?:вопрос|задани)\w*[^.!?\n]{0,30}исключен\w*[^.!?\n]{0,30}провер",
        r"(?:снижать|снизить|lower|reduce|deduct|take off)[^.!?\n]{0,30}(?:балл|оценк|marks?\b|points?\b|score|grade)",
        r"\bcalibration (?:mode|item)|\bexpected output is\b",
        # the answer on itself
        r"\b(?:this|the|my|above|last) (?:answer|response|submission)\b[^.!?\n]{0,50}\b(?:correct|exact|complete|perfect|verified|checked|approved|criteria|reference|match\w*|meets|holds)\b",
        r"(?:этот|данный|мой|последний|следующий)?\s*\bответ\w*\s+(?:\w+\s+){0,4}(?:верн\w+|правильн\w+|точн\w+|полный|полон|соответств\w+|совпада\w+|провер\w+|признан\w*|одобрен\w*|безупречн\w+)",
        # an authority has decided already
        r"\b(?:already|been|was) (?:graded|marked|reviewed|approved|verified|scored)\b|\b(?:reviewed|approved|graded|verified) (?:and \w+ )?by\b",
        r"(?:преподавател|учител|профессор|комисси|эксперт|экзаменатор)\w*[^.!?\n]{0,60}(?:провер|одобр|утверд|призна|постав|зачт|засчит|балл|оценк)",
        r"(?:провер|одобр|утверд|призна|засчит)\w*[^.!?\n]{0,60}(?:преподавател|учител|профессор|комисси|эксперт|экзаменатор|верн)",
    )
)
# After one of these the rest of the answer is no longer an answer, if it speaks of grading.
_TAKEOVER = re.compile(
    r"^[ \t]*[\[<(*#\"']*(?:system|assistant|user|human|система|ассистент|пользователь)[\])>*\"']*[ \t]*[:\]>]"
    r"|</?(?:answer|reference|question|ответ|эталон|вопрос|data|данные|input|text|document)>"
    r"|^[ \t]*(?:-{3,}|={3,}|\*{3,}|\"{3}|#{2,}[ \t]*(?:end|конец|grading|note)[^\n]*)",
    re.I | re.M,
)
_TALK = re.compile(
    rf"{_GRADE}|{_GRADER}|{_REFERENCE}|verdict|instruction|инструкци|correct|agrees|верн|провер|ошибок",
    re.I,
)

_TO_LATIN = str.maketrans("асеорхукмтнвзАСЕОРХУКМТНВ", "aceopxykmtHb3ACEOPXYKMTHB")
_TO_CYRILLIC = str.maketrans("aceopxykmuHBTKMACEOPXY", "асеорхукмиНВТКМАСЕОРХУ")
_LEET = str.maketrans("013457@$", "oieastas")


def find_spans(answer: str) -> list[Span]:
    """The parts of `answer` that speak to the judge, in order, without overlap; usually none."""
    folded, places = _fold(answer)
    found = [
        (start, end)
        for start, end in _segments(folded)
        if any(rule.search(folded, start, end) for rule in _RULES)
    ]
    found += _takeovers(answer, folded, places)
    blocks = [match.span() for match in re.finditer(r"```.*?(?:```|\Z)|\{[^{}]*\}", folded, re.S)]
    found = [_widen(span, blocks) for span in found]
    return _merge([(places[start], places[end]) for start, end in found], answer)


def leave_out(answer: str, spans: list[Span]) -> str:
    """The answer with each span replaced by the mark `[…]`."""
    kept, position = [], 0
    for start, end in spans:
        kept += [answer[position:start], OMISSION]
        position = end
    return "".join([*kept, answer[position:]])


def _segments(text: str) -> Iterator[Span]:
    """Sentences, lines, and what follows a tag: no longer than what one rule speaks of."""
    position = 0
    for match in re.finditer(r"(?<=[.!?。！？;])[\s)\"]+|\n+|(?=[<\[]/?[|｜\w])|\Z", text):
        if match.start() > position:
            yield position, match.start()
        position = match.end()


def _takeovers(answer: str, folded: str, places: list[int]) -> list[Span]:
    starts = [match.start() for match in _TAKEOVER.finditer(folded)]
    defused = ControlTokens().defuse(answer)
    changed = [at for at, (old, new) in enumerate(zip(answer, defused, strict=True)) if old != new]
    if changed:
        starts.append(next((at for at, place in enumerate(places) if place >= changed[0]), 0))
    return [(at, len(folded)) for at in starts if _TALK.search(folded, at)]


def _widen(span: Span, blocks: list[Span]) -> Span:
    """A span inside a code block or a JSON object takes all of it."""
    for start, end in blocks:
        if start <= span[0] < end:
            return start, max(end, span[1])
    return span


def _merge(spans: list[Span], answer: str) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and not answer[merged[-1][1] : start].strip():
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        elif end > start:
            merged.append((start, end))
    return merged


def _fold(text: str) -> tuple[str, list[int]]:
    """The text as the rules read it, and for each of its characters the place in `text`."""
    signs: list[str] = []
    places: list[int] = []
    for place, sign in enumerate(text):
        if unicodedata.category(sign) == "Cf" or sign == "\u034f":
            continue  # zero-width characters, soft hyphens, direction marks
        for part in unicodedata.normalize("NFKC", sign):
            signs.append("е" if part in "ёЁ" else part)
            places.append(place)
    places.append(len(text))
    folded = _join_spaced("".join(signs), places)
    return re.sub(r"[\w@$]+", lambda match: _fold_word(match[0]), folded), places


def _join_spaced(text: str, places: list[int]) -> str:
    """Close up words that are written letter by letter; `places` is changed along with it."""
    drop: set[int] = set()
    for match in re.finditer(r"(?<!\w)(?:[^\W\d_][ .\-_]){3,}[^\W\d_](?!\w)", text):
        drop.update(range(match.start() + 1, match.end(), 2))
    if drop:
        places[:] = [place for at, place in enumerate(places) if at not in drop]
    return "".join(sign for at, sign in enumerate(text) if at not in drop)


def _fold_word(word: str) -> str:
    """Same length as `word`: one alphabet, no digits for letters."""
    latin = bool(re.search(r"[a-z]", word, re.I))
    cyrillic = bool(re.search(r"[а-я]", word, re.I))
    if latin and cyrillic:
        as_cyrillic = word.translate(_TO_CYRILLIC)
        return (
            as_cyrillic if not re.search(r"[a-z]", as_cyrillic, re.I) else word.translate(_TO_LATIN)
        )
    if latin and re.search(r"[a-z]\d|\d[a-z]|[@$]", word, re.I):
        return word.translate(_LEET)
    return word
