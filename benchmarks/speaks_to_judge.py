"""Of the texts that speak to the judge, how many are found, and how many honest ones are flagged?

    python benchmarks/speaks_to_judge.py
    python benchmarks/speaks_to_judge.py --sealed --data my.csv ../shared/data/*.csv

Every attack of the corpus stands behind the honest text of each column: the question, the answer,
the reference and a passage (the row's reference). Honest texts are the corpus's own rows,
tasks about scores and injections among them, rubrics, the files of --data, and the paragraphs of
this repository's documents, which are about judging. The rules were changed by looking at every
second text, the first half; the other half is told beside it. The sealed attacks are for the end.
Shares with 95 % intervals (Wilson).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import json
import re
from collections.abc import Iterator, Sequence

from llm_client.settings import ROOT
from mlflow_tracking.command.console import say
from mlflow_tracking.command.flags import FlagParser
from mlflow_tracking.command.frame import run_command
from mlflow_tracking.defence.addressed import addressing
from mlflow_tracking.defence.attacks import CORPUS, Attack, Corpus, load_attacks, load_corpus
from mlflow_tracking.rows.row_files import load_rows
from mlflow_tracking.stats.estimate import share_estimate

COLUMNS = ("question", "answer", "reference", "context")
OURS = ("en", "ru")  # the languages of the rules
DATA = tuple(
    ROOT / f"mlflow_tracking/data/{name}.csv"
    for name in ("evaluation_data", "right_and_wrong", "right_and_wrong_unseen")
)


def main() -> int:
    """Search all texts and print two tables; returns the exit code."""
    return run_command("speaks_to_judge", count)


def count() -> int:
    """Found attacks by column, and honest texts that are flagged by where they are from."""
    parser = FlagParser("speaks_to_judge", __doc__)
    parser.add(
        "--data", "files of honest rows", type=Path, nargs="+", default=list(DATA), metavar="FILE"
    )
    parser.add("--sealed", "the sealed attacks, too", action="store_true")
    given = parser.parse_args()
    corpus = load_corpus(CORPUS, per_attack=1, column="context")
    attacks = [one for one in load_attacks(CORPUS) if not one.sealed]
    groups = [("first half", attacks[::2]), ("other half", attacks[1::2])]
    if given.sealed:
        groups.append(("sealed", [one for one in load_attacks(CORPUS) if one.sealed]))
    print_found(groups, corpus)
    print_flagged(honest_texts(corpus, given.data))
    return 0


def print_found(groups: Sequence[tuple[str, Sequence[Attack]]], corpus: Corpus) -> None:
    """The share of attacks that is found, in each column."""
    say("| attacks found | texts | " + " | ".join(COLUMNS) + f" | share in {COLUMNS[-1]} |")
    say("| --- | --- |" + " --- |" * (len(COLUMNS) + 1))
    for half, attacks in groups:
        ours = [one for one in attacks if one.language in OURS]
        others = [one for one in attacks if one.language not in OURS]
        for languages, chosen in (("English and Russian", ours), ("other languages", others)):
            hits = [found(chosen, corpus, name) for name in COLUMNS]
            cells = " | ".join(str(sum(one)) for one in hits)
            say(f"| {half}, {languages} | {len(chosen)} | {cells} | {share_estimate(hits[-1])} |")


def found(attacks: Sequence[Attack], corpus: Corpus, column: str) -> list[bool]:
    """Whether each attack is found behind the honest text of a column."""
    rows = corpus.wrong
    return [
        bool(addressing(one.in_column(rows[at % len(rows)], column).texts[column]))
        for at, one in enumerate(attacks)
    ]


def honest_texts(corpus: Corpus, data: Sequence[Path]) -> Iterator[tuple[str, Sequence[str]]]:
    """Texts in which nobody speaks to the judge, by where they are from."""
    odd = [*zip(corpus.odd_wrong, corpus.odd_right, strict=True)]
    yield "odd tasks: questions", [wrong.question for wrong, _ in odd]
    yield "odd tasks: references", [wrong.reference for wrong, _ in odd]
    yield "odd tasks: wrong answers", [wrong.answer for wrong, _ in odd]
    yield "odd tasks: right answers", [right.answer for _, right in odd]
    plain = [*corpus.wrong, *corpus.right]
    yield "plain rows", [text for one in plain for text in one.texts.values()]
    lines = (CORPUS / "honest_rubrics.jsonl").read_text(encoding="utf-8").splitlines()
    yield "rubrics", [json.loads(line)["text"] for line in lines]
    for path in data:
        items = load_rows(path).items
        yield path.name, [text for one in items for text in one.texts.values() if text]
    pages = [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "README.ru.md"]
    texts = [path.read_text(encoding="utf-8") for path in pages]
    yield (
        "paragraphs of docs/ and README",
        [part for text in texts for part in re.split(r"\n\s*\n", text) if part.strip()],
    )


def print_flagged(texts: Iterator[tuple[str, Sequence[str]]]) -> None:
    """How many honest texts are flagged, of each half."""
    say()
    say("| honest texts | first half | flagged | other half | flagged |")
    say("| --- | --- | --- | --- | --- |")
    all_halves: list[list[bool]] = [[], []]
    for name, chosen in texts:
        halves = [[bool(addressing(text)) for text in chosen[start::2]] for start in (0, 1)]
        cells = " | ".join(f"{len(half)} | {sum(half)}" for half in halves)
        say(f"| {name} | {cells} |")
        for half, more in zip(all_halves, halves, strict=True):
            half.extend(more)
    cells = " | ".join(f"{len(half)} | {share_estimate(half)}" for half in all_halves)
    say(f"| all | {cells} |")


if __name__ == "__main__":
    raise SystemExit(main())
