"""Which kind of file is it? By its name; its first bytes tell when the name does not hold.

Asked by row_files.py for `python mlflow_tracking/run_experiment.py --data my.xlsx`.
"""

import io
import re
import zipfile

from mlflow_tracking.rows.item import DataError

FORMATS = {
    ".csv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".xlsx": "sheet",
    ".xlsm": "sheet",
}
PACKED = (".gz", ".bz2", ".zst")  # what pyarrow unpacks on the way; the others pack by themselves
HEAD_BYTES = 512  # of a file: enough to know it by

_SAVE = "open it in Excel or LibreOffice and save it as .xlsx"
_OTHERS = {
    ".xls": f"is a workbook of the old kind (.xls); {_SAVE}",
    ".xlsb": f"is a binary workbook (.xlsb); {_SAVE}",
    ".ods": f"is a LibreOffice workbook (.ods); {_SAVE}",
    ".fods": f"is a LibreOffice workbook (.fods); {_SAVE}",
    ".numbers": "is a Numbers document; export it as Excel (.xlsx)",
}
_SIGNATURES = (
    (rb"PK\x03\x04|PK\x05\x06", "zip"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "xls"),
    (rb"\x1f\x8b", "gzip"),
    (rb"PAR1", "parquet"),
    (rb"%PDF-", "pdf"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<(!doctype|!--|html|head|meta|style|table|div)\b", "html"),
    (rb"(?i)(\xef\xbb\xbf)?\s*(from: .*\s+)?(mime-version:)", "html"),
    (rb"(?i)(\xef\xbb\xbf)?\s*<\?xml", "xml"),
)
_INSIDE = {
    "xl/workbook.xml": "xlsx",
    "xl/workbook.bin": "xlsb",
    "word/document.xml": "docx",
    "Index/Document.iwa": "numbers",
}
_CONTENT = {
    "zip": "is a zip archive, maybe a workbook; unpack it, or name it .xlsx if it is one",
    "xlsx": "is an Excel workbook by its content; name it .xlsx",
    "xlsb": f"is a binary workbook (.xlsb) by its content; {_SAVE}",
    "xls": f"is an old workbook (.xls) or has a password; {_SAVE}, without one",
    "ods": f"is a LibreOffice workbook (.ods) by its content; {_SAVE}",
    "numbers": "is a Numbers document by its content; export it as Excel (.xlsx)",
    "docx": "is a Word document by its content; copy its table into a workbook",
    "html": f"is a web page (HTML) by its content; {_SAVE}",
    "xml": f"is XML by its content; if it is a table, {_SAVE}",
    "gzip": "is packed with gzip; add .gz to its name",
    "parquet": "is Parquet by its content; name it .parquet",
    "pdf": "is a PDF by its content; copy its table into a workbook",
}


def format_of(path: str) -> str:
    """'csv', 'json', 'parquet', 'sheet', or '' for a name that tells nothing."""
    name = path.lower()
    for ending in PACKED:
        unpacked = name.removesuffix(ending)
        if unpacked != name:
            found = FORMATS.get("." + unpacked.rpartition(".")[2], "")
            return found if found in ("csv", "json") else ""
    return FORMATS.get("." + name.rpartition(".")[2], "")


def compression_of(name: str) -> str | None:
    """As pyarrow names it."""
    ending = "." + name.lower().rpartition(".")[2]
    return {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(ending)


def is_parquet(path: str) -> bool:
    """Whether the file must be read here and there and not from its start to its end."""
    return format_of(path) == "parquet"


def other_format(path: str) -> str:
    """What is said of a name that is a workbook's of another kind; '' for other names."""
    return _OTHERS.get("." + path.lower().rpartition(".")[2], "")


def check_content(path: str, content: bytes) -> None:
    """Raises DataError, which tells the remedy, where the content is not what the name says.

    `content` may be the first bytes alone.
    """
    kind, found = format_of(path), _content_of(content)
    if kind == "parquet" or (kind == "sheet" and found == "xlsx"):
        return
    if found:
        raise DataError(f"{path}: {_CONTENT[found]}")
    if other := other_format(path):
        text = content and b"\0" not in content[:HEAD_BYTES]
        raise DataError(f"{path}: {'is text; name it .csv' if text else other}")
    if kind == "sheet":
        what = "is no workbook, although its name says so; is it a CSV? name it .csv"
        raise DataError(f"{path}: {what if content else 'is empty'}")


def _content_of(content: bytes) -> str:
    """A key of _CONTENT; '' for text."""
    head = content[:HEAD_BYTES]
    found = next((kind for sign, kind in _SIGNATURES if re.match(sign, head)), "")
    if found != "zip":
        return found
    if b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet" in head:
        return "ods"
    try:
        names = zipfile.ZipFile(io.BytesIO(content)).namelist()
    except (zipfile.BadZipFile, ValueError):
        return "zip"
    return next((_INSIDE[name] for name in names if name in _INSIDE), "zip")
