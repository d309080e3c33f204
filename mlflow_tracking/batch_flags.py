"""What is exported or imported? The flags of batch_requests.py, with their defaults.

python mlflow_tracking/batch_requests.py export --help
python mlflow_tracking/batch_requests.py import --help
"""

import argparse
from pathlib import Path

from llm_client.settings import Settings
from mlflow_tracking.experiment_flags import (
    FlagParser,
    add_judge_flags,
    add_recording_flags,
    add_scoring_flags,
)


def parse_arguments(
    action: str, description: str | None, settings: Settings, argv: list[str]
) -> argparse.Namespace:
    """The command line after `export` or `import`; what makes a request is the same for both."""
    parser = FlagParser(f"batch_requests {action}", description)
    parser.prog += f" {action}"
    add = parser.add
    add("--data", "CSV with inputs,predictions[,targets]", type=Path, required=True)
    add_judge_flags(add, settings)
    add_scoring_flags(add)
    if action == "export":
        add("--output", "the batch file to write", type=Path, required=True)
        add(
            "--except",
            "results that are there: what they answer is left out",
            type=Path,
            nargs="+",
            dest="except_",
        )
    else:
        add("--results", "what the job wrote", type=Path, nargs="+", required=True)
        add_recording_flags(add, settings)
    arguments = parser.parse_args(argv)
    if not arguments.model:
        parser.error("--model: the judge's name in the batch job; there is no server to tell it")
    if arguments.explain_below:
        parser.error("--explain-below asks again when the score is known, which a file cannot")
    if arguments.on_too_long == "truncate":
        parser.error("--on-too-long truncate asks the server to count, and there is none")
    arguments.stock, arguments.calibration = False, None
    arguments.concurrency, arguments.retries = 1, 0
    return arguments
