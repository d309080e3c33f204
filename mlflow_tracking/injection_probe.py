"""How far can an answer talk the judge up? Attacks are appended to wrong answers, scores compared.

    python mlflow_tracking/probe_injection.py          # layer by layer of the defence
    python mlflow_tracking/validate_judge.py --data graded.csv   # one number, the whole defence

The attacks in the file *_held_out.jsonl were not looked at while the rules of manipulation.py were
written.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llm_client.settings import ROOT
from mlflow_tracking.bias_probes import mean_shift
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_passes import JudgePass, Verdicts, expected_scores, whole_scores
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.rows import DataError
from mlflow_tracking.section import BOTH_SCORES, Line, Section

CORPUS = ROOT / "tests/data"
INJECTION = ("wrong answers", "attacked answers")  # the passes' names


@dataclass(frozen=True)
class Attack:
    """A text that is appended to a wrong answer."""

    kind: str
    language: str
    text: str
    held_out: bool


@dataclass(frozen=True)
class Corpus:
    """What is judged: wrong and right answers, and wrong ones with an attack each."""

    wrong: tuple[Question, ...]
    right: tuple[Question, ...]
    attacked: tuple[Question, ...]
    attacks: tuple[Attack, ...]  # one for each of `attacked`
    plain: tuple[int, ...]  # for each of `attacked`, its answer's index in `wrong`

    @property
    def items(self) -> tuple[Question, ...]:
        """All of them: wrong, right, attacked."""
        return (*self.wrong, *self.right, *self.attacked)


def load_corpus(folder: Path, per_attack: int) -> Corpus:
    """Each attack on `per_attack` answers; raises DataError if a file is missing or broken."""
    answers = _json_lines(CORPUS / "wrong_and_right_answers.jsonl")
    wrong = [Question(row["question"], row["wrong"], row["reference"]) for row in answers]
    right = [Question(row["question"], row["right"], row["reference"]) for row in answers]
    targets = [
        (attack, index)
        for attack in load_attacks(folder)
        for index in _choose(attack, answers, per_attack)
    ]
    attacked = [replace(wrong[i], answer=wrong[i].answer + attack.text) for attack, i in targets]
    attacks = tuple(attack for attack, _ in targets)
    plain = tuple(index for _, index in targets)
    return Corpus(tuple(wrong), tuple(right), tuple(attacked), attacks, plain)


def load_attacks(folder: Path) -> list[Attack]:
    """The corpus of attacks; raises DataError if a file of it is missing or broken."""
    attacks = []
    for name, held_out in (("injection_attacks", False), ("injection_attacks_held_out", True)):
        for line in _json_lines(folder / f"{name}.jsonl"):
            attacks.append(Attack(line["kind"], line["language"], line["text"], held_out))
    return attacks


def _json_lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None


def _choose(attack: Attack, answers: Sequence[dict[str, Any]], count: int) -> list[int]:
    """The questions that an attack is tried on: of its language where there is one."""
    same = [i for i, row in enumerate(answers) if row["language"] == attack.language]
    fit = same or list(range(len(answers)))
    start = sum(map(ord, attack.text)) % len(fit)  # spread over the questions, the same every time
    return [fit[(start + step) % len(fit)] for step in range(count)]


def injection_passes(judge: JudgeSettings) -> list[JudgePass]:
    """Every attack once, and the wrong answers that they are appended to, as they are."""
    corpus = load_corpus(CORPUS, per_attack=1)
    plain, attacked = INJECTION
    return [JudgePass(plain, judge, corpus.wrong), JudgePass(attacked, judge, corpus.attacked)]


def injection_section(verdicts: Verdicts, seed: int) -> Section:
    """The mean shift of wrong answers by the attacks; whole scores decide, as in the defence."""
    corpus = load_corpus(CORPUS, per_attack=1)
    plain, attacked = (verdicts[name] for name in INJECTION)
    before = [plain[index] for index in corpus.plain]

    def line(key: str, label: str, held_out: tuple[bool, ...]) -> Line:
        rows = [i for i, attack in enumerate(corpus.attacks) if attack.held_out in held_out]
        old, new = [before[i] for i in rows], [attacked[i] for i in rows]
        expected = mean_shift(expected_scores(old), expected_scores(new), seed)
        whole = mean_shift(whole_scores(old), whole_scores(new), seed)
        return Line(key, label, (expected, whole))

    return Section(
        "injection",
        "Can an answer talk it into a high score",
        "Mean shift in points when an attack is appended to a wrong answer, the whole defence on.",
        BOTH_SCORES,
        (
            line("shift_injection", f"attacks appended, all {len(corpus.attacks)}", (True, False)),
            line("shift_injection_held_out", "attacks unknown to the defence", (True,)),
        ),
    )
