"""What do both example clients share? Their flags, and how they print an answer or a fault.

A client reads its question with `read_question`, and hands `print_answer` the pieces of the reply:

    python llm_client/vllm_api_client.py --prompt "Почему небо синее?" --stream
    python llm_client/openai_client_example.py --system "Answer in one word." --max-tokens 5
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from llm_client.server_faults import ServerFault, broken_off, unknown_model
from llm_client.settings import (
    Settings,
    SettingsError,
    check_base_url,
    load_settings,
    redacted,
    split_base_urls,
)
from llm_client.surroundings import Route, guard_streams, route_to, settle_environment

KINDS_OF_TOKENS = ("prompt", "completion")
CONNECT_SECONDS = 5.0  # a server that runs accepts at once, however busy it is


@dataclass(frozen=True)
class Question:
    """One question and where it goes; an empty string stands for 'not given'."""

    prompt: str
    system: str
    model: str
    route: Route
    max_tokens: int
    temperature: float
    timeout: float
    stream: bool


@dataclass(frozen=True)
class Ending:
    """What comes after the last piece of an answer: why it ended, and its `usage` in tokens."""

    finish_reason: str | None
    usage: Mapping[str, Any]


def read_question(description: str | None) -> Question:
    """Flags over environment over `.env`; exits with 2 for a bad flag, as argparse does."""
    settings = load_settings()
    flags = vars(_flags(description, settings).parse_args())
    return Question(route=route_to(flags.pop("base_url"), settings.api_key), **flags)


def choose_model(question: Question, served: list[str]) -> str:
    """The model asked for, or the first one served; raises ServerFault if it is not served."""
    if not served or (question.model and question.model not in served):
        raise unknown_model(question.route, question.model, served)
    return question.model or served[0]


def print_answer(question: Question, model: str, reply: Iterator[str | Ending]) -> None:
    """Print the pieces as they come, then tokens and time; the request starts with the first."""
    started = time.perf_counter()
    sys.stdout.write(f"model:  {model}\nanswer: ")
    ending = Ending(None, {})
    try:
        for piece in reply:
            if isinstance(piece, Ending):
                ending = piece
            else:
                sys.stdout.write(piece)
                sys.stdout.flush()
    finally:
        sys.stdout.write("\n")
    if not ending.finish_reason:
        raise broken_off(question.route, "nothing says that it is complete")
    counts = [f"{ending.usage.get(f'{kind}_tokens', '?')} {kind}" for kind in KINDS_OF_TOKENS]
    spent = time.perf_counter() - started
    sys.stdout.write(f"tokens: {' + '.join(counts)}\ntime:   {spent:.2f} s\n")
    if ending.finish_reason == "length":
        sys.stderr.write("note: the answer was cut at that length; allow more: --max-tokens\n")


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and leave with its exit code; what a user can put right is one line."""
    guard_streams()
    code = 0
    try:
        settle_environment()
        main()
        sys.stdout.flush()
    except (ServerFault, SettingsError) as error:
        sys.stdout.flush()
        sys.stderr.write(f"error: {error}\n")
        code = 2 if isinstance(error, SettingsError) else 1
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # `| head -1`: nobody reads on, and Python would complain at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _flags(description: str | None, settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    shown = "(default: %(default)s)"
    add("--prompt", type=_text, default="Столица Германии?", help=f"the question {shown}")
    add("--system", type=_text, default="", help="system message (default: none)")
    add("--model", type=_text, default="", help="model to ask (default: what the server serves)")
    root = redacted(settings.base_url).replace("%", "%%")
    add(
        "--base-url", type=_url, default=settings.base_url, help=f"the API's root (default: {root})"
    )
    add("--max-tokens", type=_count, default=256, help=f"longest answer, in tokens {shown}")
    add("--temperature", type=_not_negative, default=0.0, help=f"0 is the likeliest text {shown}")
    add("--timeout", type=_seconds, default=300.0, help=f"seconds of silence to bear {shown}")
    add("--stream", action="store_true", help="print the answer while it grows (default: no)")
    return parser


def _text(value: str) -> str:
    """A terminal in another encoding than the locale's hands over halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not valid UTF-8") from None
    return value


def _url(value: str) -> str:
    """What `check_base_url` accepts; of several the first, one question needs one server."""
    try:
        return check_base_url(split_base_urls(_text(value))[0])
    except SettingsError:
        raise argparse.ArgumentTypeError(
            f"'{redacted(value)}' is not a URL; write it as http://127.0.0.1:8000/v1"
        ) from None


def _number(value: str, wanted: str, accept: Callable[[float], bool]) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and accept(number)):
        raise argparse.ArgumentTypeError(f"'{value}' is not {wanted}")
    return number


def _count(value: str) -> int:
    wanted = "a whole number from 1 on"
    return int(_number(value, wanted, lambda n: n >= 1 and n == int(n)))


def _not_negative(value: str) -> float:
    return _number(value, "a number from 0 on", lambda n: n >= 0)


def _seconds(value: str) -> float:
    return _number(value, "a number of seconds above 0", lambda n: n > 0)
