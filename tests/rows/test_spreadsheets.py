"""Are tables read as spreadsheets write them, workbooks as they are and CSV as they export it?

python -m pytest tests/rows/test_spreadsheets.py
"""

import datetime as dt
import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from mlflow_tracking.rows.graded import GradedData, load_graded
from mlflow_tracking.rows.item import DataError, DataSet
from mlflow_tracking.rows.row_files import check_encoding, find_files, load_rows, read_blocks

HEADER = ("inputs", "predictions", "targets")
BOM = b"\xef\xbb\xbf"


def workbook(path: Path, *lines: Sequence[Any], merge: Sequence[str] = ()) -> Path:
    book = Workbook()
    for line in lines:
        book.active.append(line)
    for cells in merge:
        book.active.merge_cells(cells)
    book.save(path)
    return path


def edited(path: Path, *changes: tuple[str, str], part: str = "xl/worksheets/sheet1.xml") -> Path:
    """The workbook with its sheet's XML changed, as other programs would have written it."""
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    for before, after in changes:
        assert before.encode() in parts[part], parts[part]
        parts[part] = parts[part].replace(before.encode(), after.encode())
    with zipfile.ZipFile(path, "w") as new:
        for name, content in parts.items():
            new.writestr(name, content)
    return path


def texts(data: DataSet) -> list[tuple[str, str, str]]:
    return [(row.item.question, row.item.answer, row.item.reference) for row in data.rows]


def refusal(path: Path, **flags: Any) -> str:
    with pytest.raises(DataError) as caught:
        load_rows(path, **flags)
    message = str(caught.value)
    assert "\n" not in message, "a mistake is told in one line"
    assert message.startswith(str(path))
    return message.replace(f"{path.parent}/", "")


def written(folder: Path, content: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


# --- workbooks: cells -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (5, "General", "5"),
        (5.0, "0.00", "5"),
        (0.5, "General", "0.5"),
        (0.1 + 0.2, "General", "0.3"),
        (-1234567.25, "#,##0.00", "-1234567.25"),
        (1e20, "General", "1" + "0" * 20),
        (0.00001, "General", "0.00001"),
        (1e-30, "General", "1E-30"),
        (0.29, "0%", "29%"),
        (7, "000", "007"),
        (5, '0" %"', "5"),
        (True, "General", "TRUE"),
        (False, "General", "FALSE"),
        (dt.datetime(2024, 5, 1), "dd.mm.yyyy", "2024-05-01"),
        (dt.datetime(2024, 5, 1, 13, 45), "dd.mm.yyyy hh:mm", "2024-05-01 13:45:00"),
        (dt.time(13, 45), "hh:mm", "13:45:00"),
        (dt.timedelta(hours=26, minutes=5), "[h]:mm:ss", "26:05:00"),
        ("007", "@", "007"),
        ("NA", "General", "NA"),
        ("line\nbreak", "General", "line\nbreak"),
        ("Windows_x000D_\nbreak, _x005F_x000D_", "General", "Windows\r\nbreak, _x000D_"),
        (" «слово» 🙂 ", "General", " «слово» 🙂 "),
        (None, "General", ""),
    ],
)
def test_a_cell_is_the_text_that_a_person_sees(
    tmp_path: Path, value: Any, shape: str, text: str
) -> None:
    book = Workbook()
    book.active.append(HEADER)
    book.active.append(("q", value))
    book.active["B2"].number_format = shape
    book.save(tmp_path / "a.xlsx")
    assert load_rows(tmp_path / "a.xlsx").rows[0].item.answer == text


@pytest.mark.parametrize("name", ["a.xlsx", "A.XLSX", "a.xlsm"])
def test_rows_of_a_workbook_know_their_line_in_the_sheet(tmp_path: Path, name: str) -> None:
    path = workbook(tmp_path / name, HEADER, ("q", "a", "r"), (), ("p", "b"))
    data = load_rows(path)
    assert texts(data) == [("q", "a", "r"), ("p", "b", "")]
    assert [(row.number, row.line) for row in data.rows] == [(1, 2), (2, 4)]
    assert (data.sheet, data.delimiter) == ("Sheet", "")
    assert data.notes == ("1 row was passed over, every cell is empty: line 3",)
    assert len(load_rows(path, limit=1).rows) == 1


@pytest.mark.parametrize("error", ["#N/A", "#DIV/0!", "#REF!"])
def test_an_error_in_a_cell_is_told_with_its_place(tmp_path: Path, error: str) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "a", 1), ("q", "a", error))
    assert refusal(path) == f"a.xlsx:3: cell C3 is {error}, an error; mend it or clear the cell"
    as_text = '<c r="C3" t="inlineStr"><is><t>#N/A</t></is></c>'
    edited(path, (f'<c r="C3" t="e"><v>{error}</v></c>', as_text))
    assert load_rows(path).rows[1].item.reference == "#N/A", "typed by a person it is text"


def test_of_a_formula_its_result_is_read(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "=1+1", '=""'))
    edited(
        path,
        ('<c r="B2"><f>1+1</f><v /></c>', '<c r="B2"><f>1+1</f><v>2</v></c>'),
        ('<c r="C2"><f>""</f><v /></c>', '<c r="C2" t="str"><f>""</f><v></v></c>'),
    )
    assert texts(load_rows(path)) == [("q", "2", "")]


@pytest.mark.parametrize("value", ["<v />", "<v></v>", "", "<v>0</v>"])
def test_a_formula_that_was_never_calculated_is_told(tmp_path: Path, value: str) -> None:
    """The last is what a program writes that cannot calculate, and asks Excel to."""
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "a", ""), ("q", "=A1&A2"))
    edited(path, ("<f>A1&amp;A2</f><v />", f"<f>A1&amp;A2</f>{value}"))
    assert refusal(path) == (
        "a.xlsx:3: cell B3 is a formula that was never calculated; open the file in Excel or "
        "LibreOffice and save it"
    )


# --- workbooks: the sheet ---------------------------------------------------------------------


@pytest.fixture
def book_of_three(tmp_path: Path) -> Path:
    book = Workbook()
    book.active.title = "скрытый"
    for title, answer in (("Ответы", "a"), ("Second", "b")):
        sheet = book.create_sheet(title)
        sheet.append(HEADER)
        sheet.append(("q", answer))
    book["скрытый"].sheet_state = "hidden"
    book.save(tmp_path / "a.xlsx")
    return tmp_path / "a.xlsx"


def test_the_first_sheet_that_is_shown_is_read_and_the_others_are_told(book_of_three: Path) -> None:
    data = load_rows(book_of_three)
    assert (data.sheet, texts(data)) == ("Ответы", [("q", "a", "")])
    assert data.notes == ("the sheet 'Ответы' is read, not 'Second' (--sheet)",)


@pytest.mark.parametrize("name", ["Second", "second ", "SECOND"])
def test_another_sheet_is_read_when_it_is_named(book_of_three: Path, name: str) -> None:
    data = load_rows(book_of_three, sheet=name)
    assert (data.sheet, texts(data), data.notes) == ("Second", [("q", "b", "")], ())


def test_a_sheet_that_is_not_there_is_told_with_those_that_are(book_of_three: Path) -> None:
    said = refusal(book_of_three, sheet="Third")
    assert said == "a.xlsx: no sheet 'Third'; it has 'скрытый', 'Ответы', 'Second'"
    assert "is empty" in refusal(book_of_three, sheet="скрытый")
    csv = written(book_of_three.parent, "inputs,predictions\nq,a\n")
    assert refusal(csv, sheet="Second") == "a.csv: has no sheets; --sheet is for .xlsx"


def test_a_sheet_without_the_columns_names_itself_and_the_others(tmp_path: Path) -> None:
    book = Workbook()
    book.active.append(("about", "this file"))
    book.create_sheet("Rows").append(HEADER)
    book.save(tmp_path / "a.xlsx")
    assert refusal(tmp_path / "a.xlsx") == (
        "a.xlsx:1: no column inputs and predictions; it has about, this file; name it with "
        "--columns question=HEADER,answer=HEADER (sheet 'Sheet'; --sheet: 'Rows')"
    )
    assert refusal(tmp_path / "a.xlsx", sheet="Rows") == "a.xlsx: has no rows below its header"


def test_wrong_dimensions_of_a_sheet_hide_no_row(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "a", "r"), ("p", "b", ""))
    edited(path, ('<dimension ref="A1:C3" />', '<dimension ref="A1" />'))
    assert len(load_rows(path).rows) == 2


def test_a_title_and_empty_rows_may_stand_above_the_header(tmp_path: Path) -> None:
    lines = [(), ("Оценка ответов", None, "май"), (), HEADER, ("q", "a", "r")]
    data = load_rows(workbook(tmp_path / "a.xlsx", *lines))
    assert [(row.line, row.item.question) for row in data.rows] == [(5, "q")]
    assert data.notes == ("lines 2-3 passed over, above the names of the columns in line 4",)
    data = load_rows(
        written(tmp_path, ",,\r\nRatings,,\r\ninputs,predictions,targets\r\nq,a,r\r\n")
    )
    assert [(row.line, row.item.question) for row in data.rows] == [(4, "q")]
    assert data.notes == ("line 2 passed over, above the names of the columns in line 3",)


def test_a_table_may_begin_in_any_column(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", (None, *HEADER), (None, "q", "a", "r"))
    assert dict(load_rows(path).rows[0].columns) == dict(zip(HEADER, "qar", strict=True))


def test_a_merged_question_is_that_of_every_answer_beside_it(tmp_path: Path) -> None:
    lines = [HEADER, ("q", "a"), (None, "b"), (None, "c"), ("p", "d"), (None, None, None)]
    data = load_rows(workbook(tmp_path / "a.xlsx", *lines, merge=("A2:A4", "A5:A6", "B5:B6")))
    assert texts(data) == [("q", "a", ""), ("q", "b", ""), ("q", "c", ""), ("p", "d", "")]
    assert data.notes == ("a merged cell is read in every row beside which it stands",)


def test_cells_merged_side_by_side_are_one_cell(tmp_path: Path) -> None:
    lines = [("My ratings", None, None), HEADER, ("q", "a", None)]
    data = load_rows(workbook(tmp_path / "a.xlsx", *lines, merge=("A1:C1", "B3:C3")))
    assert texts(data) == [("q", "a", "")]


def test_graded_rows_are_read_from_a_workbook(tmp_path: Path) -> None:
    header = ("inputs", "predictions", "human_score")
    scored = load_graded(workbook(tmp_path / "a.xlsx", header, ("q", "a", 4), ("q", "b", 2.5), ()))
    assert isinstance(scored, GradedData)
    assert (scored.kind, scored.human) == ("scale", [4, 2.5])
    labelled = load_graded(workbook(tmp_path / "b.xlsx", header, ("q", "a", True), (), ("q", 7, 0)))
    assert isinstance(labelled, GradedData)
    assert (labelled.kind, labelled.human) == ("binary", [1, 0])
    assert labelled.notes == ("1 row was passed over, every cell is empty: line 3",)


def test_a_workbook_is_read_in_blocks_too(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, *((f"q{n}", f"a{n}") for n in range(5)))
    workbook(tmp_path / "~$a.xlsx", HEADER)  # Excel's lock
    assert find_files(str(tmp_path)) == [str(path)]
    opened: Any = pa.OSFile(str(path), "rb")
    blocks = list(read_blocks(opened, str(path), check_encoding("utf-8"), 2))
    assert [[row.item.answer for row in block.rows] for block in blocks] == [
        *(["a0", "a1"], ["a2", "a3"], ["a4"]),
    ]


# --- files that are not what their name says ---------------------------------------------------


def zipped(*names: str, first: str = "") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as parts:
        if first:
            parts.writestr("mimetype", first)
        for name in names:
            parts.writestr(name, "x")
    return content.getvalue()


OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ODS = zipped("content.xml", first="application/vnd.oasis.opendocument.spreadsheet")
PAGE = b"\xef\xbb\xbf\r\n<html xmlns:x='urn:x'><table><tr><td>inputs</td></tr></table></html>"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", zipped("[Content_Types].xml", "xl/workbook.xml"), "name it .xlsx"),
        ("a.txt", zipped("[Content_Types].xml", "xl/workbook.xml"), "name it .xlsx"),
        ("a.xls", zipped("[Content_Types].xml", "xl/workbook.xml"), "name it .xlsx"),
        ("a.jsonl", zipped("[Content_Types].xml", "xl/workbook.xml"), "name it .xlsx"),
        ("a.xlsx", zipped("xl/workbook.bin"), "a binary workbook (.xlsb) by its content; open it"),
        ("a.csv", zipped("my.csv"), "is a zip archive, maybe a workbook; unpack it"),
        ("a.csv", zipped("a", "b")[:60], "is a zip archive, maybe a workbook"),
        ("a.xls", OLD, "is an old workbook (.xls) or has a password; open it in Excel or Libre"),
        ("a.xlsx", OLD, "is an old workbook (.xls) or has a password"),
        ("a.csv", OLD, "is an old workbook (.xls)"),
        ("a.ods", ODS, "is a LibreOffice workbook (.ods) by its content; open it"),
        ("a.xlsx", ODS, "is a LibreOffice workbook (.ods)"),
        ("a.xls", PAGE, "is a web page (HTML) by its content; open it in Excel"),
        ("a.csv", PAGE, "is a web page (HTML)"),
        ("a.xlsx", b"<!DOCTYPE html><p>Sign in", "is a web page (HTML)"),
        ("a.xls", b"MIME-Version: 1.0\r\nX-Document-Type: Workbook\r\n", "is a web page (HTML)"),
        ("a.xls", b'<?xml version="1.0"?><Workbook>', "is XML by its content"),
        ("a.xls", b"inputs\tpredictions\nq\ta\n", "is text; name it .csv"),
        ("a.xlsx", b"inputs,predictions\nq,a\n", "is no workbook, although its name says so"),
        ("a.xlsx", b"", "a.xlsx: is empty"),
        ("a.csv", b"\x1f\x8b\x08\x00", "is packed with gzip; add .gz to its name"),
        ("a.xlsx", zipped("xl/workbook.xml"), "cannot be read as a workbook"),
        ("a.numbers", zipped("Index/Document.iwa"), "export it as Excel (.xlsx)"),
    ],
)
def test_a_file_of_another_kind_is_told_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    assert said in refusal(written(tmp_path, content, name))


def test_a_cluster_is_told_too(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"old kind \(.xls\); open it in Excel or LibreOffice"):
        find_files(str(written(tmp_path, OLD, "a.xls")))
    path = written(tmp_path, PAGE)
    with pytest.raises(DataError, match="is a web page"):
        list(read_blocks(pa.OSFile(str(path), "rb"), str(path), "utf-8-sig", 2))


def test_half_a_workbook_is_told(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "a"))
    path.write_bytes(path.read_bytes()[:-200])
    assert "zip archive" in refusal(path)


# --- what is empty ----------------------------------------------------------------------------


def test_rows_in_which_every_cell_is_empty_are_passed_over_and_told(tmp_path: Path) -> None:
    content = "inputs,predictions,targets\r\n,,\r\nq,a,\r\n , \t,\xa0\r\n,\r\n,b,\r\n,,,,\r\n"
    data = load_rows(written(tmp_path, content))
    assert texts(data) == [("q", "a", ""), ("", "b", "")]
    assert [(row.number, row.line) for row in data.rows] == [(1, 3), (2, 6)]
    assert data.notes == ("4 rows were passed over, every cell is empty: lines 2, 4-5, 7",)


def test_columns_without_name_and_content_are_passed_over_and_told(tmp_path: Path) -> None:
    data = load_rows(written(tmp_path, "inputs;;predictions;;;\nq;;a; ;;\np;;b;;;\n"))
    assert [dict(row.columns) for row in data.rows] == [
        {"inputs": "q", "predictions": "a"},
        {"inputs": "p", "predictions": "b"},
    ]
    assert data.notes == ("4 columns were passed over: without a name, every cell is empty",)


def test_one_column_without_a_name_may_have_content(tmp_path: Path) -> None:
    data = load_rows(written(tmp_path, ",inputs,predictions,\n0,q,a,\n,p,b,\n"))
    assert [dict(row.columns) for row in data.rows] == [
        {"": "0", "inputs": "q", "predictions": "a"},
        {"": "", "inputs": "p", "predictions": "b"},
    ]
    assert data.notes == ("1 column was passed over: without a name, every cell is empty",)


def test_empty_fields_beyond_the_header_are_no_text_with_a_comma(tmp_path: Path) -> None:
    path = written(tmp_path, "inputs,predictions\nq,a,,\n")
    assert texts(load_rows(path)) == [("q", "a", "")]
    assert "4 fields where the header has 2" in refusal(
        written(tmp_path, "inputs,predictions\nq,a,,b\n")
    )


def test_cells_beside_a_table_are_a_column_without_a_name(tmp_path: Path) -> None:
    path = workbook(tmp_path / "a.xlsx", HEADER, ("q", "a", "r", None, "see below"), ("p", "b"))
    assert [row.columns[""] for row in load_rows(path).rows] == ["see below", ""]


def test_a_file_of_empty_rows_has_none(tmp_path: Path) -> None:
    assert "has no rows below its header" in refusal(
        written(tmp_path, "inputs,predictions\n,\n , \n")
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_empty_records_are_passed_over_too(tmp_path: Path, name: str) -> None:
    rows = [dict.fromkeys(HEADER[:2], text) for text in ("x", None, " ", "y")]
    if name.endswith("l"):
        written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), name)
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    data = load_rows(tmp_path / name)
    assert [(row.number, row.line, row.item.answer) for row in data.rows] == [
        *((1, 1, "x"), (2, 4, "y")),
    ]
    assert data.notes == ("2 rows were passed over, every cell is empty: lines 2-3",)


# --- sep= and byte-order marks -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "delimiter"),
    [
        *[("sep=;", ";"), ("sep=,", ","), ("sep=\t", "\t"), ("sep=|", "|"), ("sep=^", "^")],
        *[("SEP=;", ";"), ('"sep=;"', ";"), ("sep=~ ", "~"), (r"sep=\t", "\t"), ("sep=:", ":")],
    ],
)
@pytest.mark.parametrize("mark", [b"", BOM], ids=["", "byte-order-mark"])
@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=["crlf", "lf"])
def test_the_delimiter_that_the_first_line_names_holds(
    tmp_path: Path, first: str, delimiter: str, mark: bytes, end: str
) -> None:
    lines = [first, delimiter.join(HEADER), delimiter.join(("q", "a.b", "r"))]
    path = written(tmp_path, mark + (end.join(lines) + end).encode())
    data = load_rows(path)
    assert (texts(data), data.delimiter, data.notes) == ([("q", "a.b", "r")], delimiter, ())
    assert data.rows[0].line == 3
    opened: Any = pa.OSFile(str(path), "rb")
    [block] = read_blocks(opened, str(path), check_encoding("utf-8"), 9)
    assert block.rows == data.rows


def test_a_sep_line_that_does_not_hold_is_no_header(tmp_path: Path) -> None:
    assert texts(load_rows(written(tmp_path, "sep=;\ninputs,predictions\nq,a\n"))) == [
        ("q", "a", "")
    ]
    said = refusal(written(tmp_path, "sep=;\nquestion;predictions\nq;a\n"))
    assert said == (
        "a.csv:2: no column inputs; it has question, predictions; "
        "name it with --columns question=question"
    )
    utf16 = written(tmp_path, "sep=\t\r\ninputs\tpredictions\r\nq\ta\r\n".encode("utf-16"))
    assert texts(load_rows(utf16, "utf-16")) == [("q", "a", "")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-8"])
def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, encoding: str) -> None:
    content = "\ufeffinputs,predictions\nq,a\n".encode(encoding)
    assert texts(load_rows(written(tmp_path, content), encoding)) == [("q", "a", "")]


def test_json_lines_with_byte_order_marks_are_read(tmp_path: Path) -> None:
    line = BOM + b'{"inputs": "q", "predictions": "a"}\r\n'
    assert len(load_rows(written(tmp_path, line + line, "a.jsonl")).rows) == 2


# --- encodings --------------------------------------------------------------------------------

RUSSIAN = "inputs,predictions\nСтолица Германии?,Берлин; столица Германии с 1990 года\n"
CAPITALS = "inputs,predictions\nСТОЛИЦА ГЕРМАНИИ?,БЕРЛИН\n"
SHORT = "inputs,predictions\n2+2?,четыре\n"
FRENCH = "inputs,predictions\nOù naquît-il ?,À Orléans; il était très célèbre à l'époque\n"
QUOTES = "inputs,predictions\nWhat’s it?,It’s “Paris” – of course\n"


@pytest.mark.parametrize(
    ("text", "encoding", "guess"),
    [
        (RUSSIAN, "koi8-r", "; it may be koi8-r"),
        (RUSSIAN, "cp866", "; it may be cp866"),
        (RUSSIAN, "mac-cyrillic", "; it may be mac-cyrillic"),
        (RUSSIAN, "iso8859-5", "; it may be iso8859-5"),
        (CAPITALS, "koi8-r", "; it may be koi8-r"),
        (SHORT, "koi8-r", "; it may be koi8-r"),
        (SHORT, "cp866", "; it may be cp866"),
        (FRENCH, "cp1252", "; it may be cp1252"),
        (FRENCH, "mac-roman", "; it may be mac-roman"),
        (QUOTES, "cp1252", "; it may be cp1252"),
        (QUOTES, "mac-roman", "; it may be mac-roman"),
        ("inputs,predictions\nStolica Polski?,największe miasto; źródło\n", "cp1250", "cp1250"),
        ("inputs,predictions\n首都はどこですか,ベルリンです\n", "cp932", "; it may be cp932"),
    ],
)
def test_an_encoding_is_guessed_as_a_guess(
    tmp_path: Path, text: str, encoding: str, guess: str
) -> None:
    content = text.encode(encoding)
    said = refusal(written(tmp_path, content))
    assert "a.csv:2: is not utf-8; save it as UTF-8 or name its encoding" in said
    assert guess in said
    assert load_rows(tmp_path / "a.csv", encoding).rows


@pytest.mark.parametrize("text", [RUSSIAN, SHORT, CAPITALS])
def test_cp1251_is_told_where_nothing_else_fits(tmp_path: Path, text: str) -> None:
    said = refusal(written(tmp_path, text.encode("cp1251")))
    assert said.endswith("it looks like cp1251 (Windows); read it with --encoding cp1251")


@pytest.mark.parametrize(
    "content",
    [
        "inputs,predictions\nСтолица?,Париж\n".encode()[:-2],
        "inputs,predictions\nСтолица?,Париж и ещё слово\n".encode() + b"q,\xff\n",
        b"inputs,predictions\nq,\xe9\n",
        b"inputs,predictions\nq,\xff\xfe\x90\x81\x8d\n",
    ],
    ids=["cut", "one-bad-byte", "one-sign", "rubbish"],
)
def test_nothing_is_guessed_with_certainty_from_too_little(tmp_path: Path, content: bytes) -> None:
    said = refusal(written(tmp_path, content))
    assert "is not utf-8; save it as UTF-8 or name its encoding with --encoding" in said
    assert "looks like" not in said
