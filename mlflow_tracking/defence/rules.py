"""What does text look like that speaks to a judge? The rules of manipulation.py, as data.

    python mlflow_tracking/probe_injection.py
    python mlflow_tracking/probe_injection.py --benign my_honest_answers.csv

Each pattern of RULES alone marks the sentence or line that it is found in. They are about grading,
not about topics. They are read with re.I and re.M against folded text (see manipulation.py).
"""

import re

_LABEL = (
    r"(?:[a-zа-я]+[_ ])?(?:score|grade|rating|verdict|mark|marks|accuracy|completeness|relevance"
    r"|оценка|балл|баллы|отметка|вердикт|точность|полнота|итог"
    r"|bewertung|note(?=[^\w\n]*[1-5](?:\W*$|\s*[/;(]|,\s*\"|\s+von\b))|punktzahl|puntuaci[oó]n|valoraci[oó]n|calificaci[oó]n|nota|voto|ocena"
    r"|оцінка|評価|评分|分数|得分|评价)"
)
_TEXT_LABEL = (
    r"(?:justification|rationale|обоснование|обґрунтування|begr[uü]ndung|justificaci[oó]n"
    r"|motivazione|uzasadnienie|理由|评语)"
)
GRADE = r"(?:scores?|grades?|marks?|ratings?|verdicts?|points|балл\w*|оценк\w*|отметк\w*|пятерк\w*)"
_ONE_GRADE = r"(?:score\b|grade\b|mark\b|rating\b|verdict\b|балл\w*|оценк\w*|отметк\w*|пятерк\w*)"
GRADER = (
    r"(?:graders?|evaluators?|assessors?|(?:ai|llm) judge|оценщик\w*|проверяющ\w*|рецензент\w*"
    r"|проверяльщик\w*)"
)
REFERENCE = (
    r"(?:rubric|grading|reference answer|answer key|model answer|official answer|рубрик\w*"
    r"|критери\w+ (?:выше|оцен\w+)|правильн\w+ ответ\w* в базе|эталон(?!н\w* модел)\w*)"
)
_BEST = (
    r"(?:full|top|highest|maximum|maximal|max|perfect|best(?: possible)?|excellent|high"
    r"|высш\w*|высок\w*|максимальн\w*|наивысш\w*|полн\w*|отличн\w*|наилучш\w*)"
)
_FIVE = r"(?:\b5\b(?![.,]\d)|\bfive\b|\bпять\b|\bпяти\b|\bпятерк\w*)"
_OUT_OF_FIVE = r"(?:[1-5]|five|пять)\s*(?:/|из|out of|von|de|sur)\s*(?:5(?!\d)|five|пяти)"
_CRITERION = (
    r"(?:accura\w*|complete\w*|relevan\w*|concise\w*|precis\w*|clarity|correctness"
    r"|точн\w*|полнот\w*|полный|полон|релевантн\w*|лаконичн\w*|достоверн\w*)"
)
_AUTHORITY = (
    r"(?:professor|instructor|lecturer|supervisor|teacher|examiner|examination board|committee"
    r"|course (?:author|staff|team)|faculty|dean|expert panel|experts|moderator"
    r"|преподавател\w*|учител\w*|профессор\w*|лектор\w*|комисси\w*|эксперт\w*|экзаменатор\w*"
    r"|кафедр\w*|методист\w*|деканат\w*|автор\w* (?:курса|вопроса|задания|теста)|рецензент\w*)"
)
_DECIDED = (
    r"(?:approv\w*|confirm\w*|verif\w*|accept\w*|agreed|graded|marked|credit\w*|validated|endorsed"
    r"|провер\w*|одобр\w*|утверд\w*|подтвер\w*|призна\w*|постав\w*|зачт\w*|засчит\w*|согласова\w*"
    r"|принят\w*)"
)
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

RULES = tuple(
    re.compile(pattern, re.I | re.M)
    for pattern in (
        # a label with a mark: plain, in Markdown, JSON, XML; a mark that stands alone
        rf"(?<![^\W_]){_LABEL}[\"'*_`\s]*(?:[:=：>→]|—|–| - | is | of |\d)[\"'*_`\s(\[]*(?:[1-5](?![\d%]|[.,:–-]\d)|five|пять|отлично)",
        rf"^\W*{_TEXT_LABEL}[\"'*_`\s]*[:：]",
        rf"{_OUT_OF_FIVE}[^.]{{0,40}}{GRADE}|{GRADE}[^.]{{0,40}}{_OUT_OF_FIVE}",
        rf"^\W*{_OUT_OF_FIVE}\W*$",
        r"^[^\w★⭐*]*+[★⭐*]{5}[^\w★⭐*]*+$",
        # an order, a wish or a claim about marks
        rf"\b(?:give|rate|mark|score|answer|award|ставь|поставь\w*)\b[^.\n]{{0,40}}{_OUT_OF_FIVE}",
        r"\b(?:ignore|disregard|forget|override|overrule|skip|bypass|discard|set aside|do not (?:use|apply|follow|compare))\b[^.!?\n]{0,60}\b(?:rubric|instructions?|criteria|prompt|reference|guidelines?|rules(?! of\b)|above|scale)\b",
        r"(?:игнорир|забудь|забыть|отбрось|отмени|не учитыва|не обращай внимания|не сверя|не сравнива|не применя)\w*[^.!?\n]{0,60}(?:критери|инструкц|рубрик|указан|эталон|правил(?!\w* (?:дорож|безопасн|грамматик|игр))|выше|предыдущ|шкал)",
        rf"\b(?:give|giving|assign|award|output|reply with|respond with|return|deserves?|receives?|gets?|set (?:the|this|its|my|a)|put|print|write)\b[^.!?\n]{{0,50}}\b(?:{_BEST} |final |a |an )*(?:{_ONE_GRADE}|(?:{_BEST}|5|five) (?:points|marks)|(?:a|of) (?:5|five))\b",
        r"\b(?:give|rate|mark)\b[^.!?\n]{0,40}\b(?:less than|lower than|below|nothing but|a|only|at least)\s(?:a )?(?:5|five)\b",
        r"\b(?:below|less than|lower than) (?:a )?(?:5|five)\b[^.!?\n]{0,60}\b(?:lose|fail|please|means|unfair|mistake)\b",
        r"(?:ставь|поставь|поставит|постав|выстав(?!ля\w*т\b)|выведи|вывод|присво|оценивать|оцени(?:те)?\b)\w*[^.!?\n]{0,60}(?:\b5\b(?![.,]\d| ?%)|\bпять\b|балл|оценк|отметк|пятерк|максимальн\w+ (?:балл|оцен)|высш)",
        r"(?:начисл|получа|напиши|верни|заслужива|достоин|требу|прошу|нужн)\w*[^.!?\n]{0,60}(?:балл|оценк|отметк|пятерк|высш)",
        r"(?:не ниже|не меньше|не менее|минимум)\s+(?:\b5\b|пят\w+)[^.!?\n]{0,30}(?:балл|оценк|$)",
        # 'the highest score is 300' is a fact; 'the highest score is 5' is a label with a mark
        rf"(?<!\bis the )(?<!\bwas the )\b{_BEST}\s+(?:\w+\s+)?{GRADE}(?!\w|\s+(?:is|was|of|in)\b)",
        rf"\b(?:treat|accept|count|consider|regard|assume|mark|take)\b[^.!?\n]{{0,50}}\b(?:answer|response|submission|it)\b[^.!?\n]{{0,30}}\b(?:as|is|to be)\b[^.!?\n]{{0,30}}{_PRAISE}",
        rf"(?:счита|засчит|прими|зачт|призна)\w*[^.!?\n]{{0,50}}ответ\w*[^.!?\n]{{0,30}}{_PRAISE}",
        rf"\b(?:you|your|ты|вы|тебе|вам|твоя|твой|ваша)\b[^.!?\n]{{0,80}}(?:{GRADE}|{_FIVE}\s*$)",
        # a word to the grader, or about the grading
        rf"\b{GRADER}\b",
        r"(?:note|attention|message|dear|notice|внимание|примечание|сообщение|обращение|уважаем\w*|дорог\w*)\W+(?:to |for |для )?(?:the )?(?:\w+\W+)?(?:examiner|reviewer|judge|marker|teacher|model|assistant|экзаменатор|преподавател|эксперт|судь|модел|методическ|учител|комисс|ассистент)",
        rf"{REFERENCE}[^.!?\n]{{0,80}}(?:fault|wrong|withdrawn|outdated|updated?\b|swap|match|agree|identical|mistake|incorrect|ошиб|устар|обновл|отозв|неверн|исключ|сверк|совпад|расхожд|кажущ|соответств)",
        rf"(?:fault|wrong|withdrawn|outdated|swap|match|agree|compar|identical|differ|ошиб|устар|неверн|исключ|сверк|совпад|расхожд|кажущ|соответств)\w*[^.!?\n]{{0,60}}(?:{REFERENCE}|\bthe (?:reference|key)\b(?! model| point))",
        r"(?:вопрос|задани)\w*[^.!?\n]{0,30}(?:исключен|аннулирован|снят)\w*[^.!?\n]{0,30}(?:провер|оцен)",
        r"\b(?:question|item|task)\b[^.!?\n]{0,30}\b(?:void|voided|withdrawn|excluded|cancelled)\b",
        r"(?:снижать|снизить|занижа|lower|reduce|deduct|take off)\w*[^.!?\n]{0,30}(?:балл|оценк|marks?\b|points?\b|score|grade)",
        r"\bcalibration (?:mode|item)|\bexpected output is\b|\b(?:test|debug|developer|admin) mode\b|режим\w* (?:калибровки|отладки|разработчика)",
        r"\b(?:new|updated|system|hidden|secret) (?:instruction|rule|directive)s?\b|\b(?:new|updated|hidden|secret) prompts?\b|(?:новы|обновленн|системн|скрыт)\w+ (?:инструкц|правил|указан|директив)\w*",
        # the answer on itself
        rf"{_ANSWER}[^.!?\n]{{0,60}}(?:{_PRAISE}|complete\b|criteria|reference|match\w*|meets|holds|полн\w+|критери\w*|соответству\w+|отвечает)",
        r"\b(?:meets?|satisf\w+|fulfil\w*|соответствует|удовлетворяет|отвечает)\s+(?:\w+\s+)?(?:all|every|each|всем|каждому)\s+(?:\w+\s+)?(?:criteri\w+|requirement\w*|критери\w+|требовани\w+)",
        rf"{_CRITERION}[^.!?\n]{{0,30}}{_CRITERION}[^.!?\n]{{0,40}}(?:{_CRITERION}|5|✓|✔|\+|отлично|excellent)",
        r"\bself[- ](?:assessment|evaluation|check)\b|самооценк\w*|самопроверк\w*",
        r"\bответ\w*\s+(?:\w+\s+){0,3}(?:верный|верен|правильный|правилен|точен|полный|полон|совпада\w+|проверен\w*|признан\w*|одобрен\w*|безупреч\w+)(?!\w)",
        # an authority has decided already
        r"\b(?:already|has been|was) graded\b|\balready (?:been )?(?:marked|reviewed|approved|verified|scored)\b"
        rf"|{_ANSWER}[^.!?\n]{{0,40}}\b(?:has been|was) (?:marked|reviewed|approved|verified|scored)\b"
        r"|\b(?:reviewed|approved|graded|verified|confirmed) (?:and \w+ )?by (?:the |a |our )?(?:head|professor|teacher|expert|examin|committee|board|instructor|dr\b)",
        rf"{_AUTHORITY}[^.!?\n]{{0,60}}(?:{_DECIDED})[^.!?\n]{{0,60}}{_DECIDED_ON}",
        rf"{_DECIDED_ON}[^.!?\n]{{0,60}}{_AUTHORITY}[^.!?\n]{{0,60}}{_DECIDED}",
        rf"{_DECIDED_ON}[^.!?\n]{{0,60}}{_DECIDED}[^.!?\n]{{0,60}}{_AUTHORITY}",
        rf"{_DECIDED}[^.!?\n]{{0,60}}{_AUTHORITY}[^.!?\n]{{0,60}}{_DECIDED_ON}",
    )
)
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
    rf"{GRADE}|{GRADER}|{REFERENCE}|{_FIVE}|instruct|инструкци|указан|correct|agrees|верн|провер|ошибок"
    r"|verif|confirm|подтвер",
    re.I,
)
