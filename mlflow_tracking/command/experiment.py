"""What is going to be judged, by whom, recorded where? Read and checked before anything is made.

python mlflow_tracking/run_experiment.py --check
python mlflow_tracking/run_experiment.py --check --data my.csv
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from llm_client.batch_file import BatchResult
from llm_client.settings import Settings, check_base_urls, redacted
from mlflow_tracking.command.flags import CallFlags, JudgeFlags, RowFlags, RunFlags
from mlflow_tracking.judge.journal import Journal
from mlflow_tracking.judge.judging import JudgeConnection
from mlflow_tracking.judge.preflight import CheckedJudge, preflight
from mlflow_tracking.judge.prompt import check_explain_below, check_score_only, load_prompt
from mlflow_tracking.judge.settings import JudgeSettings
from mlflow_tracking.rows.item import DataSet, Item
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.rows.table import as_flag

# Params that must be the same for a run to be resumed, beside the judge's fingerprint.
_SAME = (
    *("data_sha256", "limit", "prompt_sha256", "judge_model", "judge_root"),
    *("temperature", "max_tokens", "seed", "constrained", "on_too_long"),
    *("context_length", "claim", "score_only", "explain_below"),
)


@dataclass(frozen=True)
class Experiment:
    """What is judged, by whom, and where it is recorded; checked before anything is made."""

    data: DataSet
    limit: int | None
    judge: CheckedJudge
    calls: CallFlags
    api_key: str
    run: RunFlags
    tracking_uri: str
    more_params: Mapping[str, Any] = field(default_factory=dict)  # beside, or in place of, `params`
    same: tuple[str, ...] = ()  # further params that must be the same for a run to be resumed
    replies: Mapping[str, BatchResult] | None = None  # of a batch job, in place of a server's

    def connection(self, journal: Journal) -> JudgeConnection:
        """The judge, with a journal for its verdicts."""
        calls, judge = self.calls, self.judge.settings
        return JudgeConnection(
            calls.base_url,
            self.api_key,
            judge,
            journal,
            calls.concurrency,
            calls.policy,
            self.replies,
        )

    def params(self) -> dict[str, Any]:
        """Every setting that could change a number."""
        judge, calls = self.judge.settings, self.calls
        params = {
            "judge_model": judge.model,
            "judge_root": judge.model_root,
            "base_url": redacted(calls.base_url),
            "vllm_version": self.judge.server_version or "unknown",
            "prompt_file": judge.prompt.path.name,
            "scale": str(judge.prompt.format.scale),
            "prompt_sha256": judge.prompt.sha256,
            "data_file": self.data.path.name,
            "data_sha256": self.data.sha256,
            "limit": self.limit or "none",
            "temperature": judge.temperature,
            "max_tokens": judge.max_tokens,
            "score_only": judge.score_only,
            "explain_below": judge.explain_below or "none",
            "seed": judge.seed,
            "constrained": judge.constrained,
            "constraint": judge.dialect.constraint or "none",
            "asked_otherwise": judge.dialect.told() or "no",
            "context_length": judge.context_length or "unknown",
            "on_too_long": judge.on_too_long,
            "claim": f"{judge.claim.counts} counts" if judge.claim else "not asked",
            "concurrency": calls.concurrency or "auto",
            "retries": calls.retries,
            "scorer": "evaluate_with_llm_judge",
            "mlflow_version": version("mlflow"),
        }
        read = {"data_sheet": self.data.sheet, "columns": as_flag(self.data.named)}
        given = {name: value for name, value in read.items() if value}
        return params | given | dict(self.more_params)

    def journal_header(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        params = self.params()
        same = {name: params[name] for name in (*_SAME, *self.same)}
        for name in ("data_sheet", "columns"):  # the file's sha256 is the same for all of them
            if name in params:
                same[name] = params[name]
        return same | {"judge": self.judge.settings.fingerprint}


def read_experiment(
    rows: RowFlags,
    judge: JudgeFlags,
    calls: CallFlags,
    run: RunFlags,
    settings: Settings,
    data: DataSet | None = None,
) -> Experiment:
    """Read the rows and the prompt, and check the server; raises the mistake of what is wrong.

    `data` are the rows where they were read before.
    """
    if data is None:
        data = load_rows(rows.data, rows.encoding, rows.limit, sheet=rows.sheet, named=rows.columns)
    wanted = wanted_judge(judge, data.columns)
    data = data.asking(wanted.prompt.columns)
    return check_judge(data, data.items, rows.limit, wanted, calls, run, settings)


def check_judge(
    data: DataSet,
    items: Sequence[Item],
    limit: int | None,
    wanted: JudgeSettings,
    calls: CallFlags,
    run: RunFlags,
    settings: Settings,
    probes: bool = False,
) -> Experiment:
    """Check the judge, and that it can be asked about `items`, the rows of `data`."""
    calls = replace(calls, base_url=check_base_urls(calls.base_url))
    checked = asyncio.run(preflight(calls.base_url, settings.api_key, wanted, items, probes))
    return Experiment(data, limit, checked, calls, settings.api_key, run, settings.tracking_uri)


def wanted_judge(flags: JudgeFlags, columns: Sequence[str] | None) -> JudgeSettings:
    """The judge that the flags ask for, its prompt read for rows of those columns, if known.

    Raises PromptError.
    """
    prompt = load_prompt(flags.prompt, columns)
    if flags.score_only:
        check_score_only(prompt)
    if flags.explain_below is not None:
        check_explain_below(prompt, flags.explain_below)
    return JudgeSettings(
        model=flags.model,
        prompt=prompt,
        temperature=flags.temperature,
        max_tokens=flags.max_tokens,
        seed=flags.seed,
        on_too_long=flags.on_too_long,
        ask_claim=not flags.no_claim,
        score_only=flags.score_only,
        explain_below=flags.explain_below,
    )
