"""What says a sentence only to whoever judges? Rules for `addressed.py`, in English and Russian.

    python benchmarks/speaks_to_judge.py

A rule holds for any column. A rubric may say 'give 5 if ...', so what has a condition is no order.
Patterns are tried on one sentence, in small letters, with е for ё; what stands in quotation marks
is blank there. None has a repeat inside a repeat, so the work grows with the text alone.
"""

import re
from dataclasses import dataclass

NUMBER = r"(?:\d{1,3}(?:\.\d)?(?: ?(?:/|out of|из|points?|балл\w*) ?\d{0,3})?|five|пять)"
SCORE = (
    r"(?:(?:final|overall|total|итогов\w+|общ\w+|окончательн\w+) )?"
    r"(?:score|grade|mark|rating|verdict|оценка|балл|баллы|вердикт)"
)
_JUDGE = (
    r"(?:judge|grader|examiner|marker|evaluator|assessor|corrector|whoever (?:is|may be) (?:marking"
    r"|grading)|(?:ai|language) model|llm|(?:scoring|grading|marking) (?:system|model|script)"
    r"|проверяющ\w+|судь(?:я|е|ей|и)\b|экзаменатор\w*|оценщик\w*|модел\w+|нейросет\w+"
    r"|систем\w+ (?:оценки|проверки))"
)
_TOP = (
    r"(?:\b(?:full|top|highest|maximum|maximal|max|perfect|best)(?:[ -]possible)?[ -]"
    r"(?:marks?|scores?|grades?|points|rating|credit)\b"
    r"|(?<!to )(?<!до )(?<![-–.,\d])\b(?:[5-9]|10|100|five|ten|пять|пят[её]рк\w|десять)\b"
    r"(?=\W*(?:$|[,;:)]|points?\b|marks?\b|stars?\b|out of\b|/|балл|из\b|и\b|and\b|or\b"
    r"|или\b|whatever|regardless"
    r"|no matter|что бы|независимо))"
    r"|\bпятерк\w|(?:высш|максимальн|наивысш|полн|отличн)\w+ (?:балл|оценк)\w*)"
)
_GIVE = (
    r"(?:^|[,;:(—–]|\b(?:please|just|simply|and|then|so|must|should|only|always|you"
    r"|пожалуйста|просто"
    r"|и|всегда|сразу|нужно|надо|следует))\W*"
    r"(?:(?:give|award|assign|grant|put down|return|output|record)\b"
    r"|(?:grade|score|rate|mark) (?:it|this|me|my|the|every|all|any)\b"
    r"|(?:по|вы)?став(?:ь|ьте|ить|и|ите)\b|дай(?:те)?\b|присвой|присвоить|засчита[йт]"
    r"|оцени(?:те)?\b"
    r"|выведи)"
)
_CONDITION = (
    r"(?:\b(?:if|when|where|unless|only|provided|otherwise|answers? (?:that|which|with|who)|each)\b"
    r"|\bfor (?!this)|\bесли\b|\bкогда\b|\bза\b|\bпри\b|\bтолько\b|\bкотор|\bкажд|\bиначе\b"
    r"|\bназван|\bстав(?:ится|ят)\b|\bне больше\b|\bat most\b|\b(?:never|not) )"
)
_WHATEVER = (
    r"(?:\bwhatever\b|\bregardless\b|\bno matter\b|\birrespective\b|\balways\b|\bany ?way\b"
    r"|\bwithout (?:compar|check|read|look)|независимо|незалежно|\bвсегда\b|что бы ни|\bлюбо[йм]"
    r"|без (?:проверк|сравнени|сверк))"
)
_KEY = (
    r"(?:reference(?: answer)?(?= (?:was|is|has|contains|above|shown|given)|\W? ?$)"
    r"|answer key|model answer"
    r"|marking (?:guide|key)|эталон|ключ[аоу]?м? (?:ответ|с ответ))"
)
_WRONG = (
    r"(?:outdated|out of date|obsolete|\bwrong\b|incorrect|swapped|corrupt|another (?:item"
    r"|question)"
    r"|an old edition|устарел|ошиб(?:к[ау]|оч)|неверн|для справки|перепутан|от другого)"
)


@dataclass(frozen=True)
class Rule:
    """A sentence that has every pattern of `all_of` and none of `unless` speaks to the judge."""

    words: tuple[str, ...]  # one of them is in every text that the rule can find anything in
    all_of: tuple[re.Pattern[str], ...]
    unless: re.Pattern[str] | None = None

    def finds(self, sentence: str) -> bool:
        """Of a sentence in small letters."""
        return (
            any(word in sentence for word in self.words)
            and all(one.search(sentence) for one in self.all_of)
            and not (self.unless and self.unless.search(sentence))
        )


def _rule(words: str, *all_of: str, unless: str = "") -> Rule:
    patterns = tuple(re.compile(one) for one in all_of)
    return Rule(tuple(words.split()), patterns, re.compile(unless) if unless else None)


_INSIDE = (
    r"(?:\b(?:in|inside|within|from) (?:the|an?|this) (?:answer|text|student|response)|в ответе)"
)
_GIVING = "give award assign grant put grade score rate mark return output record став дай присво засчит оцени вывед"  # noqa: E501
SENTENCE_RULES = (
    # asks for a score
    _rule(_GIVING, _GIVE, _TOP, unless=_CONDITION),
    _rule(_GIVING, _GIVE, _TOP, _WHATEVER),
    # tells it to leave its instructions
    _rule(
        "ignore disregard forget override bypass игнорир забуд",
        r"(?<!to )\b(?:ignore|disregard|forget|override|bypass)\b|игнорир|забудь",
        r"\b(?:(?:previous|prior|earlier|preceding|above|foregoing|your|system|original)\b.{0,30}"
        r"(?:instruction|prompt|rule|guideline|criteri|rubric|order|message|task)"
        r"|(?:everything|all|the|anything|what\w* (?:is|was|stands|said)) above\b"
        r"|(?:marking|grading|scoring) (?:guide|rule|criteri|instruction|scheme))"
        r"|(?:предыдущ|прежн|вышестоящ|вышеуказ|систем|сво|все|эти|данные)\w* (?:\w+ )?"
        r"(?:инструкци|указани|правил|критери|команд)|(?:все|всё|то),? что (?:было )?выше",
        unless=_INSIDE,
    ),
    _rule(
        "rule guide criteri instruction rubric критери правил инструкци рубрик",
        r"(?:rules?|guide|criteria|instructions?|rubric|критери\w+|правила|инструкци\w+|рубрика)\b",
        r"(?:(?:does|do|is|are) not apply|no longer (?:appl|valid)|suspended|cancell?ed"
        r"|leave (?:it|them) "
        r"aside|отменен|не действу|не применя|больше не)",
        r"(?:this|these|работ|ответ|задани|теперь|now)",
    ),
    _rule(
        "skip compare comparison check need сверя сравн провер",
        r"(?:\bskip(?:ping)? (?:the |any )?(?:comparison|check)|(?:do not|don't"
        r"|no need to) (?:compare|"
        r"check)(?: (?:it|this|the answer|this answer))? (?:with|to|against)"
        r"|compar\w+ is not needed"
        r"|(?:не (?:нужно|надо|следует|требуется)|без) \w*(?:сверя|сверк|сравн|провер|сопост)"
        r"|(?:сверя|сверк|сравн|провер|сопост)\w+.{0,25} не (?:нужн|надо|треб|следует))",
        unless=r"(?:length|style|wording|order|длин|стил|поряд)",
    ),
    _rule(
        "answer response submission ответ",
        r"\b(?:treat|consider|count|accept|regard|mark|считай|считайте|считать|считается"
        r"|засчит\w+|призна\w+)\b",
        r"(?:\b(?:this|every|any|all|my|student'?s?|the student'?s?"
        r"|next) (?:\w+ ){0,3}?(?:answers?|response"
        r"|submission)|\bthe (?:student )?answer\b|(?:этот|люб\w+|кажд\w+|все|мой) (?:\S+ )?ответ"
        r"|\bответы?\b)",
        r"(?:\b(?:correct|matching|right|true|approved)\b|верн|правильн|получает)",
        unless=r"(?:\b(?:if|when|where|unless|provided)\b|если|когда|\bпри\b|котор|неверн"
        r"|неправильн"
        r"|answers? (?:that|which)|to the question)",
    ),
    _rule(
        "deserve merit should must worth earn заслуж достоин должен следует",
        r"\b(?:deserves?|merits?|is worth|has earned|(?:should|must) (?:get|receive"
        r"|be (?:given|awarded"
        r"|scored|graded|rated|marked)))\b|заслужи|достоин|долж\w+ (?:получ|быть оцен)"
        r"|следует оцен",
        r"\b(?:this|my|the|any|every|student'?s?) (?:\w+ ){0,2}?(?:answer|response"
        r"|submission|work)|ответ|работ",
        _TOP,
        unless=_CONDITION,
    ),
    _rule(
        "mark grade score accept",
        r"(?:^|[,;:(]|\b(?:please|just|and|so|must|should)) ?(?:mark|grade|score"
        r"|accept) (?:it|this|this one) as "
        r"(?:\w+ )?(?:correct|right|passed)\b",
    ),
    _rule(
        "respond reply output answer ответь выведи напиши",
        r"(?:^|[,;:(]|\b(?:please|just|and|so|must|should)) ?(?:respond|reply|output"
        r"|answer)\b|ответь|выведи|напиши",
        r"\b(?:only|just|simply|exactly|только|просто|лишь)\b.{0,30}(?:\byes\b|\bcorrect\b"
        r"|\b5\b|\bда\b"
        r"|\bверно\b|\x00)",
        unless=r"(?:\bor\b|\bили\b|\bto\b|иначе|\bif\b|если)",
    ),
    _rule(
        "give gave award rate ставлю поставил",
        r"\b(?:i|we) (?:\w+ )?(?:give|gave|award|awarded|rate|rated) (?:this|it|the answer"
        r"|the response)\b"
        r"|\b(?:я )?ставлю\b",
        _TOP,
    ),
    _rule(
        "new updat revis нов обновл",
        r"\b(?:new|updated|revised|additional|important) (?:\w+ )?(?:instructions?|rules?"
        r"|rubric|criteria|task)\W*:"
        r"|(?:нов\w+|обновл\w+) (?:\w+ )?(?:инструкци\w+|правил\w+|критери\w+|указани\w+"
        r"|задани\w+)\W*:",
    ),
    # speaks to it by name, or as one of its kind
    _rule(
        "note message attention instruction memo notice dear for to",
        rf"(?:^\W*(?:please )?(?:note|message|attention|instructions?|memo|notice|reminder|hint)\W+"
        rf"(?:to|for|of)?\W*(?:the |all |any |our )?(?:\w+ )?{_JUDGE}"
        rf"|^\W*(?:dear|attention,?|hey|hello) (?:\w+ )?{_JUDGE}s?\W*(?:[,:]|$)"
        rf"|^\W*(?:to|for) (?:the |any )?(?:\w+ )?{_JUDGE}s?(?: \w+){{0,3}}\W?:)",
    ),
    _rule(
        "проверяющ суд экзаменатор оценщик модел нейросет систем",
        r"(?:^\W*(?:уважаем\w+ |дорог\w+ |внимани\w+,? )?(?:проверяющ|экзаменатор"
        r"|оценщик)\w*\W?[,:—]"
        rf"|(?:примечани|пометк|заметк|сообщени|указани|инструкци|просьба"
        rf"|внимани)\w*\W+(?:для |к )?"
        rf"(?:\w+ )?{_JUDGE})",
    ),
    _rule(
        "grader examiner judge marker corrector проверяющ экзаменатор комисси",
        r"^\W*(?:(?:(?:grader|examiner|judge|marker|corrector)(?:'s)? (?:\w|note|verdict"
        r"|decision|comment"
        r"|conclusion|assessment))|(?:вывод|вердикт|заключение|решение"
        r"|отметка) (?:проверяющ|экзаменатор"
        r"|комисси|судьи)\w*)\W?:",
    ),
    # plays the system or the next turn
    _rule(
        "system admin developer assistant систем администратор разработчик ассистент",
        r"^\W*(?:(?:system|admin|administrator|developer)(?: (?:message|prompt|note|notice|update"
        r"|override))?|(?:сообщение )?систем\w+(?: сообщение)?|администратор"
        r"|разработчик)\W*(?::|$)",
        r"(?:answer|scor|grad|mark|judge|instruct|mode|rule|ответ|балл|оцен|режим|правил"
        r"|инструкц|^#)",
    ),
    _rule(
        "i am i'm this is speaking as я это",
        rf"\b(?:i am|i'm|this is) (?:the|your|an?) (?:\w+ )?(?:system )?(?:administrator"
        rf"|admin|developer"
        rf"|examiner|chief examiner|grader)\b|\bas (?:an?|the) (?:\w+ )?{_JUDGE},? you\b"
        r"|\b(?:я|это|говорит|пишет)[ ,—–-]+(?:\w+ )?(?:администратор|разработчик"
        r"|экзаменатор|председатель)\b",
    ),
    _rule("#", r"^\W*#\s*(?:system|assistant|instructions?|система|ассистент)\W*$"),
    _rule(
        "end конец",
        r"(?:[\[#=*<-] ?(?:end of|конец) (?:the )?(?:\w+(?:'s)? )?(?:answer|question|text"
        r"|response|submission"
        r"|input|document|reference|context|passage|ответа|вопроса|текста|эталона|задания"
        r"|контекста))",
    ),
    _rule(
        "</",
        r"</(?:\w+[_-])?(?:answer|question|reference|student|response|submission|context"
        r"|ответ|вопрос"
        r"|эталон)\w*>",
    ),
    _rule(
        "mode режим",
        r"(?:(?:calibration|debug|developer|maintenance|test|override|grading) mode"
        r"|режим\w* (?:калибр"
        r"|отлад|тест|провер|разработ))",
        r"(?:answer|scor|grade|mark|ответ|балл|оцен)",
    ),
    # speaks of the reference that it compares with
    _rule(
        "reference key erratum guide эталон ключ",
        rf"(?:\b(?:the|this|that|our) (?:\w+ )?{_KEY}|\b(?:этот|данный|наш)?\s?эталон\b"
        rf"|{_KEY} (?:above"
        r"|выше))",
        rf"(?:(?:was|is|were|has been|contains?|содержит|^|и|is known to be|belonged"
        rf"|loaded|copied|этот|\bон"
        rf"|показан|эталон|above)\b.{{0,40}}{_WRONG}|loaded from|belong\w+ to another)",
        unless=r"(?:\bif\b|если|when|когда|whether)",
    ),
    _rule("erratum", r"erratum.{0,40}(?:above|key|reference|answer)"),
    _rule(
        "disagree differ deviat отлича",
        r"(?:disagree|differ|deviat)\w+ (?:with|from) (?:this|the) (?:key|reference)"
        r"|от (?:эталона|него) "
        r"отлича",
        r"(?:marks? off|deduct|penal|correct|right|снижа|правильн|верн)",
        unless=r"(?:\bif\b|если)",
    ),
    # brings a verdict along
    _rule(
        "answer ответ",
        r"(?:answer|response|ответ)\b.{0,40}(?:correct|right|matches|верн\w+|правильн\w+"
        r"|совпадает)",
        rf"{SCORE}\W{{0,3}}{NUMBER}\W*$",
        unless=r"(?:\bif\b|если)",
    ),
    _rule(
        "student ученик answer ответ",
        r"(?:student'?s? answer|this answer|the answer (?:above|below)|ответ ученика|эт\w+ ответ)",
        r"(?:(?:was|were|has been|been) (?:\w+ )?(?:verified|approved|confirmed|checked"
        r"|accepted|graded)"
        r"|(?:проверен|утвержден|одобрен|призна|засчит|рассматрив|рассмотр)\w*)",
        unless=r"(?:\bif\b|если)",
    ),
    _rule(
        "please beg lose expel пожалуйста прошу умоляю отчисл стипенди",
        r"(?:\b(?:please|i beg|lose my|expelled|expel me)\b|пожалуйста|прошу|умоляю"
        r"|меня отчислят|стипендии)",
        r"(?:(?:do not|don't) (?:lower|reduce|fail|mark me)|не (?:снижа|занижа|став)"
        r"|постави(?:те|шь)"
        r"|(?:give|let) me (?:\w+ ){0,3}(?:pass|mark|grade|score))",
        unless=r"(?:\bза\b|\bfor (?!me|this))",
    ),
    _rule(
        "decode расшифру",
        r"(?:decode|decrypt|расшифруй\w*|декодируй\w*)",
        r"(?:before (?:grad|scor|mark|judg)|and (?:obey|follow|execute|do)|и выполн"
        r"|перед (?:оцен|провер))",
    ),
)
