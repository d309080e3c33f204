"""What does text look like that speaks to a judge? The rules of manipulation.py, as data.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --benign my_honest_answers.csv

Each pattern of _PATTERNS alone marks the sentence or line that it is found in. They are about
grading, not about topics. They are read with re.I and re.M against folded text (see
manipulation.py), which has no accents.
"""

import re

# Blocks of the patterns; a name in the plural holds plain words, which rules can name too.
_LABELS = (
    "score|grade|rating|verdict|mark|accuracy|completeness|relevance|оценка|балл|отметка|вердикт"
    "|точность|полнота|итог|bewertung|punktzahl|puntuacion|valoracion|calificacion|nota|voto|ocena"
    "|оцінка|評価|评分|分数|得分|评价"
)
_LABEL = (
    rf"(?:[a-zа-я]+[_ ])?(?:{_LABELS}|marks|баллы"
    r"|note(?=[^\w\n]*[1-5](?:\W*$|\s*[/;(]|,\s*\"|\s+von\b)))"
)
_MARK, _MARK_RU = "score|grade|mark|rating|verdict", "балл|оценк|отметк|пятерк"
_GRADES = f"{_MARK}|points|{_MARK_RU}"
_GRADE = rf"(?:(?:{_MARK})s?|points|(?:{_MARK_RU})\w*)"
_ONE_GRADE = rf"(?:(?:{_MARK})\b|(?:{_MARK_RU})\w*)"
_GRADERS = "grader|evaluator|assessor|ai judge|llm judge|оценщик|проверяющ|рецензент|проверяльщик"
_GRADER = (
    r"(?:graders?|evaluators?|assessors?|(?:ai|llm) judge|оценщик\w*|проверяющ\w*|рецензент\w*"
    r"|проверяльщик\w*)"
)
_REFERENCES = (
    "rubric|grading|reference answer|answer key|model answer|official answer|рубрик|критери"
    "|правильн|эталон"
)
_REFERENCE = (
    r"(?:rubric|grading|reference answer|answer key|model answer|official answer|рубрик\w*"
    r"|критери\w+ (?:выше|оцен\w+)|правильн\w+ ответ\w* в базе|эталон(?!н\w* модел)\w*)"
)
_BEST = (
    r"(?:full|top|highest|maximum|maximal|max|perfect|best(?: possible)?|excellent|high"
    r"|высш\w*|высок\w*|максимальн\w*|наивысш\w*|полн\w*|отличн\w*|наилучш\w*)"
)
_FIVE = r"(?:\b5\b(?![.,]\d)|\bfive\b|\bпять\b|\bпяти\b|\bпятерк\w*)"
_OUT_OF_FIVE = r"(?:[1-5]|five|пять)\s*(?:/|из|out of|von|de|sur)\s*(?:5(?!\d)|five|пяти)"
_AUTHORITY = (
    r"(?:professor|instructor|lecturer|supervisor|teacher|examiner|examination board|committee"
    r"|course (?:author|staff|team)|faculty|dean|expert panel|experts|moderator"
    r"|преподавател\w*|учител\w*|профессор\w*|лектор\w*|комисси\w*|эксперт\w*|экзаменатор\w*"
    r"|кафедр\w*|методист\w*|деканат\w*|автор\w* (?:курса|вопроса|задания|теста)|рецензент\w*)"
)
_DECISIONS = (
    "approv|confirm|verif|accept|agreed|graded|marked|credit|validated|endorsed|провер|одобр|утверд"
    "|подтвер|призна|постав|зачт|засчит|согласова|принят"
)
_DECIDED = rf"(?:{_DECISIONS})\w*"
_DECIDED_ON = (
    r"(?:answer|response|submission|solution|wording|version|formulation|\bit\b|\bthis\b|ответ\w*"
    r"|формулировк\w*|решени\w*|вариант\w*|балл\w*|оценк\w*|marks?\b|grade|score)"
)
_PRAISE = (
    r"(?:correct|exact|perfect|right|verified|checked|approved|flawless|exemplary|accurate"
    r"|верн\w+|правильн\w+|безупречн\w+|идеальн\w+|образцов\w+|безошибочн\w+)"
)
_ANSWER = (
    r"(?:(?:this|my|above|given|last|student'?s?) (?:answer|response|submission|solution)"
    r"|the (?:answer|response|submission) (?:above|given|below)|(?:the )?above (?:answer|response|text)"
    r"|(?:этот|данный|мой|последний|приведенный|вышеприведенный|следующий) ответ\w*"
    r"|этому ответу|этого ответа|данному ответу|ответ (?:выше|ученика|студента))"
)

# A rule: words in small letters, of which each match holds at least one, and the pattern, in which
# WORDS stands for them. With "" for the words a rule is always tried.
_PATTERNS = {
    # a label with a mark: plain, in Markdown, JSON, XML; a mark that stands alone
    f"{_LABELS}|note": rf"(?<![^\W_]){_LABEL}[\"'*_`\s]*(?:[:=：>→]|—|–| - | is | of |\d)[\"'*_`\s(\[]*(?:[1-5](?![\d%]|[.,:–-]\d)|five|пять|отлично)",
    "justification|rationale|обоснование|обґрунтування|begrundung|justificacion|motivazione|uzasadnienie|理由|评语": r"^\W*(?:WORDS)[\"'*_`\s]*[:：]",
    "★|⭐|*": r"^[^\w★⭐*]*+[★⭐*]{5}[^\w★⭐*]*+$",
    # an order, a wish or a claim about marks
    "5|five|пяти": rf"{_OUT_OF_FIVE}[^.]{{0,40}}{_GRADE}|{_GRADE}[^.]{{0,40}}{_OUT_OF_FIVE}|^\W*{_OUT_OF_FIVE}\W*$"
    rf"|\b(?:give|rate|mark|score|answer|award|ставь|поставь\w*)\b[^.\n]{{0,40}}{_OUT_OF_FIVE}",
    "ignore|disregard|forget|override|overrule|skip|bypass|discard|set aside|do not use|do not apply|do not follow|do not compare": r"\b(?:WORDS)\b[^.!?\n]{0,60}\b(?:rubric|instructions?|criteria|prompt|reference|guidelines?|rules(?! of\b)|above|scale)\b",
    "игнорир|забудь|забыть|отбрось|отмени|не учитыва|не обращай внимания|не сверя|не сравнива|не применя": r"(?:WORDS)\w*[^.!?\n]{0,60}(?:критери|инструкц|рубрик|указан|эталон|правил(?!\w* (?:дорож|безопасн|грамматик|игр))|выше|предыдущ|шкал)",
    "give|giving|assign|award|reply with|respond with|return|deserve|receive|get|set the|set this|set its|set my|set a|put|print|write": rf"\b(?:WORDS|output|deserves|receives|gets)\b[^.!?\n]{{0,50}}\b(?:{_BEST} |final |a |an )*(?:{_ONE_GRADE}|(?:{_BEST}|5|five) (?:points|marks)|(?:a|of) (?:5|five))\b",
    "give|rate|mark": r"\b(?:WORDS)\b[^.!?\n]{0,40}\b(?:less than|lower than|below|nothing but|a|only|at least)\s(?:a )?(?:5|five)\b",
    "below|less than|lower than": r"\b(?:WORDS) (?:a )?(?:5|five)\b[^.!?\n]{0,60}\b(?:lose|fail|please|means|unfair|mistake)\b",
    "ставь|постав|выстав|выведи|вывод|присво|оцени": r"(?:ставь|постав|выстав(?!ля\w*т\b)|выведи|вывод|присво|оценивать|оцени(?:те)?\b)\w*[^.!?\n]{0,60}(?:\b5\b(?![.,]\d| ?%)|\bпять\b|балл|оценк|отметк|пятерк|максимальн\w+ (?:балл|оцен)|высш)",
    f"{_MARK_RU}|высш": r"(?:начисл|получа|напиши|верни|заслужива|достоин|требу|прошу|нужн)\w*[^.!?\n]{0,60}(?:WORDS)",
    "не ниже|не меньше|не менее|минимум": r"(?:WORDS)\s+(?:\b5\b|пят\w+)[^.!?\n]{0,30}(?:балл|оценк|$)",
    # 'the highest score is 300' is a fact; 'the highest score is 5' is a label with a mark
    _GRADES: rf"(?<!\bis the )(?<!\bwas the )\b{_BEST}\s+(?:\w+\s+)?{_GRADE}(?!\w|\s+(?:is|was|of|in)\b)",
    "treat|accept|count|consider|regard|assume|mark|take": rf"\b(?:WORDS)\b[^.!?\n]{{0,50}}\b(?:answer|response|submission|it)\b[^.!?\n]{{0,30}}\b(?:as|is|to be)\b[^.!?\n]{{0,30}}{_PRAISE}",
    "счита|засчит|прими|зачт|призна": rf"(?:WORDS)\w*[^.!?\n]{{0,50}}ответ\w*[^.!?\n]{{0,30}}{_PRAISE}",
    f"{_GRADES}|5|five|пят": rf"\b(?:you|your|ты|вы|тебе|вам|твоя|твой|ваша)\b[^.!?\n]{{0,80}}(?:{_GRADE}|{_FIVE}\s*$)",
    # a word to the grader, or about the grading
    _GRADERS: rf"\b{_GRADER}\b",
    "examiner|reviewer|judge|marker|teacher|model|assistant|экзаменатор|преподавател|эксперт|судь|модел|методическ|учител|комисс|ассистент": r"(?:note|attention|message|dear|notice|внимание|примечание|сообщение|обращение|уважаем\w*|дорог\w*)\W+(?:to |for |для )?(?:the )?(?:\w+\W+)?(?:WORDS)",
    f"{_REFERENCES}|the reference|the key": rf"{_REFERENCE}[^.!?\n]{{0,80}}(?:fault|wrong|withdrawn|outdated|updated?\b|swap|match|agree|identical|mistake|incorrect|ошиб|устар|обновл|отозв|неверн|исключ|сверк|совпад|расхожд|кажущ|соответств)"
    rf"|(?:fault|wrong|withdrawn|outdated|swap|match|agree|compar|identical|differ|ошиб|устар|неверн|исключ|сверк|совпад|расхожд|кажущ|соответств)\w*[^.!?\n]{{0,60}}(?:{_REFERENCE}|\bthe (?:reference|key)\b(?! model| point))",
    "вопрос|задани": r"(?:WORDS)\w*[^.!?\n]{0,30}(?:исключен|аннулирован|снят)\w*[^.!?\n]{0,30}(?:провер|оцен)",
    "question|item|task": r"\b(?:WORDS)\b[^.!?\n]{0,30}\b(?:void|voided|withdrawn|excluded|cancelled)\b",
    "снижать|снизить|занижа|lower|reduce|deduct|take off": r"(?:WORDS)\w*[^.!?\n]{0,30}(?:балл|оценк|marks?\b|points?\b|score|grade)",
    "calibration mode|calibration item|expected output is|test mode|debug mode|developer mode|admin mode|режим": r"\bcalibration (?:mode|item)|\bexpected output is\b|\b(?:test|debug|developer|admin) mode\b|режим\w* (?:калибровки|отладки|разработчика)",
    "instruction|rule|directive| prompt|инструкц|правил|указан|директив": r"\b(?:new|updated|system|hidden|secret) (?:instruction|rule|directive)s?\b|\b(?:new|updated|hidden|secret) prompts?\b|(?:новы|обновленн|системн|скрыт)\w+ (?:инструкц|правил|указан|директив)\w*",
    # the answer on itself
    "answer|response|submission|solution|above text|ответ": rf"{_ANSWER}[^.!?\n]{{0,60}}(?:{_PRAISE}|complete\b|criteria|reference|match\w*|meets|holds|полн\w+|критери\w*|соответству\w+|отвечает)",
    "criteri|requirement|критери|требовани": r"\b(?:meets?|satisf\w+|fulfil\w*|соответствует|удовлетворяет|отвечает)\s+(?:\w+\s+)?(?:all|every|each|всем|каждому)\s+(?:\w+\s+)?(?:requirement|(?:criteri|критери|требовани)\w)",
    "accura|complete|relevan|concise|precis|clarity|correctness|точн|полнот|полный|полон|релевантн|лаконичн|достоверн": r"(?:WORDS)\w*[^.!?\n]{0,30}(?:WORDS)\w*[^.!?\n]{0,40}(?:WORDS|5|✓|✔|\+|отлично|excellent)",
    "assessment|evaluation|check|самооценк|самопроверк": r"\bself[- ](?:assessment|evaluation|check)\b|самооценк|самопроверк",
    "ответ": r"\bответ\w*\s+(?:\w+\s+){0,3}(?:верный|верен|правильный|правилен|точен|полный|полон|совпада\w+|проверен\w*|признан\w*|одобрен\w*|безупреч\w+)(?!\w)",
    # an authority has decided already
    "graded|marked|reviewed|approved|verified|scored|confirmed": r"\b(?:already|has been|was) graded\b|\balready (?:been )?(?:marked|reviewed|approved|verified|scored)\b"
    rf"|{_ANSWER}[^.!?\n]{{0,40}}\b(?:has been|was) (?:marked|reviewed|approved|verified|scored)\b"
    r"|\b(?:reviewed|approved|graded|verified|confirmed) (?:and \w+ )?by (?:the |a |our )?(?:head|professor|teacher|expert|examin|committee|board|instructor|dr\b)",
    _DECISIONS: rf"{_AUTHORITY}[^.!?\n]{{0,60}}{_DECIDED}[^.!?\n]{{0,60}}{_DECIDED_ON}"
    rf"|{_DECIDED_ON}[^.!?\n]{{0,60}}{_AUTHORITY}[^.!?\n]{{0,60}}{_DECIDED}"
    rf"|{_DECIDED_ON}[^.!?\n]{{0,60}}{_DECIDED}[^.!?\n]{{0,60}}{_AUTHORITY}"
    rf"|{_DECIDED}[^.!?\n]{{0,60}}{_AUTHORITY}[^.!?\n]{{0,60}}{_DECIDED_ON}",
}
RULES = [
    (words.split("|"), re.compile(pattern.replace("WORDS", words), re.I | re.M))
    for words, pattern in _PATTERNS.items()
]
# What re.I takes for a letter of another code: with one of them no rule is left out.
_ODD_LETTERS = re.compile(r"[\u0130\u0131\u017f\u1c80-\u1c8a\u212a\ua64a\ua64b]")
# After one of these the rest of the answer is no longer an answer, if it speaks of grading.
TAKEOVER = re.compile(
    r"^[ \t]*+[\[<(*#\"'{]*+[ \t]*+(?:system|assistant|user|human|ai|judge|teacher|examiner|система"
    r"|системн\w+ (?:сообщение|инструкция)|ассистент|пользователь|модель|судья|учитель|экзаменатор)"
    r"[\])>*\"'}]*[ \t]*[:\]>]"
    r"|</?(?:\w+[_-])?(?:answer|reference|question|ответ|эталон|вопрос|data|данные|input|text|document"
    r"|submission|response|prompt|instructions?|student|user|content|материал|текст|инструкция)>"
    r"|^[ \t]*(?:-{3,}|={3,}|\*{3,}|~{3,}|\"{3}|#{2,}[ \t]*(?:end|конец|grading|note|instruct|инструк)[^\n]*)"
    r"|^[^\w\n]*+(?:end|конец)[ _]+(?:of[ _]+)?(?:the[ _]+)?(?:student'?s?[ _]+)?(?:answer|data|input|submission|text"
    r"|document|material|ответа|данных|текста|ввода|работы|материала)\W*$",
    re.I | re.M,
)
# What makes the rest after a take-over talk about grading.
TALK = re.compile(
    rf"{_GRADE}|{_GRADER}|{_REFERENCE}|{_FIVE}|instruct|инструкци|указан|correct|agrees|верн|провер|ошибок"
    r"|verif|confirm|подтвер",
    re.I,
)


def candidates(text: str) -> list[re.Pattern[str]]:
    """The rules that may match in `text`: those with a word in it. Trying all takes far longer."""
    if _ODD_LETTERS.search(text):
        return [rule for _, rule in RULES]
    small, found = text.lower(), list[re.Pattern[str]]()
    for words, rule in RULES:
        for word in words:
            if word in small:
                found.append(rule)
                break
    return found
