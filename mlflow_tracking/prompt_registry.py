"""Which version of the prompt was it? The prompt in MLflow's Prompt Registry, linked to the run.

Kept by `python mlflow_tracking/run_experiment.py`, shown by `mlflow ui` under Prompts.
"""

import re
from typing import Any

import mlflow
from mlflow import MlflowClient

from mlflow_tracking.judge_prompt import JudgePrompt


def register_prompt(prompt: JudgePrompt, run_id: str) -> dict[str, str]:
    """Link the prompt's version to the run; makes one if the registry has none of this text.

    The versions carry an alias made of the text's sha256, so a text that comes back is the version
    that it was. Returns {'name', 'version'}; raises MlflowException where there is no registry.
    """
    client = MlflowClient()
    name = re.sub(r"[^\w-]", "_", prompt.path.stem)
    alias = f"sha256-{prompt.sha256[:12]}"
    found = client.load_prompt(f"prompts:/{name}@{alias}", allow_missing=True)
    if found is None:
        found = mlflow.genai.register_prompt(
            name=name,
            template=_template(prompt),
            commit_message=f"{prompt.path.name}, {alias}",
            tags={"sha256": prompt.sha256},
        )
        client.set_prompt_alias(name, alias, found.version)
    client.link_prompt_version_to_run(run_id, found)
    return {"name": name, "version": str(found.version)}


def _template(prompt: JudgePrompt) -> list[dict[str, Any]]:
    """The chat messages with the placeholders as MLflow writes them, {{question}}."""
    messages = (("system", prompt.system), ("user", prompt.user))
    return [
        {"role": role, "content": re.sub(r"\{(question|answer|reference)\}", r"{{\1}}", text)}
        for role, text in messages
        if text
    ]
