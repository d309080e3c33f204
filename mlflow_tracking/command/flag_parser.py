"""How is a flag written down and read? As a field of a dataclass; a mistake is one line.

    python mlflow_tracking/run_experiment.py --limit none

A group is a dataclass whose fields are flags: `base_url` is `--base-url`. A command adds the groups
that it takes to its parser and gets their values back with `take`.
"""

import argparse
from collections.abc import Callable, Collection
from dataclasses import MISSING, field, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from llm_client.settings import ROOT, redacted

_Group = TypeVar("_Group")


class FlagParser(argparse.ArgumentParser):
    """A mistake is told in one line, without the usage's ten."""

    def __init__(self, command: str, description: str | None) -> None:
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        self._command = command

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self._command}: {message} (see --help)\n")

    def add(self, flag: str, text: str, **options: Any) -> None:
        """A flag; its default is shown by --help."""
        shown = options.get("default")
        told = shown not in (None, "", ()) and not options.get("action")
        suffix = f" (default: {redacted(_short(shown))})" if told else ""
        self.add_argument(flag, help=(text + suffix).replace("%", "%%"), **options)

    def add_group(self, group: type, without: Collection[str] = (), **defaults: Any) -> None:
        """The flags of a group, with other `defaults` than its own where they are given."""
        for one in fields(group):
            if one.name in without or "text" not in one.metadata:
                continue
            options: dict[str, Any] = dict(one.metadata)
            default = defaults.get(one.name, options.pop("shown", one.default))
            if one.type in (bool, "bool"):
                options["action"] = "store_true"
            elif default is MISSING:
                options["required"] = True
            else:
                options["default"] = default
            self.add(f"--{one.name.strip('_').replace('_', '-')}", dest=one.name, **options)


def flag(text: str, default: Any = MISSING, **options: Any) -> Any:
    """A field that is a flag; `shown` is the default that is typed for a value such as None."""
    return field(default=default, metadata={"text": text, **options})


def take(group: Callable[..., _Group], given: argparse.Namespace) -> _Group:
    """The values of a group, of the flags that the command has; the others have its defaults."""
    names = {one.name for one in fields(group)}  # type: ignore[arg-type]  # a dataclass
    return group(**{name: value for name, value in vars(given).items() if name in names})


def _short(default: object) -> str:
    try:
        return str(Path(default).relative_to(ROOT)) if isinstance(default, Path) else str(default)
    except ValueError:
        return str(default)


def whole(least: int, wanted: str, most: int = 2**63 - 1) -> Callable[[str], int]:
    """A `type=` for whole numbers; `wanted` is what a mistake is told to be none of."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"'{text}' is {wanted}")
        return int(text)

    return read


def number(low: float, high: float, wanted: str) -> Callable[[str], float]:
    """A `type=` for numbers; `wanted` is what a mistake is told not to be."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")  # which lies between no two numbers
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not {wanted}")
        return value

    return read


positive = whole(1, "not a whole number from 1")
natural = whole(0, "not a whole number from 0")
