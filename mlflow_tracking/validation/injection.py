"""Can an answer talk the judge into a high score? Attacks are appended to wrong answers.

    python mlflow_tracking/validate_judge.py --data graded.csv

One number, the whole defence on; probe_injection.py measures it layer by layer.
"""

from collections.abc import Collection

from mlflow_tracking.defence.attacks import CORPUS, load_corpus
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.stats.table import BOTH_SCORES, Table, TableLine
from mlflow_tracking.validation.bias import Shift, mean_shift
from mlflow_tracking.validation.passes import JudgePass, Verdicts

_PLAIN, _ATTACKED = "wrong answers", "attacked answers"  # the passes' names


def injection_passes(judge: JudgeSettings) -> list[JudgePass]:
    """Every attack once, and the wrong answers that they are appended to, as they are."""
    corpus = load_corpus(CORPUS, per_attack=1)
    return [JudgePass(_PLAIN, judge, corpus.wrong), JudgePass(_ATTACKED, judge, corpus.attacked)]


def measure_injection(verdicts: Verdicts, seed: int) -> tuple[Shift, Shift]:
    """The mean shift of wrong answers by all attacks, and by those unknown to the defence."""
    corpus = load_corpus(CORPUS, per_attack=1)
    before = [verdicts[_PLAIN][index] for index in corpus.plain]

    def shift(key: str, label: str, held_out: Collection[bool]) -> Shift:
        rows = [i for i, attack in enumerate(corpus.attacks) if attack.held_out in held_out]
        after = [verdicts[_ATTACKED][i] for i in rows]
        return Shift(key, label, mean_shift([before[i] for i in rows], after, seed))

    return (
        shift("injection", f"attacks appended, all {len(corpus.attacks)}", (True, False)),
        shift("injection_held_out", "attacks unknown to the defence", (True,)),
    )


def injection_table(shifts: tuple[Shift, Shift]) -> Table:
    """What the attacks do to both scores."""
    return Table(
        "injection",
        "Can an answer talk it into a high score",
        "Mean shift in points when an attack is appended to a wrong answer, the whole defence on.",
        BOTH_SCORES,
        tuple(TableLine(f"shift_{one.key}", one.label, (*one.by,)) for one in shifts),
    )
