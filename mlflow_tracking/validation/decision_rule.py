"""Which rows may this judge decide alone? A rule, learnt from graded rows, kept and applied.

    python mlflow_tracking/validate_judge.py --data graded.csv --max-wrong 0.1
    python mlflow_tracking/run_experiment.py --data my.csv --decide decision_rule.json

A row is decided where the judge's doubt is below the rule's threshold (stats/selective.py finds
it); on the others the judge cannot tell. The promise holds for rows like the graded ones, judged
the same way: a rule of another judge, prompt or setting is refused.
"""

import asyncio
import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path

import mlflow

from llm_client.settings import UserMistake, check_base_urls, redacted
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.flags import DecideFlags
from mlflow_tracking.command.recorded_run import RecordedRun
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.preflight import CheckedJudge, preflight
from mlflow_tracking.judge.prompt import JudgePrompt, load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.recording.decisions import DECIDED, SECOND_OPINION, UNDECIDED, Decisions
from mlflow_tracking.rows.graded import GradedData
from mlflow_tracking.rows.scale import short
from mlflow_tracking.stats.selective import Selection, Step

RULE_FILE = "decision_rule.json"  # the artifact's name
ENTROPY, DISTANCE, PROMPTS = "entropy", "distance", "two_prompts"
# The doubts, and what a rule says of them.
_DOUBTS = {
    ENTROPY: "the entropy of its probabilities is below {} bits",
    DISTANCE: "its expected score is less than {} points from its whole one",
    PROMPTS: "its scores by both prompts are less than {} points apart",
}
_WRITE_ONE = "write one with validate_judge.py --max-wrong"


class RuleError(UserMistake):
    """A rule that cannot be read, written or used; one line with the file and the remedy."""


@dataclass(frozen=True)
class JudgedBy:
    """Who judged, and how: all that moves a score or its probabilities."""

    judge: str  # the model's root, or its name where the server tells no root
    prompt_sha256: str
    temperature: float | None
    max_tokens: int
    score_only: bool
    claim: str
    constraint: str
    on_too_long: str


def judged_by(judge: JudgeSettings) -> JudgedBy:
    """What a rule must have in common with the run that it is used in."""
    return JudgedBy(
        judge.model_root or judge.model,
        judge.prompt.sha256,
        judge.temperature,
        judge.max_tokens,
        judge.score_only,
        f"{judge.claim.counts} counts" if judge.claim else "not asked",
        judge.dialect.constraint or "none",
        judge.on_too_long,
    )


@dataclass(frozen=True)
class DecisionRule:
    """Under which doubt a verdict counts, what that promises, and on what it rests."""

    signal: str  # one of _DOUBTS
    threshold: float | None  # decided are rows with a smaller doubt; None: all that have one
    max_wrong: float
    confidence: float
    wrong_means: str
    graded_rows: int
    decided: int  # of the graded rows
    wrong: int  # of the decided ones
    upper_bound: float  # of the share of wrong rows among decided ones
    coverage: float  # decided, of the graded rows
    data_sha256: str
    second_prompt: str  # its text; '' for none
    judged_by: JudgedBy

    def decides(self, verdict: Verdict | None, second: Verdict | None = None) -> bool:
        """Whether the judge is sure enough; never without a verdict or the signal."""
        found = doubt(self.signal, verdict, second)
        return found is not None and (self.threshold is None or found < self.threshold)

    def when(self) -> str:
        """In words, when a row is decided."""
        if self.threshold is None:
            return f"wherever there is a score and the rule's signal, {self.signal}"
        return "where " + _DOUBTS[self.signal].format(f"{self.threshold:.4g}")

    def promise(self) -> str:
        """In words, what may be said of decided rows."""
        return (
            f"At most {100 * self.max_wrong:g} % of decided rows are wrong ({self.wrong_means}), "
            f"with {100 * self.confidence:g} % confidence, for rows like the {self.graded_rows} "
            "that people graded."
        )

    def metrics(self) -> dict[str, float]:
        """What a validation records of it."""
        return {
            "coverage": self.coverage,
            "bound": self.upper_bound,
            "decided": float(self.decided),
            "wrong": float(self.wrong),
            "max_wrong": self.max_wrong,
        }

    def text(self) -> str:
        """The file's content."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def doubt(signal: str, verdict: Verdict | None, second: Verdict | None) -> float | None:
    """How unsure the judge is of a row; None where that is not known.

    The distance is from the score that was given: between 1 and 5 a judge that cannot say yes or
    no expects a 3, which is a whole score, too.
    """
    score = verdict.overall if verdict else None
    if score is None:
        return None
    if signal == ENTROPY:
        return score.entropy
    if signal == DISTANCE:
        return None if score.expected is None else abs(score.expected - score.value)
    other = second.overall if second else None
    if other is None:
        return None
    up = (other.finest - other.values[0]) / other.span  # the second prompt may have another scale
    return abs(score.finest - score.values[0] - up * score.span)


def is_wrong(verdict: Verdict | None, human: float, binary: bool) -> bool:
    """Whether it is off by more than a quarter of the scale, or on the other side of right."""
    score = verdict.overall if verdict else None
    if score is None:
        return False  # nor has the row a signal
    if binary:
        return (score.finest > (score.values[0] + score.values[-1]) / 2) != bool(human)
    return abs(score.value - human) > score.span / 4 + 1e-9  # people's mean may be a third


def wrong_rows(graded: GradedData, verdicts: Sequence[Verdict | None]) -> list[bool]:
    """For each graded row, whether the judge is wrong on it."""
    binary = graded.kind == "binary"
    return [is_wrong(v, human, binary) for v, human in zip(verdicts, graded.human, strict=True)]


def signals_of(
    verdicts: Sequence[Verdict | None],
    seconds: Sequence[Verdict | None] | None,
    distance: bool,
) -> dict[str, list[float | None]]:
    """For each row minus its doubts, by name; `seconds` are the second prompt's verdicts.

    The distance is for those who ask: of three graded files that the shipped judge scored from 1 to
    5 it told wrong rows from right ones in none, from the nearest whole score or from the one given
    (area under the curve 0.41 to 0.53; entropy's 0.53 to 0.69). Of yes or no it orders rows as the
    entropy does. And a second signal takes 36 graded rows where 29 would do.
    """
    signals = [ENTROPY, *([DISTANCE] * distance), *([] if seconds is None else [PROMPTS])]
    both = list(zip(verdicts, seconds or [None] * len(verdicts), strict=True))
    doubts = {signal: [doubt(signal, *one) for one in both] for signal in signals}
    return {name: [None if x is None else -x for x in column] for name, column in doubts.items()}


def make_rule(
    best: Step, found: Selection, graded: GradedData, judge: JudgeSettings, second: str
) -> DecisionRule:
    """The rule that a test which passed stands for; `second` is the second prompt's text."""
    point = "a point" if graded.scale.point == 1 else f"{short(graded.scale.point)} points"
    binary = graded.kind == "binary"
    return DecisionRule(
        signal=best.signal,
        threshold=None if best.above is None else -best.above,
        max_wrong=found.max_wrong,
        confidence=found.confidence,
        wrong_means="right for wrong, or wrong for right" if binary else f"by more than {point}",
        graded_rows=found.rows,
        decided=best.decided,
        wrong=best.wrong,
        upper_bound=best.upper,
        coverage=best.decided / found.rows,
        data_sha256=graded.data.sha256,
        second_prompt=second if best.signal == PROMPTS else "",
        judged_by=judged_by(judge),
    )


def read_rule(path: Path) -> DecisionRule:
    """Read the file; raises RuleError with what is wrong."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rule = DecisionRule(**{**data, "judged_by": JudgedBy(**data["judged_by"])})
        numbers = (rule.max_wrong, rule.confidence, rule.upper_bound, rule.threshold or 0.0)
        fits = rule.signal in _DOUBTS and isinstance(rule.second_prompt, str)
        if not fits or not all(map(math.isfinite, numbers)):
            raise ValueError
        return rule
    except OSError as error:
        raise RuleError(f"{path}: {error.strerror}; {_WRITE_ONE}") from None
    except (ValueError, TypeError, KeyError):
        raise RuleError(f"{path}: is no decision rule; {_WRITE_ONE}") from None


def check_rule(path: Path, rule: DecisionRule, judge: JudgeSettings) -> None:
    """Raises RuleError, with what differs, for a judge that the rule was not learnt of."""
    here, there = judged_by(judge), rule.judged_by
    differ = [
        f"{one.name} is {getattr(here, one.name)!r} here and {getattr(there, one.name)!r} there"
        for one in fields(JudgedBy)
        if getattr(here, one.name) != getattr(there, one.name)
    ]
    if differ:
        raise RuleError(f"{path}: is a rule for another judge: {'; '.join(differ)}; {_WRITE_ONE}")


@dataclass(frozen=True)
class Decided:
    """The verdicts that count, what a rule says of them, and the judge as MLflow is to see it."""

    verdicts: Sequence[Verdict | None]
    judge: JudgeConnection
    decisions: Decisions = Decisions()


@dataclass(frozen=True)
class Deciding:
    """A run's rule and its second judge, checked; neither in a run without --decide."""

    rule: DecisionRule | None = None
    prompt: JudgePrompt | None = None  # the second one, for a rule of two prompts
    second: CheckedJudge | None = None
    second_url: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """What was checked, for --check."""
        rule = [f"rule         the judge decides {self.rule.when()}"] if self.rule else []
        second = [f"second judge {self.second.settings.model}"] if self.second else []
        return (*rule, *second)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know of the second judge."""
        return self.second.warnings if self.second else ()

    def recorded(self, experiment: Experiment) -> Experiment:
        """With params of the rule and of the second judge, the same for a run that goes on."""
        if self.rule is None:
            return experiment
        asked = {"decision_rule_sha256": sha256(self.rule.text().encode()).hexdigest()}
        if self.second:
            second = self.second.settings
            asked |= {"second_judge_model": second.model, "second_judge_root": second.model_root}
        shown = {"second_base_url": redacted(self.second_url)} if self.second else {}
        params = {**experiment.more_params, **asked, **shown}
        return replace(experiment, more_params=params, same=(*experiment.same, *asked))

    def decide(self, run: RecordedRun, verdicts: Sequence[Verdict | None]) -> Decided:
        """Mark the rows that were judged, and have the undecided ones judged by the second."""
        rule, first = self.rule, run.judge
        if rule is None:
            return Decided(verdicts, first)
        mlflow.log_text(rule.text(), RULE_FILE)
        every = range(len(verdicts))
        beside = self._by_both_prompts(run, every)
        both = zip(verdicts, beside, strict=True)
        marks = [DECIDED if rule.decides(*one) else UNDECIDED for one in both]
        opinions = self._second_opinions(run, [i for i in every if marks[i] != DECIDED])
        decisions = Decisions(
            [SECOND_OPINION if place in opinions else marks[place] for place in every],
            [v.overall.value if v and v.overall else None for v in verdicts],
            rule.max_wrong,
            rule.promise(),
            self.second.settings if self.second else None,
            [*beside, *(verdicts[place] for place in opinions)],
        )
        items = run.experiment.data.items
        asked = {first.settings.key(items[place]): one for place, one in opinions.items()}
        instead = {**first.instead, **asked}
        counting = [opinions.get(place, verdicts[place]) for place in every]
        return Decided(counting, replace(first, instead=instead), decisions)

    def _by_both_prompts(self, run: RecordedRun, places: Sequence[int]) -> list[Verdict | None]:
        """The second prompt's verdicts; None for all in a run without one."""
        if self.prompt is None or not run.complete:
            return [None] * len(places)
        other = other_prompt(run.judge.settings, self.prompt)
        return run.judge_again(replace(run.judge, settings=other), places)

    def _second_opinions(self, run: RecordedRun, places: Sequence[int]) -> dict[int, Verdict]:
        """The second judge's verdicts, by the row's place; a row that it fails on is left out."""
        if self.second is None or not places or not run.complete:
            return {}
        judge = replace(
            run.judge, base_url=self.second_url, settings=self.second.settings, limits=[]
        )
        told = zip(places, run.judge_again(judge, places), strict=True)
        return {place: verdict for place, verdict in told if verdict and not verdict.failed}


def other_prompt(judge: JudgeSettings, prompt: JudgePrompt) -> JudgeSettings:
    """The judge with the second prompt, of which only the score is wanted."""
    return replace(judge, prompt=prompt, explain_below=None)


def plan_deciding(flags: DecideFlags, experiment: Experiment) -> Deciding:
    """Read and check the rule, and the second judge's server; raises the mistake of either."""
    if flags.decide is None:
        return Deciding()
    judge, rule = experiment.judge.settings, read_rule(flags.decide)
    check_rule(flags.decide, rule, judge)
    if not flags.second_opinion:
        return Deciding(rule, _prompt_of(rule, experiment.data.columns))
    url = check_base_urls(flags.second_opinion)
    wanted = replace(judge, model="", model_root="")
    items, key = experiment.data.items, experiment.api_key
    second = asyncio.run(preflight(url, key, wanted, items))
    if second.settings.key(items[0]) == judge.key(items[0]):
        raise RuleError(f"--second-opinion {redacted(url)}: serves the first judge; name another")
    return Deciding(rule, _prompt_of(rule, experiment.data.columns), second, url)


def _prompt_of(rule: DecisionRule, columns: Sequence[str]) -> JudgePrompt | None:
    """The second prompt; None for a rule without one."""
    if not rule.second_prompt:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "second_prompt.txt"
        path.write_text(rule.second_prompt, encoding="utf-8")
        return load_prompt(path, columns)
