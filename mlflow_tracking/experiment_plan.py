"""What is going to be judged, by whom, recorded where? Read and checked before anything is made.

python mlflow_tracking/run_experiment.py --check
python mlflow_tracking/run_experiment.py --check --data my.csv
"""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlflow

from llm_client.judge_client import RetryPolicy
from llm_client.settings import Settings, check_base_urls
from mlflow_tracking.calibrated_scores import calibration_for
from mlflow_tracking.calibration import Calibration
from mlflow_tracking.custom_metrics import JudgeConnection
from mlflow_tracking.journal import Journal
from mlflow_tracking.judge import Question
from mlflow_tracking.judge_prompt import check_score_only, load_prompt
from mlflow_tracking.judge_settings import JudgeSettings
from mlflow_tracking.mlflow_run import Tracking
from mlflow_tracking.preflight import Findings, preflight
from mlflow_tracking.rows import DataSet, load_rows


@dataclass(frozen=True)
class Plan:
    """What is judged, by whom, and where it is recorded; checked before anything is made."""

    arguments: argparse.Namespace
    data: DataSet
    findings: Findings
    judge_at: str  # the server's root, ends in /v1; of several: separated by commas
    api_key: str
    policy: RetryPolicy
    tracking: Tracking
    calibration: Calibration | None = None

    def connection(self, journal: Journal) -> JudgeConnection:
        """The judge, with a journal for its verdicts."""
        return JudgeConnection(
            self.judge_at,
            self.api_key,
            self.findings.settings,
            journal,
            self.arguments.concurrency,
            self.policy,
        )

    def params(self) -> dict[str, Any]:
        """Every setting that could change a number."""
        judge, arguments = self.findings.settings, self.arguments
        return {
            "judge_model": judge.model,
            "judge_root": judge.model_root,
            "base_url": self.judge_at,
            "vllm_version": self.findings.server_version or "unknown",
            "prompt_file": judge.prompt.path.name,
            "prompt_sha256": judge.prompt.sha256,
            "data_file": self.data.path.name,
            "data_sha256": self.data.sha256,
            "limit": arguments.limit or "none",
            "temperature": judge.temperature,
            "max_tokens": judge.max_tokens,
            "score_only": judge.score_only,
            "explain_below": judge.explain_below or "none",
            "seed": judge.seed,
            "constrained": judge.constrained,
            "context_length": judge.context_length or "unknown",
            "on_too_long": judge.on_too_long,
            "calibration": arguments.calibration.name if arguments.calibration else "none",
            "check_manipulation": judge.check_manipulation,
            "concurrency": arguments.concurrency or "auto",
            "retries": arguments.retries,
            "scorer": "mlflow stock" if arguments.stock else "evaluate_with_llm_judge",
            "mlflow_version": mlflow.__version__,
        }

    def journal_header(self) -> dict[str, Any]:
        """What must be the same for a run to be resumed."""
        names = ("data_sha256", "limit", "prompt_sha256", "judge_model", "judge_root")
        sampling = ("temperature", "max_tokens", "seed", "constrained", "on_too_long")
        others = ("context_length", "check_manipulation", "score_only", "explain_below")
        params = self.params()
        return {
            **{name: params[name] for name in (*names, *sampling, *others)},
            "judge": self.findings.settings.fingerprint(),
        }


def make_plan(arguments: argparse.Namespace, settings: Settings) -> Plan:
    """Read and check everything that can be; raises the error of what is wrong."""
    data = load_rows(arguments.data, arguments.encoding, arguments.limit)
    return check_judge(arguments, settings, data, questions(data))


def check_judge(
    arguments: argparse.Namespace,
    settings: Settings,
    data: DataSet,
    items: Sequence[Question],
) -> Plan:
    """Check the judge, and that it can be asked about `items`, the rows of `data`."""
    base_url = check_base_urls(arguments.base_url)
    wanted = wanted_judge(arguments)
    policy = retry_policy(arguments)
    findings = asyncio.run(preflight(base_url, settings.api_key, wanted, items))
    tracking = Tracking(settings.tracking_uri, arguments.experiment_name)
    path, key = arguments.calibration, settings.api_key
    calibration = calibration_for(path, findings.settings) if path else None
    return Plan(arguments, data, findings, base_url, key, policy, tracking, calibration)


def wanted_judge(arguments: argparse.Namespace) -> JudgeSettings:
    """The judge that the flags ask for, its prompt read; raises PromptError."""
    prompt = load_prompt(arguments.prompt)
    if arguments.score_only:
        check_score_only(prompt)
    return JudgeSettings(
        model=arguments.model,
        prompt=prompt,
        temperature=arguments.temperature,
        max_tokens=arguments.max_tokens,
        seed=arguments.seed,
        on_too_long=arguments.on_too_long,
        check_manipulation=not arguments.no_manipulation_check,
        score_only=arguments.score_only,
        explain_below=arguments.explain_below,
    )


def retry_policy(arguments: argparse.Namespace) -> RetryPolicy:
    """How long a call is tried."""
    return RetryPolicy(arguments.retries + 1, arguments.timeout, arguments.wait_for_server)


def questions(data: DataSet) -> list[Question]:
    """The rows as the judge is asked about them."""
    return [Question(row.question, row.answer, row.reference) for row in data.rows]
