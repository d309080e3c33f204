"""What does a person read first about a run? One self-contained page, report.html.

    python mlflow_tracking/run_experiment.py
    mlflow ui        # the run, Artifacts, report.html

Text of rows is material: Jinja2 escapes all of it, and the page's policy lets no script run but
its own. A page of many rows stays small: see `SHOWN` and `CUT`; judge_results.csv has all of it.
"""

import base64
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mlflow_tracking.judge.verdict import SUSPECT_SHARE, Verdict
from mlflow_tracking.recording.people import worth
from mlflow_tracking.recording.sample import choose_rows, worst_first
from mlflow_tracking.recording.summary import Summary
from mlflow_tracking.rows.item import Row
from mlflow_tracking.rows.scale import short
from mlflow_tracking.stats.prediction_powered import HumanMean

SHOWN = 2000  # rows in the table of all rows
CUT = 1500  # characters of a text
CUT_BESIDE = 300  # of a further column: a passage of pages is for the table
_LISTED, _FAILED_LISTED = 10, 50  # rows in the short lists

_PEOPLE = "<!-- people -->", "<!-- /people -->"  # around what is known only when rows are graded

Judged = Sequence[tuple[Row, Verdict | None]]


@dataclass(frozen=True)
class Report:
    """What the page is made of."""

    title: str
    run_id: str
    params: Mapping[str, Any]
    summary: Summary
    rows: Judged
    plots: Mapping[str, bytes]  # PNG files by name


def render_report(report: Report) -> str:
    """The page as HTML."""
    verdicts, scale = [verdict for _, verdict in report.rows], report.summary.scale
    return (
        page_environment()
        .get_template("report.html")
        .render(
            report=report,
            nonce=secrets.token_urlsafe(16),
            summary=report.summary,
            made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            plots={name: base64.b64encode(data).decode() for name, data in report.plots.items()},
            shown=[report.rows[i] for i in _shown(verdicts)],
            sure=f"{math.log2(len(scale.values)):.2f}",
            beside=CUT_BESIDE,
            suspect=short(SUSPECT_SHARE * scale.span),
            **_lists(report.rows, verdicts, scale.point),
        )
    )


def with_people(page: str, human: HumanMean) -> str:
    """A page that render_report made, with what people would give put in or brought up to date."""
    card = page_environment().get_template("human_mean.html").render(human=human)
    begin, end = _PEOPLE
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{card}{end}{after}"


def page_environment() -> Environment:
    """The templates, with everything escaped that comes from rows."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cut": _cut, "worth": worth, "short": short}
    return environment


def _shown(verdicts: Sequence[Verdict | None]) -> list[int]:
    """The rows of the table; of more than it holds, the worst and a sample."""
    if len(verdicts) <= SHOWN:
        return list(range(len(verdicts)))
    return choose_rows(verdicts, SHOWN)


def _lists(rows: Judged, verdicts: Sequence[Verdict | None], point: float) -> dict[str, Any]:
    """The short lists of the page, with how many rows each would have.

    Claim and whole answer differ from more than a `point` of 1-5 on.
    """
    order = worst_first(verdicts)
    scored = [i for i in order if (verdict := verdicts[i]) and not verdict.failed]
    failed = [i for i in order if (verdict := verdicts[i]) and verdict.failed]
    unsure = sorted(
        (i for i in scored if _entropy(verdicts[i]) > 0), key=lambda i: -_entropy(verdicts[i])
    )
    differ = [i for i in order if abs(_disagreement(verdicts[i])) > point]
    differ.sort(key=lambda i: -_disagreement(verdicts[i]))

    def pick(indices: list[int], limit: int) -> dict[str, Any]:
        return {"total": len(indices), "rows": [rows[i] for i in indices[:limit]]}

    return {
        "lowest": pick(scored, _LISTED),
        "unsure": pick(unsure, _LISTED),
        "failed": pick(failed, _FAILED_LISTED),
        "differ": pick(differ, _FAILED_LISTED),
    }


def _entropy(verdict: Verdict | None) -> float:
    score = verdict.overall if verdict else None
    return (score.entropy if score else None) or 0.0


def _disagreement(verdict: Verdict | None) -> float:
    return (verdict.disagreement if verdict else None) or 0.0


def _cut(text: str, most: int = CUT) -> str:
    """At most so many characters, without what HTML has no place for."""
    text = text.replace("\x00", "␀").encode("utf-8", "replace").decode()
    rest = len(text) - most
    return text if rest <= 0 else f"{text[:most]} […{rest} more characters]"
