"""Are files with other headers read with --columns, and is a wrong name told with the right one?

python -m pytest tests/rows/test_other_headers.py
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openpyxl import Workbook

from mlflow_tracking.rows.graded import GradedData, GradedPairs, load_graded
from mlflow_tracking.rows.item import DataError
from mlflow_tracking.rows.row_files import load_rows, read_blocks
from mlflow_tracking.rows.table import Columns, as_flag, read_names
from tests.support.experiment_process import write_csv

KINDS = ["a.csv", "a.jsonl", "a.parquet", "a.xlsx"]
ROWS = [
    {"Вопрос": "q1", "reply": "a1", "passage": "p1", "id": "x"},
    {"Вопрос": "q2", "reply": "a2", "passage": "p2", "id": "y"},
]
FLAG = "question=Вопрос,answer=reply,context=passage"


def written(path: Path, rows: Sequence[dict[str, str]], above: str = "") -> Path:
    """The rows as the name's ending says, in a table below a line of text."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    elif path.suffix == ".xlsx":
        book = Workbook()
        for line in ([above] if above else [], rows[0], *(row.values() for row in rows)):
            book.active.append(list(line))
        book.save(path)
    else:
        write_csv(path, rows)
        path.write_text(f"{above}\n" * bool(above) + path.read_text("utf-8"), "utf-8")
    return path


def refusal(path: Path, flag: str) -> str:
    with pytest.raises(DataError) as caught:
        load_rows(path, named=read_names(flag))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("above", ["", "A title"])
def test_headers_are_mapped_in_every_kind_of_file(name: str, above: str, tmp_path: Path) -> None:
    data = load_rows(written(tmp_path / name, ROWS, above), named=read_names(FLAG))
    assert [(item.question, item.answer) for item in data.items] == [("q1", "a1"), ("q2", "a2")]
    assert dict(data.rows[0].columns) == {
        **{"inputs": "q1", "predictions": "a1", "context": "p1", "id": "x"}
    }
    asking = data.asking(["context", "id"])
    assert [item.more for item in asking.items] == [
        (("context", "p1"), ("id", "x")),
        (("context", "p2"), ("id", "y")),
    ]
    assert asking.rows[0].columns == data.rows[0].columns


@pytest.mark.parametrize("name", KINDS)
def test_a_cluster_reads_them_alike(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / name, ROWS)
    columns = Columns(named=read_names(FLAG), shows=("context",))
    [block] = read_blocks(io.BytesIO(path.read_bytes()), str(path), "utf-8-sig", 10, columns)
    expected = load_rows(path, named=columns.named).asking(["context"])
    assert block.rows == expected.rows


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("question=Вопро,answer=reply", "no column Вопро; it has Вопрос, reply, passage, id;"),
        ("question=Вопрос,answer=reply,context=pasage", "no column pasage; it has "),
        ("answer=reply", "no column inputs; it has Вопрос, reply, passage, id;"),
    ],
)
def test_a_header_that_the_file_has_not_is_told_with_the_nearest(
    name: str, flag: str, said: str, tmp_path: Path
) -> None:
    told = refusal(written(tmp_path / name, ROWS), flag)
    assert told.startswith(name)
    assert said in told
    right = {"Вопро,": "question=Вопрос", "pasage": "context=passage", "answer=": "question="}
    assert next(name for wrong, name in right.items() if wrong in flag) in told
    assert "; name it with --columns " in told
    assert "answer=reply" in told.partition("--columns")[2], "the whole flag can be copied"


@pytest.mark.parametrize("name", KINDS)
def test_a_column_whose_name_is_taken_is_kept_under_another(name: str, tmp_path: Path) -> None:
    rows = [{"inputs": "q", "predictions": "first", "second": "other"}]
    path = written(tmp_path / name, rows)
    data = load_rows(path, named=read_names("answer=second"))
    assert data.items[0].answer == "other"
    assert data.rows[0].columns["file_predictions"] == "first"
    [note] = [note for note in data.notes if "predictions" in note]
    assert note == "--columns answer=second: the file's own predictions is kept as file_predictions"
    swapped = load_rows(path, named=read_names("answer=inputs,question=predictions"))
    assert (swapped.items[0].question, swapped.items[0].answer) == ("first", "q")
    taken = written(tmp_path / name, [{**rows[0], "file_predictions": "x"}])
    assert "has predictions and file_predictions, too" in refusal(taken, "answer=second")


def test_an_object_may_lack_a_mapped_column_but_not_every_one(tmp_path: Path) -> None:
    rows = [{"inputs": "q", "predictions": "a"}, {"inputs": "q", "predictions": "a", "p": "x"}]
    path = written(tmp_path / "a.jsonl", rows)
    data = load_rows(path, named=read_names("context=p"))
    assert [row.columns["context"] for row in data.rows] == ["", "x"]
    with pytest.raises(DataError, match="no column p; it has inputs, predictions"):
        load_rows(path, limit=1, named=read_names("context=p"))


def test_a_columns_file_name_is_a_placeholder_too(tmp_path: Path) -> None:
    data = load_rows(written(tmp_path / "a.csv", ROWS), named=read_names(FLAG))
    assert data.asking(["passage"]).items[0].texts["passage"] == "p1"
    assert data.asking([]) == data
    assert {"passage", "context"} <= set(data.columns)


def test_the_delimiter_is_found_by_the_files_own_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("frage;antwort\nq, and more;a\n")
    assert load_rows(path, named=read_names("question=frage,answer=antwort")).delimiter == ";"
    assert refusal(path, "question=fragen,answer=antwort") == (
        "a.csv:1: no column fragen; it has frage, antwort; "
        "name it with --columns question=frage,answer=antwort"
    )


def test_graded_columns_are_mapped_too(tmp_path: Path) -> None:
    path = written(tmp_path / "a.csv", [{"q": "q", "a": "a", "mark": "4"}])
    graded = load_graded(path, named=read_names("question=q,answer=a,human_score=mark"))
    assert isinstance(graded, GradedData)
    assert graded.human == [4]
    with pytest.raises(DataError, match="no column human_score; .*--columns human_score="):
        load_graded(path, named=read_names("question=q,answer=a"))
    path = written(tmp_path / "b.csv", [{"q": "q", "left": "a", "right": "b", "best": "b"}])
    flag = "question=q,answer_a=left,answer_b=right,winner=best"
    pairs = load_graded(path, named=read_names(flag))
    assert isinstance(pairs, GradedPairs)
    assert (pairs.pairs[0].answer_b, pairs.pairs[0].winner) == ("b", "b")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("question", "'question' is not NAME=HEADER"),
        ("question=", "'question=' is not NAME=HEADER"),
        ("=x", "'=x' is not NAME=HEADER"),
        ("", "names no column"),
        ("question=a,", "'' is not NAME=HEADER"),
        ("my col=x", "'my col=x' is not NAME=HEADER"),
        ("question=a,answer=a", "'a' has two names"),
        ("question=a,question=b", "question is named twice"),
        ("question=a,inputs=b", "inputs is named twice"),
    ],
)
def test_a_malformed_pair_is_told(flag: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_names(flag)


@pytest.mark.parametrize("flag", ["question=a", 'answer=b=c,"question=My, ""own"" col"'])
def test_what_is_told_can_be_given_again(flag: str) -> None:
    assert read_names(as_flag(read_names(flag))) == read_names(flag)
    assert read_names(flag)[0][1] in ("a", 'My, "own" col')
