"""Are CSV, JSON Lines and Parquet read alike, in blocks, and is every mistake told with its line?

python -m pytest tests/rows/test_row_files.py
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mlflow_tracking.rows.item import DataError, Row
from mlflow_tracking.rows.row_files import RowBlock, check_encoding, find_files, read_blocks
from tests.support.experiment_process import write_csv

ROWS = [
    {"inputs": "What is 6+1?", "predictions": "007", "targets": " 7 ", "note": "NA"},
    {"inputs": "Что такое\nбуква?", "predictions": '«Знак»; да, "знак"', "targets": "", "note": ""},
    {"inputs": "None", "predictions": "NaN", "targets": "null", "note": "1e5"},
]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as the name's ending says."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    plain = path.with_name(name)
    if name.endswith(".csv"):
        write_csv(plain, rows)
    else:
        plain.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    if path != plain:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def read(path: Path, size: int = 1000, encoding: str = "utf-8") -> list[RowBlock]:
    opened: Any = pa.OSFile(str(path), "rb")
    if path.suffix == ".gz":
        opened = pa.CompressedInputStream(opened, "gzip")
    return list(read_blocks(opened, str(path), check_encoding(encoding), size))


def rows_of(blocks: Sequence[RowBlock]) -> list[Row]:
    return [row for block in blocks for row in block.rows]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.csv.gz", "a.ndjson.gz"])
def test_text_stays_as_it_is_whatever_the_file_is(name: str, tmp_path: Path) -> None:
    rows = rows_of(read(write(tmp_path / name, ROWS)))
    assert [dict(row.columns) for row in rows] == ROWS
    assert [row.item.reference for row in rows] == ["7", "", "null"]
    assert [row.number for row in rows] == [1, 2, 3]
    assert [(row.item.question, row.item.answer) for row in rows] == [
        (row["inputs"], row["predictions"]) for row in ROWS
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_blocks_are_consecutive_rows_of_a_file(size: int, tmp_path: Path) -> None:
    many = [{"inputs": f"q{n}", "predictions": f"a{n}"} for n in range(7)]
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        blocks = read(write(tmp_path / name, many), size)
        assert [len(block.rows) for block in blocks] == [
            min(size, 7 - first) for first in range(0, 7, size)
        ]
        assert [row.item.answer for row in rows_of(blocks)] == [f"a{n}" for n in range(7)]
        assert len({block.name for block in blocks}) == len(blocks)


def test_a_block_has_the_same_name_again_and_another_when_a_row_changed(tmp_path: Path) -> None:
    [before] = read(write(tmp_path / "a.csv", ROWS))
    [again] = read(tmp_path / "a.csv")
    changed = [ROWS[0] | {"note": "N/A"}, *ROWS[1:]]
    [after] = read(write(tmp_path / "a.csv", changed))
    assert before.name == again.name != after.name
    [elsewhere] = read(write(tmp_path / "b.csv", ROWS))
    assert elsewhere.name.partition("-")[2] != before.name.partition("-")[2]


def test_a_null_is_an_empty_text_and_other_columns_become_text(tmp_path: Path) -> None:
    row = {"inputs": "q", "predictions": None, "tags": ["x", 1], "n": 7, "ok": None}
    [read_row] = rows_of(read(write(tmp_path / "a.jsonl", [row])))
    assert read_row.item.answer == ""
    assert dict(read_row.columns) == {
        **{"inputs": "q", "predictions": "", "ok": ""},
        **{"tags": '["x", 1]', "n": "7"},
    }


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"inputs": "q", "predictions": "a"}\n{"inputs"', "a.jsonl:2: is not JSON"),
        ("a.jsonl", b'{"inputs": "q"}\n', "a.jsonl:1: no column predictions; it has inputs"),
        ("a.jsonl", b'["q", "a"]\n', "a.jsonl:1: is not an object"),
        (
            "a.jsonl",
            b'{"inputs": "q", "predictions": 7}',
            "a.jsonl:1: predictions is int, not text",
        ),
        ("a.jsonl", b'{"inputs": "q", "predictions": "\\ud83d"}', "half of a character"),
        ("a.jsonl", b'{"inputs": "\xff", "predictions": ""}', "is not utf-8; JSON Lines are"),
        ("a.csv", b"inputs,answer\nq,a\n", "a.csv:1: no column predictions; it has inputs, answer"),
        ("a.csv", b"inputs,predictions\nq,a\nq,a,b\n", "a.csv:3: 3 fields where the header has 2"),
        ("a.csv", b'inputs,predictions\nq,"a\n', "a.csv:2: the row that starts here is not CSV"),
        (
            "a.csv",
            b"inputs,predictions\nq,\xff\xfe\n",
            "is not utf-8; name its encoding with --enc",
        ),
        ("a.csv", b"", "a.csv: is empty"),
        ("a.parquet", b"PAR1 and no more", "a.parquet: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mistake_is_one_line_with_its_place(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as mistake:
        read(tmp_path / name)
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_a_parquet_column_that_is_no_text_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"inputs": "q", "predictions": 7}])
    with pytest.raises(DataError, match="the column predictions is int64, not text"):
        read(path)


def test_a_dictionary_of_texts_is_text(tmp_path: Path) -> None:
    column = pa.array(["yes", "no", "yes"]).dictionary_encode()
    pq.write_table(pa.table({"inputs": ["q"] * 3, "predictions": column}), tmp_path / "a.parquet")
    assert [row.item.answer for row in rows_of(read(tmp_path / "a.parquet"))] == [
        "yes",
        "no",
        "yes",
    ]


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("inputs;predictions\nвопрос;ответ\n".encode("cp1251"))
    [row] = rows_of(read(tmp_path / "a.csv", encoding="cp1251"))
    assert (row.item.question, row.item.answer) == ("вопрос", "ответ")
    with pytest.raises(DataError, match="--encoding: 'martian' is not a known encoding"):
        check_encoding("martian")


def test_long_fields_and_line_ends_within_them_are_the_answers(tmp_path: Path) -> None:
    answer = "line\r\nline\rline\n" * 20_000
    [row] = rows_of(read(write(tmp_path / "a.csv", [{"inputs": "q", "predictions": answer}])))
    assert row.item.answer == answer


class TestFinding:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for name in ("a.csv", "b/c.parquet", "b/d/e.jsonl.gz", "b/_SUCCESS", ".x.csv", "notes.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    @pytest.mark.parametrize(
        ("data", "found"),
        [
            ("", ["a.csv", "b/c.parquet", "b/d/e.jsonl.gz"]),
            ("a.csv", ["a.csv"]),
            ("b", ["b/c.parquet", "b/d/e.jsonl.gz"]),
            ("*.csv", ["a.csv"]),
            ("**/*.parquet", ["b/c.parquet"]),
            ("b/?.parquet", ["b/c.parquet"]),
            ("b/[a-c].*", ["b/c.parquet"]),
            ("*/d/*", ["b/d/e.jsonl.gz"]),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_files_folders_and_patterns(
        self, scheme: str, data: str, found: list[str], folder: Path
    ) -> None:
        assert find_files(f"{scheme}{folder}/{data}".rstrip("/")) == [
            f"{folder}/{name}" for name in found
        ]

    def test_relative_paths_come_back_absolute(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)
        assert find_files("b/*.parquet") == [f"{folder}/b/c.parquet"]

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ("missing.csv", "no such file or folder"),
            ("notes.txt", "is none of .csv, .jsonl"),
            ("*.tsv", "no files there that end in .csv"),
            ("missing/*.csv", "no such file or folder"),
        ],
        ids=lambda value: value,
    )
    def test_nothing_found_is_a_mistake(self, data: str, said: str, folder: Path) -> None:
        with pytest.raises(DataError) as mistake:
            find_files(f"{folder}/{data}")
        assert said in str(mistake.value)

    def test_an_address_that_no_file_system_knows_is_a_mistake(self) -> None:
        with pytest.raises(DataError, match="martian://bucket/x: cannot be opened"):
            find_files("martian://bucket/x")
