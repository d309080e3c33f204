"""Is this cell right or wrong, a number, a winner? As people and their spreadsheets write it.

Read for `python mlflow_tracking/validate_judge.py --data graded.csv`.
"""

import re
import unicodedata
from typing import Literal

Winner = Literal["a", "b", "tie"]

# Language: TRUE and FALSE as Excel, LibreOffice or Google Sheets write them, yes and no, right and
# wrong. A word that is right in one language and wrong in another would be refused by a test.
WORDS = {
    "en": ("true yes right correct pass passed y t", "false no wrong incorrect fail failed n f"),
    "ru": (
        "истина да верно правильно верный правильный правда корректно",
        "ложь нет неверно неправильно неверный неправильный неправда некорректно",
    ),
    "uk": ("істина так вірно правильно правда", "хибність хибне хибно ні невірно неправильно"),
    "be": ("ісціна праўда так правільна", "хлусня няпраўда не няправільна"),
    "bg": ("истина да вярно правилно", "лъжа неистина не невярно неправилно грешно"),
    "sr": ("istina da tačno истина тачно točno", "neistina laž ne netačno лаж нетачно netočno"),
    "de": ("wahr ja richtig korrekt", "falsch nein inkorrekt unwahr"),
    "fr": ("vrai oui correct juste exact", "faux non incorrect inexact"),
    "es": ("verdadero sí correcto cierto", "falso no incorrecto"),
    "pt": ("verdadeiro sim correto certo", "falso não incorreto errado"),
    "it": ("vero sì corretto giusto", "falso no errato scorretto sbagliato"),
    "ca": ("cert vertader correcte", "fals incorrecte"),
    "ro": ("adevărat da corect", "fals nu incorect greșit"),
    "nl": ("waar ja juist goed", "onwaar nee onjuist fout"),
    "sv": ("sant ja rätt korrekt", "falskt nej fel felaktigt"),
    "da": ("sand sandt ja rigtigt rigtig", "falsk nej forkert"),
    "no": ("sann sant ja riktig", "usann usant nei feil galt"),
    "fi": ("tosi kyllä oikein", "epätosi ei väärin"),
    "et": ("tõene jah õige", "väär ei vale"),
    "lv": ("patiess jā pareizi", "aplams nē nepareizi"),
    "lt": ("teisinga taip tiesa", "klaidinga ne netiesa neteisinga"),
    "pl": (
        "prawda tak poprawnie poprawne dobrze prawdziwe",
        "fałsz falsz nie niepoprawnie niepoprawne źle fałszywe nieprawda",
    ),
    "cs": ("pravda ano správně", "nepravda ne nesprávně špatně"),
    "sk": ("pravda áno správne", "nepravda nie nesprávne zle"),
    "sl": ("resnično da pravilno", "neresnično ne nepravilno napačno"),
    "hu": ("igaz igen helyes", "hamis nem helytelen"),
    "tr": ("doğru evet", "yanlış hayır"),
    "el": ("αληθής αληθές ναι σωστό", "ψευδής ψευδές όχι λάθος"),
    "kk": ("ақиқат иә дұрыс", "жалған жоқ бұрыс"),
    "zh": ("真 是 对 對 正确 正確", "假 否 错 錯 错误 錯誤 不正确"),
    "ja": ("真 はい 正しい 正解", "偽 いいえ 間違い 不正解"),
    "ko": ("참 예 네 맞음 정답", "거짓 아니요 아니오 틀림 오답"),
    "vi": ("đúng có", "sai không"),
    "id": ("benar ya betul", "salah tidak"),
    "ar": ("صحيح صواب نعم", "خطأ خاطئ لا"),
    "fa": ("درست بله", "نادرست غلط خیر"),
    "he": ("אמת כן נכון", "שקר לא"),
    "hi": ("सत्य सही हाँ", "असत्य गलत नहीं"),
    "th": ("จริง ใช่ ถูก", "เท็จ ไม่ใช่ ผิด"),
    "signs": ("✓ ✔ ✅ ☑ 🗸 √ ○ ◯ 👍 +", "✗ ✘ ❌ ❎ ✕ ✖ ☒ ☐ × 👎 -"),
}
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")
_LOOKS = re.compile("[\ufe0e\ufe0f\u200e\u200f\U0001f3fb-\U0001f3ff]")  # colour, skin, direction


def _folded(cell: str) -> str:
    """Without what changes from one program to the next: capitals, marks, dashes, looks.

    A Turkish capital I is of two letters, and no fold of case knows which: both become i.
    """
    text = unicodedata.normalize("NFKD", _LOOKS.sub("", cell).strip().casefold())
    bare = "".join(sign for sign in text if not unicodedata.combining(sign))
    return unicodedata.normalize("NFC", bare).replace("ı", "i").translate(_DASHES)


LABELS = {
    **{_folded(word): True for right, _ in WORDS.values() for word in right.split()},
    **{_folded(word): False for _, wrong in WORDS.values() for word in wrong.split()},
    **dict.fromkeys(("not correct", "not right", "not true", "לא נכון", "niet waar"), False),
}
# The Cyrillic а and В look the same; 'tie (bothbad)' and 'model_a' are Chatbot Arena's.
_WINNERS: dict[str, Winner] = {
    **dict.fromkeys(("a", "answer_a", "answer a", "model_a", "а"), "a"),
    **dict.fromkeys(("b", "answer_b", "answer b", "model_b", "в", "б"), "b"),
    **dict.fromkeys(("tie", "draw", "equal", "tie (bothbad)", "ничья", "равны"), "tie"),
}


def read_number(cell: str) -> float | None:
    """'4', '4.5' and '4,5' (a decimal comma); None for all else, 'nan' and '1e9' included."""
    text = cell.strip().replace(",", ".")
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{0,30})?", text) else None


def read_label(cell: str) -> bool | None:
    """1/0, true/false, yes/no, right/wrong, ИСТИНА/ЛОЖЬ, WAHR/FALSCH, ✓/✗; None for all else."""
    number = read_number(cell)
    if number is not None:
        return bool(number) if number in (0, 1) else None
    return LABELS.get(" ".join(_folded(cell).split()))


def is_word(cell: str) -> bool:
    """Whether it is a label that is no number and no sign, and so no score was meant."""
    return _folded(cell) in LABELS and any(map(str.isalpha, cell))


def is_dash(cell: str) -> bool:
    """Whether it is a mere dash, which means 'wrong' beside a plus, and 'nothing' elsewhere."""
    return _folded(cell) == "-"


def is_plus(cell: str) -> bool:
    """Whether it is a mere plus."""
    return _folded(cell) == "+"


def read_winner(cell: str) -> Winner | None:
    """a, b or tie, as `answer_a`, 'ничья' and the like, too; None for all else."""
    return _WINNERS.get(" ".join(cell.split()).casefold())
