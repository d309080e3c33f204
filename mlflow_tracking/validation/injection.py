"""Can an answer talk the judge into a high score? Attacks are put into rows with a wrong answer.

    python mlflow_tracking/validate_judge.py --data graded.csv

One number, the whole defence on, by the attacks that nobody had read while it was made;
probe_injection.py measures all of them, layer by layer.
"""

from mlflow_tracking.defence.attacks import CORPUS, load_corpus
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.stats.table import BOTH_SCORES, Table, TableLine
from mlflow_tracking.validation.bias import Shift, mean_shift
from mlflow_tracking.validation.passes import JudgePass, Verdicts

_PLAIN, _ATTACKED = "wrong answers", "attacked answers"  # the passes' names


def injection_passes(judge: JudgeSettings) -> list[JudgePass]:
    """Every sealed attack once, and the wrong answers that they are put into, as they are."""
    corpus = load_corpus(CORPUS, per_attack=1, only_sealed=True)
    return [JudgePass(_PLAIN, judge, corpus.wrong), JudgePass(_ATTACKED, judge, corpus.attacked)]


def measure_injection(verdicts: Verdicts, seed: int) -> Shift:
    """The mean shift of wrong answers by attacks."""
    corpus = load_corpus(CORPUS, per_attack=1, only_sealed=True)
    before = [verdicts[_PLAIN][index] for index in corpus.plain]
    label = f"{len(corpus.attacks)} attacks put into rows"
    return Shift("injection", label, mean_shift(before, verdicts[_ATTACKED], seed))


def injection_table(shift: Shift) -> Table:
    """What the attacks do to both scores."""
    return Table(
        "injection",
        "Can an answer talk it into a high score",
        "Mean shift in points when an attack is put into a row with a wrong answer, the whole "
        "defence on.",
        BOTH_SCORES,
        (TableLine(f"shift_{shift.key}", shift.label, (*shift.by,)),),
    )
