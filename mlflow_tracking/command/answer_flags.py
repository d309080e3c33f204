"""Which model is under test, and how is it asked? The flags of --answers-from.

python mlflow_tracking/run_experiment.py --answers-from http://127.0.0.1:8001/v1 --limit 8
"""

import argparse
from dataclasses import dataclass, fields
from pathlib import Path

from llm_client.settings import ROOT
from mlflow_tracking.command.flag_parser import FlagParser, flag, number, positive

SHIPPED_QUESTIONS = ROOT / "mlflow_tracking/data/questions.csv"


@dataclass(frozen=True)
class AnswerFlags:
    """The model under test, which answers rows that have no answer before they are judged."""

    answers_from: str = flag(
        "OpenAI-compatible root of the server of a model under test: it answers the rows that "
        f"have no answer (--data is {SHIPPED_QUESTIONS.name} then, unless it is given)",
        "",
        metavar="URL[,URL...]",
    )
    answer_model: str = flag(
        "the model under test, as its server names it (default: the one it serves)", ""
    )
    answer_prompt: Path | None = flag(
        "text file: the system message, a line ---, the user's with {question}; or only one of "
        "the two (default: the question alone is sent)",
        None,
        type=Path,
        metavar="FILE",
    )
    answer_max_tokens: int = flag("of an answer", 512, type=positive, metavar="N")
    answer_temperature: float = flag(
        "the model under test's sampling; 0 is its most likely answer",
        0.0,
        type=number(0, 2, "a temperature from 0 to 2"),
    )
    answers_per_row: int = flag(
        "answers to each question, each a row of its own, for the spread between them",
        1,
        type=positive,
        metavar="K",
    )
    answers_only: bool = flag(
        "make the answers and keep them; no judge is asked and no run is made", False
    )


def check_answering(parser: FlagParser, given: argparse.Namespace) -> None:
    """Ends the process with code 2 for flags of --answers-from that ask for nothing."""
    if not given.answers_from:
        for one in fields(AnswerFlags):
            if getattr(given, one.name) != one.default:
                name = one.name.replace("_", "-")
                parser.error(f"--{name} is for --answers-from, which says who answers")
        return
    if given.answers_per_row > 1 and not given.answer_temperature:
        parser.error(
            f"--answers-per-row {given.answers_per_row} would be the same answer each time at "
            "--answer-temperature 0; give one above 0, such as 0.7"
        )
    if given.stock:
        parser.error("--stock scores a file's answers; leave --answers-from out")
    # Those of the run that judges them stay: the same flags without --answers-only make it.
    for name in ("plan", "resume") if given.answers_only else ():
        if getattr(given, name):
            parser.error(f"--answers-only makes no run, so it goes without --{name}")
