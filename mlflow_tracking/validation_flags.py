"""Which validation was asked for? The flags of validate_judge.py, with their defaults.

python mlflow_tracking/validate_judge.py --help
"""

import argparse
from pathlib import Path

from llm_client.settings import Settings
from mlflow_tracking.experiment_flags import (
    FlagParser,
    add_call_flags,
    add_judge_flags,
    add_recording_flags,
    natural,
    positive,
)

_PAIRWISE_PROMPT = Path(__file__).resolve().parent / "prompts/pairwise_prompt.txt"


def parse_validation_arguments(
    description: str | None, settings: Settings, argv: list[str] | None = None
) -> argparse.Namespace:
    """The command line; every default is shown by --help."""
    parser = FlagParser("validate_judge", description)
    add = parser.add
    add(
        "--data",
        "CSV with inputs,predictions,human_score (or human_score_1, _2 ...), or with "
        "inputs,answer_a,answer_b,winner; targets and human_feedback where there are any",
        type=Path,
        required=True,
    )
    add_judge_flags(add, settings)
    add("--quick", "only judge the rows: agreement with people, no probes", action="store_true")
    add(
        "--probe-rows",
        "rows that the probes of consistency and biases are made on, all levels of the human "
        "score alike; 0 for no such probes",
        type=natural,
        default=30,
        metavar="N",
    )
    add("--repeats", "times that a probed row is judged", type=_repeats, default=3, metavar="K")
    add("--no-injection", "do not append attacks to wrong answers", action="store_true")
    add("--pairwise", "have the pairs of a CSV compared directly, too", action="store_true")
    add("--pairwise-prompt", "the prompt for that", type=Path, default=_PAIRWISE_PROMPT)
    add(
        "--calibrate",
        "fit a map from expected score to the human scale and write it there, for "
        "run_experiment.py --calibration",
        type=Path,
        metavar="FILE",
    )
    add_call_flags(add)
    add_recording_flags(add, settings)
    # A validation is of the judge as run_experiment.py asks it by default.
    parser.set_defaults(
        temperature=0.0,
        score_only=False,
        explain_below=None,
        calibration=None,
        on_too_long="fail",
        no_manipulation_check=False,
        stock=False,
    )
    return parser.parse_args(argv)


def _repeats(text: str) -> int:
    if positive(text) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 2")
    return int(text)
