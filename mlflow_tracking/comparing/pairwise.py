"""Whose answer does the judge prefer when it is shown both? Which pairs are asked about, and how.

    python mlflow_tracking/compare_runs.py RUN RUN RUN --pairwise
    python mlflow_tracking/compare_runs.py RUN RUN RUN --pairwise --pairs 300

Each pair is asked about in both orders, by one token each. A judge that prefers a place and not an
answer contradicts itself then (Wang et al., 2023, arXiv:2305.17926), and its verdict is a tie.
"""

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from llm_client.settings import Settings
from mlflow_tracking.command.experiment import Experiment, check_judge
from mlflow_tracking.command.flags import CallFlags, RunFlags
from mlflow_tracking.comparing.shared_rows import SharedRows
from mlflow_tracking.judge.prompt import load_pairwise_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import DataError, DataSet, Item, PairItem
from mlflow_tracking.rows.labels import Winner
from mlflow_tracking.validation.pairs import chances_of_a, pairwise_passes, winners
from mlflow_tracking.validation.passes import judge_and_keep

SEED = 0  # of what is drawn: the same command asks about the same pairs again


@dataclass(frozen=True)
class Pair:
    """The answers of two systems to one question; `item` has the first one's first."""

    row: int  # of the shared rows, from 0
    question: int  # from 0; rows that ask the same share it
    first: int  # the systems, from 0
    second: int
    item: PairItem

    @property
    def alike(self) -> bool:
        """Whether the answers are the same: a tie, for which nobody is asked."""
        return self.item.answer.strip() == self.item.second.strip()


@dataclass(frozen=True)
class Chosen:
    """The pairs to be compared."""

    pairs: tuple[Pair, ...]
    systems: int
    of: int  # pairs that there are
    unanswered: int  # rows left out, because a system has no answer

    @property
    def asked(self) -> tuple[Pair, ...]:
        """The pairs that the judge is asked about."""
        return tuple(pair for pair in self.pairs if not pair.alike)

    def notes(self) -> list[str]:
        """What is going to be asked, for people."""
        count, two = len(self.pairs), len(list(combinations(range(self.systems), 2)))
        drawn = f" of {self.of}, drawn by chance (seed {SEED})" if count < self.of else ""
        which = f"{count} comparisons{drawn}, {count / two:.0f} for each pair of systems"
        lines = [f"{which}: {2 * len(self.asked)} calls of one token, two orders each"]
        if same := count - len(self.asked):
            lines.append(f"{same} comparisons are of equal answers: ties, without a call")
        if self.unanswered:
            lines.append(f"{self.unanswered} rows are left out: a system has no answer")
        return lines


@dataclass(frozen=True)
class Verdicts:
    """Who won each of the `pairs`, None without a verdict; a is the pair's first system."""

    pairs: tuple[Pair, ...]
    a_first: tuple[Winner | None, ...]  # with the answer of a shown first
    b_first: tuple[Winner | None, ...]
    why: str = ""  # the reason of the first verdict that is missing

    @property
    def missing(self) -> int:
        """Comparisons that lack the verdict of an order."""
        return sum(None in both for both in zip(self.a_first, self.b_first, strict=True))


def choose_pairs(shared: SharedRows, limit: int | None) -> Chosen:
    """All pairs of answers, or `limit` by chance, of every two systems as many.

    Raises DataError where there is nothing to compare, or not one pair of every two systems.
    """
    rows = [
        [run.items[place] for run, place in zip(shared.runs, places, strict=True)]
        for places in shared.places
    ]
    whole = {
        n: row
        for n, row in enumerate(rows)
        if row[0].question.strip() and all(one.answer.strip() for one in row)
    }
    numbers = {text: n for n, text in enumerate(dict.fromkeys(r[0].question for r in rows))}
    by_systems = {
        (first, second): [
            _pair(n, numbers[row[0].question], row, first, second) for n, row in whole.items()
        ]
        for first, second in combinations(range(len(shared.runs)), 2)
    }
    of = sum(map(len, by_systems.values()))
    if limit and limit < len(by_systems):
        raise DataError(f"--pairs {limit}: there are {len(by_systems)} pairs of systems; draw more")
    least, more = divmod(min(limit or of, of), len(by_systems))
    pairs = [
        pair
        for n, (systems, group) in enumerate(by_systems.items())
        for pair in _drawn(group, systems, least + (n < more))
    ]
    pairs.sort(key=lambda pair: (pair.row, pair.first, pair.second))
    chosen = Chosen(tuple(pairs), len(shared.runs), of, len(rows) - len(whole))
    if not chosen.asked:
        ids = ", ".join(run.run_id for run in shared.runs)
        why = "have the same answers" if pairs else "have no row that all of them answered"
        raise DataError(f"runs {ids}: {why}; --pairwise compares different answers")
    return chosen


def _drawn(group: Sequence[Pair], systems: tuple[int, int], count: int) -> Sequence[Pair]:
    """So many of two systems' pairs; where a run more leaves them fewer, some of the same."""
    return random.Random(f"{SEED} {systems}").sample(group, len(group))[:count]


def _pair(row: int, question: int, items: Sequence[Item], first: int, second: int) -> Pair:
    reference = next((one.reference for one in items if one.reference), "")
    a, b = items[first], items[second]
    item = PairItem(a.question, a.answer, reference, second=b.answer)
    return Pair(row, question, first, second, item)


@dataclass(frozen=True)
class PairwisePlan:
    """Which pairs are asked about, and whom; checked before anything is asked."""

    chosen: Chosen
    experiment: Experiment

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before it begins."""
        return (*self.experiment.judge.warnings, *self.chosen.notes())

    @property
    def judge(self) -> str:
        """Who compares, and by which prompt."""
        judge = self.experiment.judge.settings
        return f"{judge.model} ({judge.prompt.path.name})"

    @property
    def params(self) -> dict[str, object]:
        """Every setting that could change a number."""
        judge = self.experiment.judge.settings
        return {
            "pairwise_judge": judge.model,
            "pairwise_judge_root": judge.model_root,
            "pairwise_prompt_file": judge.prompt.path.name,
            "pairwise_prompt_sha256": judge.prompt.sha256,
            "pairwise_comparisons": f"{len(self.chosen.pairs)} of {self.chosen.of}",
            "pairwise_seed": SEED,
        }


def plan_pairwise(
    chosen: Chosen,
    shared: SharedRows,
    prompt: Path,
    model: str,
    calls: CallFlags,
    kept: RunFlags,
    settings: Settings,
) -> PairwisePlan:
    """Check that the judge can be asked; raises the mistake of what is wrong."""
    direct = load_pairwise_prompt(prompt, ())
    wanted = JudgeSettings(model, direct, ask_claim=False, score_only=True)
    # Of the questions alone: with a run more, only its own pairs are asked about.
    questions = sorted({item.question for item in shared.runs[0].items})
    digest = hashlib.sha256(json.dumps(questions).encode()).hexdigest()
    data = DataSet(Path(shared.runs[0].data), digest, "", ())
    items = [pair.item for pair in chosen.asked]
    return PairwisePlan(chosen, check_judge(data, items, None, wanted, calls, kept, settings))


def ask_pairwise(plan: PairwisePlan) -> Verdicts | None:
    """Ask for the verdicts that the journal has not; None, and a line, if that was stopped."""
    asked, experiment = plan.chosen.asked, plan.experiment
    passes = pairwise_passes(experiment.judge.settings, [pair.item for pair in asked])
    verdicts = judge_and_keep(
        "compare_runs", experiment, passes, "pairwise", experiment.data.sha256
    )
    if verdicts is None:
        return None
    orders = (winners(chances) for chances in chances_of_a(verdicts))
    told = dict(zip(asked, zip(*orders, strict=True), strict=True))
    tie: tuple[Winner | None, Winner | None] = ("tie", "tie")
    a_first, b_first = zip(*(told.get(pair, tie) for pair in plan.chosen.pairs), strict=True)
    failed = [v for both in verdicts.values() for v in both if v and v.failed]
    why = f"{failed[0].status}, {failed[0].reason}" if failed else ""
    return Verdicts(plan.chosen.pairs, a_first, b_first, why)
