"""Are Russian and English told apart, and is nothing else called either of them?

python -m pytest tests/rows/test_language.py
"""

from pathlib import Path

import pytest

from llm_client.settings import ROOT
from mlflow_tracking.rows.item import Item
from mlflow_tracking.rows.language import (
    count_languages,
    language_of,
    language_of_prompt,
    language_of_row,
)

PROMPTS = ROOT / "mlflow_tracking/prompts"
TEXTS = {
    "Russian": ("Столица Австралии — Канберра, а не Сидней, как многие думают.", "ru"),
    "one Russian word": ("Париж", "ru"),
    "Russian with names in Latin": ("Функция `open()` открывает файл, а close закрывает.", "ru"),
    "English": ("The capital of France is Lyon, a city on the river Rhône.", "en"),
    "short English": ("Canberra, in the ACT.", "en"),
}
NEITHER = {
    "a name": "Paris",
    "nothing": "",
    "a number": "42",
    "a formula": "P=9/10=0.9, N=10, P_B=[(1-p)p^10]/1-p^11=0.051",
    "code": "for i in range(10):\n    if i % 2 not in seen:\n        print(i, seen[i])",
    "German": "Die Hauptstadt von Deutschland ist Berlin, und das war sie auch im Jahr 1920.",
    "Dutch": "De hoofdstad van Nederland is Amsterdam en dat was het al in de Gouden Eeuw.",
    "Danish": "Hovedstaden i Danmark er København. Det har været hovedstad siden 1416.",
    "French": "La capitale de la France est Paris. On peut y voir la tour Eiffel.",
    "Spanish": "La capital de España es Madrid, a pocos kilómetros de Toledo.",
    "Portuguese": "A capital de Portugal é Lisboa. A cidade fica a oeste do país.",
    "Hungarian": "A Duna két részre osztja a várost, és az a folyó a híres.",
    "Polish": "Stolicą Polski jest Warszawa. To miasto jest największe.",
    "Ukrainian": "Столиця України — Київ. Це найбільше місто країни.",
    "Bulgarian": "Дължината на пътя от София до Варна е голяма, а градът е хубав.",
    "Serbian": "Главни град Србије је Београд, а њен највећи ток је Дунав.",
    "Chinese": "中国的首都是北京。",
}


@pytest.mark.parametrize(("text", "language"), TEXTS.values(), ids=TEXTS)
def test_russian_and_english_are_told_apart(text: str, language: str) -> None:
    assert language_of(text) == language


@pytest.mark.parametrize("text", NEITHER.values(), ids=NEITHER)
def test_what_is_neither_is_not_called_either(text: str) -> None:
    assert language_of(text) is None


def test_a_short_answer_has_its_questions_language_and_a_translation_has_none() -> None:
    assert language_of_row(Item("What is the capital of France?", "Paris")) == "en"
    assert language_of_row(Item("Сколько будет 6 на 7?", "42")) == "ru"
    assert (
        language_of_row(Item("Столица Франции — Париж.", "The capital of France is Paris.")) is None
    )
    rows = [Item("Столица?", "Париж"), Item("2+2", "4"), Item("Кто?", "Он")]
    assert count_languages(rows) == {"ru": 2, None: 1}


@pytest.mark.parametrize("path", sorted(PROMPTS.rglob("*.txt")), ids=lambda path: path.name)
def test_every_shipped_prompt_has_the_language_that_its_name_says(path: Path) -> None:
    expected = "en" if path.stem.endswith("_en") else "ru"
    assert language_of_prompt(path.read_text(encoding="utf-8")) == expected


def test_what_a_prompt_says_to_the_machine_is_no_wording() -> None:
    text = "<question>\n{question}\n</question>\n<answer>\n{answer}\n</answer>\nВерно? [yes/no]"
    assert language_of(text) is None
    assert language_of_prompt(text) == "ru"
