"""How long will a run take, and what would make it shorter? Sixteen rows are judged to find out.

    python mlflow_tracking/run_experiment.py --plan --data my.csv
    python mlflow_tracking/run_experiment.py --data my.csv      # asks for none of the sixteen again

Their verdicts are kept in a journal of plans, one file for a judge and a data file, which a run
begins with. Beside it stands when each row was in flight, for a plan that is asked for again.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from llm_client.adaptive_limit import MOST
from llm_client.caller import Caller
from mlflow_tracking.command.console import say, warn
from mlflow_tracking.command.experiment import Experiment
from mlflow_tracking.command.frame import check_folder, judging
from mlflow_tracking.judge.journal import Journal, JournalError, read_lines
from mlflow_tracking.judge.judge import Judge
from mlflow_tracking.judge.judging import OnVerdict, judge_all, keeping, known_verdicts
from mlflow_tracking.judge.preflight import preflight
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.judge.verdict import Verdict
from mlflow_tracking.rows.item import Item
from mlflow_tracking.stats.estimate import Estimate, share_estimate
from mlflow_tracking.stats.regression import regression_total

ROWS = 16  # a minute of a judge without a GPU, and a range of about a tenth where rows are alike
_UNITS = ((2 * 3600, 3600, "hours"), (120, 60, "min"), (0, 1, "s"))  # from so many seconds on


@dataclass(frozen=True)
class Sample:
    """Some of a file's different rows, judged; lengths are in bytes, and times in seconds."""

    lengths: list[int]
    verdicts: list[Verdict]
    spans: list[tuple[float, float] | None]  # when a row was in flight; None: that was not kept
    all_lengths: list[int]  # of all the different rows

    @cached_property
    def _timed(self) -> list[tuple[float, float]]:
        return [span for span in self.spans if span]

    @cached_property
    def busy_s(self) -> float:
        """Seconds in which any row was in flight."""
        total, until = 0.0, 0.0
        for began, ended in sorted(self._timed):
            total += max(0.0, ended - max(began, until))
            until = max(until, ended)
        return total

    @property
    def in_flight(self) -> float:
        """Rows at once, on average."""
        return sum(ended - began for began, ended in self._timed) / self.busy_s

    @property
    def in_flight_max(self) -> int:
        """Rows at once, at most."""
        return max(sum(a <= began < b for a, b in self._timed) for began, _ in self._timed)

    @cached_property
    def seconds(self) -> Estimate:
        """What all rows take: their time in flight by Little's law, divided by how many are.

        The low end has as many in flight all the time as there were at most: sixteen rows begin
        and end with fewer, which a server that is not at its limit pays for.
        """
        pairs = zip(self.lengths, self.spans, strict=True)
        timed = [(length, span[1] - span[0]) for length, span in pairs if span]
        lengths, seconds = [one for one, _ in timed], [one for _, one in timed]
        total = regression_total(lengths, seconds, self.all_lengths)
        assert total.value is not None, "regression_total has one"
        value = total.value / self.in_flight
        if len(timed) == len(self.all_lengths):  # that is what they took
            return Estimate(value, value, value, total.n)
        if total.low is None or total.high is None:
            return Estimate(value, None, None, total.n, total.note)
        low, high = total.low / self.in_flight_max, total.high / self.in_flight
        return Estimate(value, low, high, total.n)

    def tokens(self, name: str) -> float:
        """Of all rows: prompt_tokens, cached_tokens or completion_tokens."""
        values = [float(getattr(verdict, name)) for verdict in self.verdicts]
        return regression_total(self.lengths, values, self.all_lengths).value or 0.0


class _TimedJudge(Judge):
    """A judge that writes down when each row was in flight."""

    def __init__(self, caller: Caller, settings: JudgeSettings, times: Path) -> None:
        super().__init__(caller, settings)
        self._times = times

    async def judge(self, item: Item) -> Verdict:
        """The verdict on `item`, and its time on disk."""
        began, started = time.time(), time.monotonic()
        verdict = await super().judge(item)
        ended = began + time.monotonic() - started  # the machine's clock may be set meanwhile
        line = {"key": self.settings.key(item), "began": began, "ended": ended}
        try:
            with self._times.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise JournalError(f"{self._times}: {error.strerror}; make room there") from None
        return verdict


def plan_journal(experiment: Experiment) -> Path:
    """Where the verdicts of plans with this judge and this data file are."""
    header = json.dumps(_header(experiment)).encode()
    name = hashlib.sha256(header).hexdigest()[:16]
    return experiment.run.journal_dir / "plans" / f"{name}.jsonl"


def _header(experiment: Experiment) -> Mapping[str, str]:
    # The rows that --limit leaves out may be in it: a verdict's key says which row it is of.
    judge = experiment.judge.settings.fingerprint
    return {"judge": judge, "data_sha256": experiment.data.sha256}


def spread(lengths: Sequence[int], without: Collection[int] = (), most: int = ROWS) -> list[int]:
    """At most `most` indices, evenly over the sorted lengths, in the order of the rows."""
    left = [place for place in range(len(lengths)) if place not in without]
    left.sort(key=lambda place: lengths[place])
    count = min(most, len(left))
    return sorted(left[(2 * i + 1) * len(left) // (2 * count)] for i in range(count))


def plan(command: str, experiment: Experiment) -> int:
    """Judge some rows, and tell what all of them would take; returns the exit code."""
    settings = experiment.judge.settings
    items = list({settings.key(item): item for item in experiment.data.items}.values())
    lengths = [_length(settings, item) for item in items]
    places = spread(lengths)
    whole = _judge(command, experiment, items, lengths, places)
    if whole is None:
        return 1
    _tell(whole, experiment)
    if settings.score_only:  # what it costs is told above
        return 0
    others = spread(lengths, without=places)
    if why := _why_not_alone(settings, others):
        say(f"one token    --score-only: not estimated, {why}")
        return 0
    alone = _judge(command, _score_only(experiment), items, lengths, others)
    if alone is None:
        return 1
    _tell_shorter(whole, alone, settings)
    return 0


def _length(settings: JudgeSettings, item: Item) -> int:
    """Bytes of what the judge is shown."""
    # Nearer to tokens than characters are, of which Russian has fewer a token than English.
    return sum(len(text.encode()) for text in settings.prompt.shown(item).values())


def _why_not_alone(settings: JudgeSettings, others: Sequence[int]) -> str:
    """Why no further rows are asked for their score alone; '' if they are."""
    if settings.for_probes() == settings:
        return "the prompt's form or the server has no score in one token"
    # The same rows would be in the server's cache, and look cheaper than they are.
    if len(others) < ROWS:
        return f"that takes {ROWS} rows more, which the file has not"
    return ""


def _score_only(experiment: Experiment) -> Experiment:
    """As --score-only has it, checked as such a run checks it: it finds these verdicts, too."""
    wanted = replace(experiment.judge.settings, score_only=True)
    url, items = experiment.calls.base_url, experiment.data.items
    checked = asyncio.run(preflight(url, experiment.api_key, wanted, items))
    return replace(experiment, judge=checked)


def _judge(
    command: str,
    experiment: Experiment,
    items: Sequence[Item],
    lengths: list[int],
    places: Sequence[int],
) -> Sample | None:
    """The rows at `places`, judged; None, and a line that says why, if that came to nothing."""
    path, settings = plan_journal(experiment), experiment.judge.settings
    check_folder(path.parent)
    chosen = [items[place] for place in places]
    journal = Journal(path, _header(experiment))
    verdicts = known_verdicts(chosen, settings, journal)
    times = path.with_suffix(".times")
    with judging(len(chosen)) as found:
        tell = keeping(verdicts, found.told)
        asyncio.run(_ask(experiment, chosen, journal, times, tell))
    journal.close()
    if found.stopped:
        warn(f"{command}: stopped: {found.stopped}; the same command again goes on")
        return None
    spans = _read_times(times)
    judged = [(place, v) for place, v in zip(places, verdicts, strict=True) if v and not v.failed]
    known = [spans.get(settings.key(items[place])) for place, _ in judged]
    if failed := [verdict for verdict in verdicts if verdict and verdict.failed]:
        warn(f"note: {len(failed)} of the {len(chosen)} rows have no verdict: {failed[0].reason}")
    if not any(known):
        warn(f"{command}: none of the {len(chosen)} rows was judged and timed, so nothing is known")
        return None
    picked = [lengths[place] for place, _ in judged]
    return Sample(picked, [verdict for _, verdict in judged], known, lengths)


async def _ask(
    experiment: Experiment, chosen: Sequence[Item], journal: Journal, times: Path, tell: OnVerdict
) -> None:
    connection = experiment.connection(journal)
    async with connection.caller() as caller:
        judge = _TimedJudge(caller, connection.settings, times)
        await judge_all(chosen, judge, journal, on_verdict=tell)


def _read_times(path: Path) -> dict[str, tuple[float, float]]:
    """By the key of a row, when it was in flight; the last time counts."""
    lines = list(read_lines(path.read_bytes())) if path.is_file() else []
    return {line["key"]: (line["began"], line["ended"]) for line in lines if "key" in line}


def _tell(sample: Sample, experiment: Experiment) -> None:
    """What the run would take that was asked for."""
    rows, different = len(experiment.data.rows), len(sample.all_lengths)
    judged = len(sample.verdicts)
    which = "spread over their lengths" if judged < different else "all there are"
    say(f"planned by   {judged} of {different:,} different rows ({rows:,} in all), {which}")
    say(
        f"measured     {sample.busy_s:.1f} s, {sample.in_flight_max} rows in flight at most, "
        f"{sample.in_flight:.1f} on average"
    )
    say(f"time         {_range(sample.seconds)}")
    if sample.in_flight_max < min(experiment.calls.concurrency or MOST, different):
        say("             (a run has more in flight; with a server that has room it takes less)")
    prompt, cached = sample.tokens("prompt_tokens"), sample.tokens("cached_tokens")
    share = _percent(cached / prompt if prompt else 0.0)
    reply = sample.tokens("completion_tokens")
    say(
        f"tokens       {_about(prompt)} of prompts, {share} from the cache; {_about(reply)} written"
    )


def _tell_shorter(whole: Sample, alone: Sample, settings: JudgeSettings) -> None:
    """What a run would take that writes no justifications, or only some."""
    scale, flags = settings.prompt.format.scale, "--score-only"
    below = (scale.low + scale.high + 1) // 2
    rows = len(alone.verdicts)
    say(f"one token    {_range(alone.seconds)} with {flags}, estimated by {rows} other rows")
    scores = [verdict.overall.value for verdict in whole.verdicts if verdict.overall]
    share = share_estimate([score < below for score in scores])
    if share.value is not None:
        flags += f" --explain-below {below}"
        took = explained(whole.seconds, alone.seconds, share)
        say(
            f"some reasons {_range(took)} with {flags}: {_percent(share.value)} score below {below}"
        )


def explained(whole: Estimate, alone: Estimate, share: Estimate) -> Estimate:
    """What the scores alone take, and for a share of the rows what is more with a justification."""

    def took(end: str) -> float | None:
        one, both, part = (getattr(estimate, end) for estimate in (alone, whole, share))
        return None if None in (one, both, part) else one + part * max(0.0, both - one)

    return Estimate(took("value"), took("low"), took("high"), share.n)


def _range(seconds: Estimate) -> str:
    """A time with its range, in one unit."""
    assert seconds.value is not None, "a time that was measured"
    unit, name = next((unit, name) for least, unit, name in _UNITS if seconds.value >= least)
    value = f"{seconds.value / unit:.1f} {name}"
    if seconds.low is None or seconds.high is None:
        return f"{value} (no range: {seconds.note})"
    if seconds.low == seconds.high:
        return value
    return f"{value} ({seconds.low / unit:.1f} to {seconds.high / unit:.1f})"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _about(tokens: float) -> str:
    """To three digits, which is more than sixteen rows tell."""
    return f"{float(f'{tokens:.3g}'):,.0f}"
