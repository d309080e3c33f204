"""Which judges are compared, and where is each? `NAME=URL[,URL...][#MODEL]`, read at the door.

python mlflow_tracking/compare_judges.py --data graded.csv --judge a=http://gpu1:8000/v1#small \
    --judge b=http://gpu1:8000/v1#large
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llm_client.settings import SettingsError, check_base_urls, redacted

# It becomes a file's name.
_NAMED = re.compile(r"(?P<name>[\w][\w.-]{0,63})=(?P<urls>[^#]+)(?:#(?P<model>.+))?")


@dataclass(frozen=True)
class NamedJudge:
    """A judge as the user calls it."""

    name: str
    urls: str  # of its server; of several with commas between them
    model: str = ""  # as the server names it; '' for the one that it serves

    def __str__(self) -> str:
        return f"judge {self.name}"


def read_judge(text: str) -> NamedJudge:
    """Of a flag; raises ArgumentTypeError."""
    found = _NAMED.fullmatch(text.strip())
    try:
        if found:
            return NamedJudge(found["name"], check_base_urls(found["urls"]), found["model"] or "")
    except SettingsError:
        pass
    raise argparse.ArgumentTypeError(
        f"'{redacted(text)}' is not NAME=URL[,URL...][#MODEL], such as a=http://127.0.0.1:8000/v1"
    )


def confusion(judges: Sequence[NamedJudge]) -> str:
    """Why these judges cannot be told apart; '' if they can."""
    if len(judges) < 2:
        return "--judge is given once; give two judges or more (of one: validate_judge.py)"
    for place, one in enumerate(judges):
        for other in judges[:place]:
            if one.name.casefold() == other.name.casefold():
                return f"--judge {one.name} is given twice; give each judge a name of its own"
            same = one.urls == other.urls
            if same and one.model == other.model or same and "" in (one.model, other.model):
                return (
                    f"--judge {other.name} and {one.name} have one address; say which model is "
                    f"whose: {other.name}={redacted(one.urls)}#MODEL"
                )
    return ""
