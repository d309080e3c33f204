"""Do the documents tell the truth? Each command, file, flag, make target and link is there.

python -m pytest tests/repository/test_documents.py
"""

import functools
import re
import subprocess
import sys

import pytest

from llm_client.settings import ROOT

READMES = ("README.md", "README.ru.md")
PAGES = (*READMES, *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")))
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
BOTH = pytest.mark.parametrize("name", READMES)
EACH = pytest.mark.parametrize("name", PAGES)

MOST_LINES = 230  # of a README: what a newcomer reads in one go; the rest is in docs/
FOLDERS = ("llm_client", "mlflow_tracking", "vllm_server", "screenshots", "benchmarks", "tests")
# What a page may name as it stands in mlflow_tracking/, beside what stands in the root.
ROOMS = (
    *("rows", "defence", "judge", "answering", "stats", "recording"),
    *("command", "validation", "cluster", "grading"),
)
NO_FLAGS_OF_OURS = {  # of vLLM and pip, named in prose
    "--help",
    "--host",
    "--performance-mode",
    "--node-rank",
    "--headless",
    "--extra-index-url",
}


def code_blocks(text: str) -> list[str]:
    return re.findall(r"^```.*?\n(.*?)^```", text, flags=re.M | re.S)


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def inline_code(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", prose(text)))


def commands(text: str) -> list[str]:
    """Every line of a block and every inline code that begins like a command."""
    lines = [line for block in code_blocks(text) for line in block.splitlines()]
    found = [line.partition("  #")[0].strip() for line in [*lines, *inline_code(text)]]
    start = re.compile(
        r"(?:[A-Z_]+=\S+ )*(?:make|python3?|bash|pip|curl|mlflow|cp|cd|source|grep) "
    )
    return sorted({line for line in found if start.match(line)})


def scripts(text: str) -> set[str]:
    """Our Python scripts that the commands call, by their paths."""
    called = re.compile(rf"\bpython3? ((?:{'|'.join(FOLDERS)})/\S+\.py)")
    return {path for line in commands(text) for path in called.findall(line)}


def flags(texts: list[str]) -> set[str]:
    return {flag for text in texts for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}


SCRIPTS = sorted(set().union(*(scripts(text) for text in TEXTS.values())))


@functools.cache
def help_of(script: str) -> str:
    ran = subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return ran.stdout


def anchors(text: str) -> set[str]:
    """The ids that GitHub gives to the headings of a page."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#{1,6} (.+?)\s*$", prose(text), flags=re.M):
        words = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        found[words] = found.get(words, -1) + 1
        if found[words]:
            found[f"{words}-{found[words]}"] = 0
    return set(found)


def links(text: str) -> set[str]:
    """The targets of a page's links and pictures, those on other sites left out."""
    shown = re.sub(r"`[^`\n]*`", "", prose(text))
    targets = re.findall(r"\]\(([^()\s]+)\)", shown)
    return {target for target in targets if not re.match(r"[a-z]+:", target)}


def is_there(file: str) -> bool:
    """A path from the root or from mlflow_tracking/; a bare name stands anywhere in our folders."""
    if "/" in file:
        return (ROOT / file).exists() or (ROOT / "mlflow_tracking" / file).exists()
    return any(path for folder in FOLDERS for path in (ROOT / folder).rglob(file))


def test_both_languages_have_the_same_blocks() -> None:
    english, russian = (code_blocks(TEXTS[name]) for name in READMES)
    assert len(english) > 8
    assert english == russian


def test_both_languages_have_the_same_commands() -> None:
    assert len(commands(TEXTS["README.md"])) > 25
    assert commands(TEXTS["README.md"]) == commands(TEXTS["README.ru.md"])


def test_both_languages_have_the_same_links() -> None:
    other = {"README.md", "README.ru.md"}
    english, russian = (links(TEXTS[name]) - other for name in READMES)
    assert english == russian


@BOTH
def test_a_readme_is_short(name: str) -> None:
    assert len(TEXTS[name].splitlines()) <= MOST_LINES


@BOTH
def test_every_page_is_named_in_the_readmes(name: str) -> None:
    pages = {page for page in PAGES if page.startswith("docs/")}
    assert len(pages) > 6
    assert pages - links(TEXTS[name]) == set()


@BOTH
def test_a_readme_names_the_files_that_a_newcomer_needs(name: str) -> None:
    files = re.findall(rf"\b(?:{'|'.join(FOLDERS)})/[\w./-]*\w\.\w+", TEXTS[name])
    assert len(set(files)) > 8


@EACH
def test_every_file_that_is_named_exists(name: str) -> None:
    text = TEXTS[name]
    ours = rf"\b(?:(?:{'|'.join(FOLDERS)})/[\w./-]*\w\.\w+|(?:{'|'.join(ROOMS)})/[\w./-]*\w\.py)"
    files = set(re.findall(ours, text))
    files |= set(re.findall(r"(?<![\w./-])[\w-]+\.(?:py|sh|jinja)\b", text))
    assert sorted(file for file in files if not is_there(file)) == []


@EACH
def test_every_folder_that_is_named_exists(name: str) -> None:
    folders = {code for code in inline_code(TEXTS[name]) if re.fullmatch(r"(?:\w+/)+", code)}
    assert sorted(folder for folder in folders if not is_there(folder)) == []


@EACH
def test_every_make_target_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {
        target for text in commands(TEXTS[name]) for target in re.findall(r"\bmake (\w+)", text)
    }
    if name in READMES:
        assert {"run", "test", "server", "stop", "ui"} <= targets
    assert {target for target in targets if not re.search(rf"^{target}:", makefile, re.M)} == set()


def test_the_pages_show_every_command_of_ours() -> None:
    ours = {f"mlflow_tracking/{path.name}" for path in (ROOT / "mlflow_tracking").glob("*.py")}
    doors = {
        script
        for script in ours
        if 'if __name__ == "__main__":' in (ROOT / script).read_text(encoding="utf-8")
    }
    assert len(doors) > 6
    assert doors - set(SCRIPTS) == set()


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_of_a_script_is_in_its_help(script: str) -> None:
    lines = [line for text in TEXTS.values() for line in commands(text) if script in line]
    assert lines
    assert flags(lines) - flags([help_of(script)]) == set()


@EACH
def test_every_flag_in_prose_is_in_some_help(name: str) -> None:
    named = flags([code for code in inline_code(TEXTS[name]) if code.startswith("--")])
    server = subprocess.run(
        ["bash", "vllm_server/run_vllm_server.sh", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told = flags([server.stdout, *(help_of(script) for script in SCRIPTS)])
    assert named - told - NO_FLAGS_OF_OURS == set()


@EACH
def test_every_link_leads_somewhere(name: str) -> None:
    here = (ROOT / name).parent
    lost = []
    for target in links(TEXTS[name]):
        path, _, anchor = target.partition("#")
        file = here / path if path else ROOT / name
        there = file.exists()
        if there and anchor:
            there = anchor in anchors(file.read_text(encoding="utf-8"))
        if not there:
            lost.append(target)
    assert sorted(lost) == []


def test_anchors_are_made_as_github_makes_them() -> None:
    page = "# What's `new`, and what not?\n## A-b c_d\n## A-b c_d\n```\n# none\n```\n### Шаг 1\n"
    assert anchors(page) == {"whats-new-and-what-not", "a-b-c_d", "a-b-c_d-1", "шаг-1"}
