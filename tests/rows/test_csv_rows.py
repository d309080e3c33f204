"""Which rows of a CSV are judged, and what is said about one that cannot be read?

python -m pytest tests/rows/test_csv_rows.py
"""

import csv
import hashlib
import re
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm_client.settings import ROOT
from mlflow_tracking.rows.item import DataError, DataSet
from mlflow_tracking.rows.row_files import load_rows

HEADER = "inputs,predictions,targets\n"


def data_of(
    folder: Path, content: str | bytes, encoding: str = "utf-8", limit: int | None = None
) -> DataSet:
    path = folder / "data.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_rows(path, encoding, limit)


def refusal(folder: Path, content: str | bytes, encoding: str = "utf-8") -> str:
    with pytest.raises(DataError) as caught:
        data_of(folder, content, encoding)
    message = str(caught.value)
    assert "\n" not in message, "a mistake is told in one line"
    return message.replace(f"{folder}/", "")


def test_the_shipped_file_is_read_whole() -> None:
    data = load_rows(ROOT / "mlflow_tracking/data/evaluation_data.csv")
    assert len(data.rows) >= 16
    assert all(row.item.question.strip() and row.item.answer.strip() for row in data.rows)
    assert [row.number for row in data.rows] == list(range(1, len(data.rows) + 1))
    assert any(row.item.reference for row in data.rows)


def test_a_row_is_text_and_nothing_else(tmp_path: Path) -> None:
    data = data_of(tmp_path, HEADER + "NA,None,007\nnull,nan,\n 1.0 ,TRUE,-inf\n")
    assert [(row.item.question, row.item.answer, row.item.reference) for row in data.rows] == [
        ("NA", "None", "007"),
        ("null", "nan", ""),
        (" 1.0 ", "TRUE", "-inf"),
    ]


def test_the_data_set_knows_its_file(tmp_path: Path) -> None:
    content = HEADER + "a,b,c\n"
    data = data_of(tmp_path, content)
    assert data.path == tmp_path / "data.csv"
    assert data.sha256 == hashlib.sha256(content.encode()).hexdigest()
    assert data.delimiter == ","


def test_other_columns_are_kept_and_their_order_does_not_matter(tmp_path: Path) -> None:
    row = data_of(tmp_path, "id,predictions, inputs ,человек\n7,b,a,5\n").rows[0]
    assert (row.item.question, row.item.answer, row.item.reference) == ("a", "b", "")
    assert dict(row.columns) == {"id": "7", "predictions": "b", "inputs": "a", "человек": "5"}


# --- encodings and delimiters ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "encoding", "delimiter"),
    [
        (b"\xef\xbb\xbf" + "inputs,predictions\nЧто?,Да\n".encode(), "utf-8", ","),
        (b"\xef\xbb\xbf" + "inputs,predictions\nЧто?,Да\n".encode(), "UTF8", ","),
        ("inputs;predictions\nЧто?;Да\n".encode(), "utf-8", ";"),
        ("inputs\tpredictions\nЧто?\tДа\n".encode(), "utf-8", "\t"),
        ("inputs;predictions\r\nЧто?;Да\r\n".encode("cp1251"), "cp1251", ";"),
        ("inputs,predictions\nЧто?,Да\n".encode("utf-16"), "utf-16", ","),
        ("inputs,predictions\rЧто?,Да\r".encode(), "utf-8", ","),
        ("inputs,predictions\nЧто?,Да".encode(), "utf-8", ","),
        ('"inputs";"predictions"\n"Что?";"Да"\n'.encode(), "utf-8", ";"),
    ],
    ids=[
        "byte-order-mark",
        "byte-order-mark-and-another-name",
        "semicolons",
        "tabs",
        "cp1251",
        "utf-16",
        "old-mac",
        "no-last-newline",
        "quoted-header",
    ],
)
def test_a_file_as_programs_write_it_is_read(
    tmp_path: Path, content: bytes, encoding: str, delimiter: str
) -> None:
    data = data_of(tmp_path, content, encoding)
    assert [(row.item.question, row.item.answer) for row in data.rows] == [("Что?", "Да")]
    assert data.delimiter == delimiter


def test_a_comma_inside_a_semicolon_file_is_text(tmp_path: Path) -> None:
    row = data_of(tmp_path, "inputs;predictions\n2,5 + 1?;3,5\n").rows[0]
    assert (row.item.question, row.item.answer) == ("2,5 + 1?", "3,5")


RUSSIAN = "inputs,predictions\nСтолица Германии?,Берлин\n"


@pytest.mark.parametrize(
    ("content", "encoding", "message"),
    [
        (
            RUSSIAN.encode("cp1251"),
            "utf-8",
            "data.csv:2: is not utf-8, it looks like cp1251 (Windows); read it with "
            "--encoding cp1251",
        ),
        (
            RUSSIAN.encode("koi8-r") + b"\x90\x91",
            "utf-8",
            "data.csv:2: is not utf-8; save it as UTF-8 or name its encoding with --encoding; "
            "it may be koi8-r",
        ),
        (
            "inputs,predictions\nGrüße?,schön\n".encode("latin-1"),
            "utf-8",
            "data.csv:2: is not utf-8; save it as UTF-8 or name its encoding",
        ),
        (
            RUSSIAN.encode("cp866"),
            "utf-8",
            "data.csv:2: is not utf-8; save it as UTF-8 or name its encoding with --encoding",
        ),
        (RUSSIAN.encode("utf-16"), "utf-8", "is UTF-16, not UTF-8; read it with --encoding utf-16"),
        (RUSSIAN.encode("utf-16"), "UTF_8", "is UTF-16, not UTF-8; read it with --encoding utf-16"),
        (RUSSIAN.encode(), "ascii", "data.csv:2: is not ascii; try another --encoding"),
        (RUSSIAN.encode()[:-8], "utf-16", "is not utf-16; try another --encoding"),
        (RUSSIAN.encode(), "cp9999", "--encoding: 'cp9999' is not a known encoding"),
        (RUSSIAN.encode(), "", "--encoding: '' is not a known encoding"),
        (RUSSIAN.encode(), "rot13", "--encoding: 'rot13' is not an encoding of text"),
        (RUSSIAN.encode(), "idna", ": is not idna; try another --encoding"),
    ],
    ids=[
        "cp1251",
        "koi8-r-is-not-cp1251",
        "latin-1-is-not-cp1251",
        "cp866-is-not-cp1251",
        "utf-16",
        "utf-16-and-another-name",
        "ascii",
        "utf-16-that-is-none",
        "no-such-encoding",
        "no-name",
        "no-text-encoding",
        "host-names",
    ],
)
def test_a_wrong_encoding_is_told_with_what_to_do(
    tmp_path: Path, content: bytes, encoding: str, message: str
) -> None:
    assert message in refusal(tmp_path, content, encoding)


# --- the header -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "data.csv: is empty; its first line must name inputs,predictions"),
        ("\n\n", "data.csv: is empty"),
        (b"\xef\xbb\xbf", "data.csv: is empty"),
        ("inputs,predictions\n", "data.csv: has no rows below its header"),
        ("inputs,predictions\n\n \r\n".replace(" ", ""), "data.csv: has no rows below its header"),
        ("inputs,answer\na,b\n", "data.csv:1: no column predictions; it has inputs, answer"),
        ("q,a\na,b\n", "data.csv:1: no column inputs and predictions; it has q, a"),
        ("Inputs,predictions\na,b\n", "no column inputs; it has Inputs, predictions"),
        ("a,b\nc,d\n", "data.csv:1: no column inputs and predictions"),
        ('"in\nputs",predictions\na,b\n', "no column inputs; it has in puts, predictions"),
        ("x" * 5_000, f"it has {'x' * 200}…"),
        ("inputs,predictions,inputs\na,b,c\n", "data.csv:1: the column inputs stands there twice"),
        ("inputs,predictions,,\na,b,c,d\n", "data.csv:1: the column without a name stands there"),
        ('inputs,predictions,"a"b\n1,2,3\n', "data.csv:1: the row that starts here is not CSV"),
        ('inputs,predictions,"a\n1,2,3\n', "data.csv:1: the row that starts here is not CSV"),
        (
            'inputs,predictions,"' + "x" * 200_000,
            "data.csv:1: the row that starts here is not CSV",
        ),
    ],
    ids=[
        "empty",
        "blank",
        "only-a-byte-order-mark",
        "header-only",
        "header-and-blank-lines",
        "one-missing",
        "both-missing",
        "other-case",
        "no-header",
        "line-break-in-a-name",
        "long-line",
        "twice",
        "two-without-a-name",
        "broken-quotes",
        "unclosed-quote",
        "long-unclosed-quote",
    ],
)
def test_a_file_without_its_columns_is_refused(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    assert message in refusal(tmp_path, content)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file; give one with --data"):
        load_rows(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        load_rows(tmp_path)


# --- the rows -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("a,b,c\na,b\n", "data.csv:3: 2 fields where the header has 3; text with a delimiter"),
        ("a,b,c,d\n", "data.csv:2: 4 fields where the header has 3"),
        ('"a\nb",b,c\n\na,b, c, d\n', "data.csv:5: 4 fields where the header has 3"),
        ("a\n", "data.csv:2: 1 fields where the header has 3"),
        ('a,b,c\n"d,e,f\n', "data.csv:3: the row that starts here is not CSV"),
        ('a,"b"c,d\n', "data.csv:2: the row that starts here is not CSV"),
        ('a,b,c\na,"b"",c\nd,e,f\n', "data.csv:3: the row that starts here is not CSV"),
    ],
    ids=["short", "long", "after-line-breaks", "one", "unclosed", "after-a-quote", "odd-quotes"],
)
def test_a_broken_row_is_told_with_its_line(tmp_path: Path, body: str, message: str) -> None:
    assert message in refusal(tmp_path, HEADER + body)


def test_an_unclosed_quote_suggests_itself(tmp_path: Path) -> None:
    assert refusal(tmp_path, HEADER + '"a,b,c\n').endswith("is a quote unclosed?")


def test_line_breaks_quotes_and_delimiters_inside_a_field_are_text(tmp_path: Path) -> None:
    row = data_of(tmp_path, HEADER + '"a\nb","say ""yes"", please","c\r\nd;e\tf"\n').rows[0]
    assert row.item.question == "a\nb"
    assert row.item.answer == 'say "yes", please'
    assert row.item.reference == "c\r\nd;e\tf"


def test_rows_know_their_number_and_their_line(tmp_path: Path) -> None:
    content = HEADER + '"a\nb\nc",x,y\n\n\n"d",x,y\r\n"e\r\nf",x,y\ng,x,y'
    rows = data_of(tmp_path, content).rows
    assert [(row.number, row.line, row.item.question[0]) for row in rows] == [
        (1, 2, "a"),
        (2, 7, "d"),
        (3, 8, "e"),
        (4, 10, "g"),
    ]


def test_blank_lines_are_no_rows_and_empty_fields_are(tmp_path: Path) -> None:
    rows = data_of(tmp_path, HEADER + "\na,,\n\r\n,b,\n\n").rows
    assert [(row.item.question, row.item.answer) for row in rows] == [("a", ""), ("", "b")]


def test_white_space_stays_but_around_a_reference(tmp_path: Path) -> None:
    row = data_of(tmp_path, HEADER + " a ,\tb , c \n").rows[0]
    assert (row.item.question, row.item.answer, row.item.reference) == (" a ", "\tb ", "c")


def test_a_very_long_answer_and_a_nul_are_read(tmp_path: Path) -> None:
    long = "слово " * 33_334
    rows = data_of(tmp_path, HEADER + f'a,"{long}",\nb,x\x00y,\n').rows
    assert rows[0].item.answer == long
    assert len(long) > 200_000
    assert rows[1].item.answer == "x\x00y"


def test_other_readers_of_csv_are_not_limited_by_ours(tmp_path: Path) -> None:
    csv.field_size_limit(131_072)
    data_of(tmp_path, HEADER + "a,b,\n")
    assert csv.field_size_limit() == 131_072
    data_of(tmp_path, HEADER + f"a,{'b' * 200_000},\n")
    assert csv.field_size_limit() > 200_000


@pytest.mark.parametrize(("limit", "expected"), [(None, 3), (1, 1), (2, 2), (3, 3), (99, 3)])
def test_a_limit_takes_the_first_rows(tmp_path: Path, limit: int | None, expected: int) -> None:
    rows = data_of(tmp_path, HEADER + "a,1,\nb,2,\nc,3,\n", limit=limit).rows
    assert [row.item.answer for row in rows] == ["1", "2", "3"][:expected]


def test_rows_beyond_the_limit_may_be_ragged(tmp_path: Path) -> None:
    assert len(data_of(tmp_path, HEADER + "a,1,\nb,2\n", limit=1).rows) == 1


FIELD = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(FIELD, FIELD, FIELD), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_was_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    table: list[tuple[str, str, str]],
    delimiter: str,
    end: str,
) -> None:
    lines = [("inputs", "predictions", "targets"), *table]
    quoted = [['"' + field.replace('"', '""') + '"' for field in line] for line in lines]
    content = end.join(delimiter.join(line) for line in quoted) + end
    empty = [not "".join(row).strip() for row in table]
    assume(not all(empty))  # those are passed over, and their lines counted
    rows = data_of(tmp_path_factory.mktemp("csv"), content).rows
    assert [(r.item.question, r.item.answer, r.item.reference) for r in rows] == [
        (question, answer, reference.strip())
        for (question, answer, reference), nothing in zip(table, empty, strict=True)
        if not nothing
    ]
    breaks = [len(re.findall(r"\r\n|\r|\n", "".join(line))) for line in quoted]
    lines_of_rows = [2 + n + sum(breaks[1 : n + 1]) for n in range(len(table))]
    assert [r.line for r in rows] == [
        line for line, nothing in zip(lines_of_rows, empty, strict=True) if not nothing
    ]
